"""Readers that want the same: what a tick brings is put together once for all of them that are in step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.rpc.encoding import EncodedFrame
from forcedmove_server.rpc.formats import FrameFormat
from forcedmove_server.rpc.topics import Topic

if TYPE_CHECKING:
    from forcedmove_server.rpc.subscriber import Subscriber

#: symbols (None: all), view and format
FlockKey = tuple[tuple[str, ...] | None, ViewSpec, FrameFormat]
_NOWHERE: Mapping[str, int] = MappingProxyType({})


class TickChunks(NamedTuple):
    """The frames of a tick, one after the other in as many chunks or in one."""

    chunks: list[bytes]
    frames: int


class Flock:
    """A set of topics and who reads them. A reader is in step when its positions *are* ``positions``, one tick behind
    when they *are* ``before``: the objects themselves, so that telling costs nothing, whatever the number of symbols.
    """

    __slots__ = ("_frames", "_tick_chunks", "before", "missed", "positions", "readers", "topics")

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.readers: set[Subscriber] = set()
        #: seq of every topic's newest frame, and of the newest but for the last tick
        self.positions = self.before = _NOWHERE
        #: frames that never came here before the last tick's, where the engine is elsewhere
        self.missed = 0
        self._frames: Sequence[EncodedFrame] = ()
        self._tick_chunks: TickChunks | None = None

    def add(self, topic: Topic) -> None:
        """Read another topic."""
        self.topics[topic.symbol] = topic
        if topic.latest is not None:
            self.positions = {**self.positions, topic.symbol: topic.latest.seq}
            self.before = _NOWHERE  # nobody can be in step with a topic that it did not have

    def advance(self, frames: Sequence[EncodedFrame]) -> None:
        """Take the frames of a tick."""
        self.before = self.positions
        self.positions = {**self.before, **{frame.symbol: frame.seq for frame in frames}}
        self._frames, self._tick_chunks = frames, None
        # a symbol's seq rises by one whenever it changes, and a watched view comes with each change
        was = self.before
        self.missed = sum(max(0, f.seq - was[f.symbol] - 1) for f in frames if f.symbol in was)

    def tick_chunks(self, max_bytes: int) -> TickChunks:
        """Return what a reader that is one tick behind gets, joined where that is not too long."""
        if self._tick_chunks is None:
            chunks = [frame.chunk(self.before.get(frame.symbol, 0)) for frame in self._frames]
            if sum(map(len, chunks)) <= max_bytes:
                chunks = [b"".join(chunks)]
            self._tick_chunks = TickChunks(chunks, len(self._frames))
        return self._tick_chunks
