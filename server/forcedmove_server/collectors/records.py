"""What a venue's parser makes of a message: events in model units, and what the connection has to know.

Times are the venue's, in UTC nanoseconds; 0 where the message has none, and then the time of receipt counts. Prices are
USD per base unit. Quantities are base units on linear contracts and USD on inverse ones; NaN only where the listing's
contract size is not known.
"""

from __future__ import annotations

import msgspec

from forcedmove_server.collectors.listing import Listing

#: price and quantity of one book level, in model units
Level = tuple[float, float]


class Trade(msgspec.Struct, frozen=True, gc=False):
    """A trade; ``aggressor`` is +1 when the taker bought, -1 when it sold, 0 when the venue does not say.

    ``trade_id`` tells repeated messages apart ("" where there is none). ``sequence`` counts a market's trades without
    holes, -1 on venues that have no such number. ``replayed`` marks one from a snapshot of the recent past.
    """

    listing: Listing
    time_ns: int
    price: float
    quantity: float
    aggressor: int
    trade_id: int | str = ""
    sequence: int = -1
    replayed: bool = False


class Mark(msgspec.Struct, frozen=True, gc=False):
    """The price that triggers liquidation on this venue: mark on most, oracle on some."""

    listing: Listing
    time_ns: int
    price: float


class OpenInterest(msgspec.Struct, frozen=True, gc=False):
    """Contracts open, counted on one side, in model units."""

    listing: Listing
    time_ns: int
    quantity: float


class OpenInterestValue(msgspec.Struct, frozen=True, gc=False):
    """Contracts open on one side of a linear market, as their value in USD: whoever takes it divides by the mark."""

    listing: Listing
    time_ns: int
    value_usd: float


class Liquidation(msgspec.Struct, frozen=True, gc=False):
    """A forced close; ``side`` is that of the position: 0 a long was liquidated, 1 a short.

    ``price`` is what the venue prints, bankruptcy price or fill. ``liquidation_id`` as ``Trade.trade_id``.
    """

    listing: Listing
    time_ns: int
    price: float
    quantity: float
    side: int
    liquidation_id: int | str = ""
    replayed: bool = False


class Book(msgspec.Struct, frozen=True, gc=False):
    """Levels of a book: all of them in a ``snapshot``, else those that changed, where a quantity of 0 takes one away.

    ``sequence`` numbers the message and ``previous`` the one it follows; -1 where the venue has none.
    """

    listing: Listing
    time_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    snapshot: bool
    sequence: int = -1
    previous: int = -1


Event = Trade | Mark | OpenInterest | OpenInterestValue | Liquidation | Book


class Reply(msgspec.Struct, frozen=True, gc=False):
    """What has to be sent back: the answer to a ping of the venue's own kind, or what a subscription needs next."""

    content: str | bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The answer to our ping."""


class Subscribed(msgspec.Struct, frozen=True, gc=False):
    """The venue accepted: the topics it names, or all of the request with this id."""

    topics: tuple[str, ...] = ()
    request_id: int = -1


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The venue refused a subscription, or says that something failed."""

    reason: str
    topics: tuple[str, ...] = ()
    request_id: int = -1


class Reset(msgspec.Struct, frozen=True, gc=False):
    """The venue says that the connection should be made anew: maintenance, a full queue, a changed sequence."""

    reason: str


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A well-formed message of a kind that this parser does not know; ``kind`` is counted."""

    kind: str


class Unlisted(msgspec.Struct, frozen=True, gc=False):
    """An event of an instrument that is not among the listings."""

    native_id: str


Control = Reply | Pong | Subscribed | Refused | Reset | Unknown | Unlisted
Record = Event | Control
