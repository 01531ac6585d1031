"""The gRPC server: services, health, reflection; start and drain."""

from __future__ import annotations

import asyncio
import logging

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from forcedmove_server.access.store import TokenStore
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import InputError
from forcedmove_server.margin.ladder_book import LadderBook, shipped_book
from forcedmove_server.rpc import (
    cascade,
    events,
    heatmap,
    ingest,
    margin,
    positions,
    scan,
    scorecard,
    server_status,
    whatif,
)
from forcedmove_server.rpc.admission import Admission
from forcedmove_server.rpc.certificates import Certificates
from forcedmove_server.rpc.gatekeeper import Gatekeeper
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.queue_probes import QueueProbes
from forcedmove_server.rpc.turns import Turns

logger = logging.getLogger(__name__)

_SERVICES = (
    heatmap.SERVICE,
    cascade.SERVICE,
    events.SERVICE,
    margin.SERVICE,
    positions.SERVICE,
    ingest.SERVICE,
    scorecard.SERVICE,
    scan.SERVICE,
    whatif.SERVICE,
    server_status.SERVICE,
)
#: calls in the core's queue, which hold their requests
_MOST_PENDING = 1_000
_HEALTH_NAMES = ("", *_SERVICES)
#: those that change something
_WRITING = (positions.SERVICE, ingest.SERVICE)


class RpcServer:
    """A server that listens on ``port``. Made by ``serve``.

    Bugs that no call would notice end the streams, turn health to NOT_SERVING and are raised by ``raise_failure``.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        hub: Hub,
        workers: tuple[scan.ScanHandlers, Turns],
        healthy: health.aio.HealthServicer,
        first_map: asyncio.Event,
        port: int,
        admission: Admission,
        probes: QueueProbes,
    ) -> None:
        self.port = port
        self.hub = hub
        self._workers = workers
        self.scans, self.turns = workers
        self._server, self._health = server, healthy
        self._is_up, self._is_writable = False, True
        self._announcement = asyncio.create_task(self._announce(first_map), name="announce health")
        self._announcement.add_done_callback(self._ended)
        self.admission = admission
        self._probes = probes
        self._probing = asyncio.create_task(probes.run(), name="queue probes")
        self._probing.add_done_callback(self._ended)

    async def set_writable(self, is_writable: bool) -> None:
        """Say of the services that change something that they serve, or do not; what is read is served either way."""
        if self._is_up and is_writable != self._is_writable:
            self._is_writable = is_writable
            status = health_pb2.HealthCheckResponse
            for name in _WRITING:
                await self._health.set(name, status.SERVING if is_writable else status.NOT_SERVING)

    async def raise_failure(self) -> None:
        """Wait for a bug that no call would notice, and raise it. For a task group; cancel it to end the wait."""
        await asyncio.shield(self.hub.failure)

    async def drain(self, grace_s: float = 2.0) -> None:
        """Say NOT_SERVING, end the streams with UNAVAILABLE, let running calls finish for ``grace_s``, stop."""
        for task in (self._announcement, self._probing):
            task.cancel()
        await asyncio.wait((self._announcement, self._probing))
        await self._health.enter_graceful_shutdown()
        self.hub.end_streams()
        await self._server.stop(grace_s)
        self.hub.close()
        for threads in self._workers:
            threads.close()
        self._probes.close()
        logger.info("port %d is closed", self.port)

    async def wait_closed(self) -> None:
        """Wait until the server has stopped."""
        await self._server.wait_for_termination()

    async def _announce(self, first_map: asyncio.Event) -> None:
        await first_map.wait()
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        self._is_up = True
        logger.info("serving")
        await asyncio.wait((self.hub.failure,))
        self._is_up = False
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.hub.fail(error)

    async def _set_health(self, status: health_pb2.HealthCheckResponse.ServingStatus.ValueType) -> None:
        for name in _HEALTH_NAMES:
            await self._health.set(name, status)


async def serve(
    engine: EngineService,
    host: str = "127.0.0.1",
    port: int = 7878,
    *,
    limits: Limits | None = None,
    book: LadderBook | None = None,
    feeds: heatmap.Feeds = tuple,
    figures: server_status.EngineFigures | None = None,
    tokens: TokenStore | None = None,
    certificates: Certificates | None = None,
    reflects: bool = False,
) -> RpcServer:
    """Start a server; port 0 takes any free one. Health turns to SERVING with the engine's first map.

    ``book`` has the ladders that questions about single positions are answered from; default: the shipped ones.
    ``feeds`` tells how live feeds are doing, ``figures`` what its status says of the engine. Without ``tokens`` nobody
    needs one, without ``certificates`` the port is plain text; ``reflects`` describes the services to tools.

    Raises InputError when the address cannot be bound.
    """
    limits = limits or Limits()
    first_map = asyncio.Event()
    hub = Hub(engine, limits, first_map.set)
    scans, turns = scan.ScanHandlers(engine, limits), Turns(limits.answers_at_once, limits.answers_waiting)
    admission = Admission(limits.overload, lambda: turns.expected_wait_s)
    gatekeeper = Gatekeeper(
        tokens,
        limits.quotas,
        limits.max_deadline_s,
        lambda: len(hub.tick.maps) if hub.tick is not None else 1,
        admission,
    )
    server = grpc.aio.server(
        interceptors=(gatekeeper,),
        options=(
            # two servers on one port would share its connections at random
            ("grpc.so_reuseport", 0),
            # calls that nobody has looked at yet: beyond these the core refuses them, at random at first
            ("grpc.server.max_pending_requests", _MOST_PENDING),
            ("grpc.server.max_pending_requests_hard_limit", 2 * _MOST_PENDING),
            ("grpc.max_concurrent_streams", limits.max_calls_per_connection),
            ("grpc.max_receive_message_length", limits.max_request_bytes),
            ("grpc.max_send_message_length", 2 * limits.max_answer_bytes),
            # readers that vanish without closing are noticed, and readers may ask the same of the server
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ),
    )
    healthy = health.aio.HealthServicer()
    for name in _HEALTH_NAMES:
        await healthy.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    book = book or shipped_book()
    probes = QueueProbes(admission, engine, hub)
    server.add_generic_rpc_handlers(
        (
            heatmap.HeatmapHandlers(engine, hub, limits, feeds).handler(),
            cascade.CascadeHandlers(engine, turns).handler(),
            events.EventHandlers(engine, hub, limits).handler(),
            margin.MarginHandlers(book, limits).handler(),
            positions.PositionsHandlers(engine, limits).handler(),
            ingest.IngestHandlers(engine, hub, book, limits).handler(),
            scorecard.ScorecardHandlers(engine, limits).handler(),
            scans.handler(),
            whatif.WhatIfHandlers(engine, book, limits, turns).handler(),
            server_status.StatusHandlers(
                engine, hub, figures or server_status.EngineFigures(), {"scan": scans, "forecast": turns}, admission
            ).handler(),
        )
    )
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if reflects:
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        probes.listen(server)
        bound = (
            server.add_secure_port(address, certificates.credentials())
            if certificates is not None
            else server.add_insecure_port(address)
        )
    except RuntimeError as error:
        hub.close()
        scans.close()
        turns.close()
        probes.close()
        raise InputError("server.port", address, f"cannot listen there: {error}") from error
    await server.start()
    logger.info("listening on %s:%d", host, bound)
    return RpcServer(server, hub, (scans, turns), healthy, first_map, bound, admission, probes)
