"""Readers that want the same: what a tick brings is put together once for all of them that are in step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.rpc.encoding import EncodedFrame
from forcedmove_server.rpc.formats import FrameFormat
from forcedmove_server.rpc.responses import whole_response
from forcedmove_server.rpc.topics import Topic

if TYPE_CHECKING:
    from forcedmove_server.rpc.subscriber import Subscriber

#: symbols (None: all), view and format
FlockKey = tuple[tuple[str, ...] | None, ViewSpec, FrameFormat]
#: ids of requests under which a tick's response is kept: clients count them from 1, so most have the same few
_MOST_IDS = 8


class SharedResponse(NamedTuple):
    """A response that goes to many readers as it is."""

    number: int
    message: bytes
    frames: int
    has_heartbeat: bool


class TickShare:
    """What a tick brings to the readers that are in step, where one response is enough for it.

    A response that all of them get as it is saves two copies of it for each.
    """

    __slots__ = ("_chunks", "_frames", "_heartbeat", "responses")

    def __init__(self, chunks: list[bytes], frames: int, heartbeat: bytes) -> None:
        """``heartbeat``: the field that goes with it, or nothing."""
        self._chunks, self._frames, self._heartbeat = chunks, frames, heartbeat
        #: those that are kept, by the id of the request that they answer
        self.responses: dict[int, SharedResponse] = {}

    def response(self, request_id: int, numbers: Iterator[int], max_bytes: int) -> SharedResponse | None:
        """Return the response to whoever asked under this id; None where one is not enough."""
        known = self.responses.get(request_id)
        if known is None and sum(map(len, self._chunks)) <= max_bytes:
            number = next(numbers)
            message = whole_response(number, request_id, (*self._chunks, self._heartbeat))
            known = SharedResponse(number, message, self._frames, bool(self._heartbeat))
            if len(self.responses) < _MOST_IDS:
                self.responses[request_id] = known
        return known


class Flock:
    """A set of topics and who reads them. A reader is in step when its positions *are* ``positions``, one tick behind
    when they *are* ``before``: the objects themselves, so that telling costs nothing, whatever the number of symbols.
    """

    __slots__ = ("_frames", "before", "heartbeat", "missed", "newest", "positions", "readers", "topics")

    def __init__(self) -> None:
        self.topics: dict[str, Topic] = {}
        self.readers: set[Subscriber] = set()
        #: seq of every topic's newest frame, and of the newest but for the last tick
        self.positions: Mapping[str, int] = {}
        self.before: Mapping[str, int] = {}
        #: frames that never came here before the last tick's, where the engine is elsewhere
        self.missed = 0
        #: the field that goes with the last tick's frames, or nothing
        self.heartbeat = b""
        self._frames: Sequence[EncodedFrame] = ()
        #: what the last tick brought, once a reader has asked for it
        self.newest: TickShare | None = None

    def add(self, topic: Topic) -> None:
        """Read another topic."""
        self.topics[topic.symbol] = topic
        if topic.latest is not None:
            self.positions = {**self.positions, topic.symbol: topic.latest.seq}
            self.before = {}  # nobody can be in step with a topic that it did not have

    def advance(self, frames: Sequence[EncodedFrame]) -> None:
        """Take the frames of a tick."""
        self.before = self.positions
        self.positions = {**self.before, **{frame.symbol: frame.seq for frame in frames}}
        self._frames, self.newest = frames, None
        # a symbol's seq rises by one whenever it changes, and a watched view comes with each change
        was = self.before
        self.missed = sum(max(0, f.seq - was[f.symbol] - 1) for f in frames if f.symbol in was)

    def share(self) -> TickShare:
        """Return what a reader that is one tick behind gets."""
        if self.newest is None:
            chunks = [frame.chunk(self.before.get(frame.symbol, 0)) for frame in self._frames]
            self.newest = TickShare(chunks, len(self._frames), self.heartbeat)
        return self.newest
