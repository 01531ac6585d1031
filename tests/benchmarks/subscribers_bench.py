"""200 subscribers x 10 Hz x 20 symbols, against a bare grpc.aio loop that sends messages of the same size.

Server and readers are processes of their own. The engine is that of stream_bench, in both servers; the bare one sends
every reader the same bytes at every tick and does nothing else, so its CPU time per message is what grpc.aio asks for.
Then half of the readers stop reading: what the others notice of it, what memory it takes, and how it ends.

``python -m tests.benchmarks.subscribers_bench``
"""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import struct
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import grpc
import numpy as np
import psutil

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.engine.frames import Tick, ViewSpec
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import serve
from tests.benchmarks.stream_bench import METHOD, SYMBOLS, PreparedEngine

READERS, TICKS_PER_S, MEASURED_S, STALLED_AFTER_S = 200, 10, 14.0, 10.0
CHANNELS = 8
#: as the SDK has them
OPTIONS = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 128 << 10))
UNACKED = 16
#: responses without maps are shorter
_CONTROL_BYTES = 1_024
_STAMP = struct.Struct("<q")

Kind = Literal["acknowledged", "unacknowledged", "bare"]


@dataclass(frozen=True)
class Measured:
    """What a run came to; times in milliseconds, CPU in microseconds per message received."""

    p50: float
    p99: float
    cpu: float
    bytes: float
    share_of_due: float
    #: of readers that had stopped: how their streams ended; bytes of the server's memory for each
    endings: Counter[str]
    stalled_bytes: float


