"""Scans: the cascades of many shocks through many maps, as the server streams and ranks them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import grpc
import numpy as np
from numpy.typing import NDArray

from forcedmove.v1 import scan_pb2
from forcedmove_client.decoding import assumption_of
from forcedmove_client.errors import ServerError, translated
from forcedmove_client.frames import Assumption
from forcedmove_client.requests import Names, names_of, number_of
from forcedmove_client.tables import columns_to_arrow, columns_to_pandas

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MeasureName = Literal["tipping", "amplification", "fragility", "loss"]
F64 = NDArray[np.float64]

MEASURES: dict[scan_pb2.ScanMeasure.ValueType, MeasureName] = {
    scan_pb2.SCAN_MEASURE_TIPPING_DISTANCE: "tipping",
    scan_pb2.SCAN_MEASURE_AMPLIFICATION: "amplification",
    scan_pb2.SCAN_MEASURE_FRAGILITY: "fragility",
    scan_pb2.SCAN_MEASURE_EXPECTED_LOSS: "loss",
}
#: percentiles of random paths, by distance from the mark and by what fires
PERCENTS = (5, 50, 95)


@dataclass(frozen=True, slots=True)
class ScanEstimate:
    """What a scan comes to: counts, memory, and seconds by the speed of the server's scans so far."""

    symbols: int
    chains: int
    paths: int
    working_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class SymbolScan:
    """One symbol. Arrays have an element per shock, in the order of ``shocks``; moves are fractions of the mark.

    ``fragility`` is what a shock crosses over the depth from the shock on as far again. ``touch_probability`` is that
    the price gets there within the horizon. ``path_terminal`` and ``path_fired_usd`` are the quantiles ``PERCENTS`` of
    random paths, float64 ``[3, S]``, None without paths. ``tipping_down`` and ``tipping_up`` are the smallest shocks
    whose chains run beyond them, None where none does.
    """

    symbol: str
    seq: int
    event_time: np.datetime64
    mark_price: float
    volatility_day: float
    volatility_measured: bool
    shocks: F64
    terminal_price: F64
    fired_usd: F64
    levels: NDArray[np.int64]
    amplification: F64
    fragility: F64
    touch_probability: F64
    beyond_window: NDArray[np.bool_]
    path_terminal: F64 | None
    path_fired_usd: F64 | None
    tipping_down: float | None
    tipping_up: float | None
    tipping_distance: float | None
    max_amplification: float
    max_fragility: float
    expected_loss_usd: float
    notional_usd: float

    @property
    def terminal_move(self) -> F64:
        """Where the chains end, as moves of the mark."""
        return self.terminal_price / self.mark_price - 1


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """The end of a scan: symbols with their value of the measure, the most fragile first; what was left out."""

    ranking: tuple[tuple[str, float | None], ...]
    scanned: int
    filtered: int
    missing: int
    seconds: float
    assumptions: tuple[Assumption, ...]


