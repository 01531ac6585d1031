"""All venues against the emulator under random faults, and what came of it.

``python -m tests.emulator.soak --minutes 10``
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import sys
import time
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import psutil

from forcedmove_server.collectors.records import Liquidation, Trade
from forcedmove_server.collectors.supervisor import LiveSettings, Supervisor
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import Channel, EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from tests.emulator.faults import Fault, FaultPlan
from tests.emulator.server import EmulatorServer
from tests.emulator.truth import Truth
from tests.emulator.venues import emulator_class, emulator_names

SYMBOLS = ("BTC", "ETH", "SOL")
#: silence after which a half-open connection is given up in a soak
SILENCE_S = 3.0
#: transit on loopback and the grain of venues' stamps
_SLACK_NS = 50_000_000
#: what was published last arrives within this time: some liquidations are polled every four seconds
_ARRIVES_S = 6.0
#: memory is looked at this often
_SAMPLES = 20


@dataclass
class Report:
    """What a soak found; ``lost`` events lie outside announced gaps."""

    venues: int = 0
    seconds: float = 0.0
    published: int = 0
    received: int = 0
    in_gaps: int = 0
    gaps: int = 0
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    slowest_announcement_s: float = 0.0
    slowest_resync_s: float = 0.0
    not_live_at_end: list[str] = field(default_factory=list)
    shutdown_s: float = 0.0
    tasks_left: int = 0
    memory_mb: list[float] = field(default_factory=list)
    memory_slope_mb_per_min: float = 0.0
    cpu_share: float = 0.0
    defects: dict[str, int] = field(default_factory=dict)


class Ledger:
    """What was published and what came. Every event's quantity is its number, in contracts; numbers count by venue.

    Compact, so that the memory that is measured is not its own.
    """

    def __init__(self) -> None:
        self._keys: dict[tuple[str, int], int] = {}  # market and channel
        #: by venue and number: index of the key, whether it counts, event time, how often it came
        self._key: dict[str, array[int]] = defaultdict(lambda: array("H", [0]))
        self._counted: dict[str, bytearray] = defaultdict(lambda: bytearray(1))
        self._time_ns: dict[str, array[int]] = defaultdict(lambda: array("q", [0]))
        self._came: dict[str, bytearray] = defaultdict(lambda: bytearray(1))
        self.gaps: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        #: first announcements: market's venue, when handed on
        self.announced: dict[str, list[int]] = defaultdict(list)
        self.strange: list[str] = []

    def publish(self, event: Trade | Liquidation, counted: bool) -> None:
        """Note an event before it is sent; its number is one more than the last of its venue."""
        instrument = event.listing.instrument
        channel = Channel.TRADES if isinstance(event, Trade) else Channel.LIQUIDATIONS
        key = self._keys.setdefault((instrument.key, int(channel)), len(self._keys) + 1)
        self._key[instrument.venue].append(key)
        self._counted[instrument.venue].append(counted)
        self._time_ns[instrument.venue].append(event.time_ns)
        self._came[instrument.venue].append(0)

    def take(self, batch: EventBatch, registry: InstrumentRegistry) -> None:
        now_ns = time.time_ns()
        for channel, rows in ((Channel.TRADES, batch.trades), (Channel.LIQUIDATIONS, batch.liquidations)):
            for market, quantity in zip(rows["market"].tolist(), rows["quantity"].tolist(), strict=True):
                instrument = registry[market]
                number = round(quantity / instrument.contract_size)
                came = self._came[instrument.venue]
                sent = self._key[instrument.venue][number] if 0 < number < len(came) else 0
                if channel is Channel.TRADES and sent == self._keys.get((instrument.key, int(Channel.LIQUIDATIONS))):
                    continue  # some venues tell a liquidation as a trade too
                if not sent or sent != self._keys.get((instrument.key, int(channel))):
                    self.strange.append(f"{instrument.key} {channel.name} number {number}")
                    continue
                came[number] = min(came[number] + 1, 255)
        for row in batch.gaps:
            instrument = registry[int(row["market"])]
            self.gaps[instrument.key, int(row["channel"])].append((int(row["begin_ns"]), int(row["time_ns"])))
            own = self.announced[instrument.venue]
            if not own or own[-1] != now_ns:
                own.append(now_ns)

    def judge(self, report: Report) -> None:
        """Find what is lost outside of announced gaps, and what came more than once."""
        names = {index: key for key, index in self._keys.items()}
        report.strange = self.strange
        for venue, keys in self._key.items():
            about = zip(keys, self._counted[venue], self._time_ns[venue], self._came[venue], strict=True)
            for number, (index, counted, time_ns, came) in enumerate(about):
                if came > 1:
                    report.repeated.append(f"{names[index]} number {number}: {came} times")
                if not counted:
                    continue
                report.published += 1
                report.received += bool(came)
                if came:
                    continue
                spans = self.gaps.get(names[index], ())
                if any(begin - _SLACK_NS <= time_ns <= end + _SLACK_NS for begin, end in spans):
                    report.in_gaps += 1
                else:
                    report.lost.append(f"{names[index]} number {number} at {time_ns}")
        report.gaps = sum(map(len, self.gaps.values()))


async def soak(
    names: Sequence[str],
    seconds: float,
    seed: int,
    rate_hz: float = 20.0,
    plan: FaultPlan | None = None,
    warm_s: float = 6.0,
    end_s: float = 12.0,
) -> Report:
    """Run the collectors of ``names`` for ``seconds`` of faults; ``rate_hz`` events per venue and second.

    Before the faults they run ``warm_s`` without, and ``end_s`` after them, in which everything has to be fed again.
    """
    report = Report(venues=len(names), seconds=seconds)
    emulators = [emulator_class(name)(emulator_class(name).native_ids(SYMBOLS)) for name in names]
    truths = [Truth(emulator.listings, seed + number) for number, emulator in enumerate(emulators)]
    plan = plan or FaultPlan(seed, connection_rate=1 / 60, message_rate=0.002, venue_rate=1 / 60)
    quiet = FaultPlan(seed)
    ledger, defects, registry = Ledger(), Defects(), InstrumentRegistry()
    process = psutil.Process()
    tasks_before = len(asyncio.all_tasks())
    async with EmulatorServer(emulators, quiet) as server:

        def put(batch: EventBatch) -> bool:
            ledger.take(batch, registry)
            return True

        settings = LiveSettings(tuple(names), SYMBOLS, urls=server.urls, silence_s=SILENCE_S)
        supervisor = Supervisor(settings, registry, defects, put)
        running = asyncio.create_task(supervisor.run())
        for name, truth in zip(names, truths, strict=True):
            for event in truth.initial(time.time_ns()):
                server.publish(name, event)
        watcher = asyncio.create_task(_watch_resyncs(supervisor, report))
        feeding = asyncio.create_task(_feed(server, names, truths, rate_hz, ledger, supervisor))
        try:
            await _until_live(supervisor, running)
            await _survives(running, warm_s)
            server.plan = plan
            began, cpu = time.monotonic(), process.cpu_times().user + process.cpu_times().system
            while (left := began + seconds - time.monotonic()) > 0:
                await _survives(running, min(left, seconds / _SAMPLES))
                gc.collect()
                report.memory_mb.append(round(process.memory_info().rss / 2**20, 1))
            used = process.cpu_times().user + process.cpu_times().system - cpu
            report.cpu_share = used / (time.monotonic() - began)
            half = report.memory_mb[len(report.memory_mb) // 2 :]
            if len(half) > 2:
                step_min = seconds / _SAMPLES / 60
                report.memory_slope_mb_per_min = float(np.polyfit(np.arange(len(half)) * step_min, half, 1)[0])
            server.plan = quiet
            await _survives(running, end_s)
            report.not_live_at_end = [f"{s.venue} {s.channel.name}" for s in supervisor.feeds() if s.live < s.wanted]
            feeding.cancel()
            await asyncio.wait([feeding])
            await asyncio.sleep(_ARRIVES_S)
        finally:
            watcher.cancel()
            feeding.cancel()
            ended = time.monotonic()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            report.shutdown_s = time.monotonic() - ended
        report.faults = {str(fault): count for fault, count in sorted(server.faults.items())}
    await asyncio.sleep(0)
    report.tasks_left = len(asyncio.all_tasks()) - tasks_before
    report.defects = dict(defects.counts)
    ledger.judge(report)
    _judge_announcements(report, ledger, server)
    return report


async def _until_live(supervisor: Supervisor, running: asyncio.Task[None]) -> None:
    """Wait until every channel is fed; discovery takes a while."""
    began = time.monotonic()
    while time.monotonic() - began < 90:
        await _survives(running, 0.5)
        feeds = supervisor.feeds()
        if len({s.venue for s in feeds}) == len(supervisor.settings.venues) and all(s.live == s.wanted for s in feeds):
            return
    missing = [f"{s.venue} {s.channel.name} {s.live}/{s.wanted} {s.trouble}" for s in feeds if s.live < s.wanted]
    absent = set(supervisor.settings.venues) - {s.venue for s in feeds}
    raise AssertionError(f"not live after 90 s: {missing}; nothing from {absent}")


async def _survives(running: asyncio.Task[None], seconds: float) -> None:
    """Wait, and raise what the collectors failed with meanwhile."""
    done, _ = await asyncio.wait([running], timeout=seconds)
    if done:
        running.result()
        raise AssertionError("the collectors ended by themselves")


async def _feed(
    server: EmulatorServer,
    names: Sequence[str],
    truths: Sequence[Truth],
    rate_hz: float,
    ledger: Ledger,
    supervisor: Supervisor,
) -> None:
    """Publish true events; what comes before a venue's channels are live is not counted."""
    live: set[str] = set()
    step_s = 0.05
    while True:
        feeds = supervisor.feeds()
        for name in set(names) - live:
            own = [status for status in feeds if status.venue == name]
            if own and all(status.live == status.wanted for status in own):
                live.add(name)
        for name, truth in zip(names, truths, strict=True):
            for _ in range(max(1, round(rate_hz * step_s))):
                event = truth.event(time.time_ns())
                if isinstance(event, Trade | Liquidation):
                    hidden = isinstance(event, Liquidation) and not server.venues[name].publishes_liquidations
                    ledger.publish(event, counted=name in live and not hidden)
                server.publish(name, event)
        await asyncio.sleep(step_s)


