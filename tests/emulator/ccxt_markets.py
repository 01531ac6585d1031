"""ccxt against an emulated venue, without a socket: its own ``load_markets``, with the emulator as the network."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import ccxt

from tests.emulator.venue import EmulatedVenue, RestRequest


def markets(emulator: EmulatedVenue) -> list[dict[str, Any]]:
    """Markets of all ccxt classes of a venue, as the emulator's REST answers make them."""
    found: list[dict[str, Any]] = []
    for name in emulator.collector.exchanges:
        exchange = getattr(ccxt, name)({"enableRateLimit": False, "options": emulator.collector.ccxt_options})
        exchange.fetch = _network(emulator, exchange)
        found += exchange.load_markets().values()
    return found


def _network(emulator: EmulatedVenue, exchange: Any) -> Any:
    def fetch(url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        parts = urlsplit(url)
        content = body.encode() if isinstance(body, str) else body or b""
        request = RestRequest(parts.netloc, method, parts.path, dict(parse_qsl(parts.query)), content)
        assert parts.netloc in emulator.hosts, f"{parts.netloc} is not among the emulator's hosts"
        answer = emulator.answer(request)
        assert answer is not None, f"no answer to {method} {url}"
        return json.loads(answer.encoded())

    return fetch
