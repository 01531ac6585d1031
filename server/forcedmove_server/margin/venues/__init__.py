"""One small declaration per venue; this table finds them by any of their names.

To add a venue: write ``venues/<name>.py`` with a :class:`~forcedmove_server.margin.venue.Venue` called ``VENUE``, give
every fact its confidence and its source, and list the module here. Prefer a note over silence for whatever is recalled
rather than read.
"""

from __future__ import annotations

from forcedmove_server.margin.venue import Venue
from forcedmove_server.margin.venues import (
    aster,
    backpack,
    binance,
    bingx,
    bitfinex,
    bitget,
    bybit,
    cryptocom,
    deribit,
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
    whitebit,
    xt,
)

#: in order of weight
VENUES: tuple[Venue, ...] = tuple(
    module.VENUE
    for module in (
        binance, bybit, okx, bitget, gate, hyperliquid, mexc, htx, kucoinfutures, bingx, krakenfutures, deribit,
        bitfinex, phemex, cryptocom, aster, lighter, dydx, xt, whitebit, paradex, backpack,
    )
)  # fmt: skip

_BY_NAME = {name: venue for venue in VENUES for name in (venue.name, *venue.names)}


def venue_named(name: str) -> Venue | None:
    """Return the venue that goes by a name, of its own or of recorded archives; None for one that is not described."""
    return _BY_NAME.get(name)
