"""Deribit JSON-RPC (https://docs.deribit.com/articles/notifications): perpetuals of BTC and ETH, and those in USDC.

``trades``, ``ticker`` (mark and open interest) and ``book`` of 20 levels, each at most every 100 ms; ``raw`` is for who
logs in. Amounts are US dollars on inverse contracts and coins on linear ones, never contracts. ``direction`` is the
taker's. ``liquidation`` tells which side of a trade was forced: ``T`` the taker, ``M`` the maker, ``MT`` both, one of
which was long and one short; the price is the fill. ``trade_seq`` numbers the trades of an instrument: recorded lists,
legs of combos among them, count without a hole.
What ccxt calls liquidations are bankruptcies at settlement, and it takes the open interest of linear perpetuals, which
is coins, for a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from forcedmove_server.collectors.fields import (
    Id,
    Milliseconds,
    Number,
    Positive,
    choice,
    from_ms,
    levels,
    not_negative,
    positive,
)
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import (
    Book,
    Liquidation,
    Mark,
    OpenInterest,
    Pong,
    Record,
    Refused,
    Reply,
    Subscribed,
    Trade,
    Unknown,
)
from forcedmove_server.collectors.venue import ALL_CHANNELS, Poll, Stream, Topic, Venue, listing_of
from forcedmove_server.market.contract_sizes import linear_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_FORCED = {"T": 1, "M": -1, "MT": 0}
_ID = re.compile(r"(?P<coin>[A-Z0-9]+)(_(?P<quote>USD[CT]))?-(PERPETUAL|\d{1,2}[A-Z]{3}\d\d)")
_INVERSE_USD = {"BTC": 10.0, "ETH": 1.0, "SOL": 10.0}
_SUMMARY = "https://www.deribit.com/api/v2/public/get_book_summary_by_currency?kind=future&currency="
_CURRENCIES = {ContractType.INVERSE: ("BTC", "ETH"), ContractType.LINEAR: ("USDC",)}
_TEST = '{"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}'


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Params(msgspec.Struct):
    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    type: str = ""


class _Envelope(msgspec.Struct):
    method: str = ""
    params: _Params | None = None
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Error | None = None


class _Trade(msgspec.Struct):
    instrument_name: str
    trade_seq: int
    trade_id: Id
    timestamp: Milliseconds
    price: Positive
    amount: Positive
    direction: Literal["buy", "sell"]
    liquidation: str | None = None


class _State(msgspec.Struct):
    """A ticker, or a row of REST's summaries, whose time has another name."""

    instrument_name: str = ""
    timestamp: int = 0
    creation_timestamp: int = 0
    mark_price: Number | None = None
    open_interest: Number | None = None


class _Levels(msgspec.Struct):
    """All levels of a book, the best first."""

    instrument_name: str
    timestamp: int
    change_id: int
    bids: list[tuple[Number, Number]]
    asks: list[tuple[Number, Number]]


class _Changes(msgspec.Struct):
    """Levels that changed, or all in the first message: new, change or delete, price, amount."""

    instrument_name: str
    timestamp: int
    change_id: int
    bids: list[tuple[str, Number, Number]]
    asks: list[tuple[str, Number, Number]]
    type: str = ""
    prev_change_id: int | None = None


class _Result(msgspec.Struct):
    """A REST answer, or that to a ping, which has a version."""

    version: str = ""
    trades: list[_Trade] | None = None
    instrument_name: str = ""
    bids: msgspec.Raw = msgspec.Raw(b"null")


