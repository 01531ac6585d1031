"""One reader of a stream: the one slot it owns per symbol, and how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from forcedmove_server.rpc.encoding import EncodedFrame
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.traffic import TrafficCounts


class Subscriber:
    """A LATEST reader: a frame that was not taken is replaced by the next one of its symbol.

    What a reader last took of a symbol is its *position*. A frame continues a position or it does not; where it does
    not, after a replaced frame for example, the reader gets the snapshot. There is no other bookkeeping.
    Belongs to the event loop.
    """

    def __init__(self, clock: Callable[[], float], traffic: TrafficCounts | None = None) -> None:
        self._clock = clock
        self._traffic = traffic or TrafficCounts()
        self._pending: dict[str, EncodedFrame] = {}
        self._positions: dict[str, int] = {}
        self._skipped = 0
        self._due = 0.0
        self._held_back = False
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self.subscription: Subscription | None = None

    def restart(self, subscription: Subscription, positions: dict[str, int]) -> None:
        """Begin another subscription from ``positions``; what was not taken of the one before is dropped."""
        self.subscription = subscription
        self._pending.clear()
        self._positions = positions
        self._due, self._held_back = 0.0, False

    def offer(self, frame: EncodedFrame) -> None:
        """Put a frame into its symbol's slot; ``wake`` follows once all of a tick are there."""
        # What max_rate_hz holds back is what the reader asked for, and no sign of slowness.
        if frame.symbol in self._pending and not self._held_back and self._clock() >= self._due:
            self._skipped += 1
            self._traffic.conflated += 1
        self._pending[frame.symbol] = frame

    def fail(self, error: Exception) -> None:
        """End the stream with ``error``."""
        self._error = self._error or error
        self._wake.set()

    def wake(self) -> None:
        """Let the writer look again."""
        self._wake.set()

    async def ready(self, timeout_s: float) -> bool:
        """Wait until frames can be taken; False when that took longer. Raises what the stream was ended with."""
        deadline = self._clock() + timeout_s
        while True:
            if self._error is not None:
                raise self._error
            now = self._clock()
            if self._pending and now >= self._due:
                return True
            if now >= deadline:
                return False
            self._held_back = bool(self._pending)
            self._wake.clear()
            try:
                async with asyncio.timeout_at(min(deadline, self._due) if self._pending else deadline):
                    await self._wake.wait()
            except TimeoutError:
                pass

    @property
    def request_id(self) -> int:
        """Which request is being answered; 0 before the first."""
        return self.subscription.request_id if self.subscription else 0

    def take(self) -> tuple[list[tuple[EncodedFrame, int]], int]:
        """Empty the slots: frames with the position each one follows, and how many were skipped before them."""
        interval = self.subscription.min_interval_s if self.subscription else 0.0
        self._due = self._clock() + interval if interval else 0.0
        taken = [(frame, self._positions.get(symbol, 0)) for symbol, frame in self._pending.items()]
        self._positions.update((symbol, frame.seq) for symbol, frame in self._pending.items())
        skipped, self._skipped = self._skipped, 0
        self._pending, self._held_back = {}, False
        return taken, skipped
