"""Responses of streams as bytes: how chunks are joined, divided and numbered."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.errors import ServerError
from forcedmove_client.joining import FragmentJoiner
from forcedmove_server.engine.frames import Tick, ViewSpec
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.responses import bodies, going_away, heartbeat, numbered, pong, terms
from forcedmove_server.rpc.wire import delimited

Response = heatmap_pb2.SubscribeResponse


def joined(messages: list[bytes]) -> list[heatmap_pb2.Frame]:
    """Read messages as the client does."""
    joiner, frames = FragmentJoiner(), []
    for message in map(Response.FromString, messages):
        frames += joiner.frames(message.fragment) if message.HasField("fragment") else message.frames
    return frames


@given(
    sizes=st.lists(st.integers(1, 1_500), max_size=20),
    skipped=st.integers(0, 300),
    request_id=st.sampled_from([0, 1, 2**64 - 1]),
)
def test_responses_are_divided_at_chunks_and_within_long_ones(sizes: list[int], skipped: int, request_id: int) -> None:
    chunks = [delimited(1, delimited(1, b"x" * size)) for size in sizes]
    messages = list(bodies(chunks, skipped, request_id, 300))
    assert all(len(message) <= 300 + 40 for message in messages)
    parts = [Response.FromString(message) for message in messages]
    assert [len(frame.symbol) for frame in joined(messages)] == sizes
    assert [message.skipped_frames for message in parts if message.skipped_frames] == ([skipped] if skipped else [])
    assert {message.request_id for message in parts} <= {request_id}
    for left, right in itertools.pairwise(parts):
        if not left.HasField("fragment") and not right.HasField("fragment"):
            assert left.ByteSize() + right.ByteSize() > 300 - 3


def test_fragments_that_do_not_follow_are_told_and_a_new_frame_may_begin_anytime() -> None:
    pieces = [Response.FromString(m).fragment for m in bodies([delimited(1, delimited(1, b"x" * 1_000))], 0, 1, 300)]
    assert [(piece.index, piece.count) for piece in pieces] == [(k, 4) for k in range(4)]
    joiner = FragmentJoiner()
    joiner.frames(pieces[0])
    with pytest.raises(ServerError, match="fragment 2 of 4 where 1 was expected"):
        joiner.frames(pieces[2])
    assert [len(frame.symbol) for piece in pieces for frame in joiner.frames(piece)] == [1_000]


def test_numbers_ride_in_front() -> None:
    response = Response.FromString(numbered(7, next(bodies([delimited(1, b"")], 3, 9, 300))))
    assert (response.number, response.skipped_frames, response.request_id, len(response.frames)) == (7, 3, 9, 1)


def test_watch_responses_have_the_fields_of_subscribe_responses() -> None:
    watch, subscribe = (
        {f.name: (f.number, f.type, f.is_repeated, f.message_type and f.message_type.full_name) for f in kind.fields}
        for kind in (heatmap_pb2.WatchResponse.DESCRIPTOR, Response.DESCRIPTOR)
    )
    del subscribe["pong"]
    assert watch == subscribe


def test_heartbeat() -> None:
    tick = Tick(epoch=1, number=2, event_time_ns=3, published_ns=4, maps={}, changed=frozenset(), views={})
    heads = {"BTC": SimpleNamespace(seq=9), "ETH": None}
    response = Response.FromString(heartbeat(tick, 5, 6, heads))
    alive = response.heartbeat
    assert (alive.epoch, alive.tick, alive.event_time_ns, alive.missed_ticks) == (1, 2, 3, 5)
    assert response.request_id == 6
    assert dict(alive.head_seq) == {"BTC": 9}


def test_what_holds_for_a_subscription() -> None:
    limits = Limits(stalled_after_s=2.5, heartbeat_s=0.5, every_frames=40)
    told = Response.FromString(terms(Subscription(None, ViewSpec(), 3, max_unacked=4, delivery="every"), limits))
    assert told.request_id == 3
    assert told.terms == heatmap_pb2.Terms(
        delivery=heatmap_pb2.DELIVERY_EVERY,
        max_unacked=4,
        max_behind_frames=40,
        stalled_after_ms=2_500,
        heartbeat_interval_ms=500,
    )
    told = Response.FromString(terms(Subscription(None, ViewSpec()), limits))
    assert (told.terms.delivery, told.terms.max_behind_frames) == (heatmap_pb2.DELIVERY_LATEST, 0)


def test_pong_and_farewell() -> None:
    answer = Response.FromString(pong(5, 2))
    assert (answer.pong.nonce, answer.request_id, answer.pong.server_time_ns > 0) == (5, 2, True)
    assert Response.FromString(going_away(0.5, 2)).going_away.retry_after_ms == 500
