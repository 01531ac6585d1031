"""One reader of a stream: what it has yet to be sent, how far it has come, and how much it may be sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from forcedmove_server.errors import InputError, SlowConsumerError
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.topics import Sendable, Topic
from forcedmove_server.rpc.traffic import TrafficCounts


class Taken(NamedTuple):
    """Frames with the position each one follows, and how many were left out before them."""

    frames: list[tuple[Sendable, int]]
    skipped: int


class Subscriber:
    """What a reader last took of a symbol is its *position*. A frame continues a position or it does not; where it does
    not, after a replaced frame for example, the reader gets the snapshot.

    A reader keeps no frames, only names of symbols that have news: which frame it gets is settled when it takes it. So
    a LATEST reader that is slow gets the newest one, and what an EVERY reader has not taken is kept once for all, by
    the topic. Belongs to the event loop.
    """

    def __init__(
        self, clock: Callable[[], float], traffic: TrafficCounts | None = None, stalled_after_s: float = 10.0
    ) -> None:
        self._clock, self._stalled_after_s = clock, stalled_after_s
        self._traffic = traffic or TrafficCounts()
        self.topics: dict[str, Topic] = {}
        self.subscription: Subscription | None = None
        #: what a stream answers at once: nonces of pings
        self.pings: deque[int] = deque()
        self._positions: dict[str, int] = {}
        self._resumed: dict[str, int] = {}
        #: symbols with news, and those of them whose turn it is; dict: in order, each once
        self._news: dict[str, None] = {}
        self._round: dict[str, None] = {}
        self._skipped = 0
        self._due = 0.0
        self._held_back = False
        self._sent = self._acked = 0
        self._blocked_since: float | None = None
        self._error: Exception | None = None
        self._wake = asyncio.Event()

    # --- what the hub tells ------------------------------------------------------------------------------------------

    def restart(self, subscription: Subscription, positions: dict[str, int], missed_from: dict[str, int]) -> None:
        """Begin another subscription from ``positions``; what was not taken of the one before is dropped.

        ``missed_from`` are positions that cannot be continued: what lies between is told as skipped.
        """
        self.subscription = subscription
        self._news.clear()
        self._round.clear()
        self._positions, self._resumed = positions, missed_from
        self._due, self._held_back = 0.0, False
        self._blocked_since = None

    def offer(self, topic: Topic) -> None:
        """Note that a topic has another frame; ``wake`` follows once all of a tick are noted."""
        symbol = topic.symbol
        if self._wants_every:
            if symbol in self._positions and topic.has_dropped(self._positions[symbol]):
                self.fail(self._slow(f"{symbol}: fell behind by more frames than are kept"))
        # What max_rate_hz holds back is what the reader asked for, and no sign of slowness; what was missed before a
        # resume is counted when its end is known.
        elif symbol in self._resumed:
            pass
        elif symbol in self._round or (symbol in self._news and not self._held_back and self._clock() >= self._due):
            self._skipped += 1
            self._traffic.conflated += 1
        if symbol not in self._round or self._wants_every:
            self._news[symbol] = None

    def missed(self, frames: int) -> None:
        """Note that so many frames never reached this process; an EVERY reader meets the gap when it takes."""
        if not self._wants_every and self._clock() >= self._due:
            self._skipped += frames
            self._traffic.conflated += frames

    def has(self, topic: Topic) -> bool:
        """Whether it has a topic's newest frame."""
        return topic.latest is not None and self._positions.get(topic.symbol) == topic.latest.seq

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
        if number > self._acked:
            self._acked = number
            self._blocked_since = None
            self._wake.set()

    # --- what the writer asks ----------------------------------------------------------------------------------------

    @property
    def request_id(self) -> int:
        """Which request is being answered; 0 before the first."""
        return self.subscription.request_id if self.subscription else 0

    @property
    def _wants_every(self) -> bool:
        return self.subscription is not None and self.subscription.delivery == "every"

    def raise_error(self) -> None:
        """Raise what the stream was ended with."""
        if self._error is not None:
            raise self._error

    def may_send(self) -> bool:
        """Whether another response may be sent just now."""
        window = self.subscription.max_unacked if self.subscription else 0
        return not window or self._sent - self._acked < window

    def has_news(self) -> bool:
        """Whether there are frames to take that max_rate_hz does not hold back."""
        return bool(self._round) or (bool(self._news) and self._clock() >= self._due)

    def next_number(self) -> int:
        """Return the number of the next response."""
        self._sent += 1
        return self._sent

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
        elif self._news and not self._round:
            self._held_back = True
            until = min(until, self._due)
        self._wake.clear()
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            pass

    def take(self, max_bytes: int) -> Taken:
        """Take frames of about ``max_bytes`` at most, at least one where there are any. Raises SlowConsumerError."""
        if not self._round:
            interval = self.subscription.min_interval_s if self.subscription else 0.0
            self._due = self._clock() + interval if interval else 0.0
            self._round, self._news, self._held_back = self._news, {}, False
        taken: list[tuple[Sendable, int]] = []
        room = max_bytes
        for symbol in list(self._round):
            for frame in self._following(self.topics[symbol]):
                position = self._positions.get(symbol, 0)
                if frame.seq == self._resumed.get(symbol):  # made again for a reader that has it
                    self._positions[symbol] = self._resumed.pop(symbol)
                    continue
                room -= frame.expected_bytes(position)
                if taken and room < 0:
                    return self._taken(taken)
                taken.append((frame, position))
                self._positions[symbol] = frame.seq
                if (missed_from := self._resumed.pop(symbol, 0)) and frame.seq > missed_from:
                    self._skipped += frame.seq - missed_from - 1
            del self._round[symbol]
        return self._taken(taken)

    def write_stalled(self) -> SlowConsumerError:
        """Return what ends a stream whose reader took nothing off the wire for too long."""
        return self._slow(f"nothing was read for {self._stalled_after_s:g} s")

    def _following(self, topic: Topic) -> Sequence[Sendable]:
        if topic.latest is None:
            return ()
        position = self._positions.get(topic.symbol, 0)
        if not (self._wants_every and position):
            return (topic.latest,)
        following = topic.after(position)
        if following is None:
            raise self._slow(f"{topic.symbol}: fell behind by more frames than are kept")
        return following

    def _taken(self, frames: list[tuple[Sendable, int]]) -> Taken:
        skipped, self._skipped = self._skipped, 0
        return Taken(frames, skipped)

    def _slow(self, reason: str) -> SlowConsumerError:
        epoch = next((topic.latest.epoch for topic in self.topics.values() if topic.latest is not None), 0)
        return SlowConsumerError(f"slow consumer: {reason}; resume behind what was applied", epoch, self._positions)
