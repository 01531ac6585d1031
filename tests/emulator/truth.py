"""Seeded true events of a venue's markets: every trade has a quantity of its own, by which it is found again."""

from __future__ import annotations

import random
from collections.abc import Iterator

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade

_PRICES = {"BTC": 60_000.0, "ETH": 3_000.0, "SOL": 150.0}
_BOOK_LEVELS = 5


class Truth:
    """Events of some markets. Prices have few digits and quantities are whole contracts: units convert exactly."""

    def __init__(self, listings: dict[str, Listing], seed: int = 0) -> None:
        self._listings = list(listings.values())
        self._random = random.Random(seed)
        self._prices = {key: _PRICES.get(one.instrument.base, 10.0) for key, one in listings.items()}
        self._trades = 0

    def initial(self, time_ns: int) -> Iterator[Event]:
        """A mark, an open interest and a book of every market."""
        for listing in self._listings:
            yield self.mark(listing, time_ns)
            yield self.open_interest(listing, time_ns)
            yield self.book(listing, time_ns)

    def marks(self, time_ns: int) -> Iterator[Event]:
        """A mark of every market: they never pause."""
        return (self.mark(listing, time_ns) for listing in self._listings)

    def event(self, time_ns: int) -> Event:
        """One event of a random market; most are trades."""
        listing = self._random.choice(self._listings)
        kind = self._random.random()
        if kind < 0.8:
            return self.trade(listing, time_ns)
        if kind < 0.9:
            return self.mark(listing, time_ns)
        if kind < 0.94:
            return self.open_interest(listing, time_ns)
        return self.book(listing, time_ns) if kind < 0.98 else self.liquidation(listing, time_ns)

    def trade(self, listing: Listing, time_ns: int) -> Trade:
        self._trades += 1
        aggressor = self._random.choice((1, -1))
        quantity = self._trades * listing.contract
        return Trade(listing, time_ns, self._step(listing), quantity, aggressor, self._trades)

    def liquidation(self, listing: Listing, time_ns: int) -> Liquidation:
        self._trades += 1
        side = self._random.choice((0, 1))
        return Liquidation(listing, time_ns, self._step(listing), self._trades * listing.contract, side, self._trades)

    def mark(self, listing: Listing, time_ns: int) -> Mark:
        return Mark(listing, time_ns, self._step(listing))

    def open_interest(self, listing: Listing, time_ns: int) -> OpenInterest:
        return OpenInterest(listing, time_ns, self._random.randrange(10_000, 20_000) * listing.contract)

    def book(self, listing: Listing, time_ns: int) -> Book:
        price, tick = self._prices[listing.native_id], self._tick(listing)
        sizes = [self._random.randrange(1, 1_000) * listing.contract for _ in range(2 * _BOOK_LEVELS)]
        bids = tuple((self._rounded(listing, price - (k + 1) * tick), sizes[k]) for k in range(_BOOK_LEVELS))
        asks = tuple((self._rounded(listing, price + (k + 1) * tick), sizes[-k - 1]) for k in range(_BOOK_LEVELS))
        return Book(listing, time_ns, bids, asks, True)

    def _step(self, listing: Listing) -> float:
        key = listing.native_id
        self._prices[key] += self._random.choice((-1, 0, 1)) * self._tick(listing)
        return self._rounded(listing, self._prices[key])

    def _tick(self, listing: Listing) -> float:
        return {"BTC": 0.5, "ETH": 0.5, "SOL": 0.5}.get(listing.instrument.base, 0.05)

    def _rounded(self, listing: Listing, price: float) -> float:
        return round(price * 2, 1) / 2
