"""One reader of a stream: what it has yet to be sent, how far it has come, and how much it may be sent."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from forcedmove_server.errors import InputError, SlowConsumerError
from forcedmove_server.rpc.flock import Flock, TickChunks
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.topics import Sendable, Topic
from forcedmove_server.rpc.traffic import TrafficCounts

#: beyond which two responses are enough, however many may be unacknowledged
_MOST_UNACKED_BYTES = 1 << 20


class Taken(NamedTuple):
    """Frames with the position each one follows, or those of a tick that are put together already; how many were left
    out.
    """

    frames: list[tuple[Sendable, int]]
    tick: TickChunks | None
    skipped: int


class Subscriber:
    """What a reader last took of a symbol is its *position*. A frame continues a position or it does not; where it does
    not, after a replaced frame for example, the reader gets the snapshot.

    A reader keeps no frames: which one it gets is settled when it takes it. So a LATEST reader that is slow gets the
    newest one, and what an EVERY reader has not taken is kept once for all, by the topic. Belongs to the event loop.
    """

    def __init__(
        self, clock: Callable[[], float], traffic: TrafficCounts | None = None, stalled_after_s: float = 10.0
    ) -> None:
        self._clock, self._stalled_after_s = clock, stalled_after_s
        self._traffic = traffic or TrafficCounts()
        self.subscription: Subscription | None = None
        self.flock = Flock()
        #: what a stream answers at once: nonces of pings
        self.pings: deque[int] = deque()
        self._positions: Mapping[str, int] = {}
        #: the flock's positions when everything was taken
        self._seen: Mapping[str, int] = self.flock.positions
        #: symbols whose turn it is, and the flock's positions when that was settled
        self._round: deque[str] = deque()
        self._round_of = self._seen
        self._due = 0.0
        self._sent = 0
        #: numbers and sizes of the responses that are to be acknowledged, and the sum of the sizes
        self._unacked: deque[tuple[int, int]] = deque()
        self._unacked_bytes = 0
        self._blocked_since: float | None = None
        #: when the hub's pulse wakes the writer, and what it cancels where a write takes too long
        self._wake_at = math.inf
        self._writing: tuple[float, asyncio.Task[Any]] | None = None
        self._was_cut = False
        self._error: Exception | None = None
        self._wake = asyncio.Event()

    # --- what the hub tells ------------------------------------------------------------------------------------------

    def restart(self, subscription: Subscription, flock: Flock, positions: Mapping[str, int]) -> None:
        """Begin another subscription from ``positions``; what was not taken of the one before is dropped."""
        self.subscription, self.flock, self._positions = subscription, flock, positions
        self._seen = {}
        self._round.clear()
        self._due = 0.0
        self._blocked_since = None
        if not subscription.max_unacked:  # nobody owes an acknowledgement any more
            self._unacked.clear()
            self._unacked_bytes = 0
        self._wake.set()

    def notify(self) -> None:
        """Note that the flock has moved on."""
        if self.wants_every and self._positions is not self.flock.before:
            for symbol, topic in self.flock.topics.items():
                if (position := self._positions.get(symbol)) and topic.has_dropped(position):
                    self.fail(self._slow(f"{symbol}: fell behind by more frames than are kept"))
        self._wake.set()

    def fail(self, error: Exception) -> None:
        """End the stream with ``error``."""
        self._error = self._error or error
        self._wake.set()

    def wake(self) -> None:
        """Let the writer look again."""
        self._wake.set()

    # --- what the reader tells ---------------------------------------------------------------------------------------

    def acknowledge(self, number: int) -> None:
        """Note what was consumed. Raises InputError for a response that was not sent."""
        if number > self._sent:
            raise InputError("ack.number", number, f"the newest response has number {self._sent}")
        if self._unacked and self._unacked[0][0] <= number and self._blocked_since is not None:
            self._blocked_since = None
            self._wake.set()
        while self._unacked and self._unacked[0][0] <= number:
            self._unacked_bytes -= self._unacked.popleft()[1]

    # --- what the writer asks ----------------------------------------------------------------------------------------

    @property
    def request_id(self) -> int:
        """Which request is being answered; 0 before the first."""
        return self.subscription.request_id if self.subscription else 0

    @property
    def wants_every(self) -> bool:
        """Whether no frame may be left out."""
        return self.subscription is not None and self.subscription.delivery == "every"

    @property
    def _counts_skips(self) -> bool:
        """What max_rate_hz leaves out is what the reader asked for, and no sign of slowness."""
        return self.subscription is not None and not self.subscription.min_interval_s

    def raise_error(self) -> None:
        """Raise what the stream was ended with."""
        if self._error is not None:
            raise self._error

    def may_send(self) -> bool:
        """Whether another response may be sent just now."""
        window = self.subscription.max_unacked if self.subscription else 0
        if not window:
            return True
        # several short ones may be on their way, not several long ones
        return len(self._unacked) < window and (len(self._unacked) < 2 or self._unacked_bytes < _MOST_UNACKED_BYTES)

    def has_news(self) -> bool:
        """Whether there is something to take that max_rate_hz does not hold back."""
        return bool(self._round) or (self._seen is not self.flock.positions and self._clock() >= self._due)

    def next_number(self) -> int:
        """Return the number of the next response."""
        self._sent += 1
        return self._sent

    def sent(self, size: int) -> None:
        """Note how long the newest response is."""
        if self.subscription is not None and self.subscription.max_unacked:
            self._unacked.append((self._sent, size))
            self._unacked_bytes += size

    async def wait(self, until: float, has_more: bool) -> None:
        """Wait for anything to happen, until a time at most; ``has_more``: a response is ready that must not be sent.

        Raises SlowConsumerError when nothing could be sent for too long.
        """
        now = self._clock()
        if not self.may_send() and (has_more or self.has_news()):
            if self._blocked_since is None:
                self._blocked_since = now
            stalled_at = self._blocked_since + self._stalled_after_s
            if now >= stalled_at:
                raise self._slow(f"nothing was acknowledged for {self._stalled_after_s:g} s")
            until = min(until, stalled_at)
        elif self._seen is not self.flock.positions and not self._round:
            until = min(until, self._due)
        if until <= now:
            return
        self._wake.clear()
        self._wake_at = until
        # the pulse is too coarse for rates, and costs less than a timer for everybody
        due = asyncio.get_running_loop().call_at(until, self._wake.set) if until == self._due else None
        try:
            await self._wake.wait()
        finally:
            self._wake_at = math.inf
            if due is not None:
                due.cancel()

    def pulse(self, now: float) -> None:
        """Wake the writer where it is time, and cut off a write that takes too long; the hub calls this often."""
        if now >= self._wake_at:
            self._wake.set()
        if self._writing is not None and now - self._writing[0] >= self._stalled_after_s and not self._was_cut:
            self._was_cut = True
            self._writing[1].cancel()

    async def write(self, context: Any, message: bytes) -> None:
        """Hand a message to gRPC. Raises SlowConsumerError where nothing could be written for too long."""
        task = asyncio.current_task()
        assert task is not None
        self._writing = self._clock(), task
        try:
            await context.write(message)
        except asyncio.CancelledError:
            if not self._was_cut:
                raise
            task.uncancel()
            raise self._slow(f"nothing was read for {self._stalled_after_s:g} s") from None
        finally:
            self._writing = None

    def take(self, max_bytes: int) -> Taken:
        """Take frames of about ``max_bytes`` at most, at least one where there are any. Raises SlowConsumerError."""
        flock = self.flock
        if not self._round:
            interval = self.subscription.min_interval_s if self.subscription else 0.0
            self._due = self._clock() + interval if interval else 0.0
            if self._positions is flock.before and not (flock.missed and self.wants_every):
                self._positions = self._seen = flock.positions
                missed = flock.missed if self._counts_skips else 0
                self._traffic.conflated += missed
                return Taken([], flock.tick_chunks(max_bytes), missed)
            self._positions = dict(self._positions)
            self._round_of = flock.positions
            self._round.extend(s for s, seq in flock.positions.items() if seq != self._positions.get(s))
        taken = self._taken(self._positions, max_bytes)  # type: ignore[arg-type]  # it is this reader's own by now
        if not self._round:
            self._seen = self._round_of
            if self._positions == flock.positions:
                self._positions = flock.positions
        return taken

    def _taken(self, positions: dict[str, int], max_bytes: int) -> Taken:
        frames: list[tuple[Sendable, int]] = []
        skipped, room = 0, max_bytes
        while self._round:
            symbol = self._round[0]
            for frame in self._following(self.flock.topics[symbol]):
                position = positions.get(symbol, 0)
                room -= frame.expected_bytes(position)
                if frames and room < 0:
                    return self._counted(frames, skipped)
                frames.append((frame, position))
                positions[symbol] = frame.seq
                if position and self._counts_skips:
                    skipped += max(0, frame.seq - position - 1)
            self._round.popleft()
        return self._counted(frames, skipped)

    def _counted(self, frames: list[tuple[Sendable, int]], skipped: int) -> Taken:
        self._traffic.conflated += skipped
        return Taken(frames, None, skipped)

    def _following(self, topic: Topic) -> Sequence[Sendable]:
        if topic.latest is None:
            return ()
        position = self._positions.get(topic.symbol, 0)
        if not (self.wants_every and position):
            return (topic.latest,)
        following = topic.after(position)
        if following is None:
            raise self._slow(f"{topic.symbol}: fell behind by more frames than are kept")
        return following

    def _slow(self, reason: str) -> SlowConsumerError:
        epoch = next((topic.latest.epoch for topic in self.flock.topics.values() if topic.latest is not None), 0)
        return SlowConsumerError(
            f"slow consumer: {reason}; resume behind what was applied", epoch, dict(self._positions)
        )
