"""How true the server's maps have been: request and answer of ``scorecard``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from forcedmove.v1 import model_pb2, scorecard_pb2
from forcedmove_client.decoding import SIDE_NAMES, named
from forcedmove_client.frames import SideName
from forcedmove_client.requests import number_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

UnitName = Literal[
    "bits", "correlation", "share", "ratio", "usd", "basis points", "seconds", "count", "per day", "unknown"
]
EvidenceName = Literal["positions", "liquidations"]
TableName = Literal["figures", "rows"]

_UNITS: dict[scorecard_pb2.Unit.ValueType, UnitName] = {
    scorecard_pb2.UNIT_BITS: "bits",
    scorecard_pb2.UNIT_CORRELATION: "correlation",
    scorecard_pb2.UNIT_SHARE: "share",
    scorecard_pb2.UNIT_RATIO: "ratio",
    scorecard_pb2.UNIT_USD: "usd",
    scorecard_pb2.UNIT_BASIS_POINTS: "basis points",
    scorecard_pb2.UNIT_SECONDS: "seconds",
    scorecard_pb2.UNIT_COUNT: "count",
    scorecard_pb2.UNIT_PER_DAY: "per day",
}
_EVIDENCE: dict[scorecard_pb2.Evidence.ValueType, EvidenceName] = {
    scorecard_pb2.EVIDENCE_POSITIONS: "positions",
    scorecard_pb2.EVIDENCE_LIQUIDATIONS: "liquidations",
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval at ``level``; ``n`` observations in ``blocks`` independent blocks stand behind it.

    What cannot be given is None, and ``reason`` says why; it is empty otherwise.
    """

    value: float | None
    low: float | None
    high: float | None
    level: float | None
    n: int
    blocks: int
    reason: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. proto/forcedmove/v1/scorecard.proto lists the measures.

    ``map`` is empty and ``horizon_s`` None where the measure has none; a unit that a newer server added is "unknown".
    """

    map: str
    measure: str
    unit: UnitName
    horizon_s: float | None
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Headline:
    """The two figures that sum a map up, at one horizon.

    ``bits`` are per position or liquidation (``bits_from``) over the map made flat inside each side and distance band;
    ``released`` is the rank partial correlation of open interest released with open interest crossed, and ``gain`` that
    less the baseline's on the same moves (None without a baseline). 0 is the null of all three.
    """

    map: str
    baseline: str | None
    horizon_s: float
    bits: Estimate
    bits_from: EvidenceName
    released: Estimate
    gain: Estimate | None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Forecasts between two probabilities that a price is reached: number, mean, and how often it was."""

    horizon_s: float
    n: int
    forecast: float
    observed: float


@dataclass(frozen=True, slots=True)
class Invariants:
    """Largest ``|live - OI| / OI`` of any market, where and when; largest error of the balance of flows."""

    checks: int
    worst_interest_error: float | None
    worst_market: str | None
    worst_time: np.datetime64 | None
    worst_flow_error: float | None


@dataclass(frozen=True, slots=True)
class Unscored:
    """Why something could not be scored, and how often."""

    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class ScoringRules:
    """Thresholds that decide what is scored; proto/forcedmove/v1/scorecard.proto says what each one is."""

    step_s: float
    horizons_s: tuple[float, ...]
    headline_horizon_s: float
    move_threshold: float
    volatility_half_life_s: float
    least_volatility_cells: int
    least_decile_bins: int
    bits_floor: float
    most_days: int
    most_moves_per_day: int
    most_rows: int
    resamples: int
    level: float
    least_blocks: int
    least_moves: int
    seed: int


@dataclass(frozen=True, slots=True)
class MarketScore:
    """Counts and point values of one venue, symbol, side, horizon and map; None where nothing was observed.

    ``crossed_mean`` and ``released_mean`` are shares of open interest per move; bits are per event over the flattened
    map.
    """

    venue: str
    symbol: str
    side: SideName
    horizon_s: float
    map: str
    moves: int
    crossed_mean: float | None
    released_mean: float | None
    positions: int
    position_bits: float | None
    liquidations: int
    liquidation_bits: float | None
    captured_share: float | None
    capture_ratio: float | None


