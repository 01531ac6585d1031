"""How a server is doing: its health, and counts of ticks, streams, questions and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import grpc
import numpy as np

from forcedmove.v1 import server_status_pb2, server_status_pb2_grpc
from forcedmove_client.calls import Calls
from forcedmove_client.errors import translated

#: of the standard health protocol, whose stubs would be one more dependency for two fields
_HEALTH_METHOD = "/grpc.health.v1.Health/Check"


class Health(IntEnum):
    """What the health protocol answers; the numbers are those of ``grpc.health.v1``."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class StageTime:
    """Seconds that one stage of a tick took: the last time, and in all ``count`` ticks together."""

    stage: str
    last_s: float
    sum_s: float
    count: int


@dataclass(frozen=True, slots=True)
class QuestionCounts:
    """Questions of one kind that are computed beside the engine; ``refused`` for want of room."""

    kind: str
    running: int
    waiting: int
    refused: int


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """What of the server outlasts a crash: records of its inputs up to ``kept_record``, and snapshots.

    ``problem`` says why nothing can be kept just now, and positions are refused; it is empty where all is well.
    """

    problem: str
    kept_record: int
    waiting_records: int
    snapshot_record: int
    snapshot_age_s: float
    snapshot_bytes: int
    snapshot_pause_s: float
    log_bytes: int
    syncs: int
    failures: int


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    """One of the processes that hold the streams, where the engine has its own; counts since the server began."""

    number: int
    streams: int
    subscribers: int
    views: int
    sent_bytes: int
    sent_frames: int
    conflated_frames: int
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """Counts since the server started, and what is going on now.

    ``event_time`` of the newest map is NaT before the first one. ``resident_bytes`` is 0 where the server's system does
    not tell, ``device_total_bytes`` without a GPU; ``journal`` is None where nothing outlasts a crash.
    """

    version: str
    backend: str
    uptime_s: float
    ticks: int
    missed_ticks: int
    event_time: np.datetime64
    symbols: int
    stages: tuple[StageTime, ...]
    streams: int
    subscribers: int
    views: int
    sent_bytes: int
    sent_frames: int
    conflated_frames: int
    questions: tuple[QuestionCounts, ...]
    resident_bytes: int
    device_used_bytes: int
    device_total_bytes: int
    journal: JournalStatus | None = None
    gateways: tuple[GatewayStatus, ...] = ()


class StatusCalls(Calls):
    """What ``AsyncClient`` offers about the server itself."""

    async def server_status(self) -> ServerStatus:
        """Return how the server is doing. Raises UnavailableError, or ServerError from a server that cannot tell."""
        stub = server_status_pb2_grpc.StatusServiceStub(self._channel)
        return status_of(await self._ask(stub.GetServerStatus, server_status_pb2.GetServerStatusRequest()))

    async def health(self, service: str = "", *, timeout_s: float = 5.0) -> Health:
        """Return the health of a service by its full name, ``forcedmove.v1.HeatmapService``; of the server for "".

        Raises UnavailableError when nobody answers. A service that the server does not have is SERVICE_UNKNOWN.
        """
        check: Callable[..., grpc.aio.UnaryUnaryCall[bytes, bytes]] = self._channel.unary_unary(_HEALTH_METHOD)
        name = service.encode()
        try:
            # one field each: the name (1, text) asks, the status (1, varint) answers
            answer = await check(b"\x0a" + _varint(len(name)) + name if name else b"", timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return Health.SERVICE_UNKNOWN
            raise translated(error, self.target) from None
        return Health(answer[1]) if answer[:1] == b"\x08" and answer[1] in tuple(Health) else Health.UNKNOWN


def status_of(message: server_status_pb2.GetServerStatusResponse) -> ServerStatus:
    """Read a response."""
    return ServerStatus(
        version=message.version,
        backend=message.backend,
        uptime_s=message.uptime_s,
        ticks=message.ticks,
        missed_ticks=message.missed_ticks,
        event_time=np.datetime64(message.event_time_ns, "ns") if message.event_time_ns else np.datetime64("NaT", "ns"),
        symbols=message.symbols,
        stages=tuple(StageTime(each.stage, each.last_s, each.sum_s, each.count) for each in message.stages),
        streams=message.streams,
        subscribers=message.subscribers,
        views=message.views,
        sent_bytes=message.sent_bytes,
        sent_frames=message.sent_frames,
        conflated_frames=message.conflated_frames,
        questions=tuple(
            QuestionCounts(each.kind, each.running, each.waiting, each.refused) for each in message.questions
        ),
        resident_bytes=message.resident_bytes,
        device_used_bytes=message.device_used_bytes,
        device_total_bytes=message.device_total_bytes,
        journal=_journal_of(message.journal) if message.HasField("journal") else None,
        gateways=tuple(
            GatewayStatus(
                each.number,
                each.streams,
                each.subscribers,
                each.views,
                each.sent_bytes,
                each.sent_frames,
                each.conflated_frames,
                each.resident_bytes,
            )
            for each in message.gateways
        ),
    )


def _journal_of(message: server_status_pb2.JournalStatus) -> JournalStatus:
    return JournalStatus(**{name: getattr(message, name) for name in JournalStatus.__dataclass_fields__})


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
