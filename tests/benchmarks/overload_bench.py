"""A server at once and three times the load that it can bear, open loop: ``python -m tests.benchmarks.overload_bench``.

A server process with a simulated market is asked by this one with bytes that are serialised already. Its capacity is
the largest rate at which callers that ask again once they are answered are served the mix of calls. Then calls arrive
at random (Poisson) at that rate and at three times it, whether or not earlier ones were answered, and nobody retries.
What must hold is told at the end and decides the exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from forcedmove.v1 import cascade_pb2, heatmap_pb2, model_pb2, positions_pb2, scan_pb2, server_status_pb2
from forcedmove_server.rpc.methods import METHODS
from tests.serving_process import server_process

_PACKAGE = "/forcedmove.v1."
_DEADLINE_S = 30.0
#: of closed loops; the most that any is served is the capacity
_CALLERS = (32, 128, 512)
#: one who is refused asks again after this time
_AGAIN_S = 0.5
_CHANNELS = 4
_READERS = 5
_sequence = itertools.count(time.time_ns())


def _positions() -> bytes:
    key = positions_pb2.PositionKey(account="a", venue="binance", symbol="BTCUSDT", side=1)
    position = positions_pb2.Position(key=key, quantity=1.0)
    request = positions_pb2.SetPositionsRequest(producer="bench", sequence=next(_sequence), positions=[position])
    return request.SerializeToString()


def _fixed(message: Any) -> Callable[[], bytes]:
    text = message.SerializeToString()
    return lambda: text


_SUBSCRIBE = _fixed(heatmap_pb2.SubscribeRequest(subscription=heatmap_pb2.Subscription(symbols=["BTC"])))
#: heavy enough for this process to send three times as many as a server can answer
_SNAPSHOT = heatmap_pb2.GetSnapshotRequest(
    symbols=["BTC", "ETH", "SOL"],
    view=model_pb2.MapView(keep_axes=[model_pb2.AXIS_SIDE, model_pb2.AXIS_LEVERAGE], price_range_fraction=0.2),
)
_SIMULATE = cascade_pb2.SimulateRequest(symbol="BTC", move_fraction=-0.05, paths=500)
_SCAN = scan_pb2.ScanRequest(shock_fractions=[-0.02, -0.05, 0.02, 0.05], paths=100)
#: method, request, how often of all calls
MIX: tuple[tuple[str, Callable[[], bytes], float], ...] = (
    ("PositionsService/SetPositions", _positions, 0.05),
    ("HeatmapService/Subscribe", _SUBSCRIBE, 0.05),
    ("HeatmapService/GetSnapshot", _fixed(_SNAPSHOT), 0.55),
    ("HeatmapService/ListSymbols", _fixed(heatmap_pb2.ListSymbolsRequest()), 0.20),
    ("CascadeService/Simulate", _fixed(_SIMULATE), 0.10),
    ("ScanService/Scan", _fixed(_SCAN), 0.05),
)


class Outcomes:
    """What became of the calls of one load."""

    def __init__(self) -> None:
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self.refused: Counter[str] = Counter()
        self.told_when: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.refusal_latencies: list[float] = []
        #: how late this process sent its calls
        self.lateness: list[float] = []

    @property
    def accepted(self) -> np.ndarray:
        """Latencies of all classes."""
        return np.array([value for values in self.latencies.values() for value in values])

    def share(self, kind: str) -> float:
        """Accepted, of what was answered."""
        served = len(self.latencies[kind])
        return served / max(served + self.refused[kind], 1)


async def call_once(channel: grpc.aio.Channel, name: str, request: bytes, outcomes: Outcomes) -> None:
    """Make a call; a stream counts from its first map, after which it is left."""
    kind = METHODS[_PACKAGE + name].kind or "open"
    begin = time.monotonic()
    try:
        if name.endswith("/Subscribe"):
            call = channel.stream_stream(_PACKAGE + name)(timeout=_DEADLINE_S)
            first = grpc.aio.EOF
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # its status tells more
                await call.write(request)
                first = await call.read()
            if first is grpc.aio.EOF:
                await _raise(call)
            call.cancel()
        elif name.endswith("/Scan"):
            scan = channel.unary_stream(_PACKAGE + name)(request, timeout=_DEADLINE_S)
            async for _ in scan:
                pass
        else:
            await channel.unary_unary(_PACKAGE + name)(request, timeout=_DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            outcomes.refused[kind] += 1
            outcomes.refusal_latencies.append(time.monotonic() - begin)
            trailers = dict(error.trailing_metadata() or ())
            outcomes.told_when[kind] += b"google.rpc.RetryInfo" in trailers.get("grpc-status-details-bin", b"")
        else:
            outcomes.others[f"{name} {error.code().name}: {str(error.details())[:80]}"] += 1
    except asyncio.InvalidStateError:
        outcomes.others[f"{name}: stream ended"] += 1
    else:
        outcomes.latencies[kind].append(time.monotonic() - begin)


async def _raise(call: Any) -> None:
    raise grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )


async def closed_loop(channels: list[grpc.aio.Channel], callers: int, seconds: float) -> float:
    """Return the rate at which so many callers are served."""
    outcomes, draw, end = Outcomes(), random.Random(1), time.monotonic() + seconds

    async def caller(number: int) -> None:
        while time.monotonic() < end:
            (name, make, _) = draw.choices(MIX, [share for *_, share in MIX])[0]
            refused = outcomes.refused.total()
            await call_once(channels[number % len(channels)], name, make(), outcomes)
            if outcomes.refused.total() > refused:
                await asyncio.sleep(_AGAIN_S)

    begin = time.monotonic()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return len(outcomes.accepted) / (time.monotonic() - begin)


async def open_loop(channels: list[grpc.aio.Channel], rate_hz: float, seconds: float) -> Outcomes:
    """Send calls at random times of a mean rate, whatever comes of them."""
    outcomes, draw, running = Outcomes(), random.Random(2), set[asyncio.Task[None]]()
    begin = due = time.monotonic()
    while due < begin + seconds:
        due += draw.expovariate(rate_hz)
        if (wait_s := due - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        outcomes.lateness.append(max(time.monotonic() - due, 0.0))
        (name, make, _) = draw.choices(MIX, [share for *_, share in MIX])[0]
        task = asyncio.create_task(call_once(draw.choice(channels), name, make(), outcomes))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return outcomes


class Readers:
    """Streams that were open before the load came; how long they heard nothing."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self.longest_gap_s, self.ended = 0.0, 0

    async def read(self) -> None:
        """Read until cancelled."""
        call = self._channel.stream_stream(_PACKAGE + "HeatmapService/Subscribe")()
        await call.write(_SUBSCRIBE())
        before = None
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                now = time.monotonic()
                self.longest_gap_s = max(self.longest_gap_s, now - before if before is not None else 0.0)
                before = now
        self.ended += 1


