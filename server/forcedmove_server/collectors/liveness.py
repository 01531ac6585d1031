"""Whether a connection is alive, and from when on something may be missing when it is not."""

from __future__ import annotations

import time
from collections import deque

from forcedmove_server.collectors.continuity import MOST_SKEW_NS
from forcedmove_server.errors import ForcedMoveError

#: nothing came for this long: ask with a ping of the websocket protocol, which every server has to answer
_PROBE_AFTER_S, _ANSWER_WITHIN_S = 5.0, 4.0
#: stamps of the newest events that are kept
_STAMPS = 16


class ConnectionLostError(ForcedMoveError):
    """The connection is of no use any more; another one is made."""


class Liveness:
    """Clocks of one connection. Times are monotonic seconds, those with ``_ns`` Unix nanoseconds."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self.opened()

    def opened(self) -> None:
        """A connection was made; what was known of the one before is forgotten."""
        self.heard()
        self._stamps: deque[int] = deque(maxlen=_STAMPS)
        self._pinged = self._last
        self._probed = 0.0

    @property
    def last(self) -> float:
        """When the newest frame came."""
        return self._last

    def heard(self) -> int:
        """A frame came; returns its time in Unix nanoseconds."""
        self._last, self._last_ns = time.monotonic(), time.time_ns()
        return self._last_ns

    def stamped(self, time_ns: int) -> None:
        """An event had this stamp."""
        self._stamps.append(time_ns)

    def check(self) -> None:
        """Raise ConnectionLostError when the connection has been silent too long."""
        now = time.monotonic()
        silent = now - self._last
        if silent > self._silence_s:
            raise ConnectionLostError(f"silent for {silent:.1f} s")
        if self._probed > self._last and now - self._probed > _ANSWER_WITHIN_S:
            raise ConnectionLostError(f"silent for {silent:.1f} s, and a ping is not answered")

    def ping_is_due(self, every_s: float) -> bool:
        """Whether the venue's own ping has to be sent now."""
        now = time.monotonic()
        if not every_s or now - self._pinged < every_s:
            return False
        self._pinged = now
        return True

    def probe_is_due(self) -> bool:
        """Whether to ask with a ping of the protocol: once for every silence."""
        now = time.monotonic()
        if self._probed > self._last or now - self._last <= min(_PROBE_AFTER_S, self._silence_s / 2):
            return False
        self._probed = now
        return True

    def since_ns(self, now_ns: int) -> int:
        """Event time from which something may be missing.

        What was on its way when the connection died is younger than what came last, by the venue's clock. A few of the
        last stamps are looked at, since messages change places, and none that cannot be right.
        """
        last_ns = self._last_ns or now_ns
        return min([last_ns, *(stamp for stamp in self._stamps if last_ns - stamp < MOST_SKEW_NS)])

    def until_ns(self, now_ns: int) -> int:
        """Event time up to which something may be missing: later than ``now_ns`` where the venue's clock is ahead."""
        ahead = (stamp - self._last_ns for stamp in self._stamps)
        return now_ns + max((lead for lead in ahead if 0 < lead < MOST_SKEW_NS), default=0)
