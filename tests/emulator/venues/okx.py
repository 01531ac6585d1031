"""OKX v5 (https://www.okx.com/docs-v5/en/)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from forcedmove_server.collectors.records import Book, Event, Liquidation, Mark, OpenInterest, Trade
from forcedmove_server.collectors.venues.okx import Okx
from tests.emulator.venue import (
    Answer,
    Content,
    EmulatedSession,
    EmulatedVenue,
    Message,
    RestRequest,
    changed_levels,
    milliseconds,
    native_contracts,
    native_price,
    plain,
    rows,
)

_CHANNELS = ("trades", "mark-price", "open-interest", "books")


class OkxSession(EmulatedSession):
    """One acknowledgement per channel; ``ping`` and ``pong`` are bare words; a book begins with its snapshot."""

    venue: OkxEmulator

    def receive(self, message: Content) -> Sequence[Content]:
        if message == "ping":
            return ("pong",)
        request = json.loads(message)
        replies: list[Content] = []
        for arg in request["args"]:
            topic = f"{arg['channel']}:{arg.get('instId') or arg.get('instType')}"
            if not self._exists(arg):
                text = f"Wrong URL or channel:{arg['channel']},instId:{arg.get('instId')} doesn't exist."
                replies.append(json.dumps({"id": request["id"], "event": "error", "code": "60018", "msg": text}))
                continue
            replies.append(json.dumps({"id": request["id"], "event": request["op"], "arg": arg, "connId": "a4d3ae55"}))
            if request["op"] == "unsubscribe":
                self.topics.discard(topic)
                continue
            self.topics.add(topic)
            if arg["channel"] == "books" and arg["instId"] in self.venue.books:
                replies.append(self.venue.book_snapshot(self.venue.books[arg["instId"]]))
        return replies

    def _exists(self, arg: dict[str, str]) -> bool:
        if arg["channel"] == "liquidation-orders":
            return arg.get("instType") == "SWAP"
        return arg["channel"] in _CHANNELS and arg.get("instId") in self.venue.listings


class OkxEmulator(EmulatedVenue):
    """Swaps."""

    collector = Okx
    hosts = frozenset({"ws.okx.com", "www.okx.com"})
    session = OkxSession

    @classmethod
    def native_ids(cls, symbols: Sequence[str]) -> list[str]:
        return [f"{s}-USDT-SWAP" for s in symbols] + [f"{s}-USD-SWAP" for s in symbols if s in ("BTC", "ETH")]

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path == "/api/v5/public/instruments" and request.query["instType"] == "SWAP":
            return Answer({"code": "0", "msg": "", "data": [self._instrument(key) for key in self.listings]})
        return None

    def encode(self, event: Event) -> Sequence[Message]:
        key, at = event.listing.native_id, str(milliseconds(event.time_ns))
        if isinstance(event, Trade):
            row: dict[str, Any] = {"instId": key, "tradeId": str(130_000_000 + 2 * int(event.trade_id)), "count": "2"}
            row |= {"px": native_price(event), "sz": native_contracts(event), "ts": at, "source": "0", "seqId": 1234}
            row |= {"side": "buy" if event.aggressor > 0 else "sell"}
            return (_push("trades", {"instId": key}, row),)
        if isinstance(event, Mark):
            row = {"instType": "SWAP", "instId": key, "markPx": native_price(event), "ts": at}
            return (_push("mark-price", {"instId": key}, row),)
        if isinstance(event, OpenInterest):
            row = {
                "instType": "SWAP",
                "instId": key,
                "oi": native_contracts(event),
                "oiCcy": "1",
                "oiUsd": "1",
                "ts": at,
            }
            return (_push("open-interest", {"instId": key}, row),)
        if isinstance(event, Liquidation):
            detail = {
                "side": "sell" if event.side == 0 else "buy",
                "bkPx": native_price(event),
                "bkLoss": "0",
                "ccy": "",
            }
            # an account in net mode has no side of its own
            detail |= {"posSide": "net" if int(event.liquidation_id) % 2 else ("long", "short")[event.side]}
            detail |= {"sz": native_contracts(event), "ts": at}
            family = key.removesuffix("-SWAP")
            row = {"details": [detail], "instFamily": family, "instId": key, "instType": "SWAP", "uly": family}
            return (_push("liquidation-orders", {"instType": "SWAP"}, row),)
        if isinstance(event, Book):
            before = self.books.get(key)
            last = self.numbers.get(f"book {key}", 0)
            number = self.numbers[f"book {key}"] = last + 3  # numbers rise, but not by one
            if before is None:
                return (Message(f"books:{key}", _book(event, "snapshot", event, -1, number)),)
            changes = Book(
                event.listing,
                event.time_ns,
                changed_levels(before.bids, event.bids),
                changed_levels(before.asks, event.asks),
                False,
            )
            return (Message(f"books:{key}", _book(changes, "update", event, last, number)),)
        raise AssertionError(event)

    def book_snapshot(self, book: Book) -> Content:
        """Return the message that begins a book's channel."""
        return _book(book, "snapshot", book, -1, self.numbers[f"book {book.listing.native_id}"])

    def _instrument(self, key: str) -> dict[str, Any]:
        coin, quote, _ = key.split("-")
        listing = self.listings[key]
        return {
            "instType": "SWAP",
            "instId": key,
            "uly": f"{coin}-{quote}",
            "instFamily": f"{coin}-{quote}",
            "baseCcy": "",
            "quoteCcy": "",
            "settleCcy": coin if listing.inverse else quote,
            "ctType": "inverse" if listing.inverse else "linear",
            "ctVal": plain(listing.instrument.contract_size),
            "ctMult": "1",
            "ctValCcy": "USD" if listing.inverse else coin,
            "lever": "100",
            "lotSz": "0.01",
            "minSz": "0.01",
            "tickSz": "0.1",
            "maxLmtSz": "100000000",
            "listTime": "1611916828000",
            "expTime": "",
            "state": "live",
            "instIdCode": 10458,
        }


def _push(channel: str, target: dict[str, str], row: dict[str, Any]) -> Message:
    (name,) = target.values()
    return Message(f"{channel}:{name}", json.dumps({"arg": {"channel": channel, **target}, "data": [row]}))


def _book(levels: Book, action: str, book: Book, previous: int, number: int) -> Content:
    def side(found: Any) -> list[list[str]]:
        return [[price, size, "0", "1"] for price, size in rows(found, book.listing)]

    row = {"bids": side(levels.bids), "asks": side(levels.asks), "ts": str(milliseconds(book.time_ns))}
    row |= {"checksum": -855196043, "prevSeqId": previous, "seqId": number}
    arg = {"channel": "books", "instId": book.listing.native_id}
    return json.dumps({"arg": arg, "action": action, "data": [row]})


EMULATOR = OkxEmulator
