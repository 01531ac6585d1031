"""Public tier tables, one small file per venue; this table finds them by the venue's name."""

from __future__ import annotations

from forcedmove_server.margin.feeds import (
    backpack,
    bingx,
    bitfinex,
    bitget,
    bybit,
    cryptocom,
    dydx,
    gate,
    htx,
    hyperliquid,
    krakenfutures,
    kucoinfutures,
    lighter,
    mexc,
    okx,
    paradex,
    phemex,
    xt,
)
from forcedmove_server.margin.feeds.binance_family import ASTER_FEED, BINANCE_FEED
from forcedmove_server.margin.feeds.feed import TierFeed

_OWN = (
    backpack, bingx, bitfinex, bitget, bybit, cryptocom, dydx, gate, htx, hyperliquid, krakenfutures, kucoinfutures,
    lighter, mexc, okx, paradex, phemex, xt,
)  # fmt: skip

#: by venue; Deribit and WhiteBIT publish no table that a program could read
FEEDS: dict[str, TierFeed] = {
    feed.venue: feed for feed in (BINANCE_FEED, ASTER_FEED, *(module.FEED for module in _OWN))
}
