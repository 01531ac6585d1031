"""The gRPC server: services, health, reflection; start and drain."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

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
from forcedmove_server.rpc.call_spans import CallSpans
from forcedmove_server.rpc.certificates import Certificates
from forcedmove_server.rpc.gatekeeper import Gatekeeper
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.queue_probes import QueueProbes
from forcedmove_server.rpc.turns import Turns

logger = logging.getLogger(__name__)

SERVICES = (
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
_UNCOUNTED = 2**31 - 1
_HEALTH_NAMES = ("", *SERVICES)
#: those that change something
_WRITING = (positions.SERVICE, ingest.SERVICE)
#: how an address begins that is a socket file
UNIX = "unix:"


class Worker(server_status.Answering, Protocol):
    """Answers questions on threads of its own, until it is closed."""

    def close(self) -> None:
        """End the threads."""


class RpcServer:
    """A server that listens on ``port``. Made by ``serve``.

    Bugs that no call would notice end the streams, turn health to NOT_SERVING and are raised by ``raise_failure``.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        hub: Hub,
        workers: Mapping[str, Worker],
        healthy: health.aio.HealthServicer,
        first_map: asyncio.Event,
        port: int,
        probes: QueueProbes,
    ) -> None:
        self.port = port
        self.hub = hub
        self.first_map = first_map
        #: questions that are computed beside the engine, by kind
        self.questions = workers
        self._server, self._health = server, healthy
        self._is_up, self._is_writable = False, True
        self._announcement = asyncio.create_task(self._announce(first_map), name="announce health")
        self._announcement.add_done_callback(self._ended)
        self.admission = probes.admission
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
        for threads in self.questions.values():
            threads.close()
        self._probes.close()
        logger.info("the server is closed")

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
    streams: server_status.Streams | None = None,
    internal: Sequence[grpc.GenericRpcHandler] = (),
    spans: CallSpans | None = None,
) -> RpcServer:
    """Start a server; port 0 takes any free one, and a ``host`` of ``unix:PATH`` is a socket file.

    Health turns to SERVING with the engine's first map.

    ``book`` has the ladders that questions about single positions are answered from; default: the shipped ones.
    ``feeds`` tells how live feeds are doing, ``figures`` what its status says of the engine. Without ``tokens`` nobody
    needs one, without ``certificates`` the port is plain text; ``reflects`` describes the services to tools.
    ``streams`` are told of in its status where they are not its own; ``internal`` handlers come beside the services.
    ``spans`` begins one for every call.

    Raises InputError when the address cannot be bound.
    """
    limits = limits or Limits()
    first_map = asyncio.Event()
    hub = Hub(engine, limits, first_map.set)
    book = book or shipped_book()
    scans, turns = scan.ScanHandlers(engine, limits), Turns(limits.answers_at_once, limits.answers_waiting)
    admission = Admission(limits.overload, lambda: turns.expected_wait_s)
    questions: dict[str, Worker] = {"scan": scans, "forecast": turns}
    figures = figures or server_status.EngineFigures()
    handlers = (
        heatmap.HeatmapHandlers(engine, hub, limits, feeds).handler(),
        cascade.CascadeHandlers(engine, turns).handler(),
        events.EventHandlers(engine, hub, limits).handler(),
        margin.MarginHandlers(book, limits).handler(),
        positions.PositionsHandlers(engine, limits).handler(),
        ingest.IngestHandlers(engine, hub, book, limits).handler(),
        scorecard.ScorecardHandlers(engine, limits).handler(),
        scans.handler(),
        whatif.WhatIfHandlers(engine, book, limits, turns).handler(),
        server_status.StatusHandlers(engine, streams or hub, figures, questions, admission).handler(),
        *internal,
    )
    return await start(
        hub,
        first_map,
        handlers,
        host,
        port,
        limits,
        tokens,
        certificates,
        QueueProbes(admission, engine, hub),
        reflects=reflects,
        questions=questions,
        spans=spans,
    )


async def start(
    hub: Hub,
    first_map: asyncio.Event,
    handlers: Sequence[grpc.GenericRpcHandler],
    host: str,
    port: int,
    limits: Limits,
    tokens: TokenStore | None,
    certificates: Certificates | None,
    probes: QueueProbes,
    *,
    reflects: bool = False,
    shares_port: bool = False,
    questions: Mapping[str, Worker] = MappingProxyType({}),
    spans: CallSpans | None = None,
) -> RpcServer:
    """Start a server of ``handlers`` in front of ``hub``, with health and the gatekeeper; see ``serve``.

    ``shares_port`` lets other processes of this user listen on the port too: the system gives each a part of the
    connections. Raises InputError when the address cannot be bound.
    """
    is_internal = host.startswith(UNIX)
    # a deadline that a gateway has judged grows by what its transport rounds up
    max_deadline_s = math.inf if is_internal else limits.max_deadline_s
    gatekeeper = Gatekeeper(
        tokens,
        limits.quotas,
        max_deadline_s,
        lambda: len(hub.tick.maps) if hub.tick is not None else 1,
        probes.admission,
        spans,
    )
    server = grpc.aio.server(
        interceptors=(gatekeeper,),
        options=(
            # two servers on one port share its connections at random: gateways of one engine only
            ("grpc.so_reuseport", int(shares_port)),
            # calls that nobody has looked at yet: beyond these the core refuses them, at random at first
            ("grpc.server.max_pending_requests", _MOST_PENDING),
            ("grpc.server.max_pending_requests_hard_limit", 2 * _MOST_PENDING),
            # a gateway is one connection, and has counted its own
            ("grpc.max_concurrent_streams", _UNCOUNTED if is_internal else limits.max_calls_per_connection),
            # gateways have judged the requests that they hand on, and take ticks of any length
            ("grpc.max_receive_message_length", -1 if is_internal else limits.max_request_bytes),
            ("grpc.max_send_message_length", -1 if is_internal else 2 * limits.max_answer_bytes),
            # readers that vanish without closing are noticed, and readers may ask the same of the server
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ),
    )
    healthy = health.aio.HealthServicer()
    for name in _HEALTH_NAMES:
        await healthy.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    server.add_generic_rpc_handlers(handlers)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if reflects:
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = address_of(host, port)
    try:
        probes.listen(server)
        bound = (
            server.add_secure_port(address, certificates.credentials())
            if certificates is not None
            else server.add_insecure_port(address)
        )
    except RuntimeError as error:
        hub.close()
        for threads in questions.values():
            threads.close()
        probes.close()
        raise InputError("server.port", address, f"cannot listen there: {error}") from error
    await server.start()
    logger.info("listening on %s", host if is_internal else f"{host}:{bound}")
    return RpcServer(server, hub, questions, healthy, first_map, bound, probes)


def address_of(host: str, port: int) -> str:
    """Return an address as gRPC writes it."""
    if host.startswith(UNIX):
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