@dataclass(frozen=True, slots=True)
class Scorecard:
    """What was measured of one part of the markets: ``venue``, ``symbol`` and ``side`` are None for all of them.

    Times are None before the first map was scored. ``invariants`` and ``unscored`` are of the whole server. ``rows``
    are empty unless they were asked for.
    """

    venue: str | None
    symbol: str | None
    side: SideName | None
    begin_time: np.datetime64 | None
    end_time: np.datetime64 | None
    rules: ScoringRules
    headline: Headline
    figures: tuple[Figure, ...] = field(repr=False)
    reliability: tuple[ReliabilityBin, ...] = field(repr=False)
    invariants: Invariants
    unscored: tuple[Unscored, ...]
    rows: tuple[MarketScore, ...] = field(repr=False)

    def figure(self, measure: str, map: str = "", horizon_s: float | None = None) -> Estimate | None:
        """Return one figure's estimate; None where the server sent none."""
        wanted = (map, measure, horizon_s)
        return next((f.estimate for f in self.figures if (f.map, f.measure, f.horizon_s) == wanted), None)

    def to_pandas(self, table: TableName = "figures") -> pd.DataFrame:
        """Return the figures, or the rows, as a table; a value that is not there is NaN.

        Columns of figures: map, measure, unit, horizon_s, value, low, high, level, n, blocks, reason; of rows: the
        fields of MarketScore. Raises ImportError where pandas is not installed, ValueError for another table.
        """
        from forcedmove_client.tables import columns_to_pandas

        return columns_to_pandas(self._columns(table))

    def to_arrow(self, table: TableName = "figures") -> pa.Table:
        """Return the same as an Arrow table; a value that is not there is null.

        Raises ImportError where pyarrow is not installed, ValueError for another table.
        """
        from forcedmove_client.tables import columns_to_arrow

        return columns_to_arrow(self._columns(table))

    def _columns(self, table: str) -> dict[str, tuple[type, list[Any]]]:
        """Columns by name, each with the type of what it holds."""
        if table == "rows":
            return {name: (kind, [getattr(row, name) for row in self.rows]) for name, kind in _ROW_COLUMNS.items()}
        if table != "figures":
            raise ValueError(f"table = {table!r}: must be figures or rows")
        columns: dict[str, tuple[type, list[Any]]] = {
            name: (kind, [getattr(figure, name) for figure in self.figures]) for name, kind in _FIGURE_COLUMNS.items()
        }
        for name, kind in _ESTIMATE_COLUMNS.items():
            columns[name] = kind, [getattr(figure.estimate, name) for figure in self.figures]
        return columns


_FIGURE_COLUMNS: dict[str, type] = {"map": str, "measure": str, "unit": str, "horizon_s": float}
_ESTIMATE_COLUMNS: dict[str, type] = {
    "value": float,
    "low": float,
    "high": float,
    "level": float,
    "n": int,
    "blocks": int,
    "reason": str,
}
_ROW_COLUMNS: dict[str, type] = {
    "venue": str,
    "symbol": str,
    "side": str,
    "horizon_s": float,
    "map": str,
    "moves": int,
    "crossed_mean": float,
    "released_mean": float,
    "positions": int,
    "position_bits": float,
    "liquidations": int,
    "liquidation_bits": float,
    "captured_share": float,
    "capture_ratio": float,
}


def scorecard_request(venue: str, symbol: str, side: SideName | None, rows: bool) -> scorecard_pb2.GetScorecardRequest:
    """The request for one part of the markets. Raises InvalidArgumentError."""
    number = model_pb2.SIDE_UNSPECIFIED if side is None else number_of("side", side, SIDE_NAMES)
    return scorecard_pb2.GetScorecardRequest(venue=venue, symbol=symbol, side=number, rows=rows)


