"""Responses of the streams of maps, as bytes: chunks joined, divided and numbered."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.engine.frames import Tick
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import DELIVERY_NUMBERS, Subscription
from forcedmove_server.rpc.wire import delimited, varint_field

_SKIPPED_FIELD = heatmap_pb2.SubscribeResponse.SKIPPED_FRAMES_FIELD_NUMBER
_REQUEST_FIELD = heatmap_pb2.SubscribeResponse.REQUEST_ID_FIELD_NUMBER
_NUMBER_FIELD = heatmap_pb2.SubscribeResponse.NUMBER_FIELD_NUMBER
_FRAGMENT_FIELD = heatmap_pb2.SubscribeResponse.FRAGMENT_FIELD_NUMBER


def bodies(chunks: Iterable[bytes], skipped: int, request_id: int, max_bytes: int) -> Iterator[list[bytes]]:
    """Divide chunks among responses of about ``max_bytes`` each; a chunk that alone is longer comes in fragments.

    The first response carries the number of skipped frames, every one the id of the request it answers. What is left
    to do is to number and to join them.
    """
    answered = varint_field(_REQUEST_FIELD, request_id)
    news = varint_field(_SKIPPED_FIELD, skipped)
    batch: list[bytes] = []
    size = len(news) + len(answered)
    for chunk in chunks:
        if batch and size + len(chunk) > max_bytes:
            yield [news, answered, *batch]
            news, batch, size = b"", [], len(answered)
        if len(chunk) > max_bytes:
            for piece in _fragments(chunk, max_bytes):
                yield [news, answered, piece]
                news = b""
            size = len(answered)
            continue
        batch.append(chunk)
        size += len(chunk)
    if batch or news:
        yield [news, answered, *batch]


def _fragments(chunk: bytes, max_bytes: int) -> Iterator[bytes]:
    count = -(-len(chunk) // max_bytes)
    whole = memoryview(chunk)
    for index in range(count):
        content = bytes(whole[index * max_bytes : (index + 1) * max_bytes])
        fragment = heatmap_pb2.Fragment(index=index, count=count, content=content)
        yield delimited(_FRAGMENT_FIELD, fragment.SerializeToString())


def numbered(number: int, body: list[bytes]) -> bytes:
    """Return a response with its number."""
    return b"".join((varint_field(_NUMBER_FIELD, number), *body))


def whole_response(number: int, request_id: int, fields: Iterable[bytes]) -> bytes:
    """Return a numbered response of fields that need not be divided."""
    return numbered(number, [varint_field(_REQUEST_FIELD, request_id), *fields])


def with_request(request_id: int, field: bytes) -> bytes:
    """Return a response of one field that answers a request."""
    return varint_field(_REQUEST_FIELD, request_id) + field


def heartbeat(tick: Tick, missed_ticks: int, heads: Mapping[str, int]) -> bytes:
    """Return the field that says the stream is alive, and how far the ``heads`` of its symbols have come."""
    alive = heatmap_pb2.Heartbeat(
        epoch=tick.epoch,
        tick=tick.number,
        event_time_ns=tick.event_time_ns,
        missed_ticks=missed_ticks,
        head_seq=heads,
    )
    return heatmap_pb2.SubscribeResponse(heartbeat=alive).SerializeToString()


def terms(subscription: Subscription, limits: Limits) -> bytes:
    """Return the first response to a subscription: what holds for it."""
    return heatmap_pb2.SubscribeResponse(
        request_id=subscription.request_id,
        terms=heatmap_pb2.Terms(
            delivery=DELIVERY_NUMBERS[subscription.delivery],
            max_unacked=subscription.max_unacked,
            max_behind_frames=limits.every_frames if subscription.delivery == "every" else 0,
            stalled_after_ms=round(limits.stalled_after_s * 1000),
            heartbeat_interval_ms=round(limits.heartbeat_s * 1000),
        ),
    ).SerializeToString()


def pong(nonce: int, request_id: int) -> bytes:
    """Return the answer to a ping."""
    answer = heatmap_pb2.Pong(nonce=nonce, server_time_ns=time.time_ns())
    return heatmap_pb2.SubscribeResponse(request_id=request_id, pong=answer).SerializeToString()


def going_away(retry_after_s: float, request_id: int) -> bytes:
    """Return the last response of a server that is going down."""
    notice = heatmap_pb2.GoingAway(retry_after_ms=round(retry_after_s * 1000))
    return heatmap_pb2.SubscribeResponse(request_id=request_id, going_away=notice).SerializeToString()
