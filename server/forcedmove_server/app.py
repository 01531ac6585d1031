"""The composition root: sources, engine and RPC server put together, started, and drained on a signal."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from prometheus_client.registry import Collector

from forcedmove_kernels import cuda
from forcedmove_kernels.backend import BackendChoice
from forcedmove_server.access.store import TokenStore
from forcedmove_server.collectors.accounts import follow_accounts
from forcedmove_server.collectors.network import Addresses, Network, http_session
from forcedmove_server.config import Config, ExactConfig, LiveSourceConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.engine.exact.file import follow_file
from forcedmove_server.engine.frames import Tick
from forcedmove_server.engine.recovery.resume import lost_feeds, resume
from forcedmove_server.errors import ForcedMoveError, InputError, NotReadyError
from forcedmove_server.garbage import settle
from forcedmove_server.gateway.child import LISTENING, READY, Inside
from forcedmove_server.gateway.feed import TickFeed
from forcedmove_server.gateway.totals import GatewayMetrics, GatewayTotals
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import PositionAck, PositionChange
from forcedmove_server.metrics import (
    EngineMetrics,
    FeedMetrics,
    IngestMetrics,
    JournalMetrics,
    LoadMetrics,
    MetricsEndpoint,
    StreamMetrics,
)
from forcedmove_server.rpc.certificates import Certificates
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer, serve
from forcedmove_server.rpc.server_status import EngineFigures
from forcedmove_server.scorecard.summary import ShortScore
from forcedmove_server.sources.live import LiveSource
from forcedmove_server.sources.make import make_source
from forcedmove_server.sources.pump import Pump
from forcedmove_server.tracing.traces import Traces, tracing

_LOG = logging.getLogger(__name__)

_DEFECT_REPORT_S = 60.0
_SCRAPE_WAIT_S = 1.0
_WRITABLE_LOOK_S = 0.5


async def run_server(config: Config, ready_file: Path | None = None, inside: Inside | None = None) -> None:
    """Serve until SIGINT or SIGTERM; a source that merely ends leaves its last map being served.

    ``ready_file`` receives ``host:port`` once there is a map and every simulated history has been played. With
    ``inside`` it serves gateways only, which have admitted whoever asks, and the supervisor is told instead.

    Raises what a source or the engine failed with.
    """
    async with tracing(config.server, "engine" if inside else "server") as traces:
        await _serve(config, ready_file, inside, traces)


async def _serve(config: Config, ready_file: Path | None, inside: Inside | None, traces: Traces | None) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def stop_soon() -> None:
        # from a source's or the engine's thread; the loop may be gone when they end after it
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM,) if inside else (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    tokens, certificates = (None, None) if inside else protection_of(config)
    engine = Engine(config, InstrumentRegistry(), on_failure=stop_soon)
    _LOG.info("backend %s", engine.pipeline.backend_choice.describe())
    _resumed(config, engine)
    pumps = _pumps(config, engine, stop_soon)
    totals = GatewayTotals()
    feed = TickFeed(engine, totals, config.server.gateway_stalled_after_s) if inside else None
    book = engine.pipeline.book

    def feeds() -> list[FeedStatus]:
        live = [pump.source for pump in pumps if isinstance(pump.source, LiveSource)]
        return [status for source in live for status in source.feeds()]

    choice = engine.pipeline.backend_choice
    figures = EngineFigures(
        choice.name, engine.stages.read, lambda: device_bytes(choice), engine.journal_status, totals.by_gateway
    )
    server = await serve(
        engine,
        inside.address if inside else config.server.host,
        config.server.port,
        limits=limits_of(config),
        book=book,
        feeds=feeds,
        figures=figures,
        tokens=tokens,
        certificates=certificates,
        reflects=config.server.reflection and not inside,
        streams=totals if feed else None,
        internal=(feed.handler(),) if feed else (),
        spans=traces,
    )
    if inside:
        inside.tell(LISTENING)
    metrics: MetricsEndpoint | None = None
    try:
        if config.server.metrics_port:
            collectors = _collectors(engine, server, feeds, totals if feed else None)
            metrics = MetricsEndpoint(collectors, config.server.metrics_host, config.server.metrics_port)
    except InputError:
        await server.drain()
        raise
    defect_log = DefectLog(engine, pumps)
    if traces:
        engine.on_tick(traces.ticks(engine.stages))
    engine.start()
    for pump in pumps:
        pump.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            if inside:
                announcement = _tell_ready(engine, pumps, inside)
            else:
                announcement = _announce(engine, server, config.server.host, pumps, ready_file)
            ready = tasks.create_task(announcement)
            defects = tasks.create_task(defect_log.watch())
            faults = tasks.create_task(server.raise_failure(), name="faults of the server")
            exact = tasks.create_task(feed_exact(config.exact, engine), name="exact positions")
            writable = tasks.create_task(tell_writable(engine, server), name="what can be written")
            await stop.wait()
            for task in (ready, defects, faults, exact, writable):
                task.cancel()
    finally:
        if metrics is not None:
            await asyncio.to_thread(metrics.close)
        # whoever reads is told first; then nothing new comes in, and the tick in progress ends
        await server.drain()
        if feed:
            feed.close()
        await asyncio.to_thread(_stop_threads, engine, pumps)
        defect_log.tell()
    if engine.failure:
        raise engine.failure
    for pump in pumps:
        if pump.failure:
            raise pump.failure


def _resumed(config: Config, engine: Engine) -> None:
    """Bring back what was kept, and keep what comes, where the configuration says so. Raises FileFormatError."""
    if config.recovery.path is None:
        return
    journal, resumed = resume(config, engine.core, engine.fail)
    engine.keep(journal)
    lost = lost_feeds(config, engine.core) if resumed.snapshot is not None else None
    if lost is not None:
        engine.put(lost)


async def tell_writable(engine: Engine, server: RpcServer) -> None:
    """Let the health of services that change something follow the journal, until cancelled."""
    while True:
        status = engine.journal_status()
        await server.set_writable(status is None or status.problem is None)
        await asyncio.sleep(_WRITABLE_LOOK_S)


def protection_of(config: Config) -> tuple[TokenStore | None, Certificates | None]:
    """Read tokens and certificates. Raises ConfigError."""
    server, tokens = config.server, config.security.tokens
    if server.insecure:
        _LOG.warning("server.insecure: whoever reaches the port may do everything that no token or certificate forbids")
    store = TokenStore(Path(tokens)) if tokens is not None else None
    if server.tls_certificate is None or server.tls_key is None:
        return store, None
    authorities = Path(server.tls_client_ca) if server.tls_client_ca is not None else None
    return store, Certificates(Path(server.tls_certificate), Path(server.tls_key), authorities)


def limits_of(config: Config) -> Limits:
    """Return what a server of this configuration hands out."""
    return Limits(
        heartbeat_s=config.server.heartbeat_ms / 1000,
        tiers_stale_after_days=config.margin.tiers_stale_after_days,
        max_age_s=config.exact.max_age_s,
        typical_position_usd=config.model.typical_position_usd,
        ingest=config.ingest,
        overload=config.overload,
        scan=config.scan,
        security=config.security,
        stalled_after_s=config.server.stalled_after_ms / 1000,
        every_frames=config.server.every_frames,
        resume_window_s=config.server.resume_window_s,
    )


def _collectors(
    engine: Engine, server: RpcServer, feeds: Callable[[], list[FeedStatus]], totals: GatewayTotals | None
) -> tuple[Collector, ...]:
    choice = engine.pipeline.backend_choice

    def headline() -> ShortScore | None:
        # an engine that is busy or gone has no score to tell, and a scrape does not wait for it
        with contextlib.suppress(NotReadyError, TimeoutError):
            return engine.headline().result(_SCRAPE_WAIT_S)
        return None

    return (
        EngineMetrics(engine, choice.name, headline, lambda: device_bytes(choice)),
        StreamMetrics(totals or server.hub, server.questions),
        LoadMetrics(server.admission),
        IngestMetrics(server.hub.ingest),
        FeedMetrics(feeds),
        JournalMetrics(engine.journal_status),
        *((GatewayMetrics(totals),) if totals else ()),
    )


def device_bytes(choice: BackendChoice) -> tuple[int, int] | None:
    """Return bytes used and in all of the GPU that computes; None where it is the CPU."""
    if choice.device is None:
        return None
    device = cuda.devices()[choice.device]
    return device.total_bytes - device.free_bytes, device.total_bytes


async def feed_exact(config: ExactConfig, engine: Engine) -> None:
    """Tell the engine the exact positions that the configuration names, until cancelled."""

    async def tell(change: PositionChange) -> PositionAck:
        return await asyncio.wrap_future(engine.set_positions(change))

    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        if config.file is not None:
            tasks.create_task(follow_file(config.file, tell, config.max_age_s))
        if config.hyperliquid_accounts:
            network = Network(await stack.enter_async_context(http_session()), Addresses())
            interval_s = config.hyperliquid_interval_s
            tasks.create_task(
                follow_accounts(config.hyperliquid_accounts, config.hyperliquid_url, interval_s, network, tell)
            )


def _pumps(config: Config, engine: Engine, stop_soon: Callable[[], None]) -> list[Pump]:
    pumps: list[Pump] = []
    for source_config in config.sources:
        made = make_source(source_config, config.engine.max_markets)

        def ended(name: str = source_config.name) -> None:
            pump = next(p for p in pumps if p.source.name == name)
            if pump.failure:
                stop_soon()
            else:
                _LOG.info("source %s has ended; its last map stays", name)

        put, resume_ns = partial(engine.put, source=source_config.name), engine.core.taken_ns.get(source_config.name, 0)
        is_live = isinstance(source_config, LiveSourceConfig)
        pumps.append(
            Pump(
                made.source,
                engine.registry,
                put,
                made.speed,
                ended,
                made.pace_from_ns,
                0 if is_live else resume_ns,
            )
        )
    return pumps


def _stop_threads(engine: Engine, pumps: list[Pump]) -> None:
    for pump in pumps:
        pump.request_stop()
    engine.stop()
    for pump in pumps:
        pump.join()


async def _announce(engine: Engine, server: RpcServer, host: str, pumps: list[Pump], ready_file: Path | None) -> None:
    """Write the ready file when the maps are ready."""
    await _caught_up(engine, pumps)
    settle()
    _LOG.info("serving on %s:%d", host, server.port)
    if ready_file is not None:
        partial = ready_file.with_name(ready_file.name + ".part")
        partial.write_text(f"{host}:{server.port}")
        os.replace(partial, ready_file)


async def _tell_ready(engine: Engine, pumps: list[Pump], inside: Inside) -> None:
    await _caught_up(engine, pumps)
    settle()
    inside.tell(READY)


async def _caught_up(engine: Engine, pumps: list[Pump]) -> None:
    """Wait until there is a map and what is played at once is behind it, or all that there is."""
    first = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ticked(_: Tick) -> None:
        if all(pump.caught_up(engine.pipeline.now_ns) for pump in pumps):
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(first.set)

    remove = engine.on_tick(ticked)
    try:
        await first.wait()
    finally:
        remove()


class DefectLog:
    """Logs what could not be used, and missed ticks, whenever there is more of it: nothing is lost silently."""

    def __init__(self, engine: Engine, pumps: list[Pump]) -> None:
        self._engine = engine
        self._by_name = {pump.source.name: pump.source.defects for pump in pumps}
        self._by_name["inference"] = engine.pipeline.inference.defects
        self._told: dict[tuple[str, str], int] = {}

    async def watch(self) -> None:
        """Tell once a minute."""
        while True:
            await asyncio.sleep(_DEFECT_REPORT_S)
            self.tell()

    def tell(self) -> None:
        """Log what is new since the last time."""
        for name, defects in self._by_name.items():
            for kind, rows, sample in defects.so_far():
                self._tell_one((name, kind), rows, f"; the first: {sample}" if sample else "")
        self._tell_one(("engine", "missed ticks"), self._engine.missed_ticks, "")

    def _tell_one(self, key: tuple[str, str], count: int, more: str) -> None:
        if count != self._told.get(key, 0):
            self._told[key] = count
            _LOG.warning("%s: %s: %d so far%s", *key, count, more)


def exit_status(error: BaseException) -> int:
    """Exit status of a server that ended with ``error``: 2 for input it was given, 1 for anything else."""
    return 2 if isinstance(error, ForcedMoveError) else 1
