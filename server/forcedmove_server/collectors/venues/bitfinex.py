"""Bitfinex websocket v2 (https://docs.bitfinex.com/docs/ws-general), perpetuals in UST: ``tBTCF0:USTF0``.

``trades`` and ``book`` (25 levels, precision P0) of each market, its ``status deriv:`` (mark and open interest), and
one ``status liq:global`` for all. Data come under channel numbers that are handed out when a subscription is accepted.
All sizes are coins. The sign of a trade's amount is the taker's; ``te`` brings a trade at once, ``tu`` repeats it and
is left out. The sign of a liquidation's amount is that of the position: above 0 a long. It comes as a trigger (field 8
is 0) and then as what was matched; the price that counts is field 11, field 6 is where the position was opened. A
trigger without that price waits for the first match, which then stands for the whole position. Times of books are not
sent. The first answer to a subscription repeats the past. ccxt takes field 8 for the side of a liquidation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from forcedmove_server.collectors.fields import Milliseconds, Positive, from_ms, not_negative, positive
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Level,
    Liquidation,
    Mark,
    OpenInterest,
    Pong,
    Record,
    Refused,
    Reset,
    Subscribed,
    Trade,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.venue import ALL_CHANNELS, Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_PUSHED_TRADE = re.compile(rb'\[\d+, ?"te",')
_ID = re.compile(r"t(?P<coin>[A-Z0-9]+)F0:USTF0")
_DERIV, _LIQUIDATIONS = "status deriv:", "status liq:global"
_LEVELS = "25"
_STATUS = "https://api-pub.bitfinex.com/v2/status/deriv?keys=ALL"
_NEW_CONNECTION = {20051: "the server stops or restarts", 20060: "maintenance begins", 20061: "maintenance is over"}
_ALREADY_SUBSCRIBED = 10301
#: positions that are being liquidated are remembered, this many
_MOST_POSITIONS = 1_000


class _Platform(msgspec.Struct):
    status: int = 1


class _Event(msgspec.Struct):
    event: str = ""
    channel: str = ""
    chanId: int = -1
    symbol: str = ""
    key: str = ""
    prec: str = "P0"
    msg: str = ""
    code: int = 0
    platform: _Platform | None = None


class _Trade(msgspec.Struct, array_like=True, gc=False):
    id: int
    time: Milliseconds
    amount: float
    price: Positive


class _PushedTrade(msgspec.Struct, array_like=True, gc=False):
    number: int
    kind: str
    trade: _Trade


class _Feed(NamedTuple):
    """What is sent under a channel number: ``topic`` is ``<channel> <symbol or key>``."""

    topic: str
    kind: str
    native_id: str


_event = msgspec.json.Decoder(_Event, strict=False)
_parts = msgspec.json.Decoder(list[Any])
_pushed_trade = msgspec.json.Decoder(_PushedTrade, strict=False)


class Bitfinex(Venue):
    """UST-settled perpetuals."""

    name = "bitfinex"
    exchanges = ("bitfinex",)
    streams = (
        Stream(
            "public",
            "wss://api-pub.bitfinex.com/ws/2",
            ALL_CHANNELS,
            ContractType.LINEAR,
            topics_per_connection=25,
            topics_per_message=25,
            messages_per_s=10.0,
            ping_s=15.0,
            silence_s=45.0,  # a channel without news says so every 15 s
        ),
    )
    rest_weight_per_s = 0.5
    connections_per_s = 0.3  # the limit is 20 a minute

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """Remembers channel numbers, which of them have sent something, and positions whose price is still to come."""
        super().__init__(listings)
        self._feeds: dict[int, _Feed] = {}
        self._begun: set[int] = set()
        self._positions: dict[int, float] = {}

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``tBTCF0:USTF0``; UST is what Bitfinex calls USDT."""
        match = _ID.fullmatch(native_id)
        return listing_of(cls.name, native_id, match["coin"], "USDT") if match else None

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Leave out ccxt's precisions: they are digits, not steps."""
        return super().adopt({**market, "precision": {"amount": 1e-8}})

    @classmethod
    def coin_of(cls, market: Mapping[str, Any]) -> str:
        """Return ccxt's name of the coin: Bitfinex writes ``BTCF0``, and has names of its own for some."""
        return str(market["base"])

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """One topic for the liquidations of all, three a market."""
        yield Topic(_LIQUIDATIONS, (Channel.LIQUIDATIONS,))
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trades {listing.native_id}", (Channel.TRADES,), ids)
            yield Topic(f"{_DERIV}{listing.native_id}", (Channel.MARK_PRICES, Channel.OPEN_INTEREST), ids)
            yield Topic(f"book {listing.native_id}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"event": "subscribe", "channel": ..., "symbol" or "key": ...}``, one for each topic."""
        return [_subscription(topic) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"event": "unsubscribe", "chanId": ...}``, one for each topic that has a number."""
        numbers = [number for number, feed in self._feeds.items() if feed.topic in topics]
        return [msgspec.json.encode({"event": "unsubscribe", "chanId": number}).decode() for number in numbers]

    def ping(self) -> str:
        """``{"event": "ping"}``."""
        return '{"event":"ping","cid":1}'

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /v2/status/deriv``: all markets at once."""
        if contract_type is ContractType.LINEAR:
            yield Poll(Channel.OPEN_INTEREST, _STATUS, contract_type=contract_type)

    def read(self, message: bytes) -> list[Record]:
        """Read an event, data of a channel, or a REST answer: the status of markets, liquidations."""
        if _PUSHED_TRADE.match(message):  # most messages: in one step, and as below if the channel is not known
            pushed = _pushed_trade.decode(message)
            feed = self._feeds.get(pushed.number)
            if feed is not None and feed.kind == "trades":
                return [self._trade(feed.native_id, pushed.trade, False)]
        if message.lstrip()[:1] == b"{":
            return self._event(_event.decode(message))
        parts = _parts.decode(message)
        head = parts[0] if parts else None
        if (isinstance(head, int) or (isinstance(head, str) and head.isdecimal())) and len(parts) > 1:
            number = int(head)
            return self._data(number, self._feeds.get(number) or _named(parts), parts)
        if isinstance(head, list):
            return self._rest(_rows(parts))
        if isinstance(head, dict) and len(parts) > 1:  # recordings have the subscription in the place of its number
            return self._data(-1, _feed_of(msgspec.convert(head, _Event, strict=False)), parts)
        raise ValueError("neither data of a channel nor a list of rows")

    def _event(self, event: _Event) -> list[Record]:
        topic = f"{event.channel} {event.symbol or event.key}"
        match event.event:
            case "subscribed":
                self._feeds[event.chanId] = _feed_of(event)
                self._begun.discard(event.chanId)
                return [Subscribed((topic,))]
            case "unsubscribed":
                self._feeds.pop(event.chanId, None)
                return [Subscribed()]
            case "pong":
                return [Pong()]
            case "error":
                if event.code == _ALREADY_SUBSCRIBED:
                    return [Subscribed((topic,))]
                return [Refused(f"{event.msg} ({event.code})", (topic,) if event.channel else ())]
            case "info":
                if event.platform is not None and not event.platform.status:
                    return [Reset("the platform is in maintenance")]
                return [Reset(_NEW_CONNECTION[event.code])] if event.code in _NEW_CONNECTION else []
            case "conf":
                return []
        return [Unknown(event.event or "no event")]

    def _data(self, number: int, feed: _Feed | None, parts: list[Any]) -> list[Record]:
        row = parts[1]
        if isinstance(row, str):
            if row in ("hb", "tu", "cs"):
                return []
            if row != "te":
                return [Unknown(row)]
            if feed is None or feed.kind != "trades":
                return [Unknown("te of a channel that was not announced")]
            trade = msgspec.convert(parts[2] if len(parts) > 2 else None, _Trade, strict=False)
            return [self._trade(feed.native_id, trade, False)]
        if not isinstance(row, list):
            raise ValueError("data of a channel must be a list")
        first = number not in self._begun
        self._begun.add(number)
        if feed is None:
            return self._liquidations(row, first) if _is_liquidations(row) else [Unknown("channel not announced")]
        records: list[Record] = []
        match feed.kind:
            case "trades":  # the snapshot, newest first; later ones come one by one
                records += [self._trade(feed.native_id, trade, True) for trade in reversed(_trades(row))]
            case "deriv":
                self._status(feed.native_id, row, records)
            case "book":
                self._book(feed.native_id, row, records)
            case "liquidations":
                return self._liquidations(row, first)
            case _:
                records.append(Unknown(feed.kind))
        return records

    def _rest(self, rows: list[list[Any]]) -> list[Record]:
        if _is_liquidations(rows):
            return self._liquidations(rows, True)
        records: list[Record] = []
        for row in rows:
            name = row[0] if row else None
            if not isinstance(name, str) or "F0:" not in name:
                return [Unknown("REST answer")]
            self._status(name, row[1:], records)
        return records

    def _trade(self, native_id: str, trade: _Trade, replayed: bool) -> Trade | Unlisted:
        listing = self.listings.get(native_id)
        if listing is None:
            return Unlisted(native_id)
        amount, price = trade.amount, trade.price / listing.units
        quantity = positive(abs(amount), "amount") * listing.coin
        return Trade(listing, trade.time * 1_000_000, price, quantity, 1 if amount > 0 else -1, trade.id, -1, replayed)

    def _status(self, native_id: str, row: list[Any], records: list[Record]) -> None:
        """Field 14 is the mark, 17 the open interest; either may be absent, or null."""
        listing = self.listed(native_id, records)
        if listing is None:
            return
        at = from_ms(_field(row, 0, "time"))
        if len(row) > 14 and row[14] is not None:
            records.append(Mark(listing, at, positive(_field(row, 14, "mark price"), "mark price") / listing.units))
        if len(row) > 17 and row[17] is not None:
            interest = not_negative(_field(row, 17, "open interest"), "open interest")
            records.append(OpenInterest(listing, at, interest * listing.coin))

    def _book(self, native_id: str, row: list[Any], records: list[Record]) -> None:
        """``[price, orders, amount]``, or a list of them; no orders: the level is gone; below 0: it is an ask."""
        listing = self.listed(native_id, records)
        if listing is None:
            return
        snapshot = not row or isinstance(row[0], list)
        bids: list[Level] = []
        asks: list[Level] = []
        for level in _rows(row) if snapshot else [row]:
            amount = float(_field(level, 2, "amount"))
            gone = not _field(level, 1, "count")
            size = 0.0 if gone else not_negative(abs(amount), "amount") * listing.coin
            price = positive(_field(level, 0, "price"), "price") / listing.units
            (bids if amount > 0 else asks).append((price, size))
        records.append(Book(listing, 0, tuple(bids), tuple(asks), snapshot))

    def _liquidations(self, rows: list[Any], replayed: bool) -> list[Record]:
        """``["pos", id, time, -, symbol, amount, opened at, -, is a match, sold in the market, -, price]``."""
        records: list[Record] = []
        for row in _rows(rows):
            name = row[4] if len(row) > 8 else None
            if not isinstance(name, str):
                raise ValueError("a liquidation without a symbol")
            listing = self.listed(name, records) if "F0:" in name else None  # margin trading has liquidations too
            if listing is None:
                continue
            position, amount = int(_field(row, 1, "id")), float(_field(row, 5, "amount"))
            price = row[11] if len(row) > 11 else None
            is_match = bool(_field(row, 8, "match"))
            if not is_match and price is None:
                self._remember(position, amount)
                continue
            waiting = self._positions.get(position, amount) if is_match else amount
            if price is None or not waiting:  # the position was told of already
                continue
            record = Liquidation(
                listing,
                from_ms(_field(row, 2, "time")),
                positive(_field(row, 11, "price"), "price") / listing.units,
                positive(abs(waiting), "amount") * listing.coin,
                0 if waiting > 0 else 1,
                position,
                replayed,
            )
            self._remember(position, 0.0)
            records.append(record)
        return records

    def _remember(self, position: int, amount: float) -> None:
        self._positions[position] = amount
        if len(self._positions) > _MOST_POSITIONS:
            del self._positions[next(iter(self._positions))]


def _field(row: list[Any], index: int, field: str) -> float | int:
    value = row[index] if index < len(row) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        return msgspec.convert(value, int | float, strict=False)
    except msgspec.ValidationError:
        raise ValueError(f"{field} = {value!r}: must be a number") from None


def _rows(rows: list[Any]) -> list[list[Any]]:
    if not all(isinstance(row, list) for row in rows):
        raise ValueError("must be a list of lists")
    return rows


def _trades(rows: list[Any]) -> list[_Trade]:
    return msgspec.convert(rows, list[_Trade], strict=False)


def _is_liquidations(rows: list[Any]) -> bool:
    return bool(rows) and isinstance(rows[0], list) and rows[0][:1] == ["pos"]


def _feed_of(event: _Event) -> _Feed:
    topic = f"{event.channel} {event.symbol or event.key}"
    if topic == _LIQUIDATIONS:
        return _Feed(topic, "liquidations", "")
    if topic.startswith(_DERIV):
        return _Feed(topic, "deriv", topic.removeprefix(_DERIV))
    kind = "raw book" if event.channel == "book" and not event.prec.startswith("P") else event.channel
    return _Feed(topic, kind, event.symbol)


def _named(parts: list[Any]) -> _Feed | None:
    """Recordings may end with the names of the channel and of the pair."""
    kind, pair = parts[-2:]
    if len(parts) < 4 or not isinstance(kind, str) or not kind[:1].isalpha() or not isinstance(pair, str):
        return None
    return _Feed("", "deriv" if kind == "status" else kind, f"t{pair}")


def _subscription(topic: str) -> str:
    channel, _, name = topic.partition(" ")
    request = {"event": "subscribe", "channel": channel, "key" if channel == "status" else "symbol": name}
    if channel == "book":
        request |= {"prec": "P0", "freq": "F0", "len": _LEVELS}
    return msgspec.json.encode(request).decode()


VENUE = Bitfinex