def scorecard_of(response: scorecard_pb2.GetScorecardResponse) -> Scorecard:
    """The answer. Raises ServerError where it is beyond this client."""
    return Scorecard(
        venue=response.venue or None,
        symbol=response.symbol or None,
        side=named("side", response.side, SIDE_NAMES) if response.side else None,
        begin_time=_time(response, "begin_time_ns"),
        end_time=_time(response, "end_time_ns"),
        rules=_rules_of(response.rules),
        headline=_headline_of(response.headline),
        figures=tuple(map(_figure_of, response.figures)),
        reliability=tuple(
            ReliabilityBin(some.horizon_s, some.n, some.forecast, some.observed) for some in response.reliability
        ),
        invariants=Invariants(
            checks=response.invariants.checks,
            worst_interest_error=_optional(response.invariants, "worst_interest_error"),
            worst_market=response.invariants.worst_market or None,
            worst_time=_time(response.invariants, "worst_time_ns"),
            worst_flow_error=_optional(response.invariants, "worst_flow_error"),
        ),
        unscored=tuple(Unscored(some.reason, some.count) for some in response.unscored),
        rows=tuple(map(_row_of, response.rows)),
    )


def _estimate_of(estimate: scorecard_pb2.Estimate) -> Estimate:
    value, low, high, level = (_optional(estimate, name) for name in ("value", "low", "high", "level"))
    return Estimate(value, low, high, level, estimate.n, estimate.blocks, estimate.reason)


def _figure_of(figure: scorecard_pb2.Figure) -> Figure:
    unit = _UNITS.get(figure.unit, "unknown")
    return Figure(figure.map, figure.measure, unit, _optional(figure, "horizon_s"), _estimate_of(figure.estimate))


def _headline_of(headline: scorecard_pb2.Headline) -> Headline:
    return Headline(
        map=headline.map,
        baseline=headline.baseline or None,
        horizon_s=headline.horizon_s,
        bits=_estimate_of(headline.bits),
        bits_from=named("headline.bits_from", headline.bits_from, _EVIDENCE),
        released=_estimate_of(headline.released),
        gain=_estimate_of(headline.gain) if headline.HasField("gain") else None,
    )


def _rules_of(rules: scorecard_pb2.ScoringRules) -> ScoringRules:
    return ScoringRules(
        step_s=rules.step_s,
        horizons_s=tuple(rules.horizons_s),
        headline_horizon_s=rules.headline_horizon_s,
        move_threshold=rules.move_threshold,
        volatility_half_life_s=rules.volatility_half_life_s,
        least_volatility_cells=rules.least_volatility_cells,
        least_decile_bins=rules.least_decile_bins,
        bits_floor=rules.bits_floor,
        most_days=rules.most_days,
        most_moves_per_day=rules.most_moves_per_day,
        most_rows=rules.most_rows,
        resamples=rules.resamples,
        level=rules.level,
        least_blocks=rules.least_blocks,
        least_moves=rules.least_moves,
        seed=rules.seed,
    )


def _row_of(row: scorecard_pb2.MarketScore) -> MarketScore:
    return MarketScore(
        venue=row.venue,
        symbol=row.symbol,
        side=named("rows.side", row.side, SIDE_NAMES),
        horizon_s=row.horizon_s,
        map=row.map,
        moves=row.moves,
        crossed_mean=_optional(row, "crossed_mean"),
        released_mean=_optional(row, "released_mean"),
        positions=row.positions,
        position_bits=_optional(row, "position_bits"),
        liquidations=row.liquidations,
        liquidation_bits=_optional(row, "liquidation_bits"),
        captured_share=_optional(row, "captured_share"),
        capture_ratio=_optional(row, "capture_ratio"),
    )


def _optional(message: Any, name: str) -> float | None:
    """Return a number that may be unset."""
    return getattr(message, name) if message.HasField(name) else None


def _time(message: Any, name: str) -> np.datetime64 | None:
    return np.datetime64(getattr(message, name), "ns") if message.HasField(name) else None
