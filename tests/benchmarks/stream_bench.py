"""Tick to client over loopback, and what a message costs the server.

The server and its readers are processes of their own, so that the server's CPU time is the server's. The engine is
the tests' fake one with renderings made beforehand; what it costs is in both columns. The baseline is what one writes
first: for every reader a message with ``repeated float``, built from the same ticks in the same kind of server.

``python -m tests.benchmarks.stream_bench``
"""

from __future__ import annotations

import asyncio
import multiprocessing as mp
import time
from multiprocessing.connection import Connection
from typing import Any

import grpc
import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from forcedmove.v1 import heatmap_pb2, model_pb2
from forcedmove_client import AsyncClient
from forcedmove_server.engine.frames import RenderedView, Tick, ViewSpec
from forcedmove_server.rpc import messages
from forcedmove_server.rpc.server import serve
from tests.integration.fake_engine import FakeEngine

SYMBOLS = tuple(f"S{k:02d}" for k in range(20))
VENUES = ("binance", "bybit", "okx", "bitget", "gate", "hyperliquid", "kraken", "deribit")
BINS, CHANGED_SHARE, TICKS_PER_S = 2_048, 0.02, 4
MEASURED_S = 7.0
METHOD = "/forcedmove.v1.HeatmapService/Subscribe"


class PreparedEngine(FakeEngine):
    """Renders beforehand: a ring of grids in which each differs from the one before in a few cells."""

    def __init__(self) -> None:
        random = np.random.default_rng(7)
        self._rings: dict[str, list[np.ndarray]] = {}
        for symbol in SYMBOLS:
            values = random.integers(0, 10**6, (2, BINS + 2)).astype(np.float32)
            ring = []
            for _ in range(64):
                values = values.copy()
                cells = random.integers(0, values.size, int(values.size * CHANGED_SHARE))
                values.reshape(-1)[cells] = random.integers(0, 10**6, cells.size)
                ring.append(values)
            self._rings[symbol] = ring
        super().__init__(SYMBOLS, VENUES, bins=BINS, changed_share=0.0)

    def view(self, symbol: str, spec: ViewSpec) -> RenderedView:
        values = self._rings[symbol][self._number % 64]
        return RenderedView(("side", "price"), (), ("long", "short"), (), 1_000, BINS, 50.0, values)


# --- the baseline ----------------------------------------------------------------------------------------------------


def naive_response_class() -> Any:
    """``Response { repeated NaiveFrame frames = 1; }``, a frame being meta = 1 and repeated float values = 2."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="bench/naive.proto", package="bench", syntax="proto3", dependency=["forcedmove/v1/heatmap.proto"]
    )
    frame, response = file.message_type.add(name="NaiveFrame"), file.message_type.add(name="Response")
    frame.field.add(
        name="meta", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_MESSAGE, type_name=".forcedmove.v1.Frame"
    )
    frame.field.add(name="values", number=2, label=field.LABEL_REPEATED, type=field.TYPE_FLOAT)
    response.field.add(
        name="frames", number=1, label=field.LABEL_REPEATED, type=field.TYPE_MESSAGE, type_name=".bench.NaiveFrame"
    )
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Response"))


def naive_message(response_class: Any, tick: Tick) -> bytes:
    """Build and serialise one reader's message."""
    response = response_class()
    for (symbol, _), view in tick.views.items():
        newest = tick.maps[symbol]
        frame = response.frames.add()
        frame.meta.MergeFrom(
            heatmap_pb2.Frame(
                symbol=symbol,
                epoch=tick.epoch,
                seq=newest.seq,
                event_time_ns=newest.event_time_ns,
                published_time_ns=tick.published_ns,
                mark_price_usd=newest.mark_price_usd,
                weighting=model_pb2.WEIGHTING_LIVE,
                coverage=newest.coverage,
                next_down=messages.chain_message(newest.next_down) if newest.next_down else None,
            )
        )
        for market in newest.markets:
            messages.write_market(market, frame.meta.markets.add())
        for cluster in newest.clusters:
            messages.write_cluster(cluster, frame.meta.clusters.add())
        frame.values.extend(view.values.reshape(-1).tolist())
    return bytes(response.SerializeToString())


async def serve_naively(engine: FakeEngine) -> tuple[grpc.aio.Server, int]:
    """Start a server that sends every reader a message of its own, also with a slot of one."""
    loop, response_class, slots = asyncio.get_running_loop(), naive_response_class(), set[asyncio.Queue[Tick]]()

    def deliver(tick: Tick) -> None:
        for slot in slots:
            if slot.full():
                slot.get_nowait()
            slot.put_nowait(tick)

    async def subscribe(_requests: Any, context: Any) -> None:
        slot: asyncio.Queue[Tick] = asyncio.Queue(1)
        slots.add(slot)
        try:
            while True:
                await context.write(naive_message(response_class, await slot.get()))
        finally:
            slots.discard(slot)

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


# --- the processes ---------------------------------------------------------------------------------------------------


def server_process(pipe: Connection, naive: bool) -> None:
    """Serve until told to stop; answers every other message with the CPU seconds used so far."""

    async def main() -> None:
        engine = PreparedEngine()
        engine.step()
        if naive:
            plain, port = await serve_naively(engine)
        else:
            ours = await serve(engine, port=0)
            port = ours.port
        engine.run(1 / TICKS_PER_S)
        pipe.send(port)
        while await asyncio.to_thread(pipe.recv) != "stop":
            pipe.send(time.process_time())
        await (plain.stop(0.1) if naive else ours.drain(0.1))
        engine.close()

    asyncio.run(main())


#: responses without frames are shorter
HEARTBEAT_BYTES = 256