async def _watch_resyncs(supervisor: Supervisor, report: Report) -> None:
    """Measure for how long channels that were fed are not."""
    since: dict[tuple[str, Channel], float] = {}
    fed: set[tuple[str, Channel]] = set()
    while True:
        now = time.monotonic()
        for status in supervisor.feeds():
            key = status.venue, status.channel
            if status.wanted and status.live == status.wanted:
                fed.add(key)
                if key in since:
                    report.slowest_resync_s = max(report.slowest_resync_s, now - since.pop(key))
            elif key in fed:
                since.setdefault(key, now)
        await asyncio.sleep(0.1)


def _judge_announcements(report: Report, ledger: Ledger, server: EmulatorServer) -> None:
    """How long after a connection ended its gap was handed on; one that is half open has to be found out first."""
    for venue, fault, ended_ns in server.ended:
        later = [when for when in ledger.announced[venue] if when >= ended_ns]
        delay_s = (min(later) - ended_ns) / 1e9 if later else float("inf")
        allowed_s = SILENCE_S if fault is Fault.HALF_OPEN else 0.0
        report.slowest_announcement_s = max(report.slowest_announcement_s, delay_s - allowed_s)


def main() -> int:
    parser = argparse.ArgumentParser(description="Soak all venues against the emulator.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=20.0, help="events per venue and second")
    parser.add_argument("--venues", nargs="+", default=emulator_names())
    args = parser.parse_args()
    report = asyncio.run(soak(args.venues, args.minutes * 60, args.seed, args.rate))
    shown = asdict(report) | {
        "lost": report.lost[:20],
        "repeated": report.repeated[:20],
        "strange": report.strange[:20],
    }
    shown |= {"lost_count": len(report.lost), "repeated_count": len(report.repeated)}
    sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    bad = report.lost or report.repeated or report.strange or report.not_live_at_end or report.tasks_left
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
