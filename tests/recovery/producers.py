"""Clients that tell a server positions all the time, and know what it has to know: by calls, and by streams."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from forcedmove_client import (
    Acknowledgement,
    AsyncClient,
    IngestStream,
    Position,
    PositionDelta,
    PositionKey,
    UnavailableError,
)

_MARKETS = (("binance", "BTCUSDT", 97_500.0), ("bybit", "BTCUSDT", 97_500.0), ("binance", "ETHUSDT", 3_400.0))
#: requests of a stream that may be on their way
_UNSETTLED = 32


@dataclass
class Faults:
    """What a server had acknowledged and did not have; and what it has that is not what it was told."""

    lost: int = 0
    wrong: int = 0


@dataclass
class Asking:
    """A client that changes its positions all the time by calls, and sends again what was not acknowledged."""

    name: str
    draw: random.Random
    sequence: int = 0
    acked: int = 0
    acks: int = 0
    told: dict[PositionKey, float] = field(default_factory=dict)
    pending: list[Position] | None = None

    async def run(self, client: AsyncClient) -> None:
        """Send until the server is gone."""
        with contextlib.suppress(UnavailableError):
            while True:
                if self.pending is None:
                    self.sequence += 1
                    accounts = self.draw.sample(range(40), self.draw.randrange(1, 6))
                    self.pending = [self._position(account) for account in accounts]
                await client.set_positions(self.pending, producer=self.name, replace=False, sequence=self.sequence)
                self._done()

    async def check(self, client: AsyncClient, faults: Faults) -> None:
        """Compare what the server holds with what it acknowledged; what was under way may be there or not."""
        held = await client.positions(self.name)
        if held.sequence < self.acked:
            faults.lost += self.acked - held.sequence
        elif held.sequence > self.acked:
            assert self.pending is not None
            assert held.sequence == self.sequence
            self._done()
        found = {one.position.key: one.position.quantity for one in held.positions}
        faults.wrong += sum(found.get(key) != quantity for key, quantity in self.told.items())
        faults.wrong += len(found.keys() - self.told.keys())

    def _done(self) -> None:
        assert self.pending is not None
        self.told |= {position.key: float(position.quantity or 0) for position in self.pending}
        self.acked, self.pending = self.sequence, None
        self.acks += 1

    def _position(self, account: int) -> Position:
        venue, market, price = self.draw.choice(_MARKETS)
        side: Any = self.draw.choice(("long", "short"))
        return Position(
            PositionKey(venue, market, side, f"account-{account}"),
            quantity=round(self.draw.uniform(0.1, 20.0), 3),
            liquidation_price=price * (0.6 if side == "long" else 1.4) * self.draw.uniform(0.99, 1.01),
            leverage=self.draw.choice((2.0, 3.0, 5.0)),
        )


@dataclass
class Streaming:
    """A client with one stream that outlives every kill: the SDK sends again what was not acknowledged.

    It tells deltas of cohorts, of which every one that is lost or applied twice is seen in their sums, and positions.
    """

    name: str
    draw: random.Random
    acked: int = 0
    acks: int = 0
    #: what was told, in binary fractions so that sums are exact, and what is not acknowledged yet
    told: dict[PositionKey, float] = field(default_factory=dict)
    cohorts: Counter[tuple[str, str, str, float]] = field(default_factory=Counter)
    on_their_way: deque[Acknowledgement] = field(default_factory=deque)

    async def run(self, client: AsyncClient, until: asyncio.Event) -> int:
        """Send, see all of it settled at the end, and return how often the stream was taken up again.

        Raises what ends the stream: that the server lost what it had acknowledged, for example.
        """
        async with client.ingest(self.name, buffer=_UNSETTLED) as stream:
            while not until.is_set():
                self.on_their_way.append(await self._change(stream))
                while self.on_their_way and (self.on_their_way[0].done() or len(self.on_their_way) >= _UNSETTLED):
                    await self._settle()
            while self.on_their_way:
                await self._settle()
            return stream.stats.reconnects

    async def check(self, client: AsyncClient, faults: Faults) -> None:
        """Compare what the server has settled with what it acknowledged; it goes on meanwhile."""
        acked = self.acked
        faults.lost += max(acked - (await client.positions(self.name)).sequence, 0)

    async def check_all(self, client: AsyncClient, faults: Faults) -> None:
        """Compare everything that was told, after ``run``."""
        held = (await client.positions(self.name)).positions
        found: Counter[tuple[str, str, str, float]] = Counter()
        singles: dict[PositionKey, float] = {}
        for position in (each.position for each in held):
            key, quantity = position.key, float(position.quantity or 0)
            if key in self.told:
                singles[key] = quantity
            else:
                found[key.venue, key.symbol, key.side, float(position.leverage or 0)] += quantity
        faults.wrong += sum(found[cohort] != quantity for cohort, quantity in self.cohorts.items())
        faults.wrong += len(found.keys() - self.cohorts.keys())
        faults.wrong += sum(singles.get(key) != quantity for key, quantity in self.told.items())

    async def _settle(self) -> None:
        result = await self.on_their_way.popleft()
        self.acked = result.sequence
        self.acks += 1

    async def _change(self, stream: IngestStream) -> Acknowledgement:
        venue, market, price = self.draw.choice(_MARKETS)
        side: Any = self.draw.choice(("long", "short"))
        quantity = self.draw.randrange(1, 64) / 8
        if self.draw.random() < 0.3:
            key = PositionKey(venue, market, side, f"account-{self.draw.randrange(20)}")
            self.told[key] = quantity
            liquidation = price * (0.5 if side == "long" else 1.5)
            return await stream.send(positions=[Position(key, quantity=quantity, liquidation_price=liquidation)])
        leverage = self.draw.choice((1.5, 2.0))
        cohort = venue, market, side, leverage
        if self.cohorts[cohort] > 2 * quantity and self.draw.random() < 0.5:
            quantity = -quantity
        self.cohorts[cohort] += quantity
        return await stream.send(
            deltas=[PositionDelta(venue, market, side, quantity, entry_price=price, leverage=leverage)]
        )