def reader_process(pipe: Connection, port: int, readers: int, naive: bool) -> None:
    """Read raw messages on ``readers`` streams; says when all have begun, then sends latencies and sizes."""

    async def read(call: Any, begun: asyncio.Event, arrivals: list[tuple[int, bytes]]) -> None:
        while True:
            message = await call.read()
            arrivals.append((time.time_ns(), message))
            begun.set()

    async def main() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            calls = [channel.stream_stream(METHOD)() for _ in range(readers)]
            arrivals: list[tuple[int, bytes]] = []
            request = heatmap_pb2.SubscribeRequest(subscription=heatmap_pb2.Subscription())
            begun = [asyncio.Event() for _ in calls]
            for call in calls:
                await call.write(request.SerializeToString())
            tasks = [asyncio.create_task(read(c, b, arrivals)) for c, b in zip(calls, begun, strict=True)]
            await asyncio.gather(*(event.wait() for event in begun))
            await asyncio.sleep(2.5 / TICKS_PER_S)
            arrivals.clear()
            pipe.send("begun")
            await asyncio.sleep(MEASURED_S)
            # a heartbeat a second comes between the frames
            measured = [(at, message) for at, message in arrivals if len(message) > HEARTBEAT_BYTES]
            pipe.send(len(measured))
            response_class = naive_response_class() if naive else heatmap_pb2.SubscribeResponse
            parsed = [(at, response_class.FromString(message)) for at, message in measured]
            if not naive:
                assert all(frame.HasField("update") for _, response in parsed for frame in response.frames)
                assert all(response.skipped_frames == 0 for _, response in parsed)
            assert all(len(response.frames) == len(SYMBOLS) for _, response in parsed)
            firsts = [(at, response.frames[0]) for at, response in parsed]
            latencies = [(at - (frame.meta if naive else frame).published_time_ns) / 1e6 for at, frame in firsts]
            pipe.send((latencies, float(np.mean([len(message) for _, message in measured]))))
            for task in tasks:
                task.cancel()

    asyncio.run(main())


def sdk_process(pipe: Connection, port: int, _readers: int, _naive: bool) -> None:
    """Read with the SDK, one stream: deltas applied and verified, values made."""

    async def main() -> None:
        latencies: list[float] = []
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            stream = client.subscribe(price_range=0)
            frames = 0
            async for frame in stream:
                frames += 1
                latencies.append((time.time_ns() - int(frame.published_time.astype(np.int64))) / 1e6)
                if frames == 3 * len(SYMBOLS):
                    latencies.clear()
                    pipe.send("begun")
                elif len(latencies) >= MEASURED_S * TICKS_PER_S * len(SYMBOLS):
                    break
            assert stream.stats.skipped == stream.stats.resyncs == stream.stats.reconnects == 0
            pipe.send(len(latencies) // len(SYMBOLS))
            pipe.send((latencies, float("nan")))

    asyncio.run(main())


def measure(readers: int, *, naive: bool = False, sdk: bool = False) -> dict[str, float]:
    """Run one server against its readers: p50 and p99 in ms, CPU us and bytes per message, % delivered."""
    context = mp.get_context("spawn")
    server_pipe, server_end = context.Pipe()
    server = context.Process(target=server_process, args=(server_end, naive), daemon=True)
    server.start()
    port = server_pipe.recv()
    reader_pipe, reader_end = context.Pipe()
    target = sdk_process if sdk else reader_process
    reader = context.Process(target=target, args=(reader_end, port, readers, naive), daemon=True)
    reader.start()
    assert reader_pipe.recv() == "begun"
    server_pipe.send("cpu")
    cpu_before = server_pipe.recv()
    received = reader_pipe.recv()
    server_pipe.send("cpu")
    cpu_s = server_pipe.recv() - cpu_before
    latencies, size = reader_pipe.recv()
    reader.join()
    server_pipe.send("stop")
    server.join()
    assert reader.exitcode == server.exitcode == 0
    delivered = received / (readers * MEASURED_S * TICKS_PER_S) * 100
    assert naive or delivered >= 80, f"only {delivered:.0f} % of the messages that were due"
    p50, p99 = np.percentile(latencies, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "cpu": cpu_s / received * 1e6, "bytes": size, "due": delivered}


def run(results: list[dict[str, Any]]) -> None:
    """Append one row per measured quantity."""
    units = {"p50": "ms", "p99": "ms", "cpu": "us", "bytes": "bytes", "due": "%"}
    names = {
        "p50": "stream, tick to client, p50",
        "p99": "stream, tick to client, p99",
        "cpu": "stream, server CPU per message",
        "bytes": "stream, bytes per message",
        "due": "stream, messages delivered of those due",
    }
    common = {"symbols": len(SYMBOLS), "bins": BINS, "ticks_per_s": TICKS_PER_S, "changed_share": CHANGED_SHARE}
    for readers in (1, 50):
        ours, naive = measure(readers), measure(readers, naive=True)
        for key, unit in units.items():
            results.append(
                {
                    "name": names[key],
                    "params": common | {"subscribers": readers},
                    "median": ours[key],
                    "unit": unit,
                    "baseline": f"repeated float, a message per subscriber: {naive[key]:,.4g}",
                    "ratio": ours[key] / naive[key] if key == "due" else naive[key] / ours[key],
                }
            )
    client = measure(1, sdk=True)
    for key in ("p50", "p99"):
        row = {"name": f"stream, tick to MapFrame in the SDK, {key}", "params": common | {"subscribers": 1}}
        results.append(row | {"median": client[key], "unit": "ms", "baseline": None, "ratio": None})


if __name__ == "__main__":
    from tests.benchmarks.__main__ import table

    rows: list[dict[str, Any]] = []
    run(rows)
    print(table(rows))
