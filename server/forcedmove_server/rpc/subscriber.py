"""One reader of a stream: what it has yet to be sent, how far it has come, and how much it may be sent."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from forcedmove_server.errors import InputError, SlowConsumerError
from forcedmove_server.rpc.flock import Flock, SharedResponse
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.topics import Sendable, Topic
from forcedmove_server.rpc.traffic import TrafficCounts

#: beyond which two responses are enough, however many may be unacknowledged
_MOST_UNACKED_BYTES = 1 << 20


class Taken(NamedTuple):
    """Frames with the position each one follows, and how many were left out."""

    frames: list[tuple[Sendable, int]]
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
        #: of the subscription: which request is being answered, 0 before the first; whether no frame may be left out
        self.request_id = 0
        self.wants_every = False
        self._window, self._min_interval_s = 0, 0.0
        self.flock = Flock()
        #: what a stream answers at once: nonces of pings
        self.pings: deque[int] = deque()
        self._positions: Mapping[str, int] = {}
        #: the same while they are this reader's own
        self._own: dict[str, int] = {}
        #: the flock's positions when everything was taken
        self._seen: Mapping[str, int] = self.flock.positions
        #: symbols whose turn it is, and the flock's positions when that was settled
        self._round: deque[str] = deque()
        self._round_of = self._seen
        self._due = 0.0
        #: number of the newest response
        self.number = 0
        #: numbers and sizes of the responses that are to be acknowledged, and the sum of the sizes
        self._unacked: deque[tuple[int, int]] = deque()
        self._unacked_bytes = 0
        self._blocked_since: float | None = None
        #: when the hub's pulse wakes the writer, whose task it is, and since when it waits for gRPC to take a message
        self._wake_at = math.inf
        self.writer: asyncio.Task[Any] | None = None
        self.writing_since: float | None = None
        self._was_cut = False
        #: what the stream is to end with
        self.error: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None
        #: whether anything has happened since the writer set it to False
        self.woken = False

    # --- what the hub tells ------------------------------------------------------------------------------------------

    def restart(self, subscription: Subscription, flock: Flock, positions: Mapping[str, int]) -> None:
        """Begin another subscription from ``positions``; what was not taken of the one before is dropped."""
        self.subscription, self.flock, self._positions = subscription, flock, positions
        self.request_id, self.wants_every = subscription.request_id, subscription.delivery == "every"
        self._window, self._min_interval_s = subscription.max_unacked, subscription.min_interval_s
        self._seen = {}
        self._round.clear()
        self._due = 0.0
        self._blocked_since = None
        if not self._window:  # nobody owes an acknowledgement any more
            self._unacked.clear()
            self._unacked_bytes = 0
        self.wake()

    def notify(self) -> None:
        """Note that the flock has moved on."""
        if self.wants_every and self._positions is not self.flock.before:
            for symbol, topic in self.flock.topics.items():
                if (position := self._positions.get(symbol)) and topic.has_dropped(position):
                    self.fail(self._slow(f"{symbol}: fell behind by more frames than are kept"))
        self.wake()

    def fail(self, error: Exception) -> None:
        """End the stream with ``error``."""
        self.error = self.error or error
        self.wake()

    def wake(self) -> None:
        """Let the writer look again."""
        self.woken = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # --- what the reader tells ---------------------------------------------------------------------------------------

    def acknowledge(self, number: int, window: int = 0) -> None:
        """Note what was consumed, and how many responses may be unacknowledged from now on (0: as before).

        Raises InputError for a response that was not sent.
        """
        if number > self.number:
            raise InputError("ack.number", number, f"the newest response has number {self.number}")
        if window and self.subscription is not None:
            self._window = min(window, self.subscription.max_unacked)
            self.wake()
        if self._unacked and self._unacked[0][0] <= number and self._blocked_since is not None:
            self._blocked_since = None
            self.wake()
        while self._unacked and self._unacked[0][0] <= number:
            self._unacked_bytes -= self._unacked.popleft()[1]

    # --- what the writer asks ----------------------------------------------------------------------------------------

    def may_send(self) -> bool:
        """Whether another response may be sent just now."""
        if not self._window:
            return True
        # several short ones may be on their way, not several long ones
        unacked = len(self._unacked)
        return unacked < self._window and (unacked < 2 or self._unacked_bytes < _MOST_UNACKED_BYTES)

    def has_news(self) -> bool:
        """Whether there is something to take that max_rate_hz does not hold back."""
        if self._seen is self.flock.positions:
            return bool(self._round)
        return bool(self._round) or not self._due or self._clock() >= self._due

    def sends(self, number: int, size: int) -> None:
        """Note the number and the length of the newest response."""
        self.number = number
        if self._window:
            self._unacked.append((number, size))
            self._unacked_bytes += size

    async def wait(self, until: float, has_more: bool) -> None:
        """Wait for anything to happen, until a time at most; ``has_more``: a response is ready that must not be sent.

        Raises SlowConsumerError when nothing could be sent for too long.
        """
        now = self._clock()
        if (has_more or self.has_news()) and not self.may_send():
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
        waiting = self.next_wake(until)
        if until != self._due:
            await waiting
            return
        # the pulse is too coarse for rates, and costs less than a timer for everybody
        due = waiting.get_loop().call_later(until - now, self.wake)
        try:
            await waiting
        finally:
            due.cancel()

    def next_wake(self, until: float) -> asyncio.Future[None]:
        """Return what is done at the next wake, about ``until`` at the latest."""
        self._wake_at = until
        self._waiting = waiting = asyncio.get_running_loop().create_future()
        return waiting

    def pulse(self, now: float) -> None:
        """Wake the writer where it is time, and cut off a write that takes too long; the hub calls this often."""
        if now >= self._wake_at:
            self.wake()
        since = self.writing_since
        if since is not None and now - since >= self._stalled_after_s and self.writer is not None:
            self._was_cut = True
            self.writer.cancel()
            self.writer = None

    def raise_cut(self, task: asyncio.Task[Any] | None) -> None:
        """Raise SlowConsumerError where the pulse cancelled ``task``, the writer's."""
        if self._was_cut and task is not None:
            task.uncancel()
            raise self._slow(f"nothing was read for {self._stalled_after_s:g} s") from None

    def take_shared(self, numbers: Iterator[int], max_bytes: int) -> SharedResponse | None:
        """Take the response to a tick that others get as well, and note that it is sent; None where nothing may be sent
        or this reader needs one of its own.
        """
        flock = self.flock
        if self._positions is not flock.before or flock.missed or self._round or self._min_interval_s:
            return None
        if not self.may_send():
            return None
        # all readers but a tick's first find both: a call less for each
        share = flock.newest or flock.share()
        response = share.responses.get(self.request_id) or share.response(self.request_id, numbers, max_bytes)
        if response is None or response.number <= self.number:  # what it has of its own came in between
            return None
        self._positions = self._seen = flock.positions
        self.sends(response.number, len(response.message))
        return response

    def take(self, max_bytes: int) -> Taken:
        """Take frames of about ``max_bytes`` at most, at least one where there are any. Raises SlowConsumerError."""
        flock = self.flock
        if not self._round:
            self._positions = self._own = dict(self._positions)
            self._round_of = flock.positions
            self._round.extend(s for s, seq in flock.positions.items() if seq != self._own.get(s))
            if self._round and self._min_interval_s:
                self._due = self._clock() + self._min_interval_s
        taken = self._taken(self._own, max_bytes)
        if not self._round:
            self._seen = self._round_of
            if self._own == flock.positions:
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
                if position and not self._min_interval_s:  # what that leaves out is no sign of slowness
                    skipped += max(0, frame.seq - position - 1)
            self._round.popleft()
        return self._counted(frames, skipped)

    def _counted(self, frames: list[tuple[Sendable, int]], skipped: int) -> Taken:
        self._traffic.conflated += skipped
        return Taken(frames, skipped)

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
