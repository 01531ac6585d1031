"""200 subscribers x 10 Hz x 20 symbols, against a bare grpc.aio loop that sends messages of the same size.

Server and readers are processes of their own. The engine is that of stream_bench, in both servers; the bare one sends
every reader the same bytes at every tick and does nothing else, so its CPU time per message is what grpc.aio asks for.
Then half of the readers stop reading: what the others notice of it, what memory it takes, and how it ends.

``python -m tests.benchmarks.subscribers_bench``
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing as mp
import struct
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import grpc
import numpy as np
import psutil

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.credit import WINDOW, told_after
from forcedmove_server.engine.frames import Tick, ViewSpec
from forcedmove_server.garbage import settle
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import serve
from tests.benchmarks.rows import goal
from tests.benchmarks.stream_bench import METHOD, SYMBOLS, PreparedEngine

READERS, TICKS_PER_S, MEASURED_S, STALLED_AFTER_S = 200, 10, 14.0, 10.0
CHANNELS = 8
#: as the SDK has them
OPTIONS = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 128 << 10))
#: responses without maps are shorter
_CONTROL_BYTES = 1_024
_STAMP = struct.Struct("<q")


@dataclass(frozen=True)
class Plan:
    """What serves, whether the readers acknowledge, and how many of them stop."""

    is_bare: bool
    acknowledges: bool
    stalled: int = 0


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


async def serve_barely(engine: PreparedEngine, size: int, reads: bool) -> tuple[grpc.aio.Server, int]:
    """Start a server that sends every reader the same bytes at every tick; ``reads``: and reads what comes from it."""
    loop, wakes = asyncio.get_running_loop(), set[asyncio.Event]()
    newest = b""

    def deliver(tick: Tick) -> None:
        nonlocal newest
        newest = _STAMP.pack(tick.published_ns) + bytes(size - _STAMP.size)
        for wake in wakes:
            wake.set()

    async def read(requests: Any) -> None:
        async for _ in requests:
            pass

    async def subscribe(requests: Any, context: Any) -> None:
        wake = asyncio.Event()
        wakes.add(wake)
        reading = asyncio.create_task(read(requests)) if reads else None
        try:
            while True:
                await wake.wait()
                wake.clear()
                await context.write(newest)
        finally:
            wakes.discard(wake)
            if reading is not None:
                reading.cancel()

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


def server_process(pipe: Connection, plan: Plan, size: int) -> None:
    """Serve until told to stop; answers every other message with CPU seconds and resident bytes."""

    async def main() -> None:
        engine = PreparedEngine()
        engine.step()
        plain: grpc.aio.Server | None = None
        if plan.is_bare:
            plain, port = await serve_barely(engine, size, plan.acknowledges)
        else:
            ours = await serve(engine, port=0, limits=Limits(stalled_after_s=STALLED_AFTER_S))
            port = ours.port
        engine.run(1 / TICKS_PER_S)
        settle()
        pipe.send(port)
        while await asyncio.to_thread(pipe.recv) != "stop":
            pipe.send((time.process_time(), psutil.Process().memory_info().rss))
        await (plain.stop(0.1) if plain is not None else ours.drain(0.1))
        engine.close()

    asyncio.run(main())


class Reader:
    """One raw stream: bytes as they come, acknowledged by their number."""

    def __init__(self, channel: grpc.aio.Channel, plan: Plan) -> None:
        self.call: Any = channel.stream_stream(METHOD)()
        self.plan = plan
        self.begun = asyncio.Event()
        self.stopped = False
        self.arrivals: list[tuple[int, bytes]] = []
        self.ending = ""

    async def run(self) -> None:
        wanted = heatmap_pb2.Subscription(max_unacked=WINDOW if self.plan.acknowledges else 0)
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
                if self.plan.acknowledges and received % told_after(WINDOW) == 0:  # as the SDK does
                    is_bare = self.plan.is_bare
                    number = 1 if is_bare else heatmap_pb2.SubscribeResponse.FromString(message).number
                    ack = heatmap_pb2.SubscribeRequest(ack=heatmap_pb2.Ack(number=number))
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


def reader_process(pipe: Connection, port: int, plan: Plan) -> None:
    """Read on all streams; once all have begun, let some of them stop, and measure the others."""
    gc.disable()  # everything that comes is kept here: looking through it would be taken for the server's latency

    async def main() -> None:
        channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", (*OPTIONS, ("grpc.use_local_subchannel_pool", 1)))
            for _ in range(CHANNELS)
        ]
        readers = [Reader(channels[k % CHANNELS], plan) for k in range(READERS)]
        tasks = [asyncio.create_task(reader.run()) for reader in readers]
        await asyncio.gather(*(reader.begun.wait() for reader in readers))
        await asyncio.sleep(2.0)
        for reader in readers[: plan.stalled]:
            reader.stopped = True
        good = readers[plan.stalled :]
        for reader in readers:
            reader.arrivals.clear()
        pipe.send("begun")
        await asyncio.sleep(MEASURED_S)
        arrivals = [arrival for reader in good for arrival in reader.arrivals]
        pipe.send(len(arrivals))
        assert not any(reader.ending for reader in good), Counter(reader.ending for reader in good)
        endings = Counter([await reader.end() for reader in readers[: plan.stalled]])
        latencies = [(at - _published_ns(message, plan.is_bare)) / 1e6 for at, message in arrivals]
        pipe.send((latencies, float(np.mean([len(message) for _, message in arrivals])), endings))
        for task in tasks:
            task.cancel()
        for channel in channels:
            await channel.close()

    asyncio.run(main())


def _published_ns(message: bytes, is_bare: bool) -> int:
    if is_bare:
        return int(_STAMP.unpack_from(message)[0])
    response = heatmap_pb2.SubscribeResponse.FromString(message)
    assert len(response.frames) == len(SYMBOLS)
    return response.frames[0].published_time_ns


def measure(plan: Plan, size: int = 0) -> Measured:
    """Run one server against its readers."""
    context = mp.get_context("spawn")
    server_pipe, server_end = context.Pipe()
    server = context.Process(target=server_process, args=(server_end, plan, size), daemon=True)
    server.start()
    server_end.close()  # so that what waits for a process learns of its end
    reader_pipe, reader_end = context.Pipe()
    arguments = reader_end, server_pipe.recv(), plan
    reader = context.Process(target=reader_process, args=arguments, daemon=True)
    reader.start()
    reader_end.close()

    def ask() -> tuple[float, int]:
        server_pipe.send("figures")
        cpu_s, rss = server_pipe.recv()
        return cpu_s, rss

    assert reader_pipe.recv() == "begun"
    cpu_before, rss_before = ask()
    resident = []
    for _ in range(int(0.8 * STALLED_AFTER_S)):  # while the stopped ones are not cut off yet
        if reader_pipe.poll(1.0):
            break
        resident.append(ask()[1])
    received = reader_pipe.recv()
    cpu_s = ask()[0] - cpu_before
    latencies, length, endings = reader_pipe.recv()
    reader.join()
    server_pipe.send("stop")
    server.join()
    assert reader.exitcode == server.exitcode == 0
    p50, p99 = np.percentile(latencies, (50, 99))
    due = (READERS - plan.stalled) * MEASURED_S * TICKS_PER_S
    memory = (float(np.median(resident)) - rss_before) / plan.stalled if plan.stalled else 0.0
    return Measured(float(p50), float(p99), cpu_s / received * 1e6, length, received / due, endings, memory)


def run(results: list[dict[str, Any]], rounds: int = 3) -> list[dict[str, Any]]:
    """Append one row per measured quantity, medians of interleaved rounds; return what has to be reached."""
    size = round(measure(Plan(is_bare=False, acknowledges=True)).bytes)
    plans = {
        "acknowledged": Plan(is_bare=False, acknowledges=True),
        "unacknowledged": Plan(is_bare=False, acknowledges=False),
        "bare": Plan(is_bare=True, acknowledges=False),
        "bare, acknowledged": Plan(is_bare=True, acknowledges=True),
        "half stalled": Plan(is_bare=False, acknowledges=True, stalled=READERS // 2),
    }
    seen: dict[str, list[Measured]] = {name: [] for name in plans}
    for _ in range(rounds):
        for name, plan in plans.items():
            seen[name].append(measure(plan, size))
    params = {"subscribers": READERS, "symbols": len(SYMBOLS), "ticks_per_s": TICKS_PER_S, "bytes": size}

    def median(name: str, figure: str) -> float:
        return float(np.median([getattr(each, figure) for each in seen[name]]))

    def row(what: str, value: float, unit: str, baseline: str, ratio: float | None) -> None:
        results.append(
            {"name": what, "params": params, "median": value, "unit": unit, "baseline": baseline, "ratio": ratio}
        )

    floors = (("acknowledged", "bare"), ("acknowledged", "bare, acknowledged"), ("unacknowledged", "bare"))
    for name, floor in floors:
        for figure, unit in (("p50", "ms"), ("p99", "ms"), ("cpu", "us")):
            ours, bare = median(name, figure), median(floor, figure)
            title = "server CPU per message" if figure == "cpu" else f"publish to client, {figure}"
            row(f"subscribers, {name}, {title}", ours, unit, f"{floor} grpc.aio: {bare:,.4g}", ours / bare)
        due = median(name, "share_of_due")
        row(f"subscribers, {name}, messages of those due", 100 * due, "%", "", None)
    good, stalled = median("acknowledged", "p99"), median("half stalled", "p99")
    row("subscribers, half stalled, p99 of the others", stalled, "ms", f"none stalled: {good:,.4g}", stalled / good)
    memory = median("half stalled", "stalled_bytes")
    row("subscribers, half stalled, server memory of each", memory, "bytes", f"a message: {size}", memory / size)
    endings = sum((each.endings for each in seen["half stalled"]), Counter[str]())
    row(f"subscribers, half stalled, endings: {dict(endings)}", sum(endings.values()), "streams", "", None)
    ratio = median("acknowledged", "cpu") / median("bare", "cpu")
    ended = endings["RESOURCE_EXHAUSTED SLOW_CONSUMER"] / (rounds * READERS // 2)
    return [
        goal("subscribers: server CPU per message, of a bare loop's", 1.3, None, ratio, "x", at_most=True),
        goal("subscribers: p99 with half stalled, of that with none", 2.0, None, stalled / good, "x", at_most=True),
        goal("subscribers: server memory of each stalled one, messages", 2.0, None, memory / size, "x", at_most=True),
        goal("subscribers: stalled ones that were cut off", 1.0, None, ended, "x"),
    ]


if __name__ == "__main__":
    from tests.benchmarks.__main__ import goals_table, table

    rows: list[dict[str, Any]] = []
    goals = run(rows)
    print(table(rows), goals_table(goals), sep="\n\n")
