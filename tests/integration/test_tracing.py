"""OpenTelemetry traces as a collector gets them: calls with their callers, refused ones, streams, ticks with stages."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import trustme

from forcedmove.v1 import heatmap_pb2, heatmap_pb2_grpc
from forcedmove_server.access.store import TokenStore
from forcedmove_server.access.tokens import create_token
from forcedmove_server.commands import check_config
from forcedmove_server.config import Config, ServerConfig, read_config
from forcedmove_server.engine.stages import StageTimes
from forcedmove_server.errors import InputError
from forcedmove_server.tracing.sender import TellingExporter
from forcedmove_server.tracing.traces import Traces, tracing
from tests.integration.fake_engine import FakeEngine, eventually, next_frames, serving, subscribe_request
from tests.integration.gateway_front import engine_process, gateway
from tests.integration.real_engine import fed_engine
from tests.integration.test_access import status_of
from tests.integration.test_overload import shut
from tests.integration.trace_collector import Collector, collecting

SNAPSHOT = "/forcedmove.v1.HeatmapService/GetSnapshot"
SYMBOLS = "/forcedmove.v1.HeatmapService/ListSymbols"
STATUS = "/forcedmove.v1.StatusService/GetServerStatus"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
#: far more than a drain takes, and less than the SDK would wait for a collector that does not answer
PATIENCE_S = 20.0


@asynccontextmanager
async def traced(collector: Collector, process: str = "server", share: float = 1.0) -> AsyncIterator[Traces]:
    """Traces of a process, all of which the collector has when the block has ended."""
    async with tracing(ServerConfig(trace_endpoint=collector.endpoint, trace_share=share), process) as traces:
        assert traces is not None
        yield traces


async def ask(port: int, method: str, *metadata: tuple[str, str], request: bytes = b"") -> grpc.StatusCode:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(method)(request, metadata=metadata, timeout=PATIENCE_S)
        with suppress(grpc.aio.AioRpcError):
            await call
        return await call.code()


async def read_on(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_call_is_part_of_its_callers_trace() -> None:
    engine = FakeEngine()
    engine.step()
    began_ns = time.time_ns()
    async with collecting() as collector:
        async with traced(collector) as traces, serving(engine, spans=traces) as server:
            for parent in (f"00-{TRACE}-{CALLER}-01", "rubbish", f"00-{TRACE}-{CALLER}-00"):
                assert await ask(server.port, SYMBOLS, ("traceparent", parent)) is grpc.StatusCode.OK
            unknown = heatmap_pb2.GetSnapshotRequest(symbols=["NONE"]).SerializeToString()
            assert await ask(server.port, SNAPSHOT, request=unknown) is grpc.StatusCode.NOT_FOUND
            assert await ask(server.port, SNAPSHOT, request=b"\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT
            assert await ask(server.port, "/grpc.health.v1.Health/Check") is grpc.StatusCode.OK
        first, second = collector.named(SYMBOLS[1:])
        assert (first.trace, first.parent, first.is_server, first.is_error) == (TRACE, CALLER, True, False)
        assert first.attributes == {
            "rpc.system": "grpc",
            "rpc.service": "forcedmove.v1.HeatmapService",
            "rpc.method": "ListSymbols",
            "rpc.grpc.status_code": 0,
        }
        assert began_ns <= first.start_ns < first.end_ns <= time.time_ns()
        assert (second.trace != TRACE, second.parent) == (True, "")  # and the third is not to be kept
        codes = [span.attributes["rpc.grpc.status_code"] for span in collector.named(SNAPSHOT[1:])]
        assert codes == [5, 3]
        # one, and none of those by which the server probes its queues
        assert len(collector.named("grpc.health.v1.Health/Check")) == 1


async def test_refused_calls_have_their_span_and_no_secret(tmp_path: Path) -> None:
    tokens, engine = tmp_path / "tokens.toml", FakeEngine()
    reader = create_token(tokens, "reader", ["read"], None)
    engine.step()
    async with collecting() as collector:
        async with traced(collector) as traces, serving(engine, tokens=TokenStore(tokens), spans=traces) as server:
            sent = ("authorization", f"Bearer {reader}")
            assert await ask(server.port, SYMBOLS) is grpc.StatusCode.UNAUTHENTICATED
            assert await ask(server.port, STATUS, sent) is grpc.StatusCode.PERMISSION_DENIED
            assert await ask(server.port, SYMBOLS, sent) is grpc.StatusCode.OK
            watch = "/forcedmove.v1.HeatmapService/Watch"
            assert (await status_of(server.port, watch, None))[0] is grpc.StatusCode.UNAUTHENTICATED
            shut(server.admission)
            assert await ask(server.port, SYMBOLS, sent) is grpc.StatusCode.RESOURCE_EXHAUSTED
        codes = [span.attributes["rpc.grpc.status_code"] for span in collector.named(SYMBOLS[1:])]
        assert codes == [16, 0, 8]
        assert [span.attributes["rpc.grpc.status_code"] for span in collector.named(STATUS[1:])] == [7]
        assert [span.attributes["rpc.grpc.status_code"] for span in collector.named(watch[1:])] == [16]
        assert not [span for span in collector.spans if span.is_error]  # none is the server's fault
        assert reader.encode() not in collector.raw
        assert b"reader" not in collector.raw


async def test_a_stream_is_one_span_from_its_beginning_to_its_end() -> None:
    engine = FakeEngine()
    engine.run(0.02)
    async with collecting() as collector:
        async with (
            traced(collector) as traces,
            serving(engine, spans=traces) as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            subscribe = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe
            left, drained = subscribe(), subscribe()
            for call in (left, drained):
                await call.write(subscribe_request(symbols=["BTC"]))
                await next_frames(call)
            read_ns = time.time_ns()
            left.cancel()
            await eventually(lambda: server.hub.streams == 1)
            server.hub.end_streams()
            with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
                await read_on(drained)
        spans = collector.named("forcedmove.v1.HeatmapService/Subscribe")
        assert [span.attributes["rpc.grpc.status_code"] for span in spans] == [1, 14]
        assert all(span.start_ns < read_ns < span.end_ns for span in spans)
        assert [span.is_error for span in spans] == [False, True]


@pytest.mark.parametrize("share", [1.0, 0.0])
async def test_a_relayed_call_is_a_child_of_the_gateways(share: float) -> None:
    engine = FakeEngine()
    engine.step()
    async with collecting() as collector:
        async with (
            traced(collector, "engine") as of_engine,
            traced(collector, "gateway-1", share) as of_gateway,
            engine_process(engine, spans=of_engine) as inner,
            gateway(inner.address, spans=of_gateway) as outer,
        ):
            port = outer.server.port
            assert await ask(port, STATUS) is grpc.StatusCode.OK
            assert await ask(port, STATUS, ("traceparent", f"00-{TRACE}-{CALLER}-01")) is grpc.StatusCode.OK
        engine.close()
        relayed, at_gateway = (collector.named(STATUS[1:], name) for name in ("engine", "gateway-1"))
        assert [(span.trace, span.parent) for span in relayed] == [(span.trace, span.id) for span in at_gateway]
        # what begins at a gateway that keeps nothing is not kept by the engine process either
        assert [span.parent for span in at_gateway] == (["", CALLER] if share else [CALLER])


async def test_ticks_have_a_span_for_each_stage() -> None:
    async with collecting() as collector:
        async with traced(collector) as traces, fed_engine(Config()) as engine:
            before = engine.ticks
            engine.on_tick(traces.ticks(engine.stages))
            await eventually(lambda: engine.ticks >= before + 3)
        ticks = collector.named("tick")
        assert len({span.trace for span in ticks}) == len(ticks) >= 2
        numbers = [span.attributes["forcedmove.tick"] for span in ticks]
        assert numbers == list(range(numbers[0], numbers[0] + len(ticks)))
        for tick in ticks[1:]:  # the first has all that was measured before it was asked for
            stages = [span for span in collector.spans if span.parent == tick.id]
            assert {"tick inference", "tick map"} <= {span.name for span in stages}
            assert [tick.start_ns, *(span.end_ns for span in stages)] == [
                *(span.start_ns for span in stages),
                tick.end_ns,
            ]


async def test_a_stage_that_did_nothing_has_no_span_and_each_is_as_long_as_its_pieces() -> None:
    stages = StageTimes("map", "chains", "render")
    tick: Any = SimpleNamespace(number=7, changed=frozenset({"BTC"}))
    async with collecting() as collector:
        async with traced(collector) as traces:
            ticked = traces.ticks(stages)
            for done in (("map", "render", "map"), ("chains",), ()):
                for stage in done:
                    with stages.timing(stage):
                        pass
                stages.end_tick()
                ticked(tick)
        assert [span.name for span in collector.spans if span.parent] == ["tick map", "tick render", "tick chains"]
        assert len(collector.named("tick")) == 3
        for each in stages.read():
            (span,) = collector.named(f"tick {each.stage}")
            assert span.end_ns - span.start_ns == int(each.sum_s * 1e9)
        assert collector.named("tick")[0].attributes == {"forcedmove.tick": 7, "forcedmove.changed": 1}


@pytest.mark.parametrize("connects", [False, True])
async def test_without_a_collector_all_goes_on_and_a_drain_does_not_wait_for_it(
    connects: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens there, or somebody who takes the connection and says nothing."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("forcedmove_server.tracing.sender._FLUSH_S", 0.1)
    engine = FakeEngine()
    engine.step()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        if not connects:
            silent.close()
        async with asyncio.timeout(PATIENCE_S):
            async with (
                tracing(ServerConfig(trace_endpoint=endpoint), "server") as traces,
                serving(engine, spans=traces) as server,
            ):
                assert traces is not None
                ticked = traces.ticks(StageTimes())
                for number in range(3_000):  # more than the queue holds
                    ticked(SimpleNamespace(number=number, changed=()))  # type: ignore[arg-type]
                for _ in range(20):
                    assert await ask(server.port, SYMBOLS) is grpc.StatusCode.OK
    complaints = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert complaints == [f"{endpoint} takes no traces: they are dropped until it does"]


async def test_a_collector_may_have_tls_and_want_a_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority, wanted = trustme.CA(), ("x-tenant", "desk")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("localhost")
    pair = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "=".join(wanted))
    async with collecting(grpc.ssl_server_credentials([pair])) as collector:
        async with traced(collector) as traces:
            traces.call(SYMBOLS, (), time.time_ns()).end(grpc.StatusCode.OK)
        assert [span.name for span in collector.spans] == [SYMBOLS[1:]]
        assert wanted in collector.metadata


def test_a_collector_that_is_gone_is_told_of_once_and_its_return_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    results = iter(("SUCCESS", "FAILURE", "FAILURE", "SUCCESS", "SUCCESS"))
    inner: Any = SimpleNamespace(export=lambda _: SimpleNamespace(name=next(results)))
    exporter = TellingExporter(inner, "http://there:1")
    for _ in range(5):
        exporter.export(())
    assert [record.getMessage() for record in caplog.records] == [
        "http://there:1 takes no traces: they are dropped until it does",
        "http://there:1 takes traces again",
    ]


CONFIG = """
[server]
port = 0
gateways = {gateways}
{more}
[engine]
tick_interval_ms = 100
[[sources]]
kind = "simulate"
name = "simulate"
symbols = ["BTC"]
warmup_hours = 0.02
"""


async def test_engine_process_and_gateways_trace(tmp_path: Path) -> None:
    config, ready = tmp_path / "c.toml", tmp_path / "ready"
    async with collecting() as collector:
        config.write_text(CONFIG.format(gateways=1, more=f'trace_endpoint = "{collector.endpoint}"'))
        command = ("-m", "forcedmove_client.cli", "serve", "--config", str(config), "--ready-file", str(ready))
        process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE)
        try:
            await eventually(lambda: ready.exists() or process.returncode is not None, 90)
            assert process.returncode is None
            assert await ask(int(ready.read_text().rpartition(":")[2]), STATUS) is grpc.StatusCode.OK
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            _, log = await process.communicate()
        assert process.returncode == 0, log
        (relayed,), (at_gateway,) = (collector.named(STATUS[1:], name) for name in ("engine", "gateway-1"))
        assert (relayed.trace, relayed.parent) == (at_gateway.trace, at_gateway.id)
        assert {span.process for span in collector.named("tick")} == {"engine"}
        assert {span.process for span in collector.named("tick map")} == {"engine"}
        assert {span.name for span in collector.spans if span.process == "gateway-1"} == {STATUS[1:]}


_OFF = """
import asyncio, os, signal, sys, threading
from pathlib import Path
import forcedmove_server.process
from forcedmove_server.app import run_server
from forcedmove_server.config import load_config
ready = Path(sys.argv[2])
def stop():
    while not ready.exists():
        threading.Event().wait(0.02)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=stop, daemon=True).start()
