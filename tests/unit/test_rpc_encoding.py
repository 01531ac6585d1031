"""Chunks: joined they are protobuf messages, and deltas add up to the grids they were made from, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from forcedmove.v1 import heatmap_pb2, model_pb2
from forcedmove_client.assembly import OutOfStepError, SymbolState
from forcedmove_client.errors import ServerError
from forcedmove_client.frames import ShortScore as ReceivedScore
from forcedmove_server.engine.frames import RenderedView, SymbolMap, ViewSpec
from forcedmove_server.errors import LimitError
from forcedmove_server.rpc.encoding import EncodedFrame, EncodingCounts, SymbolPart, ViewEncoder
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.wire import varint, varint_field
from forcedmove_server.scorecard.summary import ShortScore
from tests.unit.watched_views import WatchedViews


def rendered(values: NDArray[np.float32], first_bin: int = 100) -> RenderedView:
    bins = values.shape[-1] - 2
    return RenderedView(("side", "price"), (), ("long", "short"), (), first_bin, bins, 50.0, values)


def part(seq: int, counts: EncodingCounts | None = None, score: ShortScore | None = None) -> SymbolPart:
    symbol_map = SymbolMap("BTC", seq, 1, 5_000.0, 50.0, (), 1.0, (), None, None, (), score)
    return SymbolPart(symbol_map, 3, 2, counts or EncodingCounts())


def parsed(chunk: bytes) -> heatmap_pb2.Frame:
    (frame,) = heatmap_pb2.SubscribeResponse.FromString(chunk).frames
    return frame


GRIDS = st.integers(3, 40).flatmap(
    lambda cells: st.lists(
        hnp.arrays(np.float32, (2, cells), elements=st.sampled_from([0.0, -0.0, 1.0, float("nan"), 3e38, 1e-40])),
        min_size=1,
        max_size=6,
    )
)


@given(grids=GRIDS, shifts=st.lists(st.sampled_from([0, 0, 0, 1]), min_size=6, max_size=6))
def test_deltas_add_up_bit_for_bit(grids: list[NDArray[np.float32]], shifts: list[int]) -> None:
    counts, state = EncodingCounts(), SymbolState()
    encoder, watched = ViewEncoder(ViewSpec(), Limits(), counts), WatchedViews()
    first_bin, previous = 100, None
    for seq, (values, shift) in enumerate(zip(grids, shifts, strict=False), 1):
        first_bin += shift
        frame = encoder.encode(part(seq), watched.next(rendered(values, first_bin)))
        assert frame is not None
        made = state.apply(parsed(frame.chunk(seq - 1)))
        assert made.grid.tobytes() == values.tobytes()
        assert made.price_low[1] == first_bin * 50.0
        if previous is not None and shift == 0:
            changed = np.count_nonzero(previous.view(np.uint32) != values.view(np.uint32))
            assert (frame.delta is not None) == (changed <= values.size / 3)
        else:
            assert frame.delta is None
        previous = values
    assert counts.deltas + counts.snapshots == len(grids)  # and each of them once


def test_a_snapshot_is_made_once_and_says_the_same_as_the_delta() -> None:
    counts = EncodingCounts()
    encoder, watched = ViewEncoder(ViewSpec(), Limits(), counts), WatchedViews()
    values = np.zeros((2, 100), np.float32)
    encoder.encode(part(4), watched.next(rendered(values)))
    changed = values.copy()
    changed[1, 7] = 5
    frame = encoder.encode(part(6, counts), watched.next(rendered(changed)))
    assert frame is not None
    assert (frame.seq, frame.prev_seq, frame.continues(4), frame.continues(3)) == (6, 4, True, False)
    assert frame.is_ready(4)
    assert not frame.is_ready(0)
    assert frame.encode_snapshot() is frame.encode_snapshot()
    assert frame.is_ready(0)
    assert (counts.symbols, counts.deltas, counts.snapshots) == (1, 1, 2)
    delta, snapshot = parsed(frame.chunk(4)), parsed(frame.chunk(0))
    assert (delta.prev_seq, snapshot.prev_seq) == (4, 0)
    assert delta.crc32 == snapshot.crc32
    assert list(np.frombuffer(delta.update.indices.content, "<u4")) == [107]
    assert not delta.axes
    assert encoder.encode(part(6), rendered(changed)) is None  # seen before


def test_a_delta_without_changed_cells_is_a_delta() -> None:
    encoder, watched = ViewEncoder(ViewSpec(), Limits(), EncodingCounts()), WatchedViews()
    values = np.ones((2, 5), np.float32)
    encoder.encode(part(1), watched.next(rendered(values)))
    frame = encoder.encode(part(2), watched.next(rendered(values)))
    assert frame is not None
    assert parsed(frame.chunk(1)).HasField("update")


@pytest.mark.parametrize("reason", ["seen before", "too large", "rendered by itself"])
def test_a_delta_continues_the_frame_that_was_sent_or_there_is_none(reason: str) -> None:
    """Of three renderings the second is not sent: what changed since it is not what readers of the first lack."""
    grids = np.zeros((3, 2, 100), np.float32)
    grids[1:, 0, 3] = 1
    grids[2, 1, 7] = 5
    watched, state = WatchedViews(), SymbolState()
    first, second, third = (watched.next(rendered(values)) for values in grids)
    assert third.changed.tolist() == [107]  # to the first grid that would give a third one
    encoder = ViewEncoder(ViewSpec(), Limits(), EncodingCounts())
    sent = encoder.encode(part(1), first)
    assert sent is not None
    state.apply(parsed(sent.chunk(0)))
    if reason == "seen before":
        assert encoder.encode(part(1), second) is None
    elif reason == "too large":
        encoder._limits = Limits(max_frame_bytes=(64 << 10) + 799)
        with pytest.raises(LimitError):
            encoder.encode(part(2), second)
        encoder._limits = Limits()
    else:
        third = dataclasses.replace(third, revision=0, since=0)
    frame = encoder.encode(part(3), third)
    assert frame is not None
    assert frame.delta is None
    assert frame.prev_seq == 1
    np.testing.assert_array_equal(state.apply(parsed(frame.chunk(1))).grid, grids[2])


def test_a_delta_against_another_frame_does_not_get_past_the_checksum() -> None:
    grids = np.zeros((3, 2, 100), np.float32)
    grids[1:, 0, 3] = 1
    grids[2, 1, 7] = 5
    watched, state = WatchedViews(), SymbolState()
    first, _, third = (watched.next(rendered(values)) for values in grids)
    counts = EncodingCounts()
    sent = EncodedFrame(part(1), ViewSpec(), first, None, counts)
    state.apply(parsed(sent.chunk(0)))
    wrong = EncodedFrame(part(3), ViewSpec(), dataclasses.replace(third, since=first.revision), sent, counts)
    assert wrong.delta is not None
    with pytest.raises(OutOfStepError, match="checksum"):
        state.apply(parsed(wrong.chunk(1)))


def test_scores_travel_when_they_change() -> None:
    """Readers of deltas and readers of snapshots know the same at every frame, and deltas repeat nothing."""
    young, grown = ShortScore(None, 0, None, 12), ShortScore(-0.25, 40, 0.0, 60)
    course = [None, None, young, young, grown, grown, None, None, ShortScore(None, 0, None, 0), grown]
    encoder, watched, follower = ViewEncoder(ViewSpec(), Limits(), EncodingCounts()), WatchedViews(), SymbolState()
    values, carried = np.zeros((2, 100), np.float32), []
    for seq, score in enumerate(course, 1):
        values = values.copy()
        values[0, seq] = 1
        frame = encoder.encode(part(seq, score=score), watched.next(rendered(values)))
        assert frame is not None
        assert (frame.delta is None) == (seq == 1)
        message = parsed(frame.chunk(seq - 1))
        carried.append(message.HasField("score"))
        expected = None if score in (None, ShortScore(None, 0, None, 0)) else ReceivedScore(*dataclasses.astuple(score))
        assert follower.apply(message).score == expected
        assert SymbolState().apply(parsed(frame.encode_snapshot())).score == expected
    assert carried == [False, False, True, False, True, False, True, False, True, True]


def test_a_snapshot_without_a_score_takes_it_back() -> None:
    state, views = SymbolState(), rendered(np.zeros((2, 4), np.float32))
    for seq, score in enumerate((ShortScore(1.0, 2, 3.0, 4), None), 1):
        frame = EncodedFrame(part(seq, score=score), ViewSpec(), views, None, EncodingCounts())
        made = state.apply(parsed(frame.chunk(0)))
    assert made.score is None


def test_frames_that_do_not_fit_are_refused_by_both_sides() -> None:
    limits = Limits(max_frame_bytes=(64 << 10) + 800)
    ViewEncoder(ViewSpec(), limits, EncodingCounts()).encode(part(1), rendered(np.zeros((2, 100), np.float32)))
    with pytest.raises(LimitError, match="2x101 cells, 808 bytes; a frame holds 800"):
        ViewEncoder(ViewSpec(), limits, EncodingCounts()).encode(part(1), rendered(np.zeros((2, 101), np.float32)))

    frame = EncodedFrame(part(1), ViewSpec(), rendered(np.zeros((2, 100), np.float32)), None, EncodingCounts())
    message = parsed(frame.chunk(0))
    message.crc32 ^= 1
    with pytest.raises(OutOfStepError, match="checksum"):
        SymbolState().apply(message)
    message.crc32 ^= 1
    message.axes[1].bin_count += 1
    with pytest.raises(ServerError, match="do not fit the grid"):
        SymbolState().apply(message)
    message.grid.shape[0] = 3
    with pytest.raises(ServerError, match=r"tensor.shape = \[3, 100\]"):
        SymbolState().apply(message)
    message.grid.data_type = 0
    with pytest.raises(ServerError, match="data_type = 0"):
        SymbolState().apply(message)


def test_a_scaled_grid_is_multiplied() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    frame = EncodedFrame(part(1), ViewSpec(), rendered(values), None, EncodingCounts())
    message = parsed(frame.chunk(0))
    message.grid.scale = 0.5
    grid = SymbolState().apply(message).grid
    np.testing.assert_array_equal(grid, values / 2)
    assert grid.dtype == np.float32
    assert not grid.flags.writeable


def test_an_update_has_the_scale_and_type_of_its_grid() -> None:
    encoder, values = ViewEncoder(ViewSpec(), Limits(), EncodingCounts()), np.zeros((2, 100), np.float32)
    watched = WatchedViews()
    first = encoder.encode(part(1), watched.next(rendered(values)))
    changed = values.copy()
    changed[0, 3] = 1
    second = encoder.encode(part(2), watched.next(rendered(changed)))
    assert first is not None
    assert second is not None
    state = SymbolState()
    snapshot, delta = parsed(first.chunk(0)), parsed(second.chunk(1))
    assert delta.update.values.scale == snapshot.grid.scale
    state.apply(snapshot)
    delta.update.values.scale = 0.5
    with pytest.raises(
        ServerError, match=r"update\.values of BTC: float32 x 0\.5 do not continue a grid of float32 x 1"
    ):
        state.apply(delta)
    delta.update.values.scale = 1.0
    delta.update.values.data_type = model_pb2.DATA_TYPE_UINT32
    with pytest.raises(ServerError, match="uint32 x 1 do not continue"):
        state.apply(delta)
    delta.update.values.data_type = model_pb2.DATA_TYPE_FLOAT32
    np.testing.assert_array_equal(state.apply(delta).grid, changed)


def test_names_of_a_newer_server_are_named() -> None:
    frame = EncodedFrame(part(1), ViewSpec(), rendered(np.zeros((2, 4), np.float32)), None, EncodingCounts())
    message = parsed(frame.chunk(0))
    SymbolState().apply(message)
    unknown = {
        "axes.axis": lambda m: setattr(m.axes[0], "axis", 9),
        "weighting": lambda m: setattr(m, "weighting", 9),
        "cluster.side": lambda m: m.clusters.add(side=9),
        "chain.side": lambda m: setattr(m.next_up, "side", 9),
        "tensor.data_type": lambda m: setattr(m.grid, "data_type", 9),
    }
    for field, change in unknown.items():
        newer = heatmap_pb2.Frame.FromString(message.SerializeToString())
        change(newer)
        with pytest.raises(ServerError, match=f"{field} = 9: not known to this client"):
            SymbolState().apply(newer)


@given(st.integers(0, 2**64 - 1))
def test_varints_are_protobufs(value: int) -> None:
    assert heatmap_pb2.Heartbeat.FromString(varint_field(2, value)).tick == value
    assert varint(300) == b"\xac\x02"
