"""Counts and clocks of one venue's channels, from which :class:`~forcedmove_server.market.feeds.FeedStatus` is made."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from forcedmove_server.collectors.continuity import MOST_SKEW_NS
from forcedmove_server.market.events import Channel
from forcedmove_server.market.feeds import FeedStatus

_LAG_MEMORY = 0.05
_RATE_SPAN_S = 5.0


@dataclass(slots=True)
class ChannelHealth:
    """One channel of one venue; written by the collecting thread, read by any."""

    messages: int = 0
    gaps: int = 0
    drops: int = 0
    reconnects: int = 0
    repeated: int = 0
    refused: int = 0
    last_received_ns: int = 0
    lag_ns: float = math.nan
    rate_hz: float = 0.0
    _counted: int = 0
    _counted_at: float = field(default_factory=time.monotonic)

    def received(self, now_ns: int, time_ns: int) -> None:
        """Note a message of an event stamped ``time_ns`` (0: no stamp)."""
        self.messages += 1
        self.last_received_ns = now_ns
        lag = float(now_ns - time_ns)
        if abs(lag) <= MOST_SKEW_NS:  # a stamp that is not believed, or an old event of a list, says nothing of lag
            self.lag_ns = lag if math.isnan(self.lag_ns) else self.lag_ns + _LAG_MEMORY * (lag - self.lag_ns)

    def measure(self) -> None:
        """Update the rate; called about once a second."""
        now = time.monotonic()
        elapsed = now - self._counted_at
        if elapsed > 0:
            keep = math.exp(-elapsed / _RATE_SPAN_S)
            self.rate_hz = keep * self.rate_hz + (1 - keep) * (self.messages - self._counted) / elapsed
            self._counted, self._counted_at = self.messages, now


class VenueHealth:
    """All channels of one venue, and what happened to its messages as such."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.channels = {channel: ChannelHealth() for channel in Channel}
        self.wanted: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        self.live: dict[Channel, set[str]] = {channel: set() for channel in Channel}
        self.malformed = 0
        self.unknown: dict[str, int] = {}
        self.trouble = ""

    def note_unknown(self, kind: str) -> None:
        """Count a message of an unknown kind; kinds beyond a hundred are counted together."""
        key = kind if kind in self.unknown or len(self.unknown) < 100 else "other"
        self.unknown[key] = self.unknown.get(key, 0) + 1

    def measure(self) -> None:
        """Update the rates."""
        for channel in self.channels.values():
            channel.measure()

    def status(self, now_ns: int) -> list[FeedStatus]:
        """Return the state of every channel that is wanted or has brought something."""
        return [
            FeedStatus(
                venue=self.venue,
                channel=channel,
                wanted=len(self.wanted[channel]),
                live=len(self.wanted[channel] & self.live[channel]),
                age_s=(now_ns - health.last_received_ns) / 1e9 if health.last_received_ns else None,
                lag_s=None if math.isnan(health.lag_ns) else health.lag_ns / 1e9,
                rate_hz=health.rate_hz,
                messages=health.messages,
                gaps=health.gaps,
                drops=health.drops,
                reconnects=health.reconnects,
                repeated=health.repeated,
                malformed=self.malformed,
                unknown=sum(self.unknown.values()),
                refused=health.refused,
                trouble=self.trouble,
            )
            for channel, health in self.channels.items()
            if self.wanted[channel] or health.messages
        ]
