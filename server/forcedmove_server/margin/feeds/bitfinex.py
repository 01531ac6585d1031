"""Bitfinex: one initial and one maintenance rate per derivatives pair, whatever the size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds.feed import Call, ListedMarket, Markets, ParsedLadder, TierFeed, number, rows_at
from forcedmove_server.margin.ladders import Tiers

_PLACE = "bitfinex conf"

#: places of the rates among a pair's details
_INITIAL, _MAINTENANCE = 8, 9


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    yield Call("publicGetConfPubInfoPairFutures", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    # One block per key that was asked for; an error is ["error", code, text], whose first block is no list.
    for block in rows_at(answer):
        for entry in rows_at(block):
            match entry:
                case [str(pair), [*details]] if len(details) > _MAINTENANCE:
                    # Trading symbols carry a "t" that this list leaves out.
                    market = markets.get(f"t{pair}") or markets.get(pair)
                case _:
                    raise FileFormatError("pair", entry, "must be a name and at least ten details", _PLACE)
            if market is None:
                continue
            rates = {"initial_margin": details[_INITIAL], "minimum_margin": details[_MAINTENANCE]}
            initial = number(rates, "initial_margin", f"{_PLACE}: {pair}")
            maintenance = number(rates, "minimum_margin", f"{_PLACE}: {pair}")
            if initial > 0 and 0 < maintenance < 1:
                yield ParsedLadder(market.unified, Tiers([(0.0, maintenance, max(1.0 / initial, 1.0))]))


FEED = TierFeed("bitfinex", ("bitfinex",), _calls, _parse, "GET /v2/conf/pub:info:pair:futures")
