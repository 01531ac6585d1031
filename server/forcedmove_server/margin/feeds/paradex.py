"""Paradex: an initial rate that may grow with the root of the position's value, and a share of it to maintain.

Markets that are listed with a factor of 0 have one rate, whatever the size: the formula then gives just that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    TierFeed,
    number,
    rows_at,
    text,
)
from forcedmove_server.margin.ladders import Root

_PLACE = "paradex markets"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    yield Call("publicGetMarkets", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    for row in rows_at(answer, "results"):
        symbol = text(row, "symbol", _PLACE)
        market = markets.get(symbol)
        # Options have margin parameters of another kind.
        if market is None or row.get("asset_kind", "PERP") != "PERP":
            continue
        place, parameters = f"{_PLACE}: {symbol}", row.get("delta1_cross_margin_params")
        base, factor = number(parameters, "imf_base", place), number(parameters, "imf_factor", place)
        shift, share = number(parameters, "imf_shift", place), number(parameters, "mmf_factor", place)
        if 0 < base < 1:
            maintenance, initial = (base, factor, shift, share), (base, factor, shift, 1.0)
            yield ParsedLadder(market.unified, Root(maintenance, initial))


FEED = TierFeed("paradex", ("paradex",), _calls, _parse, "GET /v1/markets: delta1_cross_margin_params")
