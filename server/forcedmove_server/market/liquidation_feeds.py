"""How much of its forced closes a venue publishes: what may be compared with a map in total, and what only in place.

From the venues' own documentation where it says so; ``docs/feeds.md`` has the sources.
"""

from __future__ import annotations

#: every liquidation, or so the venue says; fills on the book where positions may also be assigned without one
_COMPLETE = frozenset(
    {"backpack", "bitfinex", "bybit", "deribit", "dydx", "gate", "htx", "krakenfutures", "lighter", "paradex"}
)
#: at most about one a second and market (Binance, Aster, OKX), or the largest of a while (Bitget): a floor
_SAMPLED = frozenset({"aster", "binance", "bitget", "okx"})


def liquidations_complete(venue: str) -> bool | None:
    """Whether a venue's public feed carries every liquidation; None for venues without such a feed."""
    if venue in _COMPLETE:
        return True
    return False if venue in _SAMPLED else None
