"""What a venue's module says of its public feeds. ADD_A_VENUE.md is the recipe; :mod:`.venues` has all of them.

A :class:`Venue` is made for every connection. It knows the wire, nothing of sockets: which topics there are, how they
are asked for, which calls are polled, and what a message means. It keeps no state beyond what the wire itself needs to
be read (the channel numbers that Bitfinex hands out, for example), so that the same bytes give the same records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import msgspec

from forcedmove_server.collectors.fields import unpacked, without_nulls
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Record, Unlisted
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType, Instrument
from forcedmove_server.market.underlyings import underlying

ALL_CHANNELS = frozenset(Channel)

#: what reading a message may raise where the message is to blame
UNREADABLE = (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError)


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of websocket connection.

    ``url`` may be replaced by a ticket: ``ticket`` is the URL of a POST request whose answer says where to connect
    (:meth:`Venue.connect_to`). ``contract_type`` None means both. A connection carries at most
    ``topics_per_connection`` topics; they are asked for ``topics_per_message`` at a time, ``messages_per_s`` at most.
    ``ping_s`` is how often :meth:`Venue.ping` is sent, 0 for never; ``silence_s`` after how long without any message
    the connection counts as dead. ``channel_silence_s`` are limits for channels that never pause: a topic of theirs
    that brings nothing for longer is asked for anew, and where all of them fall silent the connection is.
    """

    name: str
    url: str
    channels: frozenset[Channel]
    contract_type: ContractType | None = None
    topics_per_connection: int = 200
    topics_per_message: int = 20
    messages_per_s: float = 4.0
    ping_s: float = 0.0
    silence_s: float = 30.0
    channel_silence_s: Mapping[Channel, float] = field(default_factory=lambda: {Channel.MARK_PRICES: 60.0})
    ticket: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topic:
    """One subscription: ``name`` as the venue writes it, the channels it feeds, the native ids it is of.

    Without ``native_ids`` it is of all markets of the stream's contract type.
    """

    name: str
    channels: tuple[Channel, ...]
    native_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Poll:
    """One REST call that is made again and again. Without ``native_ids`` it is of all markets of ``contract_type``.

    ``weight`` is what it costs of :attr:`Venue.rest_weight_per_s`; ``interval_s`` how often it is wanted. ``page`` is
    the most liquidations that an answer holds where it lists the newest ones, where a full one may lack some; else 0.
    """

    channel: Channel
    url: str
    native_ids: tuple[str, ...] = ()
    contract_type: ContractType | None = None
    weight: float = 1.0
    interval_s: float = 5.0
    method: str = "GET"
    body: str = ""
    page: int = 0