asyncio.run(run_server(load_config(Path(sys.argv[1])), ready))
print(sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry"))
"""


def test_off_nothing_of_it_is_imported(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(CONFIG.format(gateways=0, more=""))
    found = subprocess.run(
        [sys.executable, "-c", _OFF, str(config), str(tmp_path / "ready")],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trace_endpoint", ""),
        ("trace_endpoint", "127.0.0.1:4317"),
        ("trace_endpoint", "ftp://127.0.0.1:4317"),
        ("trace_endpoint", "http://127.0.0.1"),
        ("trace_endpoint", "http://:4317"),
        ("trace_endpoint", "http://127.0.0.1:70000"),
        ("trace_endpoint", "http://127.0.0.1:4318/v1/traces"),
        ("trace_endpoint", "https://user:secret@collector:4317"),
        ("trace_endpoint", "http://[::1:4317"),
        ("trace_share", 1.1),
        ("trace_share", -0.1),
        ("trace_share", float("nan")),
    ],
)
def test_what_is_no_endpoint_or_share_is_refused(key: str, value: object) -> None:
    _, errors = read_config(None, {"server": {key: value}})
    assert [error.field for error in errors] == [f"server.{key}"]


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4317", "https://collector.example:4317/", "http://[::1]:1"])
def test_what_is_an_endpoint_is_taken(endpoint: str) -> None:
    assert read_config(None, {"server": {"trace_endpoint": endpoint}})[1] == []


async def test_without_the_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=r"server\.trace_endpoint.*pip install 'forcedmove\[tracing\]'"):
        async with tracing(ServerConfig(trace_endpoint="http://127.0.0.1:4317"), "server"):
            pass
    config = tmp_path / "c.toml"
    config.write_text('[server]\ntrace_endpoint = "http://127.0.0.1:4317"\n')
    assert check_config.run(SimpleNamespace(file=config)) == 2  # type: ignore[arg-type]
    assert "forcedmove[tracing]" in capsys.readouterr().err
