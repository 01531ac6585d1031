"""What a consumer has taken of a stream of maps, and when the server is told: each time costs it as much as a map.

A consumer that is fast is served best by a wide window, of which it seldom tells. What waits in the window of a slow
one grows old. So the window of who wants the newest follows the consumer: about a second's worth of responses.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from forcedmove.v1 import heatmap_pb2

#: responses that may be on their way where nothing else is asked for
WINDOW = 24
#: what a window that follows its consumer begins with, and the seconds that what is in it should last
_FIRST_WINDOW, _LASTS_S = 2, 1.0
#: of the average time that a response takes, the share of the newest; what takes longer is a pause, not a pace
_NEWEST_SHARE, _LONGEST_S = 0.25, 2.0
#: what has to be consumed before the server is told: a share of the window, or bytes, with one more response like the
#: newest counted in, so that the server (1 MiB, or two responses) can go on while it is told
_TOLD_SHARE, _TOLD_BYTES = 0.75, 768 << 10
#: or the part of the time after which it takes the consumer to have stopped
_TOLD_PART = 1 / 5


def told_after(window: int) -> int:
    """Responses that are consumed before the server is told."""
    return max(1, int(_TOLD_SHARE * window))


class Credit:
    """Counts for one stream. ``clock`` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most = self._window = 0
        self._adapts = False
        self._stalled_after_s = 0.0
        self._number = self._responses = self._bytes = 0
        self._newest_bytes = 0
        self._told_at = clock()
        self._handed_out_at: float | None = None
        #: average seconds that the consumer takes for a response; None before the first
        self._pace_s: float | None = None

    @property
    def window(self) -> int:
        """Responses that may be on their way unacknowledged."""
        return self._window

    def opened(self) -> None:
        """Begin a new call: nothing was received on it."""
        self._number = self._responses = self._bytes = 0

    def asked(self, most: int, adapts: bool) -> heatmap_pb2.Ack | None:
        """Note a subscription with a window of ``most`` at most, which ``adapts`` to the consumer or is that wide.

        Returns what is to be sent right behind it.
        """
        self._most = self._window = most
        self._adapts = adapts
        self._told_at = self._clock()
        if not adapts:
            return None
        self._window = min(_FIRST_WINDOW, most)
        return heatmap_pb2.Ack(window=self._window)

    def received(self, response: heatmap_pb2.SubscribeResponse) -> None:
        """Note a response."""
        if response.HasField("terms"):
            self._stalled_after_s = response.terms.stalled_after_ms / 1000
        if response.number:
            self._number = response.number
            self._responses += 1
            self._newest_bytes = response.ByteSize()
            self._bytes += self._newest_bytes

    def handed_out(self) -> None:
        """Note that the consumer gets frames of the newest response."""
        self._handed_out_at = self._clock()

    def consumed(self) -> heatmap_pb2.Ack | None:
        """Note that everything received has been consumed. Returns an acknowledgement, where it is time for one."""
        now = self._clock()
        if self._handed_out_at is not None:
            took_s = min(now - self._handed_out_at, _LONGEST_S)
            before = took_s if self._pace_s is None else self._pace_s
            self._pace_s = before + _NEWEST_SHARE * (took_s - before)
            self._handed_out_at = None
        if not self._most or not self._responses:
            return None
        is_late = now - self._told_at >= _TOLD_PART * self._stalled_after_s
        is_much = self._bytes + self._newest_bytes >= _TOLD_BYTES
        if self._responses < told_after(self._window) and not is_much and not is_late:
            return None
        self._responses = self._bytes = 0
        self._told_at = now
        if not self._adapts:
            return heatmap_pb2.Ack(number=self._number)
        if self._pace_s is not None:
            lasting = _LASTS_S / max(self._pace_s, 1e-6)
            self._window = int(max(1, min(lasting, 2 * self._window, self._most)))
        return heatmap_pb2.Ack(number=self._number, window=self._window)
