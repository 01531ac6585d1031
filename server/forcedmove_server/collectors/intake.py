"""What arrives, as columns: rows gathered by kind, cut at a watermark into event batches in time order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from forcedmove_server.collectors.books import BookKeeper
from forcedmove_server.collectors.continuity import MOST_SKEW_NS, Continuity
from forcedmove_server.collectors.health import VenueHealth
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Event,
    Liquidation,
    Mark,
    OpenInterest,
    OpenInterestValue,
    Trade,
)
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EVENT_DTYPES, Channel, EventBatch, Records

#: rows of one kind waiting at most; more means that nobody takes them
_MOST_ROWS = 1 << 18
#: levels of a book's side that are handed on, and how often
BOOK_LEVELS = 20
_BOOK_INTERVAL_NS = 1_000_000_000

_CHANNELS: dict[type, Channel] = {
    Trade: Channel.TRADES,
    Mark: Channel.MARK_PRICES,
    OpenInterest: Channel.OPEN_INTEREST,
    OpenInterestValue: Channel.OPEN_INTEREST,
    Liquidation: Channel.LIQUIDATIONS,
    Book: Channel.DEPTH,
}
_KINDS = {
    Channel.TRADES: "trades",
    Channel.MARK_PRICES: "mark_prices",
    Channel.OPEN_INTEREST: "open_interest",
    Channel.LIQUIDATIONS: "liquidations",
    Channel.DEPTH: "depth",
}


def channel_of(event: Event) -> Channel:
    """Return the channel that an event belongs to."""
    return _CHANNELS[type(event)]


class Intake:
    """Gathers the events of all venues. Used by one thread."""

    def __init__(self, defects: Defects, started_ns: int) -> None:
        self.defects = defects
        self._started_ns = started_ns
        self._rows: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in EVENT_DTYPES}
        self._held: dict[str, Records] = {kind: np.empty(0, dtype) for kind, dtype in EVENT_DTYPES.items()}
        self._until_ns = 0
        self._trades: dict[int, Continuity] = {}
        self._liquidations: dict[int, Continuity] = {}
        self._books: dict[int, BookKeeper] = {}
        self._book_told_ns: dict[int, int] = {}
        #: books that changed since they were handed on
        self._untold: dict[int, tuple[int, int, VenueHealth]] = {}
        self._marks: dict[int, float] = {}
        self._values: dict[int, OpenInterestValue] = {}
        #: what there was no room for: times of the first and the last row
        self._overflowed: dict[tuple[int, Channel], tuple[int, int, VenueHealth]] = {}

    def take(self, event: Event, received_ns: int, health: VenueHealth) -> bool:
        """Take one event; False when a book's message does not follow the one before, so that a snapshot is due."""
        market = event.listing.market
        if isinstance(event, Trade):
            if self._is_new(self._trades, event, received_ns, health, Channel.TRADES):
                row = (
                    _happened_ns(event, received_ns),
                    received_ns,
                    event.price,
                    event.quantity,
                    market,
                    event.aggressor,
                )
                self._put(Channel.TRADES, market, row, health)
        elif isinstance(event, Book):
            return self._book(event, received_ns, health)
        elif isinstance(event, Mark):
            self._marks[market] = event.price
            self._put(Channel.MARK_PRICES, market, (event.time_ns, received_ns, event.price, market, 0), health)
            waiting = self._values.pop(market, None)
            if waiting is not None:
                self._value(waiting, received_ns, health)
        elif isinstance(event, OpenInterest):
            self._put(Channel.OPEN_INTEREST, market, (event.time_ns, received_ns, event.quantity, market, 0), health)
        elif isinstance(event, OpenInterestValue):
            self._value(event, received_ns, health)
        elif self._is_new(self._liquidations, event, received_ns, health, Channel.LIQUIDATIONS):
            row = (_happened_ns(event, received_ns), received_ns, event.price, event.quantity, market, event.side)
            self._put(Channel.LIQUIDATIONS, market, row, health)
        return True

    def gap(self, listing: Listing, channel: Channel, begin_ns: int, end_ns: int, health: VenueHealth) -> None:
        """Announce that a channel of a market may have lost events between two times."""
        self._gap(listing.market, channel, begin_ns, end_ns, health)

    def tell_state(self, market: int, channel: Channel, live: bool, now_ns: int) -> None:
        """Tell that a channel of a market is being fed from now on, or is not any more."""
        self._rows["feed_states"].append((now_ns, market, int(channel), int(live), 0))

    def forget_book(self, listing: Listing) -> None:
        """Take no more changes of a market's book before its next snapshot."""
        self._books.pop(listing.market, None)

    def _gap(self, market: int, channel: Channel, begin_ns: int, end_ns: int, health: VenueHealth) -> None:
        health.channels[channel].gaps += 1
        self._rows["gaps"].append((end_ns, min(begin_ns, end_ns), market, int(channel)))

    def missing(self, listings: Iterable[Listing], now_ns: int, health: VenueHealth) -> None:
        """Announce trades whose numbers did not come, once they are overdue."""
        for listing in listings:
            seen = self._trades.get(listing.market)
            hole = seen.lost(now_ns) if seen is not None else None
            if hole is not None:
                self.defects.note(f"{health.venue}.trades.missing", hole.missing, listing.instrument.key)
                self.gap(listing, Channel.TRADES, hole.begin_ns, hole.end_ns, health)

    def cut(self, until_ns: int) -> EventBatch:
        """Return everything before a watermark that only rises; what is later stays for the next batch.

        An event whose stamp is missing, or differs from its receipt by more than ten seconds, counts from its receipt;
        one from before the last watermark counts from there.
        """
        for (market, channel), (begin_ns, end_ns, health) in self._overflowed.items():
            self._gap(market, channel, begin_ns, end_ns, health)
        self._overflowed.clear()
        kinds: dict[str, Records] = {}
        for kind, dtype in EVENT_DTYPES.items():
            rows = self._rows[kind]
            if rows:
                fresh = np.array(rows, dtype)
                rows.clear()
                self._settle(kind, fresh)
                held = self._held[kind]
                self._held[kind] = np.concatenate([held, fresh]) if len(held) else fresh
            held = self._held[kind]
            if not len(held):
                continue
            due = held["time_ns"] < until_ns
            found = held[due] if not due.all() else held
            self._held[kind] = held[~due] if not due.all() else np.empty(0, dtype)
            if len(found):
                times = found["time_ns"]
                kinds[kind] = found if (times[1:] >= times[:-1]).all() else found[np.argsort(times, kind="stable")]
        self._until_ns = max(self._until_ns, until_ns)
        return EventBatch(self._until_ns, **kinds)

    def _settle(self, kind: str, rows: Records) -> None:
        times = rows["time_ns"]
        if kind in ("gaps", "feed_states"):
            np.maximum(times, self._until_ns, out=times)
            return
        received = rows["received_ns"]
        unstamped = times == 0
        skewed = ~unstamped & (np.abs(times - received) > MOST_SKEW_NS)
        self.defects.note(f"{kind}.clock_skew", int(skewed.sum()))
        wrong = unstamped | skewed
        times[wrong] = received[wrong]
        late = times < self._until_ns
        if kind in ("trades", "liquidations"):  # of states the newest counts, however old its stamp is
            self.defects.note(f"{kind}.late", int(late.sum()))
        times[late] = self._until_ns

    def _value(self, event: OpenInterestValue, received_ns: int, health: VenueHealth) -> None:
        market = event.listing.market
        mark = self._marks.get(market)
        if mark is None:
            self._values[market] = event  # until a mark comes
            return
        row = (event.time_ns, received_ns, event.value_usd / mark, market, 0)
        self._put(Channel.OPEN_INTEREST, market, row, health)

    def _book(self, event: Book, received_ns: int, health: VenueHealth) -> bool:
        market = event.listing.market
        keeper = self._books.get(market)
        if keeper is None:
            keeper = self._books[market] = BookKeeper()
        if not keeper.take(event):
            return False
        self._untold[market] = event.time_ns, received_ns, health
        if received_ns - self._book_told_ns.get(market, 0) >= _BOOK_INTERVAL_NS:
            self._tell_book(market)
        return True

    def tell_books(self, now_ns: int) -> None:
        """Hand on the last state of books that changed and then fell silent; called a few times a second."""
        due = [m for m in self._untold if now_ns - self._book_told_ns.get(m, 0) >= _BOOK_INTERVAL_NS]
        for market in due:
            self._tell_book(market)

    def _tell_book(self, market: int) -> None:
        time_ns, received_ns, health = self._untold.pop(market)
        keeper = self._books.get(market)
        if keeper is None or not keeper.complete:
            return
        self._book_told_ns[market] = received_ns
        for side, levels in enumerate(keeper.top(BOOK_LEVELS)):
            for price, quantity in levels:
                self._put(Channel.DEPTH, market, (time_ns, received_ns, price, quantity, market, side), health)

    def _is_new(
        self,
        seen: dict[int, Continuity],
        event: Trade | Liquidation,
        received_ns: int,
        health: VenueHealth,
        channel: Channel,
    ) -> bool:
        market = event.listing.market
        known = seen.get(market)
        if known is None:
            known = seen[market] = Continuity()
        if known.admit(event, received_ns, self._started_ns):
            return True
        if not event.replayed:
            health.channels[channel].repeated += 1
        return False

    def _put(self, channel: Channel, market: int, row: tuple[Any, ...], health: VenueHealth) -> None:
        rows = self._rows[_KINDS[channel]]
        if len(rows) < _MOST_ROWS:
            rows.append(row)
            return
        health.channels[channel].drops += 1
        self.defects.note(f"{_KINDS[channel]}.dropped")
        time_ns, received_ns = row[:2]
        happened_ns = time_ns if abs(time_ns - received_ns) <= MOST_SKEW_NS else received_ns
        begin_ns, end_ns, _ = self._overflowed.get((market, channel), (happened_ns, happened_ns, health))
        self._overflowed[market, channel] = min(begin_ns, happened_ns), max(end_ns, happened_ns), health


def _happened_ns(event: Trade | Liquidation, received_ns: int) -> int:
    """Stamp of an event; of one that is told again after a reconnection, however old it is, as far as is believed."""
    return max(event.time_ns, received_ns - MOST_SKEW_NS) if event.replayed and event.time_ns else event.time_ns
