"""StatusService: how the server is doing, from the counts that its Prometheus endpoint reads too."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import grpc

from forcedmove.v1 import server_status_pb2
from forcedmove_server.engine.recovery.journal import JournalStatus
from forcedmove_server.engine.service import EngineService
from forcedmove_server.engine.stages import StageHistogram, StageReading
from forcedmove_server.errors import NotReadyError
from forcedmove_server.rpc.admission import Admission
from forcedmove_server.rpc.status import guarded
from forcedmove_server.rpc.traffic import TrafficCounts

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    StatusContext = ServicerContext[server_status_pb2.GetServerStatusRequest, server_status_pb2.GetServerStatusResponse]

SERVICE = server_status_pb2.DESCRIPTOR.services_by_name["StatusService"].full_name


class GatewayFigures(Protocol):
    """What is told of one gateway; as in GatewayStatus."""

    @property
    def streams(self) -> int:
        """Streams of maps that it has open."""

    @property
    def subscribers(self) -> int:
        """Those that have asked for symbols."""

    @property
    def views(self) -> int:
        """Pairs of a symbol and a view that they read."""

    @property
    def sent_bytes(self) -> int:
        """Bytes of its responses, heartbeats aside."""

    @property
    def frames(self) -> int:
        """Maps in them."""

    @property
    def conflated(self) -> int:
        """Maps replaced before a slow reader took them."""

    @property
    def resident_bytes(self) -> int:
        """Memory of its process that is in RAM."""


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """What only the engine's owner knows.

    The backend's name, stages of ticks, bytes used and in all of the GPU, journal, and gateways by their number.
    """

    backend: str = ""
    stages: Callable[[], tuple[StageHistogram, ...]] = tuple
    device_bytes: Callable[[], tuple[int, int] | None] = lambda: None
    journal: Callable[[], JournalStatus | None] = lambda: None
    gateways: Callable[[], Mapping[int, GatewayFigures]] = dict


class Answering(Protocol):
    """Counts of questions that are computed beside the engine."""

    refused: int

    @property
    def running(self) -> int:
        """Questions that are being answered."""

    @property
    def waiting(self) -> int:
        """Questions that wait for a turn."""


class Streams(Protocol):
    """What is told of streams of maps: a hub's, or those of all gateways."""

    @property
    def streams(self) -> int:
        """Streams that are open."""

    @property
    def subscribers(self) -> int:
        """Streams that have asked for symbols."""

    @property
    def views(self) -> int:
        """Pairs of a symbol and a view that somebody reads."""

    @property
    def traffic(self) -> TrafficCounts:
        """What was sent and left out."""

    @property
    def encoding_times(self) -> StageReading:
        """Times of encoding."""

    @property
    def publish_times(self) -> StageReading:
        """Times of handing to readers."""


class StatusHandlers:
    """Handlers of one server; ``answering`` are its questions by kind."""

    def __init__(
        self,
        engine: EngineService,
        hub: Streams,
        figures: EngineFigures,
        answering: Mapping[str, Answering],
        admission: Admission,
    ) -> None:
        self._admission = admission
        self._engine, self._hub, self._figures, self._answering = engine, hub, figures, answering
        self._began = time.monotonic()

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetServerStatus": grpc.unary_unary_rpc_method_handler(
                    self.get_server_status,
                    server_status_pb2.GetServerStatusRequest.FromString,
                    server_status_pb2.GetServerStatusResponse.SerializeToString,
                )
            },
        )

    @guarded
    async def get_server_status(
        self, request: server_status_pb2.GetServerStatusRequest, context: StatusContext
    ) -> server_status_pb2.GetServerStatusResponse:
        """Tell all there is; before the first map there are no ticks."""
        hub = self._hub
        traffic = hub.traffic
        try:
            tick = self._engine.latest()
        except NotReadyError:
            tick = None
        times = (*self._figures.stages(), *hub.encoding_times.read(), *hub.publish_times.read())
        used, total = self._figures.device_bytes() or (0, 0)
        return server_status_pb2.GetServerStatusResponse(
            version=version("forcedmove"),
            backend=self._figures.backend,
            uptime_s=time.monotonic() - self._began,
            ticks=tick.number if tick else 0,
            missed_ticks=self._engine.missed_ticks,
            event_time_ns=tick.event_time_ns if tick else 0,
            symbols=len(tick.maps) if tick else 0,
            stages=[
                server_status_pb2.StageTime(stage=each.stage, last_s=each.last_s, sum_s=each.sum_s, count=each.count)
                for each in times
            ],
            streams=hub.streams,
            subscribers=hub.subscribers,
            views=hub.views,
            sent_bytes=traffic.sent_bytes,
            sent_frames=traffic.frames,
            conflated_frames=traffic.conflated,
            questions=[
                server_status_pb2.QuestionCounts(
                    kind=kind, running=each.running, waiting=each.waiting, refused=each.refused
                )
                for kind, each in self._answering.items()
            ],
            resident_bytes=resident_bytes(),
            device_used_bytes=used,
            device_total_bytes=total,
            calls_in_flight=self._admission.in_flight,
            shed=[server_status_pb2.ShedCount(kind=kind, calls=calls) for kind, calls in self._admission.shed.items()],
            queues=[
                server_status_pb2.QueueWait(queue=name, wait_s=wait_s)
                for name, wait_s in self._admission.waits_s.items()
            ],
            journal=_journal(self._figures.journal()),
            gateways=[
                server_status_pb2.GatewayStatus(
                    number=number,
                    streams=each.streams,
                    subscribers=each.subscribers,
                    views=each.views,
                    sent_bytes=each.sent_bytes,
                    sent_frames=each.frames,
                    conflated_frames=each.conflated,
                    resident_bytes=each.resident_bytes,
                )
                for number, each in self._figures.gateways().items()
            ],
        )


def _journal(status: JournalStatus | None) -> server_status_pb2.JournalStatus | None:
    if status is None:
        return None
    return server_status_pb2.JournalStatus(
        problem=status.problem or "",
        kept_record=status.kept,
        waiting_records=status.waiting,
        snapshot_record=status.snapshot,
        snapshot_age_s=status.snapshot_age_s,
        snapshot_bytes=status.snapshot_bytes,
        snapshot_pause_s=status.snapshot_pause_s,
        log_bytes=status.log_bytes,
        syncs=status.syncs,
        failures=status.failures,
    )


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM; 0 where the system has no ``/proc``."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