_envelope = msgspec.json.Decoder(_Envelope, strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_state = msgspec.json.Decoder(_State, strict=False)
_levels = msgspec.json.Decoder(_Levels, strict=False)
_changes = msgspec.json.Decoder(_Changes, strict=False)
_result = msgspec.json.Decoder(_Result, strict=False)
_names = msgspec.json.Decoder(list[str])
_states = msgspec.json.Decoder(list[_State], strict=False)


class Deribit(Venue):
    """Inverse perpetuals in BTC and ETH, linear ones in USDC."""

    name = "deribit"
    exchanges = ("deribit",)
    streams = (
        Stream(
            "public",
            "wss://www.deribit.com/ws/api/v2",
            ALL_CHANNELS,
            topics_per_connection=300,  # below the 500 channels that one subscription may have
            topics_per_message=50,
            messages_per_s=2.0,  # subscriptions have an own limit: 3.3 a second
            ping_s=15.0,
        ),
    )
    rest_weight_per_s = 2.0
    connections_per_s = 1.0

    def __init__(self, listings: Mapping[str, Listing]) -> None:
        """Remembers what each request asked for: answers list what was accepted."""
        super().__init__(listings)
        self._asked: dict[int, tuple[str, ...]] = {}

    @classmethod
    def describe(cls, native_id: str, contract_type: ContractType | None = None) -> Listing | None:
        """``BTC-PERPETUAL`` is inverse, ``BTC_USDC-PERPETUAL`` linear; so are ``BTC-26MAR27`` and the like, dated."""
        match = _ID.fullmatch(native_id)
        if match is None:
            return None
        coin, quote = match["coin"], match["quote"]
        if quote:
            size = linear_contract_size(cls.name, coin)
            return listing_of(cls.name, native_id, coin, quote, contract_size=size)
        return listing_of(cls.name, native_id, coin, "USD", inverse=True, contract_size=_INVERSE_USD.get(coin))

    @classmethod
    def adopt(cls, market: Mapping[str, Any]) -> Listing | None:
        """Take the highest leverage from the venue's own row; combos and spot are left out."""
        if _ID.fullmatch(str(market["id"])) is None:
            return None
        leverage = (market.get("info") or {}).get("max_leverage")
        return super().adopt({**market, "limits": {"leverage": {"max": leverage}}})

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        """Three channels a market."""
        for listing in listings:
            ids = (listing.native_id,)
            yield Topic(f"trades.{listing.native_id}.100ms", (Channel.TRADES, Channel.LIQUIDATIONS), ids)
            yield Topic(f"ticker.{listing.native_id}.100ms", (Channel.MARK_PRICES, Channel.OPEN_INTEREST), ids)
            yield Topic(f"book.{listing.native_id}.none.20.100ms", (Channel.DEPTH,), ids)

    def subscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``public/subscribe``."""
        self._asked[request_id] = tuple(topics)
        return (_request("public/subscribe", topics, request_id),)

    def unsubscribe(self, topics: Sequence[str], request_id: int) -> Sequence[str]:
        """``public/unsubscribe``."""
        return (_request("public/unsubscribe", topics, request_id),)

    def ping(self) -> str:
        """``public/test``."""
        return _TEST

    def census(self, contract_type: ContractType) -> Iterable[Poll]:
        """``GET /public/get_book_summary_by_currency``: of what is settled in one currency."""
        for currency in _CURRENCIES[contract_type]:
            yield Poll(Channel.OPEN_INTEREST, _SUMMARY + currency, contract_type=contract_type)

    def read(self, message: bytes) -> list[Record]:
        """Read a notification, an answer to a request, or a REST answer: summaries, a ticker, a book, trades."""
        envelope = _envelope.decode(message)
        if envelope.method == "subscription" and envelope.params is not None:
            return self._notification(envelope.params)
        if envelope.method == "heartbeat" and envelope.params is not None:
            return [Reply(_TEST) if envelope.params.type == "test_request" else Pong()]
        if envelope.method:
            return [Unknown(envelope.method)]
        if envelope.error is not None:
            request_id = -1 if envelope.id is None else envelope.id
            reason = f"{envelope.error.message} ({envelope.error.code})"
            return [Refused(reason, self._asked.pop(request_id, ()), request_id)]
        return self._answer(envelope)

    def _notification(self, params: _Params) -> list[Record]:
        kind = params.channel.partition(".")[0]
        records: list[Record] = []
        match kind:
            case "trades":
                for trade in _trades.decode(params.data):
                    self._trade(trade, False, records)
            case "ticker":
                self._state(_state.decode(params.data), records)
            case "book" if params.channel.count(".") == 4:
                self._levels(_levels.decode(params.data), records)
            case "book":
                self._changes(_changes.decode(params.data), records)
            case _:
                records.append(Unknown(kind))
        return records

    def _answer(self, envelope: _Envelope) -> list[Record]:
        content = bytes(envelope.result).lstrip()
        records: list[Record] = []
        if content.startswith((b'["', b"[]")):
            return self._accepted(-1 if envelope.id is None else envelope.id, _names.decode(content))
        if content.startswith(b"[{"):
            for state in _states.decode(content):
                if state.open_interest is not None:  # instruments and currencies have none
                    self._state(state, records)
        elif content.startswith(b"{"):
            result = _result.decode(content)
            if result.version:
                return [Pong()]
            for trade in result.trades or ():
                self._trade(trade, True, records)
            if result.instrument_name:
                if bytes(result.bids)[:1] == b"[":
                    self._levels(_levels.decode(content), records)
                self._state(_state.decode(content), records)
        return records or [Unknown("answer")]

    def _accepted(self, request_id: int, accepted: list[str]) -> list[Record]:
        asked = self._asked.pop(request_id, None)
        if asked is None:  # the end of a subscription
            return [Subscribed(request_id=request_id)]
        records: list[Record] = [Subscribed(tuple(accepted))]
        missing = tuple(topic for topic in asked if topic not in accepted)
        return [*records, Refused("not among the channels accepted", missing)] if missing else records

    def _trade(self, trade: _Trade, replayed: bool, records: list[Record]) -> None:
        listing = self.listed(trade.instrument_name, records)
        if listing is None:
            return
        at, price, quantity = trade.timestamp * 1_000_000, trade.price / listing.units, _quantity(trade.amount, listing)
        taker, trade_id = 1 if trade.direction == "buy" else -1, str(trade.trade_id)
        records.append(Trade(listing, at, price, quantity, taker, trade_id, trade.trade_seq, replayed))
        if trade.liquidation and trade.liquidation != "none":
            forced = choice(trade.liquidation, _FORCED, "liquidation")
            if forced >= 0:
                records.append(Liquidation(listing, at, price, quantity, int(taker > 0), trade_id, replayed))
            if forced <= 0:
                maker_id = f"{trade_id} maker"  # one trade may close two positions
                records.append(Liquidation(listing, at, price, quantity, int(taker < 0), maker_id, replayed))

    def _state(self, state: _State, records: list[Record]) -> None:
        """A mark of 0 is none."""
        listing = self.listed(state.instrument_name, records)
        if listing is None:
            return
        at = from_ms(state.timestamp or state.creation_timestamp, "timestamp")
        if state.mark_price is not None and not_negative(state.mark_price, "mark_price"):
            records.append(Mark(listing, at, positive(state.mark_price, "mark_price") / listing.units))
        if state.open_interest is not None:
            interest = not_negative(state.open_interest, "open_interest")
            records.append(OpenInterest(listing, at, _quantity(interest, listing)))

    def _levels(self, book: _Levels, records: list[Record]) -> None:
        listing = self.listed(book.instrument_name, records)
        if listing is not None:
            unit = _quantity(1.0, listing)
            bids, asks = levels(book.bids, listing.units, unit), levels(book.asks, listing.units, unit)
            records.append(Book(listing, from_ms(book.timestamp, "timestamp"), bids, asks, True, book.change_id))

    def _changes(self, book: _Changes, records: list[Record]) -> None:
        """Before 2020 there was no ``type``; the first message names nothing that it follows."""
        listing = self.listed(book.instrument_name, records)
        if listing is None:
            return
        unit = _quantity(1.0, listing)
        bids, asks = (
            levels([(p, 0.0 if action == "delete" else q) for action, p, q in side], listing.units, unit)
            for side in (book.bids, book.asks)
        )
        previous = book.prev_change_id
        snapshot = previous is None or book.type == "snapshot"
        at = from_ms(book.timestamp, "timestamp")
        follows = -1 if snapshot or previous is None else previous
        records.append(Book(listing, at, bids, asks, snapshot, book.change_id, follows))


def _quantity(amount: float, listing: Listing) -> float:
    return amount if listing.inverse else amount * listing.coin


def _request(method: str, channels: Sequence[str], request_id: int) -> str:
    content = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {"channels": list(channels)}}
    return msgspec.json.encode(content).decode()


VENUE = Deribit