async def status(channel: grpc.aio.Channel) -> server_status_pb2.GetServerStatusResponse:
    """The server's own counts."""
    answer = await channel.unary_unary(_PACKAGE + "StatusService/GetServerStatus")(b"", timeout=_DEADLINE_S)
    return server_status_pb2.GetServerStatusResponse.FromString(answer)


async def watch(channel: grpc.aio.Channel, waits: dict[str, list[float]]) -> None:
    """Ask the server how long its queues are, until cancelled."""
    while True:
        for each in (await status(channel)).queues:
            waits[each.queue].append(each.wait_s)
        await asyncio.sleep(0.1)


async def measure(seconds: float) -> dict[str, Any]:
    """Run everything; return the figures."""
    async with contextlib.AsyncExitStack() as stack:
        port, process, complaints = await stack.enter_async_context(server_process())

        async def channel(number: int) -> grpc.aio.Channel:
            options = (("grpc.use_local_subchannel_pool", 1), ("forcedmove.number", number))
            return await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options))

        channels = [await channel(number) for number in range(_CHANNELS)]
        own = await channel(_CHANNELS)
        await closed_loop(channels, 8, 2.0)
        rates = {callers: await closed_loop(channels, callers, seconds / 2) for callers in _CALLERS}
        print("served:", *(f"{callers} callers {rate:.0f}/s" for callers, rate in rates.items()))
        capacity = max(rates.values())
        await asyncio.sleep(3.0)
        readers = Readers(await channel(_CHANNELS + 1))
        reading = [asyncio.create_task(readers.read()) for _ in range(_READERS)]
        await asyncio.sleep(1.5)
        figures: dict[str, Any] = {"capacity_hz": capacity}
        before = await status(own)
        for times in (1, 3):
            readers.longest_gap_s = 0.0
            rss = process.memory_info().rss
            waits: dict[str, list[float]] = defaultdict(list)
            watching = asyncio.create_task(watch(own, waits))
            outcomes = await open_loop(channels, capacity * times, seconds)
            watching.cancel()
            figures[f"{times}x"] = report(outcomes, times, readers, (rss, process.memory_info().rss))
            told = {
                name: [round(1e3 * value) for value in np.percentile(seen, (50, 100))] for name, seen in waits.items()
            }
            print(f"  the server's own waits, p50 and most, ms: {told}")
            figures[f"{times}x"]["waits_ms"] = told
            await asyncio.sleep(3.0)
        after = await status(own)
        counted = {each.kind: each.calls for each in after.shed}
        figures["shed"] = {each.kind: counted[each.kind] - each.calls for each in before.shed}
        figures["missed_ticks"] = after.missed_ticks - before.missed_ticks
        figures["ticks"] = after.ticks - before.ticks
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        figures["streams_ended"] = readers.ended
    figures["complaints"] = complaints
    return figures


