"""XT.COM futures, public websocket V2 (https://doc.xt.com/docs/futures/WebsocKetV2/General_WSS_information).

``trade``, ``mark_price`` and ``depth`` (whole books of 20 levels, about one a second) of USDT and coin-margined
contracts on one socket; open interest of all by ``cg/contracts``, one call for each kind, in contracts as documented.
Sizes are contracts: of ``contractSize`` coins, coin-margined ones of that many dollars. ``m`` is the taker's side: BID
bought, ASK sold. Trades have no id, so that what they say is their id; none are repeated on a subscription. Ids of
markets are in lower case. Pings are the text ``ping``. No liquidations are published. ccxt keeps books from
``depth_update`` and a REST snapshot, asks for open interest market by market (one a second is allowed), and takes
contracts for active whose trading is switched off; the open interest that it reads is in coins, and so is read here
where it comes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from forcedmove_server.collectors.fields import (
    ContentIds,
    Id,
    Number,
    choice,
    from_ms,
    given,
    levels,
    not_negative,
    positive,
    request_number,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Mark,
    OpenInterest,
    Pong,
    Record,
    Refused,
    Subscribed,
    Trade,
    Unknown,
)
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.contract_sizes import inverse_contract_size, linear_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType
from forcedmove_server.market.underlyings import underlying

_TAKER = {"BID": 1, "ASK": -1}
_DEPTH = 20
_HOSTS = {ContractType.LINEAR: "https://fapi.xt.com", ContractType.INVERSE: "https://dapi.xt.com"}
_PUBLIC = "/future/market/v1/public"
_ID = re.compile(r"(?P<coin>[^_\s]+)_(?P<quote>usdt|usdc|usd)")


class _Envelope(msgspec.Struct):
    topic: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    code: int | None = None
    msg: str | None = None
    id: Id | None = None
    returnCode: int | None = None
    msgInfo: str | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")


class _Trade(msgspec.Struct):
    s: str
    p: Number
    a: Number
    m: str
    t: int


class _Mark(msgspec.Struct):
    s: str
    p: Number
    t: int


class _Book(msgspec.Struct):
    s: str
    a: list[tuple[Number, Number]]
    b: list[tuple[Number, Number]]
    t: int


class _Contract(msgspec.Struct):
    """A row of ``cg/contracts``."""

    symbol: str
    open_interest: Number | None = None


class _Row(msgspec.Struct):
    """A row of REST results: a trade says BID or ASK in ``m``, an aggregated ticker its mark; or open interest."""

    s: str = ""
    t: int = 0
    m: Number = ""
    p: Number = 0
    a: Number = 0
    symbol: str = ""
    openInterest: Number | None = None
    openInterestUsd: Number | None = None
    time: int = 0


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trade = msgspec.json.Decoder(_Trade, strict=False)
_mark = msgspec.json.Decoder(_Mark, strict=False)
_book = msgspec.json.Decoder(_Book, strict=False)
_contracts = msgspec.json.Decoder(list[_Contract], strict=False)
_row = msgspec.json.Decoder(_Row, strict=False)
_rows = msgspec.json.Decoder(list[_Row], strict=False)


class Xt(Venue):
    """USDT-margined and coin-margined perpetuals."""

    name = "xt"
    exchanges = ("xt",)
    streams = (
        Stream(
            "market",
            "wss://fstream.xt.com/ws/market",
            frozenset({Channel.TRADES, Channel.MARK_PRICES, Channel.DEPTH}),
            # no limits are documented; 400 topics of a connection and 200 of a message were accepted
            topics_per_connection=300,
            topics_per_message=50,
            messages_per_s=2.0,
            ping_s=15.0,  # a connection is closed 30 s after the last ping
            silence_s=40.0,
        ),
    )
    rest_weight_per_s = 5.0  # the limit is 10 in 1 s

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``btc_usdt`` is linear, ``btc_usd`` inverse."""
        match = _ID.fullmatch(native_id)
        if match is None:
            return None
        coin, inverse = match["coin"].upper(), match["quote"] == "usd"
        base, units = underlying(coin)
        size = inverse_contract_size(base) if inverse else linear_contract_size(cls.name, base)
        in_coins = size if inverse or size is None else size / units
        quote = match["quote"].upper()
        return listing_of(cls.name, native_id, coin, quote, inverse=inverse, contract_size=in_coins)

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Leave out contracts whose trading is switched off: they are delisted."""
        switched_off = (market.get("info") or {}).get("tradeSwitch") is False
        return None if switched_off else super().adopt(market)

    @classmethod
    def coin_of(cls, market: Mapping[str, Any]) -> str:
        """The venue writes coins in lower case, where a ``k`` would look like a thousand."""
        return super().coin_of(market).upper()

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three topics a market."""
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trade@{listing.native_id}", (Channel.TRADES,), ids)
            yield Topic(f"mark_price@{listing.native_id}", (Channel.MARK_PRICES,), ids)
            yield Topic(f"depth@{listing.native_id},{_DEPTH}", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``{"method": "SUBSCRIBE", "params": [...], "id": "7"}``."""
        return (_request("SUBSCRIBE", topics, request_id),)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """As :meth:`subscribe`, with ``UNSUBSCRIBE``."""
        return (_request("UNSUBSCRIBE", topics, request_id),)

    def ping(self) -> str:
        """The text ``ping``."""
        return "ping"

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        """All markets of a kind in one call of half a megabyte."""
        url = f"{_HOSTS[contract_type]}{_PUBLIC}/cg/contracts"
        yield Poll(Channel.OPEN_INTEREST, url, contract_type=contract_type, interval_s=10.0)

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """Open interest, and tickers with the marks."""
        yield from self.polls(contract_type, ())
        url = f"{_HOSTS[contract_type]}{_PUBLIC}/q/agg-tickers"
        yield Poll(Channel.MARK_PRICES, url, contract_type=contract_type)

    def read(self, message: bytes) -> list[Record]:
        """Read a pong, a push, an answer to a request, or a REST answer."""
        if message == b"pong":
            return [Pong()]
        if message[:1] == b"[":
            return self._open_interest(_contracts.decode(message))
        envelope = _envelope.decode(message)
        match envelope.topic:
            case "trade":
                trade = _trade.decode(envelope.data)
                records: list[Record] = []
                self._trade(trade.s, trade.t, trade.p, trade.a, trade.m, records, ContentIds())
                return records
            case "mark_price":
                return self._mark(_mark.decode(envelope.data))
            case "depth":
                return self._book(_book.decode(envelope.data))
            case "":
                return self._answer(envelope)
        return [Unknown(envelope.topic)]

    def _answer(self, envelope: _Envelope) -> list[Record]:
        if envelope.code is not None:
            request_id = request_number(envelope.id)
            if envelope.code:
                return [Refused(f"{envelope.code}: {envelope.msg}", request_id=request_id)]
            return [Subscribed(request_id=request_id)]
        if envelope.returnCode:
            return [Refused(f"{envelope.returnCode}: {envelope.msgInfo}")]
        result = bytes(envelope.result)
        if envelope.returnCode is None or result[:1] not in (b"{", b"["):
            return [Unknown("no topic")]
        records: list[Record] = []
        ids = ContentIds()
        for row in _rows.decode(result) if result[:1] == b"[" else [_row.decode(result)]:
            self._row(row, records, ids)
        return records or [Unknown("REST answer")]

    def _row(self, row: _Row, records: list[Record], ids: ContentIds) -> None:
        if row.m in _TAKER:
            self._trade(row.s, row.t, row.p, row.a, row.m, records, ids, replayed=True)
        elif row.s and given(row.m):
            listing = self.listed(row.s, records)
            mark = not_negative(row.m, "m")
            if listing is not None and mark:
                records.append(Mark(listing, from_ms(row.t, "t"), mark / listing.units))
        elif row.symbol and row.openInterest is not None:
            listing = self.listed(row.symbol, records)
            if listing is not None and not (listing.inverse and row.openInterestUsd is None):
                open_now = row.openInterestUsd if listing.inverse else row.openInterest
                unit = 1.0 if listing.inverse else listing.coin
                quantity = not_negative(open_now or 0, "openInterest") * unit
                records.append(OpenInterest(listing, from_ms(row.time, "time"), quantity))

    def _open_interest(self, contracts: Sequence[_Contract]) -> list[Record]:
        records: list[Record] = []
        for contract in contracts:
            listing = self.listed(contract.symbol, records)
            if listing is not None and contract.open_interest is not None:
                quantity = not_negative(contract.open_interest, "open_interest") * listing.contract
                records.append(OpenInterest(listing, 0, quantity))
        return records

    def _trade(
        self,
        symbol: str,
        time_ms: int,
        price: Number,
        size: Number,
        side: str,
        records: list[Record],
        ids: ContentIds,
        *,
        replayed: bool = False,
    ) -> None:
        listing = self.listed(symbol, records)
        if listing is not None:
            time_ns, paid = from_ms(time_ms, "t"), positive(price, "p") / listing.units
            quantity, aggressor = positive(size, "a") * listing.contract, choice(side, _TAKER, "m")
            trade_id = ids.of(time_ns, paid, quantity, aggressor)
            records.append(Trade(listing, time_ns, paid, quantity, aggressor, trade_id, replayed=replayed))

    def _mark(self, mark: _Mark) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(mark.s, records)
        if listing is not None:
            records.append(Mark(listing, from_ms(mark.t, "t"), positive(mark.p, "p") / listing.units))
        return records

    def _book(self, book: _Book) -> list[Record]:
        records: list[Record] = []
        listing = self.listed(book.s, records)
        if listing is not None:
            bids, asks = (levels(side, listing.units, listing.contract) for side in (book.b, book.a))
            records.append(Book(listing, from_ms(book.t, "t"), bids, asks, True))
        return records


def _request(method: str, topics: Sequence[str], request_id: int) -> str:
    return msgspec.json.encode({"method": method, "params": list(topics), "id": str(request_id)}).decode()


VENUE = Xt
