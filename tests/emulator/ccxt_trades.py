"""ccxt's own way from a trade message to its unified trades: ``json.loads``, then its websocket class's handler."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import ccxt.pro

from tests.emulator.venue import Content

Reader = Callable[[Content], list[dict[str, Any]]]

#: the websocket class, where it is not the venue's name
_CLASSES = {"binance": "binanceusdm"}


class _Client:
    """What handlers want of a connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.subscriptions: dict[str, Any] = {}
        self.futures: dict[str, Any] = {}

    def resolve(self, *_: Any) -> None:
        """Nobody waits."""

    def reject(self, *_: Any) -> None:
        """Nobody waits."""


def trade_reader(venue: str, url: str, markets: list[dict[str, Any]]) -> Reader:
    """Return what reads one message as ccxt does; ``markets`` are ccxt's own.

    Its handlers keep what they parsed; the trades are taken from where they parse them.
    """
    exchange = getattr(ccxt.pro, _CLASSES.get(venue, venue))({"newUpdates": True})
    exchange.set_markets(markets)
    found: list[dict[str, Any]] = []
    for name in ("parse_ws_trade", "parse_trade"):
        _listen(exchange, name, found)
    client = _Client(url)

    def read(content: Content) -> list[dict[str, Any]]:
        found.clear()
        if isinstance(content, bytes) and content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        binary = isinstance(content, bytes) and content[:1] not in (b"{", b"[")  # Paradex's own encoding
        exchange.handle_message(client, content if binary else json.loads(content))
        return list(found)

    return read


def _listen(exchange: Any, name: str, found: list[dict[str, Any]]) -> None:
    """Have a parser of trades keep what it returns; where one calls the other it is kept once."""
    parse = getattr(exchange, name, None)
    if parse is None:
        return

    def listening(*args: Any, **kwargs: Any) -> Any:
        outermost = not exchange.__dict__.get("_reading", False)
        exchange.__dict__["_reading"] = True
        try:
            trade = parse(*args, **kwargs)
        finally:
            if outermost:
                exchange.__dict__["_reading"] = False
        if outermost:
            found.append(trade)
        return trade

    setattr(exchange, name, listening)
