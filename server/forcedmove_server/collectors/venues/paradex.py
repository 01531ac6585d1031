"""Paradex's public feeds (https://docs.paradex.trade/ws/general-information/introduction).

``trades``, ``markets_summary`` and ``order_book`` (15 levels a side, whole, every 100 ms) of each market: topics of all
markets would bring every option too. Sizes and open interest are coins; a ``k`` in front of a coin is a thousand;
``side`` is the taker's. A trade of type LIQUIDATION counts as a liquidation as well, whose taker closed the position.
Transfers, settlements and block trades were not matched on the book and are left out.

Since 2026-09-21 pushes are frames of Simple Binary Encoding, schema 1: a header (length of the fixed block, template,
schema, version), the block, groups, texts; decimals are multiples of 1e-8, times microseconds, the least int64 is none.
Answers to requests are JSON, and so were pushes before, which are read too. Version 1 is what the documentation asks
for; whichever comes, the header says how long the block is. The number ``tradeId`` is a truncated one: without the text
that newer frames have, a trade has no id. The venue pings with frames of the protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from struct import Struct
from typing import Any

import msgspec

from forcedmove_server.collectors.fields import (
    Id,
    Number,
    choice,
    from_ms,
    from_us,
    given,
    levels,
    not_negative,
    positive,
    request_number,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Record,
    Refused,
    Subscribed,
    Trade,
    Unknown,
)
from forcedmove_server.collectors.venue import ALL_CHANNELS, Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_TAKER = {"BUY": 1, "SELL": -1}
_SIDES = {1: 1, 2: -1}
_MATCHED = ("FILL", "RPI", "LIQUIDATION")
_TYPES = {1: "FILL", 2: "LIQUIDATION", 3: "UNWIND_TRANSFER", 4: "SETTLE_MARKET", 5: "RPI", 6: "BLOCK_TRADE"}
_ID = re.compile(r"(?P<coin>[A-Za-z0-9]+)-USD-PERP")
_DEPTH = "snapshot@15@100ms"

# Simple Binary Encoding, little-endian
_SCHEMA = 1
_HEADER = Struct("<4H")  # block length, template, schema, version
_TRADE_BLOCK = Struct("<3qB3qB")  # time, sequence, truncated id, side, price, size, time of the trade, type
_BOOK_BLOCK = Struct("<2qB")  # time, sequence, 0 for a snapshot
_SUMMARY_BLOCK = Struct("<7q")  # time, sequence, mark, index, last, volume, open interest
_GROUP = Struct("<2H")  # length of an entry, number of entries
_LEVEL = Struct("<2q")  # price, size
_SCALE = 1e8
_NONE = -(2**63)


class _Params(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")


class _Fault(msgspec.Struct):
    code: Id = 0
    message: str = ""
    data: str = ""


class _Channel(msgspec.Struct):
    channel: str = ""


class _Envelope(msgspec.Struct):
    method: str = ""
    id: Id = -1
    params: _Params | None = None
    result: _Channel | None = None
    error: _Fault | None = None
    results: list[msgspec.Raw] | None = None  # of a REST answer


class _Row(msgspec.Struct):
    """A trade or a market's summary: which one it is, its fields say."""

    market: str = ""
    id: Id = ""
    side: str = ""
    size: Number = ""
    price: Number = ""
    trade_type: str = ""
    symbol: str = ""
    mark_price: Number = ""
    open_interest: Number = ""
    created_at: int = 0


class _Insert(msgspec.Struct):
    side: str
    price: Number
    size: Number


class _Levels(msgspec.Struct):
    market: str
    last_updated_at: int
    update_type: str
    inserts: list[_Insert]
    seq_no: int = -1


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_row = msgspec.json.Decoder(_Row, strict=False)
_levels = msgspec.json.Decoder(_Levels, strict=False)


