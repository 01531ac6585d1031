"""All venues against the emulator under random faults, and what came of it.

``python -m tests.emulator.soak --minutes 10`` prints a report; what is missed of the requirement is in ``failed``, and
the exit code is then 1. :mod:`tests.emulator.judge` says what is measured. ``--mute 0.002`` lets single topics fall
silent as well, about once in eight minutes on every connection; the soak then ends later by as long as a collector may
take to notice that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import psutil

from forcedmove_server.collectors.records import Liquidation, Trade
from forcedmove_server.collectors.supervisor import LiveSettings, Supervisor
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from tests.emulator.faults import Fault, FaultPlan, Incident
from tests.emulator.judge import Growth, Outages, Report, judge_announcements
from tests.emulator.ledger import Ledger
from tests.emulator.server import EmulatorServer
from tests.emulator.truth import Truth
from tests.emulator.venues import emulator_class, emulator_names

#: every market has a mark this often
_MARKS_S = 1.0
SYMBOLS = ("BTC", "ETH", "SOL")
#: silence after which a half-open connection is given up in a soak
SILENCE_S = 3.0
#: what was published last arrives within this time: some liquidations are polled every four seconds
_ARRIVES_S = 6.0
#: memory is looked at so many times, but not at shorter intervals
_SAMPLES, _SAMPLE_S = 40, 3.0
_LOOK_S = 0.1


def soak_plan(seed: int, mute_rate: float = 0.0) -> FaultPlan:
    """A fault a minute on every connection and every venue, and every 500th message; stalls short and long."""
    stalls_s = (1.0, SILENCE_S + 3.0)
    return FaultPlan(seed, 1 / 60, message_rate=0.002, venue_rate=1 / 60, mute_rate=mute_rate, stalls_s=stalls_s)


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
    plan = plan or soak_plan(seed)
    quiet = FaultPlan(seed)
    ledger, outages, defects, registry = Ledger(), Outages(), Defects(), InstrumentRegistry()
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
        watcher = asyncio.create_task(_watch(supervisor, report, outages))
        feeding = asyncio.create_task(_feed(server, names, truths, rate_hz, ledger, supervisor))
        try:
            await _until_live(supervisor, running)
            await _survives(running, warm_s)
            server.plan = plan
            began, cpu = time.monotonic(), process.cpu_times().user + process.cpu_times().system
            memory = _Memory(process, ledger)
            samples = max(6, min(_SAMPLES, int(seconds / _SAMPLE_S)))
            for number in range(1, samples + 1):
                await _survives(running, max(0.0, began + number * seconds / samples - time.monotonic()))
                memory.sample()
            used = process.cpu_times().user + process.cpu_times().system - cpu
            report.cpu_share = used / (time.monotonic() - began)
            server.plan = quiet
            muted = [_mute_limit_s(one) for one in server.incidents if one.fault is Fault.MUTE]
            await _survives(running, end_s + max(muted, default=0.0))
            outages.end(time.monotonic())
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
    report.strange, report.gaps, report.memory_mib = ledger.strange, ledger.gap_rows, memory.mib
    report.announcements = judge_announcements(ledger, server.incidents, SILENCE_S, _mute_limit_s, report.loop_wait_s)
    report.conclude(ledger.balance(), outages, Growth.of(memory.minutes, memory.mib))
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
    step_s, marked = 0.05, 0.0
    while True:
        feeds = supervisor.feeds()
        for name in set(names) - live:
            own = [status for status in feeds if status.venue == name]
            if own and all(status.live == status.wanted for status in own):
                live.add(name)
        if due := time.monotonic() - marked >= _MARKS_S:
            marked = time.monotonic()
        for name, truth in zip(names, truths, strict=True):
            for mark in truth.marks(time.time_ns()) if due else ():
                server.publish(name, mark)
            for _ in range(max(1, round(rate_hz * step_s))):
                event = truth.event(time.time_ns())
                if isinstance(event, Trade | Liquidation):
                    hidden = isinstance(event, Liquidation) and not server.venues[name].publishes_liquidations
                    ledger.publish(event, counted=name in live and not hidden)
                server.publish(name, event)
        await asyncio.sleep(step_s)


async def _watch(supervisor: Supervisor, report: Report, outages: Outages) -> None:
    """Look at what is fed, and at how long the event loop lets others wait."""
    while True:
        now = time.monotonic()
        outages.look(supervisor.feeds(), now)
        await asyncio.sleep(_LOOK_S)
        report.loop_wait_s = max(report.loop_wait_s, time.monotonic() - now - _LOOK_S)


class _Memory:
    """Resident size without free memory that the allocator keeps, and without what the ledger takes, in MiB."""

    def __init__(self, process: psutil.Process, ledger: Ledger) -> None:
        self._process, self._ledger = process, ledger
        self._began = time.monotonic()
        self._trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
        self.minutes: list[float] = []
        self.mib: list[float] = []

    def sample(self) -> None:
        gc.collect()
        if self._trim is not None:
            self._trim(0)
        self.minutes.append((time.monotonic() - self._began) / 60)
        self.mib.append(round((self._process.memory_info().rss - self._ledger.size_bytes) / 2**20, 2))


def _mute_limit_s(incident: Incident) -> float:
    """How long a venue's topic may be silent where its channels never pause."""
    streams = emulator_class(incident.venue).collector.streams
    channels = {channel for _, channel in incident.feeds}
    return max(limit for one in streams for channel, limit in one.channel_silence_s.items() if channel in channels)


def main() -> int:
    parser = argparse.ArgumentParser(description="Soak all venues against the emulator.")
    parser.add_argument("--minutes", type=float, default=10.0, help="memory is judged from five on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=20.0, help="events per venue and second")
    parser.add_argument("--mute", type=float, default=0.0, help="topics muted per connection and second (0.002: rare)")
    parser.add_argument("--venues", nargs="+", default=emulator_names())
    args = parser.parse_args()
    plan = soak_plan(args.seed, args.mute)
    report = asyncio.run(soak(args.venues, args.minutes * 60, args.seed, args.rate, plan))
    sys.stdout.write(json.dumps(asdict(report), indent=2) + "\n")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
