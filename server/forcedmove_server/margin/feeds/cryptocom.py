"""Crypto.com: rates that grow with the root of the position's size in coins, from ``public/get-risk-parameters``.

The initial rate is ``max(1 / greatest leverage, unit margin rate * sqrt(size))``, half of it is to be maintained. The
call needs no key, but ccxt does not know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from forcedmove_server.margin.feeds.feed import Markets, ParsedLadder, TierFeed, check_code, number, rows_at, text
from forcedmove_server.margin.ladders import Root
from forcedmove_server.margin.tiers import TierMeasure

_PLACE = "cryptocom risk parameters"
_MAINTAINED = 0.5

#: parameters of a currency; what it does not give is found under "default_..."
_LEVERAGE, _UNIT_RATE, _MULTIPLIER = "max_product_leverage_for_perps", "unit_margin_rate", "umr_multiplier_for_perps"


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "code", 0, "message", _PLACE)
    rows = rows_at(answer, "result", "base_currency_config")
    currencies = {text(row, "instrument_name", _PLACE): row for row in rows}
    for market in markets.values():
        found = currencies.get(market.base)
        # The parameters of dated futures differ; their unified symbols end in a date.
        if found is None or "-" in market.unified.rpartition(":")[2]:
            continue
        names, place = (_LEVERAGE, _UNIT_RATE, _MULTIPLIER), f"{_PLACE}: {market.base}"
        given = {name: found.get(name, answer["result"].get(f"default_{name}")) for name in names}
        leverage = number(given, _LEVERAGE, place)
        factor = number(given, _UNIT_RATE, place) * number(given, _MULTIPLIER, place)
        # A leverage of 1 would be an initial rate of 1, which no function of size has.
        if leverage > 1:
            base = 1.0 / leverage
            maintenance, initial = (base, factor, 0.0, _MAINTAINED), (base, factor, 0.0, 1.0)
            yield ParsedLadder(market.unified, Root(maintenance, initial, TierMeasure.QUANTITY))


FEED = TierFeed("cryptocom", ("cryptocom",), lambda markets: iter(()), _parse, "GET public/get-risk-parameters")