class Paradex(Venue):
    """USDC-margined perpetuals, quoted in USD."""

    name = "paradex"
    exchanges = ("paradex",)
    streams = (
        Stream(
            "public",
            f"wss://ws.api.prod.paradex.trade/v1?sbeSchemaId={_SCHEMA}&sbeSchemaVersion=1",
            ALL_CHANNELS,
            topics_per_connection=200,  # nothing is documented
            topics_per_message=1,
            messages_per_s=10.0,
        ),
    )

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC-USD-PERP``; options have a strike in between."""
        match = _ID.fullmatch(native_id)
        return listing_of(cls.name, native_id, match["coin"], "USD") if match else None

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Take perpetuals only: to ccxt everything that is no option is one."""
        return super().adopt(market) if _ID.fullmatch(cls.native_id_of(market)) else None

    @classmethod
    def coin_of(cls, market: Mapping[str, Any]) -> str:
        """Coin as the id has it, with its ``k``."""
        return cls.native_id_of(market).partition("-")[0]

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three topics a market."""
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trades.{listing.native_id}", (Channel.TRADES, Channel.LIQUIDATIONS), ids)
            summary = (Channel.MARK_PRICES, Channel.OPEN_INTEREST)
            yield Topic(f"markets_summary.{listing.native_id}", summary, ids)
            yield Topic(f"order_book.{listing.native_id}.{_DEPTH}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """One topic a message, so that a refusal, which names its request only, is of one."""
        return [_request("subscribe", topic, request_id) for topic in topics]

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """One topic a message; the answer looks like that to a subscription."""
        return [_request("unsubscribe", topic, request_id) for topic in topics]

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /v1/markets/summary`` of all markets."""
        if contract_type is ContractType.LINEAR:
            yield Poll(Channel.OPEN_INTEREST, "https://api.prod.paradex.trade/v1/markets/summary?market=ALL")

    def read(self, message: bytes) -> list[Record]:
        """Read a binary push, an answer to a request, a push as it was, or a REST answer: summaries, trades."""
        if b"\0" in message[: _HEADER.size]:  # no JSON has one
            return self._frame(message)
        envelope = _envelope.decode(message)
        request_id = request_number(envelope.id)
        if envelope.params is not None:
            return self._push(envelope.params)
        if envelope.error is not None:
            fault = envelope.error
            reason = ": ".join(filter(None, (fault.message, fault.data))) or f"code {fault.code}"
            return [Refused(reason, request_id=request_id)]
        if envelope.results is not None:
            return self._rows(_row.decode(row) for row in reversed(envelope.results))  # the newest comes first
        if envelope.result is not None:
            return [Subscribed(request_id=request_id)]
        return [Unknown(envelope.method or "no method")]

    # Simple Binary Encoding

    def _frame(self, frame: bytes) -> list[Record]:
        if len(frame) < _HEADER.size:
            raise ValueError(f"frame of {len(frame)} bytes: shorter than its header")
        length, template, schema, _ = _HEADER.unpack_from(frame)
        end = _HEADER.size + length
        if schema != _SCHEMA:
            raise ValueError(f"schema = {schema}: must be {_SCHEMA}")
        match template:
            case 1:  # TradeEvent
                return self._trade_frame(_block(frame, _TRADE_BLOCK, end), frame, end)
            case 3:  # BookEvent
                return self._book_frame(_block(frame, _BOOK_BLOCK, end), frame, end)
            case 4:  # MarketSummaryEvent
                return self._summary_frame(_block(frame, _SUMMARY_BLOCK, end), frame, end)
        return [Unknown(f"template {template}")]

    def _trade_frame(self, block: tuple[int, ...], frame: bytes, at: int) -> list[Record]:
        _, _, _, side, price, size, time, kind = block
        native_id, at = _text(frame, at)
        trade_id = _text(frame, at)[0] if at < len(frame) else ""
        if side not in _SIDES:
            raise ValueError(f"side = {side}: must be 1 or 2")
        records: list[Record] = []
        listing = self.listed(native_id, records)
        if listing is not None:
            price_usd, coins = positive(price / _SCALE, "price"), positive(size / _SCALE, "size")
            name = _TYPES.get(kind, str(kind))
            self._trade(listing, from_us(time, "createdAt"), price_usd, coins, _SIDES[side], trade_id, name, records)
        return records

    def _book_frame(self, block: tuple[int, ...], frame: bytes, at: int) -> list[Record]:
        time, sequence, kind = block
        if kind != 0:
            return [Unknown("order_book delta")]
        sides: list[list[tuple[float, float]]] = []
        for _ in range(2):
            if at + _GROUP.size > len(frame):
                raise ValueError("frame ends before its levels")
            length, number = _GROUP.unpack_from(frame, at)
            at += _GROUP.size
            end = at + length * number
            if length < _LEVEL.size or end > len(frame):
                raise ValueError(f"{number} levels of {length} bytes: more than the frame has")
            found = (_LEVEL.unpack_from(frame, place) for place in range(at, end, length))
            sides.append([(price / _SCALE, size / _SCALE) for price, size in found])
            at = end
        records: list[Record] = []
        listing = self.listed(_text(frame, at)[0], records)
        if listing is not None:
            bids, asks = (levels(side, listing.units, listing.coin) for side in sides)
            records.append(Book(listing, from_us(time, "ts"), bids, asks, True, max(sequence, -1)))
        return records

    def _summary_frame(self, block: tuple[int, ...], frame: bytes, at: int) -> list[Record]:
        time, _, mark, _, _, _, interest = block
        records: list[Record] = []
        listing = self.listed(_text(frame, at)[0], records)
        if listing is not None:
            mark_price = 0.0 if mark == _NONE else mark / _SCALE
            coins = None if interest == _NONE else interest / _SCALE
            self._summary(listing, from_us(time, "ts"), mark_price, coins, records)
        return records

    # JSON

    def _push(self, params: _Params) -> list[Record]:
        kind = params.channel.partition(".")[0]
        match kind:
            case "trades" | "markets_summary":
                return self._rows([_row.decode(params.data)])
            case "order_book":
                return self._book(_levels.decode(params.data))
        return [Unknown(kind or "no channel")]

    def _rows(self, rows: Iterable[_Row]) -> list[Record]:
        records: list[Record] = []
        for row in rows:
            if row.trade_type:
                listing = self.listed(row.market, records)
                if listing is not None:
                    price, coins = positive(row.price, "price"), positive(row.size, "size")
                    aggressor = choice(row.side, _TAKER, "side")
                    time_ns = from_ms(row.created_at, "created_at")
                    self._trade(listing, time_ns, price, coins, aggressor, str(row.id), row.trade_type, records)
            elif row.symbol and given(row.mark_price):
                listing = self.listed(row.symbol, records)
                if listing is not None:
                    mark = not_negative(row.mark_price, "mark_price")
                    interest = float(row.open_interest) if given(row.open_interest) else None
                    self._summary(listing, from_ms(row.created_at, "created_at"), mark, interest, records)
        return records or [Unknown("rows of another kind")]

    def _book(self, book: _Levels) -> list[Record]:
        if book.update_type != "s":
            return [Unknown("order_book delta")]
        records: list[Record] = []
        listing = self.listed(book.market, records)
        if listing is not None:
            bids, asks = (
                levels(
                    ((row.price, row.size) for row in book.inserts if choice(row.side, _TAKER, "side") == side),
                    listing.units,
                    listing.coin,
                )
                for side in (1, -1)
            )
            time_ns = from_ms(book.last_updated_at, "last_updated_at")
            records.append(Book(listing, time_ns, bids, asks, True, max(book.seq_no, -1)))
        return records

    # both

    def _trade(
        self,
        listing: Listing,
        time_ns: int,
        price: float,
        coins: float,
        aggressor: int,
        trade_id: str,
        kind: str,
        records: list[Record],
    ) -> None:
        if kind not in _MATCHED:
            return
        price, quantity = price / listing.units, coins * listing.coin
        records.append(Trade(listing, time_ns, price, quantity, aggressor, trade_id))
        if kind == "LIQUIDATION":
            records.append(Liquidation(listing, time_ns, price, quantity, 0 if aggressor < 0 else 1, trade_id))

    def _summary(
        self, listing: Listing, time_ns: int, mark: float, interest: float | None, records: list[Record]
    ) -> None:
        if mark:
            records.append(Mark(listing, time_ns, positive(mark, "mark_price") / listing.units))
        if interest is not None:
            quantity = not_negative(interest, "open_interest") * listing.coin
            records.append(OpenInterest(listing, time_ns, quantity))


def _request(method: str, topic: str, request_id: int) -> str:
    request = {"jsonrpc": "2.0", "method": method, "params": {"channel": topic}, "id": request_id}
    return msgspec.json.encode(request).decode()


def _block(frame: bytes, layout: Struct, end: int) -> tuple[int, ...]:
    if end > len(frame) or end < _HEADER.size + layout.size:
        raise ValueError(f"frame of {len(frame)} bytes with a block of {end - _HEADER.size}: needs {layout.size}")
    return layout.unpack_from(frame, _HEADER.size)


def _text(frame: bytes, at: int) -> tuple[str, int]:
    """Read a text that begins with its length, and where it ends."""
    end = at + 1 + frame[at] if at < len(frame) else len(frame) + 1
    if end > len(frame):
        raise ValueError("frame ends within a text")
    return frame[at + 1 : end].decode(), end


VENUE = Paradex
