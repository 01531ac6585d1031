"""Frames to bytes, once: a chunk is one frame together with its field tag, ready to be joined into any response.

``SubscribeResponse``, ``WatchResponse`` and ``GetSnapshotResponse`` hold frames in field 1: the same chunk serves all.
What all views of a symbol share (markets, clusters, chains) is serialised once per tick as well and joined in front.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from forcedmove.v1 import heatmap_pb2, model_pb2
from forcedmove_server.engine.frames import CredibleBand, RenderedView, SymbolMap, ViewSpec
from forcedmove_server.rpc.formats import Elements, FrameFormat, compressed, elements_of
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.messages import (
    assumption_messages,
    axis_messages,
    chain_message,
    score_message,
    write_cluster,
    write_market,
)
from forcedmove_server.rpc.requests import WEIGHTING_NUMBERS
from forcedmove_server.rpc.wire import delimited

FRAMES_FIELD = heatmap_pb2.SubscribeResponse.FRAMES_FIELD_NUMBER
_ZSTD_FRAMES_FIELD = heatmap_pb2.SubscribeResponse.ZSTD_FRAMES_FIELD_NUMBER
_PLAIN = FrameFormat()
assert heatmap_pb2.GetSnapshotResponse.FRAMES_FIELD_NUMBER == FRAMES_FIELD


@dataclass(slots=True)
class EncodingCounts:
    """How often something was serialised, whatever the number of readers."""

    symbols: int = 0
    deltas: int = 0
    snapshots: int = 0


class SymbolPart:
    """What every frame of one symbol at one tick has in common, serialised on first use."""

    __slots__ = ("_counts", "_encoded", "epoch", "published_ns", "symbol_map")

    def __init__(self, symbol_map: SymbolMap, epoch: int, published_ns: int, counts: EncodingCounts) -> None:
        self.symbol_map, self.epoch, self.published_ns = symbol_map, epoch, published_ns
        self._counts = counts
        self._encoded: bytes | None = None

    def encoded(self) -> bytes:
        """The shared fields."""
        if self._encoded is None:
            newest = self.symbol_map
            self._counts.symbols += 1
            frame = heatmap_pb2.Frame(
                symbol=newest.symbol,
                epoch=self.epoch,
                seq=newest.seq,
                event_time_ns=newest.event_time_ns,
                published_time_ns=self.published_ns,
                mark_price_usd=newest.mark_price_usd,
                coverage=newest.coverage,
                next_down=chain_message(newest.next_down) if newest.next_down else None,
                next_up=chain_message(newest.next_up) if newest.next_up else None,
            )
            for market in newest.markets:
                write_market(market, frame.markets.add())
            for cluster in newest.clusters:
                write_cluster(cluster, frame.clusters.add())
            self._encoded = frame.SerializeToString()
        return self._encoded


class EncodedFrame:
    """One frame of one view: its delta, if it has one, and its snapshot, serialised when a reader first needs it.

    Snapshots are made either before the frame is published or on the hub's one encoding thread, so never twice.
    """

    __slots__ = (
        "_band", "_counts", "_crc32", "_elements", "_format", "_part", "_scale", "_snapshot", "_spec", "_view",
        "delta", "prev_seq", "seq", "symbol",
    )  # fmt: skip

    def __init__(
        self,
        part: SymbolPart,
        spec: ViewSpec,
        view: RenderedView,
        previous: EncodedFrame | None,
        counts: EncodingCounts,
        band: CredibleBand | None = None,
        written: FrameFormat = _PLAIN,
    ) -> None:
        self.symbol = part.symbol_map.symbol
        self.seq = part.symbol_map.seq
        self.prev_seq = previous.seq if previous else 0
        self._part, self._spec, self._view, self._counts, self._band = part, spec, view, counts, band
        self._format = written
        self._elements, self._scale = elements_of(view.values, written.quantum_usd)
        self._crc32 = zlib.crc32(_content(self._elements))
        self._snapshot: bytes | None = None
        self.delta = self._delta(previous) if previous else None
        if self.delta is None:
            self.encode_snapshot()  # every reader of this frame needs it

    @property
    def epoch(self) -> int:
        """The epoch that ``seq`` belongs to."""
        return self._part.epoch

    def expected_bytes(self, position: int) -> int:
        """About how long the chunk for a reader at ``position`` is, before anything has to be serialised."""
        if self.is_ready(position):
            return len(self.chunk(position))
        return self._elements.nbytes

    def is_ready(self, position: int) -> bool:
        """Whether a reader at ``position`` can be served without serialising anything."""
        return self._snapshot is not None or self.continues(position)

    def continues(self, position: int) -> bool:
        """Whether a reader that has seen ``position`` can be served the delta."""
        return self.delta is not None and position == self.prev_seq

    def chunk(self, position: int) -> bytes:
        """The chunk for a reader whose last frame was ``position``; ``is_ready`` must hold."""
        chunk = self.delta if self.continues(position) else self._snapshot
        assert chunk is not None
        return chunk

    def encode_snapshot(self) -> bytes:
        """Serialise the dense grid with its axes and assumptions, unless that was done before."""
        if self._snapshot is None:
            self._counts.snapshots += 1
            body = self._body(0)
            body.axes.extend(axis_messages(self._view))
            if self._part.symbol_map.score is not None:
                body.score.CopyFrom(score_message(self._part.symbol_map.score))
            body.assumptions.extend(assumption_messages(self._part.symbol_map.assumptions))
            _write(self._elements, body.grid, self._scale)
            if (band := self._band) is not None:
                body.band.level = band.level
                _write(band.low, body.band.low)
                _write(band.high, body.band.high)
            self._snapshot = self._chunk(body)
        return self._snapshot

    def _delta(self, previous: EncodedFrame) -> bytes | None:
        """Return the changed cells as a chunk; None where a snapshot says the same in fewer bytes or has to.

        What changed since any other rendering than the one in the frame before is of no use to its readers.
        """
        view, before = self._view, previous._view
        if not view.since or view.since != before.revision or view.axes_key != before.axes_key:
            return None
        if not self._format.deltas or self._scale != previous._scale:
            return None
        self._counts.deltas += 1
        changed = view.changed
        values = self._elements.reshape(-1)[changed]
        if self._format.quantum_usd:  # many changes are less than a quantum
            is_new = values != previous._elements.reshape(-1)[changed]
            changed, values = changed[is_new], values[is_new]
        body = self._body(self.prev_seq)
        if self._part.symbol_map.score != previous._part.symbol_map.score:
            body.score.CopyFrom(score_message(self._part.symbol_map.score))
        _write(changed, body.update.indices)
        _write(values, body.update.values, self._scale)
        return self._chunk(body)

    def _body(self, prev_seq: int) -> heatmap_pb2.Frame:
        return heatmap_pb2.Frame(
            prev_seq=prev_seq, weighting=WEIGHTING_NUMBERS[self._spec.weighting], crc32=self._crc32
        )

    def _chunk(self, body: heatmap_pb2.Frame) -> bytes:
        if self._format.zstd:
            return delimited(_ZSTD_FRAMES_FIELD, compressed(self._part.encoded() + body.SerializeToString()))
        return delimited(FRAMES_FIELD, self._part.encoded(), body.SerializeToString())


class ViewEncoder:
    """Turns one view's renderings into frames of one format. Used by one thread."""

    def __init__(self, spec: ViewSpec, limits: Limits, counts: EncodingCounts, written: FrameFormat = _PLAIN) -> None:
        self._spec, self._limits, self._counts, self._format = spec, limits, counts, written
        self._previous: EncodedFrame | None = None

    def encode(self, part: SymbolPart, view: RenderedView) -> EncodedFrame | None:
        """Return the next frame; None for one that was seen before. Raises LimitError when it is too large."""
        previous = self._previous
        if previous is not None and part.symbol_map.seq <= previous.seq:
            return None
        self._limits.check_frame(part.symbol_map.symbol, self._spec, view)
        self._previous = EncodedFrame(part, self._spec, view, previous, self._counts, written=self._format)
        return self._previous


def _write(values: Elements, into: model_pb2.Tensor, scale: float = 1.0) -> None:
    """Write an array into a tensor that is new."""
    into.data_type = model_pb2.DATA_TYPE_FLOAT32 if values.dtype.kind == "f" else model_pb2.DATA_TYPE_UINT32
    into.shape.extend(values.shape)
    into.scale = scale
    into.content = _content(values)


def _content(values: Elements) -> bytes:
    """Return the elements as the wire has them: C order, little endian."""
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
