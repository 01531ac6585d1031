"""``forcedmove serve`` with gateways as processes: what is killed comes back, what ends tells its readers first."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import psutil
import pytest

from forcedmove.v1 import heatmap_pb2, heatmap_pb2_grpc
from forcedmove_client import AsyncClient
from forcedmove_client.assembly import SymbolState
from tests.integration.fake_engine import eventually, subscribe_request

PATIENCE_S = 90  # a first start compiles the kernels
CONFIG = """
[server]
port = 0
gateways = 2
gateway_stalled_after_s = 3
[engine]
tick_interval_ms = 100
[[sources]]
kind = "simulate"
name = "simulate"
symbols = ["BTC"]
warmup_hours = 0.1
"""


class Served:
    """A supervisor with its processes, by what they are."""

    def __init__(self, process: subprocess.Popen[str], address: str, log: Path) -> None:
        self.process, self.address, self.log = process, address, log

    def pids(self, name: str) -> list[int]:
        """Processes that were started under a name, oldest first; the log says which."""
        return [int(line.split()[-1]) for line in self.log.read_text().splitlines() if f"{name} is process" in line]

    def all_processes(self) -> list[psutil.Process]:
        found = psutil.Process(self.process.pid)
        return [found, *found.children(recursive=True)]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    config, ready, log = (tmp_path / name for name in ("forcedmove.toml", "ready", "log"))
    config.write_text(CONFIG)
    arguments = ["serve", "--config", str(config), "--ready-file", str(ready)]
    with log.open("w") as errors:
        process = subprocess.Popen(  # noqa: ASYNC220  it outlives whoever waits for it
            [sys.executable, "-m", "forcedmove_client.cli", *arguments], stderr=errors, text=True
        )
    started: list[psutil.Process] = []
    try:
        await eventually(lambda: ready.exists() or process.poll() is not None, PATIENCE_S)
        assert process.poll() is None, log.read_text()
        server = Served(process, ready.read_text(), log)
        started = server.all_processes()
        assert len(started) == 4
        yield server
        assert "Traceback" not in log.read_text(), log.read_text()
        assert "Fatal" not in log.read_text(), log.read_text()
    finally:
        if process.poll() is None:
            process.terminate()
            await asyncio.wait((asyncio.ensure_future(asyncio.to_thread(process.wait)),), timeout=30)
        for each in started or [psutil.Process(process.pid)]:
            if each.is_running():
                each.kill()
        process.wait()


class Reader:
    """A stream on a connection of its own, resumed as the contract says, that checks every frame against the last.

    ``skipped`` frames are those that it was told of, ``gaps`` those that its sequence numbers show.
    """

    def __init__(self, address: str) -> None:
        self.frames = self.skipped = self.gaps = self.breaks = 0
        self.ended: list[grpc.StatusCode] = []
        self._address, self._state = address, SymbolState()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Reader:
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))
        if not self._task.cancelled():
            self._task.result()

    async def _read(self) -> None:
        while True:
            # connections to one address are shared within a process otherwise
            options = (("grpc.use_local_subchannel_pool", 1),)
            async with grpc.aio.insecure_channel(self._address, options=options) as channel:
                call = heatmap_pb2_grpc.HeatmapServiceStub(channel).Subscribe()
                try:
                    await call.write(subscribe_request(symbols=["BTC"]))
                    resumed = True
                    while (response := await call.read()) is not grpc.aio.EOF:
                        assert isinstance(response, heatmap_pb2.SubscribeResponse)
                        self.skipped += response.skipped_frames
                        for frame in response.frames:
                            if self._state.seq and not resumed:
                                self.gaps += frame.seq - self._state.seq - 1
                            resumed = False
                            self._state.apply(frame)  # raises where a delta does not fit or a checksum differs
                            self.frames += 1
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    pass
                self.ended.append(await call.code())
            self.breaks += 1
            await asyncio.sleep(0.05)


async def readers_on_both(served: Served, readers: list[Reader], stack: AsyncExitStack) -> None:
    """Add readers until every gateway has one: the system chooses by the connection."""
    async with AsyncClient(served.address) as client:

        async def spread() -> bool:
            return all(each.subscribers for each in (await client.server_status()).gateways)

        for _ in range(40):
            reader = Reader(served.address)
            await stack.enter_async_context(reader)
            readers.append(reader)
            await eventually(lambda reader=reader: reader.frames > 1, 30)
            if len(readers) >= 4 and await spread():
                return
    raise AssertionError("forty connections went to one gateway")


async def test_a_killed_gateway_comes_back_and_the_others_go_on(served: Served) -> None:
    async with AsyncExitStack() as stack:
        readers: list[Reader] = []
        await readers_on_both(served, readers, stack)
        (victim,) = served.pids("gateway 1")
        ticks_before = {reader: reader.frames for reader in readers}
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: len(served.pids("gateway 1")) == 2, 30)
        lost = [reader for reader in readers if reader.breaks]
        kept = [reader for reader in readers if not reader.breaks]
        assert lost
        assert kept, "the other gateway's streams went on"
        await eventually(lambda: all(r.frames > ticks_before[r] + 20 for r in readers), 30)
        assert all(reader.breaks <= 3 for reader in lost)
        assert {code for reader in lost for code in reader.ended} <= {grpc.StatusCode.UNAVAILABLE}
        for reader in readers:
            assert reader.gaps == reader.skipped, "a frame was lost and not told of"
        engine = psutil.Process(served.pids("the engine process")[0])
        assert engine.is_running()
        async with AsyncClient(served.address) as client:
            status = await client.server_status()
        assert status.subscribers == len(readers)


async def test_clients_come_back_by_themselves_when_all_gateways_die(served: Served) -> None:
    async with AsyncClient(served.address) as client, asyncio.timeout(60):
        stream = client.subscribe("BTC")
        first = await anext(stream)
        before = await client.server_status()
        for name in ("gateway 1", "gateway 2"):
            os.kill(served.pids(name)[0], signal.SIGKILL)
        while stream.stats.reconnects == 0:
            latest = await anext(stream)
        assert latest.epoch == first.epoch  # the engine went on
        assert latest.seq > first.seq
        while (after := await client.server_status()).subscribers == 0:  # noqa: ASYNC110  told once a second
            await asyncio.sleep(0.1)
        assert after.ticks > before.ticks
        assert after.uptime_s > before.uptime_s
        await stream.aclose()


async def test_a_gateway_that_stands_still_is_killed_and_started_anew(served: Served) -> None:
    (victim,) = served.pids("gateway 2")
    os.kill(victim, signal.SIGSTOP)
    await eventually(lambda: len(served.pids("gateway 2")) == 2, 40)
    assert not psutil.pid_exists(victim)
    assert "gateway 2" in served.log.read_text()
    assert "has been silent for 3 s and is killed" in served.log.read_text()
    async with Reader(served.address) as reader:
        await eventually(lambda: reader.frames > 3, 30)


async def test_a_killed_supervisor_leaves_no_process_and_no_folder(served: Served) -> None:
    processes = served.all_processes()
    folder = next(line for line in served.log.read_text().splitlines() if "listening on unix:" in line)
    socket_file = folder.partition("unix:")[2]
    private = os.path.dirname(socket_file)
    assert stat.S_ISSOCK(os.stat(socket_file).st_mode)
    assert stat.S_IMODE(os.stat(private).st_mode) == 0o700
    served.process.kill()
    served.process.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, timeout=30)
    assert not alive
    with pytest.raises(FileNotFoundError):
        os.stat(private)


async def test_sigterm_tells_readers_and_ends_all_in_order(served: Served) -> None:
    processes = served.all_processes()
    async with Reader(served.address) as reader:
        await eventually(lambda: reader.frames > 1, 30)
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(served.process.wait, 40) == 0
        assert reader.ended[0] is grpc.StatusCode.UNAVAILABLE
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes[1:], timeout=1)
    assert not alive
    assert served.log.read_text().count("the server is closed") == 3


async def test_without_its_engine_process_all_ends_with_a_status(served: Served) -> None:
    processes = served.all_processes()
    async with Reader(served.address) as reader:
        await eventually(lambda: reader.frames > 1, 30)
        os.kill(served.pids("the engine process")[0], signal.SIGKILL)
        assert await asyncio.to_thread(served.process.wait, 40) == 1
        assert reader.ended[0] is grpc.StatusCode.UNAVAILABLE
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes[1:], timeout=1)
    assert not alive
    assert "the engine process ended with status -9" in served.log.read_text()


async def test_a_port_in_use_ends_the_start(served: Served) -> None:
    port = served.address.rpartition(":")[2]
    arguments = ["serve", "--gateways", "1", "--port", port]
    second = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "forcedmove_client.cli", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert f"server.port = '{served.address}': cannot listen there" in second.stderr
    assert served.process.poll() is None


@pytest.mark.parametrize(
    ("key", "message"), [("tls_certificate", "server.tls_certificate"), ("metrics_port", "server.metrics_port")]
)
async def test_what_cannot_work_ends_the_start_with_status_2(tmp_path: Path, key: str, message: str) -> None:
    config = tmp_path / "forcedmove.toml"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lines = {
            "tls_certificate": 'tls_certificate = "nowhere.pem"\ntls_key = "nowhere.key"',
            "metrics_port": f"metrics_port = {taken.getsockname()[1]}",
        }
        config.write_text(CONFIG.replace("gateways = 2", f"gateways = 2\n{lines[key]}"))
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "forcedmove_client.cli", "serve", "--config", str(config)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert f"forcedmove: {message} = " in ended.stderr
    assert "Traceback" not in ended.stderr
