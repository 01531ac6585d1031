"""Which markets' feeds can be trusted at this moment: what their collectors say, and where nobody says, ages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import ModelConfig
from forcedmove_server.inference.markets import MarketTable
from forcedmove_server.market.events import Channel, Records

_PRICES = (Channel.MARK_PRICES, Channel.TRADES)
#: marks never pause for this many times ``lost_after_s``, whatever their feed is said to be
_PAUSE = 3
#: a market none of whose channels has been fed for this long is not there any more
_GONE_NS = 3600 * 10**9
#: of a channel of which nobody said whether it is fed, and of one that is
_UNTOLD, _LIVE = -1, -2


class FeedStates:
    """The rule by which a market counts as fresh.

    Its price must not be older than ``stale_after_s``, and where collectors tell of its feeds one that brings a price
    must be live, or lost for at most ``lost_after_s``. Open interest moves slowly, and on some venues comes only when
    it changes: where its feed is told of, it counts while that is live and for ``stale_after_s`` after it was lost,
    whatever its own age; where nobody tells of it, as in recorded files, for ``stale_after_s`` after its stamp. Where
    marks are told of, a price older than three times ``lost_after_s`` is stale although its feed is said to live.
    """

    def __init__(self, markets: MarketTable, model: ModelConfig) -> None:
        self._markets = markets
        self._stale_after_ns = round(model.stale_after_s * 1e9)
        self._lost_after_ns = round(model.lost_after_s * 1e9)
        #: event time at which a market's channel was lost, i64 ``[M, channels]``, or one of the two above
        self._lost_ns = np.full((markets.capacity, len(Channel)), _UNTOLD, np.int64)

    def take(self, feed_states: Records) -> None:
        """Take what collectors tell, in time order."""
        rows = feed_states
        self._lost_ns[rows["market"], rows["channel"]] = np.where(rows["live"] != 0, _LIVE, rows["time_ns"])

    def fed(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return markets and channels that are told to be fed, arrays ``[F]``."""
        market, channel = np.nonzero(self._lost_ns == _LIVE)
        return market, channel

    def fresh(self, markets: list[int], now_ns: int) -> NDArray[np.bool_]:
        """Return which of these markets are fresh, bool ``[len(markets)]``."""
        table = self._markets
        price_ns, interest_ns = table.price_ns[markets], table.open_interest_ns[markets]
        seen = (price_ns >= 0) & (interest_ns >= 0)
        lost_ns = self._lost_ns[markets]
        prices = lost_ns[:, _PRICES]
        marked = lost_ns[:, Channel.MARK_PRICES] != _UNTOLD
        oldest = np.where(marked, min(self._stale_after_ns, _PAUSE * self._lost_after_ns), self._stale_after_ns)
        priced = now_ns - price_ns <= oldest
        # one live feed of prices is enough; else the one that was lost last counts
        priced &= (
            (prices == _LIVE).any(1) | (prices == _UNTOLD).all(1) | (now_ns - prices.max(1) <= self._lost_after_ns)
        )
        interest = lost_ns[:, Channel.OPEN_INTEREST]
        since_ns = np.where(interest == _UNTOLD, interest_ns, interest)
        fresh: NDArray[np.bool_] = seen & priced & ((interest == _LIVE) | (now_ns - since_ns <= self._stale_after_ns))
        return fresh

    def gone(self, markets: list[int], now_ns: int) -> NDArray[np.bool_]:
        """Return which of these markets collectors gave up an hour ago, as delisted ones: bool ``[len(markets)]``."""
        lost_ns = self._lost_ns[markets]
        told = lost_ns != _UNTOLD
        gone: NDArray[np.bool_] = told.any(1) & ((now_ns - lost_ns > _GONE_NS) & (lost_ns >= 0) | ~told).all(1)
        return gone
