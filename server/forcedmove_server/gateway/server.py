"""A gateway process: streams and snapshots from its own hub, everything else relayed, on the shared public port."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from typing import Any, cast

import grpc

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.access.store import TokenStore
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import GoingAwayError
from forcedmove_server.garbage import settle
from forcedmove_server.gateway.relay import Relay
from forcedmove_server.gateway.remote import RemoteEngine
from forcedmove_server.gateway.wire import Report
from forcedmove_server.rpc import heatmap
from forcedmove_server.rpc.admission import Admission
from forcedmove_server.rpc.call_spans import CallSpans
from forcedmove_server.rpc.certificates import Certificates
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.queue_probes import QueueProbes
from forcedmove_server.rpc.server import SERVICES, RpcServer, start
from forcedmove_server.rpc.server_status import resident_bytes
from forcedmove_server.rpc.status import guarded

logger = logging.getLogger(__name__)

_SNAPSHOT = f"/{heatmap.SERVICE}/GetSnapshot"
_STREAMS = (m.name for m in heatmap_pb2.DESCRIPTOR.services_by_name["HeatmapService"].methods if m.server_streaming)
#: methods that a gateway answers from its own hub: maps
SERVED = frozenset({_SNAPSHOT, *(f"/{heatmap.SERVICE}/{name}" for name in _STREAMS)})
#: exit status of a gateway whose engine process, or the feed from it, is gone
FEED_LOST = 3
_REPORT_EVERY_S = 1.0


class _Served(grpc.GenericRpcHandler):
    """The handlers of SERVED; a snapshot with a band is relayed, since a band is made of what only the engine has."""

    def __init__(self, handlers: heatmap.HeatmapHandlers, relay: Relay) -> None:
        self._handlers, self._relay = handlers, relay
        self._all = handlers.handler()
        self._get_snapshot: Any = grpc.unary_unary_rpc_method_handler(
            self._snapshot, heatmap_pb2.GetSnapshotRequest.FromString
        )

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        if method == _SNAPSHOT:
            return self._get_snapshot
        return self._all.service(handler_call_details) if method in SERVED else None

    @guarded
    async def _snapshot(self, request: heatmap_pb2.GetSnapshotRequest, context: Any) -> bytes:
        if request.band_level:
            return await self._relay.answer(_SNAPSHOT, request, context)
        return await self._handlers.get_snapshot(request, context)


async def serve_gateway(
    remote: RemoteEngine,
    channel: grpc.aio.Channel,
    host: str,
    port: int,
    limits: Limits,
    tokens: TokenStore | None = None,
    certificates: Certificates | None = None,
    *,
    reflects: bool = False,
    spans: CallSpans | None = None,
) -> RpcServer:
    """Start a gateway's server on a port that others of this user may share. Raises InputError where it cannot."""
    first_map = asyncio.Event()
    hub = Hub(remote, limits, first_map.set)
    relay = Relay(channel, SERVICES, SERVED)
    hub.on_end.append(relay.end)
    engine = cast("EngineService", remote)  # only bands ask for more than a ViewService has, and those are relayed
    handlers = (_Served(heatmap.HeatmapHandlers(engine, hub, limits), relay), relay)
    return await start(
        hub,
        first_map,
        handlers,
        host,
        port,
        limits,
        tokens,
        certificates,
        QueueProbes(Admission(limits.overload, lambda: 0.0), None, hub),
        reflects=reflects,
        shares_port=True,
        spans=spans,
    )


async def run_gateway(
    engine_socket: str,
    number: int,
    host: str,
    port: int,
    limits: Limits,
    tokens: TokenStore | None,
    certificates: Certificates | None,
    *,
    reflects: bool,
    stalled_after_s: float,
    tell: Callable[[str], None],
    spans: CallSpans | None = None,
) -> int:
    """Serve until SIGTERM, or until the engine process is gone, and drain; return the exit status.

    ``tell`` is called with ``ready`` when it serves maps, and every second with ``alive`` while its loop and its ticks
    go on.
    """
    stop, status = asyncio.Event(), 0
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(engine_socket, options=unlimited) as channel:
        try:
            remote = await RemoteEngine.connect(channel, number)
        except GoingAwayError as error:
            logger.error("gateway %d: %s", number, error)
            return FEED_LOST
        server = await serve_gateway(
            remote, channel, host, port, limits, tokens, certificates, reflects=reflects, spans=spans
        )

        async def follow() -> None:
            nonlocal status
            try:
                await remote.run()
            except* GoingAwayError as lost:
                logger.error("gateway %d: %s", number, lost.exceptions[0])
                status = FEED_LOST
            stop.set()

        async def report() -> None:
            while True:
                began = remote.taking_since
                if began is None or time.monotonic() - began < stalled_after_s:
                    tell("alive")
                remote.report(report_of(server.hub))
                await asyncio.sleep(_REPORT_EVERY_S)

        async def announce() -> None:
            await server.first_map.wait()
            settle()
            tell("ready")

        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(each()) for each in (follow, report, announce, server.raise_failure)]
                await stop.wait()
                for task in running:
                    task.cancel()
        finally:
            await server.drain()
            remote.close()
    return status


def report_of(hub: Hub) -> Report:
    """Return a gateway's figures."""
    traffic = hub.traffic
    return Report(
        hub.streams,
        hub.subscribers,
        hub.views,
        traffic.messages,
        traffic.sent_bytes,
        traffic.frames,
        traffic.conflated,
        resident_bytes(),
        (*hub.encoding_times.read(), *hub.publish_times.read()),
    )
