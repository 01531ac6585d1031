"""dYdX: one maintenance fraction per market, whatever the size.

Only the initial fraction rises, with the market's open interest between two caps; the greatest leverage is that of the
fraction as it is published.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds.feed import Call, ListedMarket, Markets, ParsedLadder, TierFeed, number
from forcedmove_server.margin.ladders import Tiers

_PLACE = "dydx perpetualMarkets"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    yield Call("indexerGetPerpetualMarkets", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    tickers = answer.get("markets") if isinstance(answer, Mapping) else None
    if not isinstance(tickers, Mapping):
        raise FileFormatError("markets", type(tickers).__name__, "must map tickers to markets", _PLACE)
    for ticker, row in tickers.items():
        market = markets.get(ticker)
        if market is None:
            continue
        initial = number(row, "initialMarginFraction", f"{_PLACE}: {ticker}")
        maintenance = number(row, "maintenanceMarginFraction", f"{_PLACE}: {ticker}")
        if initial > 0 and 0 < maintenance < 1:
            yield ParsedLadder(market.unified, Tiers([(0.0, maintenance, max(1.0 / initial, 1.0))]))


FEED = TierFeed("dydx", ("dydx",), _calls, _parse, "indexer GET /v4/perpetualMarkets: margin fractions")