def report(outcomes: Outcomes, times: int, readers: Readers, rss: tuple[int, int]) -> dict[str, Any]:
    """Print and return what came of one load."""
    refused = sum(outcomes.refused.values())
    answered = len(outcomes.accepted) + refused
    found: dict[str, Any] = {
        "calls": answered,
        "refused": refused / answered,
        "told_when": sum(outcomes.told_when.values()) / max(refused, 1),
        "p50_ms": 1e3 * float(np.percentile(outcomes.accepted, 50)),
        "p99_ms": 1e3 * float(np.percentile(outcomes.accepted, 99)),
        "refusal_p99_ms": 1e3 * float(np.percentile(outcomes.refusal_latencies or [0.0], 99)),
        "sender_late_p99_ms": 1e3 * float(np.percentile(outcomes.lateness, 99)),
        "longest_gap_s": readers.longest_gap_s,
        "rss_mib": [round(value / 2**20) for value in rss],
        "others": dict(outcomes.others),
        "classes": {},
    }
    print(f"{times}x: {answered} calls, {found['refused']:.1%} refused, {found['told_when']:.1%} of these told when")
    for kind in ("ingest", "stream", "read", "simulate", "scan"):
        latencies = 1e3 * np.array(outcomes.latencies[kind] or [float("nan")])
        p50, p99 = np.percentile(latencies, (50, 99))
        share = outcomes.share(kind)
        found["classes"][kind] = {"accepted": share, "p50_ms": p50, "p99_ms": p99, "calls": len(latencies)}
        print(f"  {kind:9} accepted {share:6.1%} ({len(latencies)}), p50 {p50:7.1f} ms, p99 {p99:7.1f} ms")
    print(
        f"  all accepted: p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms; refusals p99 "
        f"{found['refusal_p99_ms']:.1f} ms; sender late p99 {found['sender_late_p99_ms']:.1f} ms; longest silence of a "
        f"stream {readers.longest_gap_s:.2f} s; RSS {found['rss_mib'][0]} -> {found['rss_mib'][1]} MiB; "
        f"others {found['others']}"
    )
    return found


def verdict(figures: dict[str, Any]) -> list[str]:
    """What is missed."""
    once, thrice = figures["1x"], figures["3x"]
    shares = [thrice["classes"][kind]["accepted"] for kind in ("scan", "simulate", "read", "stream", "ingest")]
    checks = {
        "accepted p99 at 3x is at most twice that at 1x": thrice["p99_ms"] <= 2 * once["p99_ms"],
        "every refusal tells when to ask again": thrice["told_when"] == 1.0,
        "what matters less is shed first": all(a <= b + 0.02 for a, b in itertools.pairwise(shares)),
        "nearly all changes of positions come in": shares[-1] >= 0.95,
        "no stream was cut, and none was silent for three heartbeats": figures["streams_ended"] == 0
        and thrice["longest_gap_s"] < 3.0,
        "memory does not grow with the load": thrice["rss_mib"][1] - thrice["rss_mib"][0] < 100,
        "calls end with an answer or a refusal": not thrice["others"],
        "the server's log has no errors": not figures["complaints"],
    }
    return [text for text, held in checks.items() if not held]


def main() -> int:
    """Print the figures and what is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    figures = asyncio.run(measure(args.seconds))
    ratio = figures["3x"]["p99_ms"] / figures["1x"]["p99_ms"]
    print(
        f"capacity {figures['capacity_hz']:.0f} calls/s; p99 at 3x is {ratio:.2f} times that at 1x; "
        f"shed {figures['shed']}; {figures['missed_ticks']} of {figures['ticks']} ticks missed"
    )
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1))
    missed = verdict(figures)
    print("missed:", *(missed or ["nothing"]), sep="\n  ")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