async def serve_barely(engine: PreparedEngine, size: int) -> tuple[grpc.aio.Server, int]:
    """Start a server that sends every reader the same bytes at every tick."""
    loop, wakes = asyncio.get_running_loop(), set[asyncio.Event]()
    newest = b""

    def deliver(tick: Tick) -> None:
        nonlocal newest
        newest = _STAMP.pack(tick.published_ns) + bytes(size - _STAMP.size)
        for wake in wakes:
            wake.set()

    async def subscribe(_requests: Any, context: Any) -> None:
        wake = asyncio.Event()
        wakes.add(wake)
        try:
            while True:
                await wake.wait()
                wake.clear()
                await context.write(newest)
        finally:
            wakes.discard(wake)

    for symbol in SYMBOLS:
        engine.watch(symbol, ViewSpec())
    engine.on_tick(lambda tick: loop.call_soon_threadsafe(deliver, tick))
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(subscribe)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("forcedmove.v1.HeatmapService", {"Subscribe": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def server_process(pipe: Connection, kind: Kind, size: int) -> None:
    """Serve until told to stop; answers every other message with CPU seconds and resident bytes."""

    async def main() -> None:
        engine = PreparedEngine()
        engine.step()
        if kind == "bare":
            plain, port = await serve_barely(engine, size)
        else:
            ours = await serve(engine, port=0, limits=Limits(stalled_after_s=STALLED_AFTER_S))
            port = ours.port
        engine.run(1 / TICKS_PER_S)
        pipe.send(port)
        while await asyncio.to_thread(pipe.recv) != "stop":
            pipe.send((time.process_time(), psutil.Process().memory_info().rss))
        await (plain.stop(0.1) if kind == "bare" else ours.drain(0.1))
        engine.close()

    asyncio.run(main())


class Reader:
    """One raw stream: bytes as they come, acknowledged by their number."""

    def __init__(self, channel: grpc.aio.Channel, kind: Kind) -> None:
        self.call: Any = channel.stream_stream(METHOD)()
        self.kind = kind
        self.begun = asyncio.Event()
        self.stopped = False
        self.arrivals: list[tuple[int, bytes]] = []
        self.ending = ""

    async def run(self) -> None:
        wanted = heatmap_pb2.Subscription(max_unacked=UNACKED if self.kind == "acknowledged" else 0)
        await self.call.write(heatmap_pb2.SubscribeRequest(subscription=wanted).SerializeToString())
        received = 0
        try:
            while not self.stopped:
                message = await self.call.read()
                if len(message) < _CONTROL_BYTES:
                    continue
                self.arrivals.append((time.time_ns(), message))
                self.begun.set()
                received += 1
                if self.kind == "acknowledged" and received % (UNACKED // 2) == 0:
                    ack = heatmap_pb2.SubscribeRequest(ack=heatmap_pb2.Ack(number=received))
                    await self.call.write(ack.SerializeToString())
        except grpc.aio.AioRpcError as error:
            self.ending = error.code().name

    async def end(self) -> str:
        """Read what is left, and return how the stream ended."""
        try:
            async with asyncio.timeout(3):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            return f"{error.code().name} {'SLOW_CONSUMER' if 'slow consumer' in str(error.details()) else ''}"
        except TimeoutError:
            return "goes on"
        return "OK"


def reader_process(pipe: Connection, port: int, kind: Kind, stalled: int) -> None:
    """Read on all streams; once all have begun, let ``stalled`` of them stop, and measure the others."""

    async def main() -> None:
        channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", (*OPTIONS, ("grpc.use_local_subchannel_pool", 1)))
            for _ in range(CHANNELS)
        ]
        readers = [Reader(channels[k % CHANNELS], kind) for k in range(READERS)]
        tasks = [asyncio.create_task(reader.run()) for reader in readers]
        await asyncio.gather(*(reader.begun.wait() for reader in readers))
        await asyncio.sleep(2.0)
        for reader in readers[:stalled]:
            reader.stopped = True
        good = readers[stalled:]
        for reader in readers:
            reader.arrivals.clear()
        pipe.send("begun")
        await asyncio.sleep(MEASURED_S)
        arrivals = [arrival for reader in good for arrival in reader.arrivals]
        pipe.send(len(arrivals))
        assert not any(reader.ending for reader in good), Counter(reader.ending for reader in good)
        endings = Counter([await reader.end() for reader in readers[:stalled]])
        latencies = [(at - _published_ns(message, kind)) / 1e6 for at, message in arrivals]
        pipe.send((latencies, float(np.mean([len(message) for _, message in arrivals])), endings))
        for task in tasks:
            task.cancel()
        for channel in channels:
            await channel.close()

    asyncio.run(main())


def _published_ns(message: bytes, kind: Kind) -> int:
    if kind == "bare":
        return int(_STAMP.unpack_from(message)[0])
    response = heatmap_pb2.SubscribeResponse.FromString(message)
    assert len(response.frames) == len(SYMBOLS)
    return response.frames[0].published_time_ns


def measure(kind: Kind, size: int = 0, stalled: int = 0) -> Measured:
    """Run one server against its readers."""
    context = mp.get_context("spawn")
    server_pipe, server_end = context.Pipe()
    server = context.Process(target=server_process, args=(server_end, kind, size), daemon=True)
    server.start()
    reader_pipe, reader_end = context.Pipe()
    arguments = reader_end, server_pipe.recv(), kind, stalled
    reader = context.Process(target=reader_process, args=arguments, daemon=True)
    reader.start()

    def ask() -> tuple[float, int]:
        server_pipe.send("figures")
        cpu_s, rss = server_pipe.recv()
        return cpu_s, rss

    assert reader_pipe.recv() == "begun"
    cpu_before, rss_before = ask()
    most_rss = rss_before
    for _ in range(int(0.8 * STALLED_AFTER_S)):  # while the stopped ones are not cut off yet
        if reader_pipe.poll(1.0):
            break
        most_rss = max(most_rss, ask()[1])
    received = reader_pipe.recv()
    cpu_s = ask()[0] - cpu_before
    latencies, length, endings = reader_pipe.recv()
    reader.join()
    server_pipe.send("stop")
    server.join()
    assert reader.exitcode == server.exitcode == 0
    p50, p99 = np.percentile(latencies, (50, 99))
    due = (READERS - stalled) * MEASURED_S * TICKS_PER_S
    memory = (most_rss - rss_before) / stalled if stalled else 0.0
    return Measured(float(p50), float(p99), cpu_s / received * 1e6, length, received / due, endings, memory)


def run(results: list[dict[str, Any]], rounds: int = 3) -> None:
    """Append one row per measured quantity: medians of interleaved rounds."""
    size = round(measure("acknowledged").bytes)
    plans: dict[str, tuple[Kind, int]] = {
        "acknowledged": ("acknowledged", 0),
        "unacknowledged": ("unacknowledged", 0),
        "bare": ("bare", 0),
        "half stalled": ("acknowledged", READERS // 2),
    }
    seen: dict[str, list[Measured]] = {name: [] for name in plans}
    for _ in range(rounds):
        for name, (kind, stalled) in plans.items():
            seen[name].append(measure(kind, size, stalled))
    params = {"subscribers": READERS, "symbols": len(SYMBOLS), "ticks_per_s": TICKS_PER_S, "bytes": size}

    def median(name: str, figure: str) -> float:
        return float(np.median([getattr(each, figure) for each in seen[name]]))

    def row(what: str, value: float, unit: str, baseline: str, ratio: float | None) -> None:
        results.append(
            {"name": what, "params": params, "median": value, "unit": unit, "baseline": baseline, "ratio": ratio}
        )

    for name in ("acknowledged", "unacknowledged"):
        for figure, unit in (("p50", "ms"), ("p99", "ms"), ("cpu", "us")):
            ours, bare = median(name, figure), median("bare", figure)
            title = "server CPU per message" if figure == "cpu" else f"publish to client, {figure}"
            row(f"subscribers, {name}, {title}", ours, unit, f"bare grpc.aio: {bare:,.4g}", ours / bare)
        due = median(name, "share_of_due")
        row(f"subscribers, {name}, messages of those due", 100 * due, "%", "", None)
    good, stalled = median("acknowledged", "p99"), median("half stalled", "p99")
    row("subscribers, half stalled, p99 of the others", stalled, "ms", f"none stalled: {good:,.4g}", stalled / good)
    memory = median("half stalled", "stalled_bytes")
    row("subscribers, half stalled, server memory of each", memory, "bytes", f"a message: {size}", memory / size)
    endings = sum((each.endings for each in seen["half stalled"]), Counter[str]())
    row(f"subscribers, half stalled, endings: {dict(endings)}", sum(endings.values()), "streams", "", None)


if __name__ == "__main__":
    from tests.benchmarks.__main__ import table

    rows: list[dict[str, Any]] = []
    run(rows)
    print(table(rows))
