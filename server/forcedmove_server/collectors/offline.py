"""Messages from a file through a venue's parser: normalised events as plain rows, without a connection."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from forcedmove_server.collectors.books import BookKeeper
from forcedmove_server.collectors.continuity import Continuity
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Event,
    Liquidation,
    Mark,
    OpenInterest,
    OpenInterestValue,
    Record,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import Venue
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.instruments import ContractType

_AGGRESSORS = {1: "buy", -1: "sell", 0: None}
_POSITIONS = ("long", "short")
_FOREVER_NS = 2**62


class DescribedListings(Mapping[str, Listing]):
    """Listings made up from ids as they are met; ``sizes`` are contract sizes by id, in listed coins or USD."""

    def __init__(
        self,
        venue: type[Venue],
        contract_type: ContractType | None = None,
        sizes: Mapping[str, float] | None = None,
    ) -> None:
        self._venue, self._contract_type, self._sizes = venue, contract_type, sizes or {}
        self._known: dict[str, Listing | None] = {}

    def __getitem__(self, native_id: str) -> Listing:
        if native_id not in self._known:
            listing = self._venue.describe(native_id, self._contract_type)
            size = self._sizes.get(native_id)
            if listing is not None and size is not None:
                listing = _resized(listing, size)
            self._known[native_id] = listing
        found = self._known[native_id]
        if found is None:
            raise KeyError(native_id)
        return found

    def __iter__(self) -> Iterator[str]:
        return (key for key, listing in self._known.items() if listing is not None)

    def __len__(self) -> int:
        return sum(listing is not None for listing in self._known.values())


class OfflineParser:
    """Turns messages into rows of JSON; ``counts`` and ``samples`` say what could not be used."""

    def __init__(self, venue: type[Venue], listings: Mapping[str, Listing]) -> None:
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, str] = {}
        self._parser = venue(listings)
        self._marks: dict[str, float] = {}
        self._trades: dict[str, Continuity] = {}
        self._books: dict[str, BookKeeper] = {}

    def rows(self, content: bytes) -> Iterator[dict[str, Any]]:
        """Rows of a file: one message per line, or one JSON document, which is a message or a list of messages."""
        for message in _messages(content):
            self.counts["messages"] += 1
            yield from self._of_message(message)
        for key, seen in self._trades.items():
            hole = seen.lost(_FOREVER_NS)
            if hole is not None:
                yield _gap(self._parser.listings[key], hole.end_ns)

    def _of_message(self, message: bytes) -> Iterator[dict[str, Any]]:
        try:
            records = self._parser.parse(message)
        except MalformedMessage as error:
            records, reason = [], str(error)
        else:
            reason = ""
        events = [record for record in records if isinstance(record, Event)]
        parts = _elements(message)
        # a list that is itself a message (a REST answer) tells no less as one than its elements do one by one
        if parts and (not events or sum(map(self._events_of, parts)) > len(events)):
            self.counts["messages"] += len(parts) - 1
            for part in parts:
                yield from self._of_message(part)
            return
        if reason:
            self._note("malformed", reason)
        for record in records:
            if isinstance(record, Event):
                yield from self._of_event(record)
            else:
                self._of_control(record)

    def _events_of(self, message: bytes) -> int:
        try:
            return sum(isinstance(record, Event) for record in self._parser.parse(message))
        except MalformedMessage:
            return 0

    def _of_event(self, event: Event) -> Iterator[dict[str, Any]]:
        key = event.listing.native_id
        match event:
            case Trade():
                self._trades.setdefault(key, Continuity()).admit(event, event.time_ns, 0)
                yield self._row("trade", event, _AGGRESSORS[event.aggressor], event.price, event.quantity)
            case Liquidation():
                yield self._row("liquidation", event, _POSITIONS[event.side], event.price, event.quantity)
            case Mark():
                self._marks[key] = event.price
                yield self._row("mark", event, None, event.price, None)
            case OpenInterest():
                yield self._row("open_interest", event, None, None, event.quantity)
            case OpenInterestValue():
                mark = self._marks.get(key)
                row = self._row("open_interest", event, None, None, event.value_usd / mark if mark else None)
                yield row | {"notional_usd": event.value_usd}
            case Book():
                begun = key in self._books or event.snapshot
                if begun and not self._books.setdefault(key, BookKeeper()).take(event):
                    yield _gap(event.listing, event.time_ns)
                for side, levels in (("bid", event.bids), ("ask", event.asks)):
                    for price, quantity in levels:
                        yield self._row("book", event, side, price, quantity)

    def _of_control(self, record: Record) -> None:
        match record:
            case Unknown():
                self._note(f"unknown kind {record.kind!r}", record.kind)
            case Unlisted():
                self._note(f"not a market we map: {record.native_id!r}", record.native_id)
            case _:
                self.counts["control messages"] += 1

    def _row(
        self, kind: str, event: Event, side: str | None, price: float | None, quantity: float | None
    ) -> dict[str, Any]:
        listing = event.listing
        if quantity is not None and math.isnan(quantity):
            self._note("contract size not known", listing.native_id)
        value = price or self._marks.get(listing.native_id)
        coins, usd = _amounts(listing, quantity, value)
        return _identity(kind, listing) | {
            "side": side,
            "price": price,
            "quantity_base": coins,
            "notional_usd": usd,
            "ts_ms": event.time_ns // 1_000_000 if event.time_ns else None,
        }

    def _note(self, kind: str, sample: str) -> None:
        self.counts[kind] += 1
        self.samples.setdefault(kind, sample)


def _amounts(listing: Listing, quantity: float | None, price: float | None) -> tuple[float | None, float | None]:
    """Base units and USD of a quantity in model units, as far as they are known."""
    if quantity is None or math.isnan(quantity):
        return None, None
    if listing.inverse:
        return (quantity / price if price else None), quantity
    return quantity, (quantity * price if price else None)


def _identity(kind: str, listing: Listing) -> dict[str, Any]:
    return {"kind": kind, "symbol": listing.instrument.symbol, "market": listing.instrument.key}


def _gap(listing: Listing, time_ns: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("side", "price", "quantity_base", "notional_usd"))
    return _identity("gap", listing) | nothing | {"ts_ms": time_ns // 1_000_000 if time_ns else None}


def _messages(content: bytes) -> Sequence[bytes]:
    """The whole file if it is one JSON document, else its lines."""
    try:
        msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return [line for line in content.splitlines() if line.strip()]
    return [content]


def _elements(message: bytes) -> list[bytes]:
    """Messages in a list of them: objects, lists, or texts that hold JSON; none where it is no such list."""
    try:
        document = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        return []
    if not isinstance(document, list) or not all(isinstance(item, dict | list | str) for item in document):
        return []
    return [item.encode() if isinstance(item, str) else msgspec.json.encode(item) for item in document]


def _resized(listing: Listing, size: float) -> Listing:
    return dataclasses.replace(listing, contract=size * (1.0 if listing.inverse else listing.units))
