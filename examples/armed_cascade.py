"""A chain is armed a minute before its cascade: a scripted market, a real server, and a client that watches its events.

Run it with:  python examples/armed_cascade.py

Longs stand at six prices on four exchanges. At 14:30:50 the mark comes within two per cent of the first; ten seconds
later, at 14:31:00, the chain is armed. At 14:32:00 the mark falls to it, and each level pushes the mark into the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from forcedmove_client import AsyncClient, Event, Position, PositionKey, Scorecard
from forcedmove_server.config import Config, EngineConfig, ModelConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.engine.frames import Tick
from forcedmove_server.market.events import BOOK_DEPTH, LIQUIDATION, MARK_PRICE, OPEN_INTEREST, EventBatch
from forcedmove_server.market.instruments import ContractType, Instrument, InstrumentRegistry
from forcedmove_server.rpc.server import RpcServer, serve

DAY = datetime(2026, 11, 3, tzinfo=UTC)
BEGIN, NEAR, ARMED = (DAY + timedelta(hours=14, minutes=m, seconds=s) for m, s in ((28, 0), (30, 50), (31, 0)))
CASCADE, END = (DAY + timedelta(hours=14, minutes=m) for m in (32, 40))

#: contracts of one US dollar, so that a level is worth the same at every price
MARKETS = {"binance": "BTCUSD_PERP", "bybit": "BTCUSD", "okx": "BTC-USD-SWAP", "deribit": "BTC-PERPETUAL"}
#: prices and USD of the six levels, equally on all exchanges
LEVELS = {96_800: 24e6, 96_400: 30e6, 96_000: 36e6, 95_600: 30e6, 95_200: 24e6, 94_800: 18e6}
#: longs that no price of this day reaches, in USD per exchange: what is still open afterwards
REST = 40e6
#: bids, in USD
BOOK = {
    96_800: 3e6, 96_600: 4e6, 96_400: 23e6, 96_200: 4e6, 96_000: 28e6, 95_800: 4e6, 95_600: 36e6, 95_400: 4e6,
    95_200: 30e6, 95_000: 4e6, 94_800: 44e6,
}  # fmt: skip

CONFIG = Config(
    engine=EngineConfig(backend="cpu", threads=1, tick_interval_ms=10, max_markets=8, bins=1024),
    model=ModelConfig(depth_withdrawal_fraction=10.0),  # these books stay where they are
)


def registry(markets: Mapping[str, str] = MARKETS) -> InstrumentRegistry:
    """Return inverse BTC markets of some exchanges."""
    return InstrumentRegistry(
        Instrument(venue, name, "BTC", "USD", ContractType.INVERSE, quantity_step=1.0, max_leverage=100)
        for venue, name in markets.items()
    )


def batch(
    at: datetime,
    mark: float,
    interest: Sequence[float],
    book: Mapping[int, float] | None = None,
    liquidated: tuple[float, float] | None = None,
) -> EventBatch:
    """Return one moment: mark and open interest of every market, bids on the first, a level that was liquidated.

    ``liquidated`` is its price, and what each market told of it in USD.
    """
    now_ns = int(at.timestamp()) * 10**9
    rows = range(len(interest))
    bids = sorted((book or {}).items())
    forced = [] if liquidated is None else [(now_ns, now_ns, *liquidated, m, 0) for m in rows]
    return EventBatch(
        until_ns=now_ns + 1,
        mark_prices=np.array([(now_ns, now_ns, mark, m, 0) for m in rows], MARK_PRICE),
        open_interest=np.array([(now_ns, now_ns, interest[m], m, 0) for m in rows], OPEN_INTEREST),
        liquidations=np.array(forced, LIQUIDATION),
        depth=np.array([(now_ns, now_ns, float(price), usd, 0, 0) for price, usd in bids], BOOK_DEPTH),
    )


def script() -> Iterator[tuple[datetime, EventBatch]]:
    """Yield the day: every second around the cascade, every ten seconds elsewhere."""
    open_usd = sum(LEVELS.values()) / len(MARKETS) + REST
    falling = dict(zip(range(len(LEVELS)), LEVELS.items(), strict=True))
    mark, at = 98_900.0, BEGIN
    while at <= END:
        mark = 98_800.0 if at == NEAR else mark
        second = (at - CASCADE).total_seconds()
        fired = falling.get(int(second)) if second >= 0 else None
        liquidated = None
        if fired is not None:
            mark, usd = float(fired[0]), fired[1] / len(MARKETS)
            open_usd -= usd
            liquidated = mark, usd
        yield at, batch(at, mark, [open_usd] * len(MARKETS), BOOK if at.second == 0 else None, liquidated)
        close = NEAR <= at < CASCADE + timedelta(seconds=90)
        at += timedelta(seconds=1 if close else 10)


def positions(levels: Mapping[int, float], markets: Mapping[str, str]) -> list[Position]:
    """Return the longs of levels, equally on all markets, and the rest that stays."""
    held = [(f"level at {price}", price, usd / len(markets)) for price, usd in levels.items()]
    return [
        Position(PositionKey(venue, name, "long", account), quantity=usd, liquidation_price=price)
        for venue, name in markets.items()
        for account, price, usd in (*held, ("rest", 60_000, REST))
    ]


class Ticks:
    """Lets a script wait until the engine has drawn the map of what it was given."""

    def __init__(self, engine: Engine) -> None:
        self._loop, self._engine = asyncio.get_running_loop(), engine
        self._drawn = asyncio.Event()
        self._newest_ns = 0
        self._remove = engine.on_tick(self._ticked)

    def _ticked(self, tick: Tick) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may end before the engine
            self._loop.call_soon_threadsafe(self._note, tick.event_time_ns)

    def _note(self, time_ns: int) -> None:
        self._newest_ns = time_ns
        self._drawn.set()

    async def play(self, events: EventBatch) -> None:
        """Hand a batch over and wait for its map."""
        await asyncio.to_thread(self._engine.put, events)
        while self._newest_ns < events.until_ns - 1:
            self._drawn.clear()
            await asyncio.wait_for(self._drawn.wait(), 60)


@contextlib.asynccontextmanager
async def running(config: Config, instruments: InstrumentRegistry) -> AsyncIterator[tuple[Engine, Ticks, RpcServer]]:
    """Run an engine and a server on a free port; gives the engine, its ticks and the server."""
    engine = Engine(config, instruments)
    ticks = Ticks(engine)
    server: RpcServer = await serve(engine, port=0)
    engine.start()
    try:
        yield engine, ticks, server
    finally:
        await server.drain(grace_s=0.2)
        await asyncio.to_thread(engine.stop)
        if engine.failure is not None:
            raise engine.failure


async def play() -> tuple[list[Event], Scorecard]:
    """Play the day; return the events that a client was streamed up to the outcome, and the scorecard at the end."""
    events: list[Event] = []

    async def watch(client: AsyncClient) -> None:
        async for event in client.events("BTC", from_seq=1):
            events.append(event)
            tell(event)
            if event.type == "resolved":
                return

    async with running(CONFIG, registry()) as (_, ticks, server), AsyncClient(f"127.0.0.1:{server.port}") as client:
        watching: asyncio.Task[None] | None = None
        for _, moment in script():
            await ticks.play(moment)
            if watching is None:
                await client.set_positions(positions(LEVELS, MARKETS), producer="example")
                watching = asyncio.create_task(watch(client))
        assert watching is not None
        await asyncio.wait_for(watching, 30)
        card = await client.scorecard(symbol="BTC", side="long")
    return events, card


def tell(event: Event) -> None:
    """Print one event."""
    clock = str(np.datetime_as_string(event.time, "s"))[11:]
    chain = event.chain
    print(
        f"{clock}  {event.type:<9} {event.symbol} {event.side}s from {event.price_high:,.0f} ({event.distance:+.2%}): "
        f"{chain.depth} levels, ${chain.total_usd / 1e6:.0f}M on {len(event.chain_venues)} exchanges, "
        f"ends at {chain.terminal_price:,.0f}; {event.reason}"
    )
    if event.outcome is not None:
        outcome = event.outcome
        lead = "none" if outcome.lead_time_s is None else f"{outcome.lead_time_s:g} s"
        print(
            f"          what came: {outcome.levels} levels, ${outcome.total_usd / 1e6:.0f}M, "
            f"the mark went to {outcome.floor_price:,.0f}; lead time {lead}"
        )


def main() -> None:
    """Play the day and print what the scorecard says of it."""
    _, card = asyncio.run(play())
    for figure in card.figures:
        if figure.measure.startswith("cascades.") and figure.estimate.value is not None:
            print(f"{figure.measure:<32} {figure.estimate.value:g} {figure.unit}")


if __name__ == "__main__":
    main()
