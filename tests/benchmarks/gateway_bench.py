"""What readers cost the engine: how evenly it ticks, and what it misses, from one process and behind gateways.

A real server on the simulated market, as processes, and its readers in a process of their own: raw streams of all
symbols over eight connections, and one more that reads when each map was published. Modes take turns, so that what
else the machine does meets all of them. On two cores the readers and the gateways take processor time from the engine
too; what is left between the modes is what sharing an interpreter costs.

``python -m tests.benchmarks.gateway_bench``
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
import psutil

from forcedmove.v1 import heatmap_pb2
from forcedmove_client import Client, ServerStatus

SYMBOLS = ("BTC", "ETH", "SOL", "XRP", "DOGE", "AVAX")
READERS, CONNECTIONS = 200, 8
TICK_MS = 100
WARM_S, MEASURED_S, ROUNDS = 4.0, 10.0, 3
MODES = (0, 1, 2)
METHOD = "/forcedmove.v1.HeatmapService/Subscribe"
CONFIG = """
[server]
port = 0
gateways = {gateways}
[engine]
tick_interval_ms = {tick_ms}
threads = 1
[[sources]]
kind = "simulate"
name = "simulate"
symbols = {symbols}
warmup_hours = 0.5
"""


async def read(address: str, readers: int, engine: psutil.Process) -> dict[str, float]:
    """Read with so many streams; return figures of the time that was measured, and of the engine's process."""
    received = 0
    published: list[tuple[int, int]] = []
    late_ms: list[float] = []
    measuring = False

    async def stream(channel: grpc.aio.Channel, observes: bool) -> None:
        nonlocal received
        call: Any = channel.stream_stream(METHOD)()
        wanted = heatmap_pb2.Subscription(symbols=SYMBOLS[:1] if observes else ())
        await call.write(heatmap_pb2.SubscribeRequest(subscription=wanted).SerializeToString())
        while True:
            message = await call.read()
            assert message is not grpc.aio.EOF
            arrived_ns = time.time_ns()
            if not measuring:
                continue
            if observes:
                frames = heatmap_pb2.SubscribeResponse.FromString(message).frames
                published.extend((frame.seq, frame.published_time_ns) for frame in frames)
                late_ms.extend((arrived_ns - frame.published_time_ns) / 1e6 for frame in frames)
            else:
                received += len(message) > 256  # heartbeats are shorter

    # connections of one process to one address are shared otherwise, and one connection has one gateway
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1))
    channels = [grpc.aio.insecure_channel(address, options=options) for _ in range(CONNECTIONS + 1)]
    tasks = [asyncio.create_task(stream(channels[k % CONNECTIONS], False)) for k in range(readers)]
    tasks.append(asyncio.create_task(stream(channels[-1], True)))
    await asyncio.sleep(WARM_S)
    measuring = True
    before = await asyncio.to_thread(status, address)
    begin, cpu_before = time.monotonic(), cpu_s(engine)
    await asyncio.sleep(MEASURED_S)
    seconds, cpu = time.monotonic() - begin, cpu_s(engine) - cpu_before
    after = await asyncio.to_thread(status, address)
    for task in tasks:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, asyncio.CancelledError) for each in found), found
    for channel in channels:
        await channel.close()
    assert before.subscribers == readers + 1
    ticks, missed = after.ticks - before.ticks, after.missed_ticks - before.missed_ticks
    # a map that the observer was too slow for says nothing of when it was made
    intervals = [(b[1] - a[1]) / 1e6 for a, b in pairwise(published) if b[0] == a[0] + 1]
    assert len(intervals) > 0.5 * ticks
    return {
        "p50": float(np.median(np.abs(np.array(intervals) - TICK_MS))),
        "p99": float(np.percentile(np.abs(np.array(intervals) - TICK_MS), 99)),
        "work": 1e3 * (stages_s(after) - stages_s(before)) / ticks,
        "cpu": 1e3 * cpu / ticks,
        "missed": 100 * missed / (ticks + missed),
        "late": float(np.median(late_ms)),
        "messages": received / seconds,
    }


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def stages_s(told: ServerStatus) -> float:
    """Seconds that the engine's thread has spent on ticks, readers' frames aside."""
    return sum(stage.sum_s for stage in told.stages if stage.stage not in ("encode", "publish"))


def status(address: str) -> ServerStatus:
    with Client(address) as client:
        return client.server_status()


def measure(gateways: int, readers: int = READERS) -> dict[str, float]:
    """Run one server and its readers."""
    with tempfile.TemporaryDirectory() as folder:
        config, ready = Path(folder, "forcedmove.toml"), Path(folder, "ready")
        config.write_text(CONFIG.format(gateways=gateways, tick_ms=TICK_MS, symbols=json.dumps(SYMBOLS)))
        command = [sys.executable, "-m", "forcedmove_client.cli", "serve", "--config", str(config)]
        server = subprocess.Popen([*command, "--ready-file", str(ready), "--log-level", "error"])
        try:
            while not ready.exists():
                assert server.poll() is None
                time.sleep(0.05)
            # a supervisor starts the engine's process first
            started = psutil.Process(server.pid).children()
            engine = min(started, key=lambda process: process.create_time()).pid if gateways else server.pid
            arguments = [ready.read_text(), str(readers), str(engine)]
            asked = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.gateway_bench", *arguments],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            return {key: float(value) for key, value in json.loads(asked.stdout).items()}
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0


def run(results: list[dict[str, Any]]) -> None:
    """Append one row per measured quantity and mode: medians over rounds in which the modes take turns."""
    quiet: list[dict[str, float]] = []
    found: dict[int, list[dict[str, float]]] = {mode: [] for mode in MODES}
    for _ in range(ROUNDS):
        quiet.append(measure(0, 0))
        for mode in MODES:
            found[mode].append(measure(mode))
    names = {
        "p50": ("ticks off their time, p50", "ms"),
        "p99": ("ticks off their time, p99", "ms"),
        "missed": ("ticks missed", "%"),
        "work": ("time a tick takes the engine", "ms"),
        "cpu": ("processor time of the engine's process per tick", "ms"),
        "late": ("tick to client beside the other readers, p50", "ms"),
        "messages": ("messages received", "1/s"),
    }
    for key, (name, unit) in names.items():
        base = median(each[key] for each in found[0])
        for label, rounds in (("no readers", quiet), *((f"{mode} gateways", found[mode]) for mode in MODES)):
            value = median(each[key] for each in rounds)
            better = (value, base) if key == "messages" else (base, value)
            ratio = None if rounds is found[0] or rounds is quiet or not better[1] else better[0] / better[1]
            results.append(
                {
                    "name": f"gateways, {name}",
                    "params": {"mode": label, "readers": 0 if rounds is quiet else READERS, "tick_ms": TICK_MS}
                    | {"least": round(min(each[key] for each in rounds), 2)}
                    | {"most": round(max(each[key] for each in rounds), 2)},
                    "median": value,
                    "unit": unit,
                    "baseline": None if ratio is None else f"one process: {base:,.4g}",
                    "ratio": ratio,
                }
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        found = asyncio.run(read(sys.argv[1], int(sys.argv[2]), psutil.Process(int(sys.argv[3]))))
        print(json.dumps(found))
    else:
        from tests.benchmarks.__main__ import table

        rows: list[dict[str, Any]] = []
        run(rows)
        print(table(rows))
