"""An order book kept from a snapshot and what changed since, and whether a message follows the one before."""

from __future__ import annotations

import heapq

from forcedmove_server.collectors.records import Book, Level

#: messages in a row that are older than the book; more means that they are not
_MOST_IGNORED = 200


class BookKeeper:
    """One market's book. A message that does not follow the one before empties it until the next snapshot."""

    def __init__(self) -> None:
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self._sequence = -1
        self._ignored = 0
        self.complete = False

    def take(self, book: Book) -> bool:
        """Apply a message; False when something between it and the last one is missing, so that a snapshot is due."""
        if book.snapshot:
            self._bids, self._asks = dict(book.bids), dict(book.asks)
            self._sequence, self._ignored, self.complete = book.sequence, 0, True
            self._drop_empty()
            return True
        if not self.complete:
            return False
        if book.sequence >= 0 and book.sequence <= self._sequence:
            self._ignored += 1  # repeated, or older than the snapshot; or numbers that began anew
            self.complete = self._ignored < _MOST_IGNORED
            return self.complete
        self._ignored = 0
        if book.previous >= 0 and self._sequence >= 0 and book.previous > self._sequence:
            self.complete = False
            return False
        for side, changes in ((self._bids, book.bids), (self._asks, book.asks)):
            for price, quantity in changes:
                if quantity:
                    side[price] = quantity
                else:
                    side.pop(price, None)
        self._sequence = book.sequence
        return True

    def top(self, levels: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Best bids and asks, best first."""
        bids = heapq.nlargest(levels, self._bids.items())
        asks = heapq.nsmallest(levels, self._asks.items())
        return tuple(bids), tuple(asks)

    def _drop_empty(self) -> None:
        for side in (self._bids, self._asks):
            for price in [price for price, quantity in side.items() if not quantity]:
                del side[price]