@dataclass(frozen=True, slots=True)
class ScanResult:
    """A whole scan. ``symbols`` has every one that passed the filters, those of the ranking first, in its order."""

    estimate: ScanEstimate
    symbols: dict[str, SymbolScan]
    summary: ScanSummary

    @property
    def ranked(self) -> list[SymbolScan]:
        """The symbols of the ranking, the most fragile first."""
        return [self.symbols[name] for name, _ in self.summary.ranking]

    def columns(self) -> dict[str, tuple[type, list[Any]]]:
        """Return one row per symbol of the ranking and shock, as columns with their types."""
        rows = [(rank, one, k) for rank, one in enumerate(self.ranked, 1) for k in range(len(one.shocks))]
        made: dict[str, tuple[type, list[Any]]] = {
            "rank": (int, [rank for rank, _, _ in rows]),
            "symbol": (str, [one.symbol for _, one, _ in rows]),
            "mark_price": (float, [one.mark_price for _, one, _ in rows]),
            "shock": (float, [float(one.shocks[k]) for _, one, k in rows]),
        }
        for name, kind in (
            ("terminal_price", float),
            ("terminal_move", float),
            ("fired_usd", float),
            ("levels", int),
            ("amplification", float),
            ("fragility", float),
            ("touch_probability", float),
            ("beyond_window", bool),
        ):
            made[name] = kind, [kind(getattr(one, name)[k]) for _, one, k in rows]
        for name in ("path_terminal", "path_fired_usd"):
            if all(getattr(one, name) is not None for _, one, _ in rows):
                for place, percent in enumerate(PERCENTS):
                    made[f"{name}_p{percent:02d}"] = float, [float(getattr(o, name)[place, k]) for _, o, k in rows]
        for name in ("tipping_down", "tipping_up", "expected_loss_usd", "notional_usd"):
            made[name] = float, [getattr(one, name) for _, one, _ in rows]
        return made

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per symbol of the ranking and shock. Raises ImportError without pandas."""
        return columns_to_pandas(self.columns())

    def to_arrow(self) -> pa.Table:
        """Return the same rows as an Arrow table. Raises ImportError without pyarrow."""
        return columns_to_arrow(self.columns())


class ScanStream:
    """A scan that runs: iterate for symbols as they finish. ``estimate`` is there from the first on, ``summary`` after
    the last.

    Iterating raises InvalidArgumentError, UnknownNameError, LimitExceededError (with the numbers of the estimate),
    UnavailableError, also when the deadline passes, or ServerError. ``aclose`` stops the server's work.
    """

    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, Any], shocks: F64, target: str) -> None:
        self._call, self._shocks, self._target = call, shocks, target
        self.estimate: ScanEstimate | None = None
        self.summary: ScanSummary | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SymbolScan:
        while True:
            try:
                message = await self._call.read()
            except grpc.aio.AioRpcError as error:
                raise translated(error, self._target) from None
            if not isinstance(message, scan_pb2.ScanResponse):
                raise StopAsyncIteration
            kind = message.WhichOneof("part")
            if kind == "symbol":
                return symbol_scan_of(message.symbol, self._shocks)
            if kind == "estimate":
                self.estimate = estimate_of(message.estimate)
            elif kind == "summary":
                self.summary = summary_of(message.summary)

    async def result(self) -> ScanResult:
        """Read what is left and return the whole, of which nothing may have been read before."""
        found = {one.symbol: one async for one in self}
        if self.estimate is None or self.summary is None:
            raise ServerError(f"{self._target}: a scan ended without its summary")
        order = [name for name, _ in self.summary.ranking]
        symbols = {name: found[name] for name in dict.fromkeys([*order, *sorted(found)])}
        return ScanResult(self.estimate, symbols, self.summary)

    async def aclose(self) -> None:
        """End the scan."""
        self._call.cancel()


def scan_request(
    symbols: Names,
    shocks: Iterable[float],
    paths: int,
    seed: int,
    venues: Names,
    min_notional_usd: float,
    max_distance: float,
    sort: MeasureName,
    top: int,
    horizon_s: float | None,
    estimate_only: bool,
) -> scan_pb2.ScanRequest:
    """The request of a scan. Raises InvalidArgumentError for a measure that there is not."""
    return scan_pb2.ScanRequest(
        symbols=names_of(symbols),
        shock_fractions=list(shocks),
        paths=paths,
        seed=seed,
        min_notional_usd=min_notional_usd,
        venues=names_of(venues),
        max_distance_fraction=max_distance,
        sort=number_of("sort", sort, MEASURES),
        top=top,
        horizon_s=horizon_s,
        estimate_only=estimate_only,
    )


def estimate_of(message: scan_pb2.ScanEstimate) -> ScanEstimate:
    """An estimate."""
    return ScanEstimate(message.symbols, message.chains, message.paths, message.working_bytes, message.seconds)


def symbol_scan_of(message: scan_pb2.SymbolScan, shocks: F64) -> SymbolScan:
    """One symbol's answer. Raises ServerError where its lists are not as long as the shocks."""

    def column(name: str, values: Sequence[Any], kind: Any = np.float64) -> NDArray[Any]:
        if len(values) != len(shocks):
            raise ServerError(f"{message.symbol}: {name} has {len(values)} elements for {len(shocks)} shocks")
        return np.array(values, kind)

    def quantiles(name: str) -> F64 | None:
        if not message.HasField("paths"):
            return None
        return np.stack([column(name, getattr(message.paths, f"{name}_p{percent:02d}")) for percent in PERCENTS])

    def stated(name: str) -> float | None:
        return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]

    return SymbolScan(
        symbol=message.symbol,
        seq=message.seq,
        event_time=np.datetime64(message.event_time_ns, "ns"),
        mark_price=message.mark_price_usd,
        volatility_day=message.volatility_day,
        volatility_measured=message.volatility_measured,
        shocks=shocks,
        terminal_price=column("terminal_price_usd", message.terminal_price_usd),
        fired_usd=column("fired_usd", message.fired_usd),
        levels=column("levels", message.levels, np.int64),
        amplification=column("amplification", message.amplification),
        fragility=column("fragility", message.fragility),
        touch_probability=column("touch_probability", message.touch_probability),
        beyond_window=column("beyond_window", message.beyond_window, np.bool_),
        path_terminal=quantiles("terminal_price_usd"),
        path_fired_usd=quantiles("fired_usd"),
        tipping_down=stated("tipping_down_fraction"),
        tipping_up=stated("tipping_up_fraction"),
        tipping_distance=stated("tipping_distance_fraction"),
        max_amplification=message.max_amplification,
        max_fragility=message.max_fragility,
        expected_loss_usd=message.expected_loss_usd,
        notional_usd=message.notional_usd,
    )


def summary_of(message: scan_pb2.ScanSummary) -> ScanSummary:
    """The end of a scan."""
    return ScanSummary(
        ranking=tuple((one.symbol, one.value if one.HasField("value") else None) for one in message.ranking),
        scanned=message.scanned,
        filtered=message.filtered,
        missing=message.missing,
        seconds=message.seconds,
        assumptions=tuple(map(assumption_of, message.assumptions)),
    )


def finite_or_none(value: float) -> float | None:
    """A number as JSON has it: None for infinity, as the fragility where there is no depth."""
    return value if math.isfinite(value) else None
