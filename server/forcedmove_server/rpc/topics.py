"""One view of one symbol in one format, that somebody reads: its newest frame, and those of late for who wants each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.errors import GoneError
from forcedmove_server.rpc.encoding import EncodedFrame, ViewEncoder
from forcedmove_server.rpc.formats import FrameFormat
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import Subscription

if TYPE_CHECKING:
    from forcedmove_server.rpc.flock import Flock

#: symbol, view and format
TopicKey = tuple[str, ViewSpec, FrameFormat]


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """The bytes of a frame, without the grid they were made of: what a reader of the frame before gets."""

    symbol: str
    seq: int
    prev_seq: int
    encoded: bytes
    is_delta: bool

    def expected_bytes(self, position: int) -> int:
        """Its length."""
        return len(self.encoded)

    def is_ready(self, position: int) -> bool:
        """Always."""
        return True

    def continues(self, position: int) -> bool:
        """Whether it is the delta to ``position``."""
        return self.is_delta and position == self.prev_seq

    def chunk(self, position: int) -> bytes:
        """The chunk."""
        return self.encoded

    def encode_snapshot(self) -> bytes:
        """The chunk; a frame without a delta is kept as a snapshot."""
        return self.encoded


#: a frame as a reader gets it
Sendable = EncodedFrame | KeptFrame


class Topic:
    """``encoder`` is the engine thread's, all else the event loop's.

    Frames are kept from the first reader on that wants every one; the newest may always be kept, whatever its length.
    """

    __slots__ = (
        "_kept", "_kept_bytes", "_limits", "encoder", "flocks", "keeps", "latest", "stop_watching", "symbol",
        "unread_until",
    )  # fmt: skip

    def __init__(self, key: TopicKey, encoder: ViewEncoder, limits: Limits) -> None:
        self.symbol = key[0]
        self.encoder = encoder
        self.latest: EncodedFrame | None = None
        self.flocks: set[Flock] = set()
        self.keeps = False
        #: loop time up to which it is kept for readers that come back
        self.unread_until = 0.0
        self.stop_watching: Callable[[], None] = lambda: None
        self._limits = limits
        self._kept: deque[KeptFrame] = deque()
        self._kept_bytes = 0

    def publish(self, frame: EncodedFrame) -> None:
        """Take the next frame."""
        if self.latest is not None and frame.delta is None and frame.seq - self.latest.seq > 1:
            frame.prev_seq = 0  # of what lies between nothing came here: nothing continues across the gap
            self._kept.clear()
            self._kept_bytes = 0
        self.latest = frame
        if not self.keeps:
            return
        encoded = frame.delta if frame.delta is not None else frame.encode_snapshot()
        kept = KeptFrame(frame.symbol, frame.seq, frame.prev_seq, encoded, frame.delta is not None)
        self._kept.append(kept)
        self._kept_bytes += len(kept.encoded)
        while len(self._kept) > self._limits.every_frames or (
            self._kept_bytes > self._limits.every_bytes and len(self._kept) > 1
        ):
            self._kept_bytes -= len(self._kept.popleft().encoded)

    def after(self, seq: int) -> Sequence[KeptFrame] | None:
        """Return the frames that follow ``seq``, oldest first; None where they are not kept, or were never there."""
        if self.latest is not None and self.latest.seq == seq:
            return ()
        for place, kept in enumerate(self._kept):
            if kept.prev_seq == seq:
                return list(self._kept)[place:]
        return None

    def has_dropped(self, seq: int) -> bool:
        """Whether a reader that was sent ``seq`` can no longer have every frame since."""
        return bool(self._kept) and self._kept[0].prev_seq > seq


def resumed(
    symbols: Iterable[str], subscription: Subscription, epoch: int, topics: Mapping[TopicKey, Topic]
) -> dict[str, int]:
    """Return from where symbols go on. Raises GoneError where every frame is wanted and not all are kept."""
    every = subscription.delivery == "every"
    if subscription.resume_epoch != epoch:
        if every and subscription.resume_seq:
            raise GoneError(
                f"resume_epoch = {subscription.resume_epoch}: the server has restarted, its epoch is {epoch}; begin "
                "with a snapshot"
            )
        return {}
    positions = {symbol: seq for symbol in symbols if (seq := subscription.resume_seq.get(symbol, 0))}
    for symbol, seq in positions.items() if every else ():
        topic = topics.get((symbol, subscription.spec, subscription.written))
        if topic is None or topic.after(seq) is None:
            newest = topic.latest.seq if topic is not None and topic.latest is not None else None
            raise GoneError(
                f"resume_seq of {symbol} = {seq}: the frames since are not kept any more (newest: {newest}); "
                "begin with a snapshot"
            )
    return positions
