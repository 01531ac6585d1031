"""A scripted server for tests of the command line, and the command line in one process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import pytest

from forcedmove_client import (
    Band,
    Chain,
    EventPage,
    MapFrame,
    MarginRule,
    ServerError,
    SymbolInfo,
    UnavailableError,
    UnknownNameError,
    VenueInfo,
)
from forcedmove_client.cli import main
from forcedmove_client.forecasts import (
    Forecast,
    PathForecast,
    Quantile,
    ShockOutcome,
    TippingPoint,
    VenueForecast,
    VenueOutcome,
)
from forcedmove_client.frames import Assumption
from tests.unit.terminal_sample import sample_frame


class FakeStream:
    """Ten maps, then silence."""

    def __init__(self, keep: Any) -> None:
        self.keep = tuple(axis for axis in ("venue", "side", "leverage", "price") if axis in keep)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None

    async def __aiter__(self) -> AsyncIterator[MapFrame]:
        for seq in range(1, 11):
            yield sample_frame(self.keep, seq=seq, mark=97_000.0 + 10 * seq)
            await asyncio.sleep(0)
        await asyncio.Event().wait()


def margin_rule(market: str) -> MarginRule:
    return MarginRule(
        market, "L1", "DOC", False, "mark", 0.0, 125.0, "shipped table", "2026-09-29", False, 0.4, 0.1, "a help page"
    )


class FakeClient:
    """A client of a server that knows one symbol."""

    def __init__(self, target: str, **_: Any) -> None:
        self.target = target

    async def __aenter__(self) -> Self:
        if self.target.endswith(":1"):
            raise UnavailableError(f"{self.target}: failed to connect: Connection refused (111)")
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def symbols(self) -> list[SymbolInfo]:
        return [SymbolInfo("BTC", ("binance:BTCUSDT",), 97_512.4, 3e9, 50.0, 7_000)]

    async def venues(self) -> list[VenueInfo]:
        frame = sample_frame()
        rules = {market.market: margin_rule(market.market) for market in frame.markets}
        return [VenueInfo("binance", frame.markets[:1], rules, 5), VenueInfo("okx", frame.markets[2:], rules, 5)]

    async def list_events(self, **_: Any) -> EventPage:
        raise ServerError("UNIMPLEMENTED: Method not found!")  # a server of before there were events

    async def simulate(self, symbol: str, *, price: float | None, move: float | None) -> Chain:
        assert (price is None) != (move is None)
        chain = sample_frame().next_down
        assert chain is not None
        return chain

    async def forecast(
        self,
        symbol: str,
        *,
        price: float | None,
        move: float | None,
        paths: int,
        seed: int,
        coupling_s: float | None,
        curve_points: int,
        duration_s: float,
    ) -> Forecast:
        chain = await self.simulate(symbol, price=price, move=move)
        told = tuple(Quantile(p, 93_000.0 - 1_000 * k, 50e6 * (k + 1)) for k, p in enumerate((0.05, 0.5, 0.95)))
        return Forecast(
            chain=chain,
            paths=PathForecast(paths, seed, told, (0.93, 0.41), 0.0) if paths else None,
            tipping_points=(
                TippingPoint("long", 96_000.0, 0.0155, 93_000.0),
                TippingPoint("short", None, None, None),
            ),
            by_venue=VenueForecast(coupling_s, 93_000.0, 60e6, 43.0, True, (VenueOutcome("okx", 92_000.0, 30e6, 1.0),))
            if coupling_s is not None
            else None,
            curve=tuple(ShockOutcome(96_000.0, 93_000.0, 60e6) for _ in range(curve_points)),
            books=(),
            assumptions=(Assumption("impact_recovery", "what still presses", duration_s),) if duration_s else (),
        )

    async def snapshot(
        self, symbols: Any, *, keep: Any = ("side", "price"), band_level: float = 0, **_: Any
    ) -> dict[str, MapFrame]:
        for symbol in symbols:
            if symbol != "BTC":
                raise UnknownNameError(f"unknown symbol {symbol!r}; known: BTC")
        frame = sample_frame(tuple(keep))
        band = Band(band_level, frame.grid / 2, frame.grid * 3) if band_level else None
        return {"BTC": dataclasses.replace(frame, band=band)}

    def subscribe(self, symbols: Any, *, keep: Any, **_: Any) -> FakeStream:
        assert tuple(symbols) == ("BTC",)
        return FakeStream(keep)


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        status = main(argv)
    except SystemExit as ended:  # argparse
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err