class Venue(ABC):
    """One venue's public feeds.

    A subclass declares ``name`` (as in :mod:`forcedmove_server.margin.venues`), ``exchanges`` (the ccxt classes whose
    markets are meant), ``streams`` and ``rest_weight_per_s``, and says how to read its messages.
    """

    name: ClassVar[str]
    exchanges: ClassVar[tuple[str, ...]]
    streams: ClassVar[tuple[Stream, ...]]
    #: options of the ccxt classes: what ``load_markets`` has to ask for and what it can leave out
    ccxt_options: ClassVar[Mapping[str, Any]] = {}
    #: how much REST weight a second may cost, well below the venue's limit
    rest_weight_per_s: ClassVar[float] = 5.0
    #: websocket connections that may be opened in a second
    connections_per_s: ClassVar[float] = 2.0

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """``listings`` by native id; the mapping may grow and shrink while the connection is open."""
        self.listings = listings

    @classmethod
    @abstractmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """Describe an instrument from its id alone, dated futures too; None for spot, options, what is not in dollars.

        ``contract_type`` decides where the id leaves it open.
        """

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Describe one of ccxt's markets; None for what is not an active USD-quoted perpetual."""
        quote = str(market.get("quote") or "")
        if not market.get("swap") or market.get("active") is False or not quote.startswith("USD"):
            return None
        return listing_of(
            cls.name,
            cls.native_id_of(market),
            cls.coin_of(market),
            quote,
            inverse=bool(market.get("inverse")),
            contract_size=abs(float(market.get("contractSize") or 1.0)),
            amount_step=_precision(market, "amount"),
            price_step=_precision(market, "price"),
            max_leverage=_max_leverage(market),
        )

    @classmethod
    def native_id_of(cls, market: Mapping[str, Any]) -> str:
        """Id of one of ccxt's markets as messages write it."""
        return str(market["id"])

    @classmethod
    def coin_of(cls, market: Mapping[str, Any]) -> str:
        """Coin of one of ccxt's markets, as the venue writes it."""
        return str(market.get("baseId") or market["base"])

    @abstractmethod
    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Topics of one stream for these markets; ``listings`` have the stream's contract type."""

    @abstractmethod
    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Messages that ask for topics, at most the stream's ``topics_per_message``."""

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """Messages that end subscriptions; none where the venue has no such message (the connection is made anew)."""
        return ()

    def ping(self) -> str:
        """Return the venue's own ping; a stream with ``ping_s`` sends it, or where it is empty one of the protocol."""
        return ""

    def connect_to(self, stream: Stream, ticket: bytes) -> str:
        """URL to connect to, from the answer to the stream's ticket request. Raises MalformedMessage."""
        return stream.url

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """REST calls to repeat for the markets of one contract type."""
        return ()

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """REST calls that tell open interest and marks of all markets at once, from which symbols are ranked."""
        return [poll for poll in self.polls(contract_type, ()) if not poll.native_ids]

    def parse(self, message: bytes | str) -> list[Record]:
        """Records of one message: a websocket frame, or a REST answer that names its instruments.

        Raises MalformedMessage, and nothing else, for what cannot be read; a message is used completely or not at all.
        Bytes may be gzip, text is not. A member that is null counts as one that is missing.
        """
        try:
            return self.read(message.encode() if isinstance(message, str) else unpacked(message))
        except UNREADABLE as error:
            return self._once_more(self.read, message, error)

    def parse_answer(self, poll: Poll, answer: bytes | str) -> list[Record]:
        """Records of the answer to a poll. Raises MalformedMessage."""
        try:
            return self.read_answer(poll, unpacked(answer.encode() if isinstance(answer, str) else answer))
        except UNREADABLE as error:
            return self._once_more(partial(self.read_answer, poll), answer, error)

    def _once_more(self, read: Callable[[bytes], list[Record]], message: bytes | str, error: Exception) -> list[Record]:
        """Read what could not be read without its nulls, so that messages without any do not pay for them."""
        with suppress(*UNREADABLE):
            content = message.encode() if isinstance(message, str) else unpacked(message)
            if b"null" in content:
                return read(without_nulls(content))
        beginning = message[:200].encode(errors="replace") if isinstance(message, str) else message[:200]
        raise MalformedMessage(self.name, beginning[:200], str(error)) from error

    @abstractmethod
    def read(self, message: bytes) -> list[Record]:
        """Read one unpacked message; may raise any ValueError, ArithmeticError or error of msgspec."""

    def read_answer(self, poll: Poll, answer: bytes) -> list[Record]:
        """Read the answer to one of :meth:`polls`; by default it names its instruments, as :meth:`read` needs it."""
        return self.read(answer)

    def listed(self, native_id: str, records: list[Record]) -> Listing | None:
        """Return a listing; where there is none that is noted among ``records``."""
        listing = self.listings.get(native_id)
        if listing is None:
            records.append(Unlisted(native_id))
        return listing


def listing_of(
    venue: str,
    native_id: str,
    coin: str,
    quote: str,
    *,
    inverse: bool = False,
    contract_size: float | None = 1.0,
    amount_step: float | None = None,
    price_step: float | None = None,
    max_leverage: float = 100.0,
) -> Listing:
    """Make a listing; ``contract_size`` in listed coins or USD (None: not known), steps as the venue quotes them.

    ``coin`` may hold a multiple (``1000PEPE``): symbol, sizes and prices become those of one unit. Raises
    InstrumentError.
    """
    base, units = underlying(coin)
    factor = 1.0 if inverse else units
    size = (1.0 if contract_size is None else contract_size) * factor
    instrument = Instrument(
        venue=venue,
        native_id=native_id,
        base=base,
        quote=quote,
        contract_type=ContractType.INVERSE if inverse else ContractType.LINEAR,
        contract_size=size,
        quantity_step=size * (amount_step or 1.0) if amount_step else size,
        price_step=(price_step or 1e-2) / units,
        max_leverage=max_leverage,
        listed_base="" if units == 1.0 else coin.upper(),
    )
    return Listing.of(instrument, units, sized=contract_size is not None)


def _precision(market: Mapping[str, Any], name: str) -> float | None:
    value = (market.get("precision") or {}).get(name)
    return float(value) if value else None


def _max_leverage(market: Mapping[str, Any]) -> float:
    leverage = ((market.get("limits") or {}).get("leverage") or {}).get("max")
    return float(leverage) if leverage and float(leverage) >= 1 else 100.0
