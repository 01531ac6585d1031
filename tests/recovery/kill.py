"""Kill a serving process again and again at random moments while clients send positions, and count what that cost.

``python -m tests.recovery.kill --kills 200`` prints how many acknowledged changes were lost, how many were applied
twice, whether the state that was brought back equals that of a run without interruption, and how long each restart
took. The run without interruption repeats the first snapshot and every record since in one process, with no other
snapshot in between; what clients were shown last is compared with it too, cell by cell.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil

from forcedmove_client import AsyncClient, MapFrame, UnavailableError
from forcedmove_server.config import RecoveryConfig, load_config
from forcedmove_server.engine.core import INGEST, SET_POSITIONS, EngineCore
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.engine.recovery.digest import digests
from forcedmove_server.engine.recovery.log import segments
from forcedmove_server.engine.recovery.record import Record
from forcedmove_server.engine.recovery.replay import after
from forcedmove_server.engine.recovery.resume import resume
from forcedmove_server.engine.recovery.snapshot import read_snapshot, snapshots
from forcedmove_server.engine.recovery.state import restore
from forcedmove_server.engine.views import render_view
from forcedmove_server.market.ingest import IngestAck, IngestRequest, Outcome
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import PositionAck, PositionChange
from tests.recovery.producers import Asking, Faults, Streaming

#: clients of each kind
ASKING, STREAMING = 2, 3
#: share of kills that hit a server that is still starting
EARLY = 0.2
_CONNECTIONS = 50
#: keeps of the last frame all that a map has
KEEP: Any = ("venue", "side", "leverage", "price")
_CONFIG = """
[server]
port = {port}
[engine]
backend = "cpu"
tick_interval_ms = 100
bins = 512
max_markets = 32
[exact]
max_markets = 12
[recovery]
path = "{path}"
snapshot_interval_s = 1.0
retain_snapshots = 12
[[sources]]
name = "simulated"
kind = "simulate"
seed = {seed}
warmup_hours = 0.25
symbols = ["BTC", "ETH"]
"""


@dataclass
class Result(Faults):
    """What a run of kills has cost; times are seconds from the start of a process to its first map, or first answer."""

    kills: int = 0
    early_kills: int = 0
    acked: int = 0
    streamed: int = 0
    resumed: int = 0
    twice: int = 0
    records: int = 0
    reconnected: int = 0
    back_s: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    worked_s: list[float] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    grid_equal: bool = False
    shown_equal: bool = False

    @property
    def is_good(self) -> bool:
        """Whether nothing was lost, nothing was done twice, and everything is equal."""
        counted = self.lost or self.twice or self.wrong or self.differing
        return not counted and self.grid_equal and self.shown_equal and min(self.acked, self.streamed) > 0

    def text(self) -> str:
        """Return it in lines."""
        times, answered = np.array(self.back_s), np.array(self.answered_s)
        return "\n".join(
            (
                f"kills                     {self.kills}, {self.early_kills} of them before the first map",
                f"acknowledged changes      {self.acked} of calls",
                f"acknowledged requests     {self.streamed} of streams, connected {self.resumed} times anew",
                f"acknowledged and lost     {self.lost}",
                f"applied twice             {self.twice}",
                f"positions that are wrong  {self.wrong}",
                f"records in the log        {self.records}",
                f"state equal to a run without interruption: {not self.differing} {self.differing or ''}",
                f"grid of all rows equal: {self.grid_equal}; what was shown last equal: {self.shown_equal}",
                f"back to serving           median {np.median(times):.2f} s, p95 {np.quantile(times, 0.95):.2f} s, "
                f"worst {times.max():.2f} s",
                f"processor time until then median {np.median(self.worked_s):.2f} s, worst {max(self.worked_s):.2f} s",
                f"first question answered   median {np.median(answered):.2f} s, p95 "
                f"{np.quantile(answered, 0.95):.2f} s, worst {answered.max():.2f} s "
                f"(connections made anew: {self.reconnected})",
            )
        )


class Process:
    """A serving process."""

    def __init__(self, folder: Path) -> None:
        self._ready = folder / "ready"
        self._ready.unlink(missing_ok=True)
        self._log = (folder / "server.log").open("ab")
        command = [sys.executable, "-m", "forcedmove_client.cli", "serve", "--config", str(folder / "config.toml")]
        self.began_s = time.monotonic()
        self._process = subprocess.Popen(
            [*command, "--ready-file", str(self._ready)], stdout=self._log, stderr=self._log
        )

    async def ready(self, until_s: float) -> str | None:
        """Wait for its first map and return where it serves; None where it is not there by then."""
        while time.monotonic() < until_s:
            if self._ready.exists():
                return self._ready.read_text()
            assert self._process.poll() is None, "the server ended by itself: see server.log"
            await asyncio.sleep(0.01)
        return None

    def worked_s(self) -> float:
        """Processor time that it has taken so far, which does not depend on what else the machine does."""
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it as a loss of the process would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()


async def run(folder: Path, kills: int, seed: int, say: Any = None) -> Result:
    """Kill ``kills`` times, and compare at the end. Needs about four seconds and 2 MB for each."""
    result, draw = Result(), random.Random(seed)
    kept, archive = folder / "kept", folder / "archive"
    archive.mkdir()
    port = free_port()
    (folder / "config.toml").write_text(_CONFIG.format(path=kept, seed=seed, port=port))
    asking = [Asking(f"desk-{k}", random.Random((seed, k).__repr__())) for k in range(ASKING)]
    streaming = [Streaming(f"feed-{k}", random.Random((seed, -k).__repr__())) for k in range(STREAMING)]
    producers = [*asking, *streaming]
    lasting, at_the_end = AsyncClient(f"127.0.0.1:{port}", reconnect_timeout_s=None), asyncio.Event()
    streams = [asyncio.create_task(each.run(lasting, at_the_end)) for each in streaming]
    shown: MapFrame | None = None
    while shown is None:
        with Process(folder) as process:
            early = result.kills > 0 and draw.random() < EARLY and result.kills < kills
            until_s = process.began_s + (draw.uniform(0.0, 2.5) if early else 60.0)
            target = await process.ready(until_s)
            if target is not None:
                result.back_s.append(time.monotonic() - process.began_s)
                result.worked_s.append(process.worked_s())
                async with await _reached(target, producers, result) as client:
                    result.answered_s.append(time.monotonic() - process.began_s)
                    sending = [asyncio.create_task(producer.run(client)) for producer in asking]
                    if result.kills == kills:
                        await asyncio.sleep(1.0)
                        shown = (await client.snapshot("BTC", keep=KEEP, price_range=0))["BTC"]
                        await _one_more(producers)
                        at_the_end.set()
                        result.resumed = sum(await asyncio.gather(*streams))
                        for producer in streaming:
                            await producer.check_all(client, result)
                    else:
                        await asyncio.sleep(draw.uniform(0.0, 2.5))
                    process.kill()
                    await asyncio.gather(*sending)
            else:
                assert early, "no map within a minute: see server.log"
                process.kill()
                result.early_kills += 1
        for stream in streams:
            if stream.done() and shown is None:
                stream.result()  # it has lost what was acknowledged, or is wrong
        result.kills += shown is None
        _keep(kept, archive)
        if say is not None:
            say(f"{result.kills}/{kills}: {sum(p.acks for p in producers)} acknowledged, lost {result.lost}")
    await lasting.close()
    result.acked, result.streamed = (sum(producer.acks for producer in kind) for kind in (asking, streaming))
    await asyncio.to_thread(compare, folder, shown, result)
    return result


async def _reached(target: str, producers: list[Asking | Streaming], result: Result) -> AsyncClient:
    """Connect, and compare what the server holds with what it acknowledged; a connection that hangs is made anew."""
    for _ in range(_CONNECTIONS):
        client = AsyncClient(target, timeout_s=3.0)
        try:
            for producer in producers:
                await producer.check(client, result)
        except UnavailableError:
            result.reconnected += 1
            await client.close()
            await asyncio.sleep(0.2)  # gRPC may hold an address back for two seconds
        else:
            return client
    raise AssertionError(f"nobody answers at {target}: see server.log")


def free_port() -> int:
    """Return a port that nothing listens on just now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def _one_more(producers: list[Asking | Streaming]) -> None:
    """Wait until a change that came later is acknowledged: then what was shown before is kept."""
    before = [producer.acks for producer in producers]
    while all(  # noqa: ASYNC110  they count what a server tells them
        producer.acks < acks + 2 for producer, acks in zip(producers, before, strict=True)
    ):
        await asyncio.sleep(0.01)


def _keep(kept: Path, archive: Path) -> None:
    """Hold on to the first snapshot and all segments, whatever the server deletes."""
    files = [path for _, path in segments(kept)] + [path for number, path in snapshots(kept) if number == 0]
    for path in files:
        linked = archive / path.name
        if not linked.exists():
            os.link(path, linked)


def compare(folder: Path, shown: MapFrame, result: Result) -> None:
    """Compare the state that a restart brings back with that of one run over all records."""
    config = load_config(folder / "config.toml")
    first = EngineCore(config, InstrumentRegistry(), epoch=1)
    start = read_snapshot(snapshots(folder / "archive")[-1][1])
    assert start.position.number == 0
    restore(first, start.captured())
    applied: Counter[tuple[str, int]] = Counter()
    take = first.exact.ingest

    def streamed(request: IngestRequest) -> IngestAck:
        answer = take(request)
        applied[request.producer, request.sequence] += answer.outcome is Outcome.APPLIED and request.sequence > 0
        return answer

    def counted(change: PositionChange) -> PositionAck:
        answer = first.exact.change(change)
        applied[change.producer, change.sequence] += answer.applied
        return answer

    first.changes |= {SET_POSITIONS: counted, INGEST: streamed}
    for record in _records(folder / "archive"):
        record.repeat(first)
        result.records += 1
        found = first.maps.get(shown.symbol)
        if found is not None and found.seq == shown.seq:
            view = render_view(
                first.pipeline.store, first.states["BTC"].rows, ViewSpec(keep=KEEP, price_range_fraction=0)
            )
            result.shown_equal = bool(np.array_equal(view.values.ravel(), shown.grid.ravel()))
    second = EngineCore(config, InstrumentRegistry(), epoch=2)
    journal, _ = resume(replace(config, recovery=RecoveryConfig(path=str(folder / "kept"))), second, _raise)
    journal.close()
    one, other = digests(first), digests(second)
    result.differing = [name for name in one if one[name] != other[name]]
    result.grid_equal = bool(np.array_equal(_grid(first), _grid(second)))
    # what is sent again is acknowledged, and must not be applied again
    result.twice = sum(max(count - 1, 0) for count in applied.values())


def _records(folder: Path) -> Iterator[Record]:
    start = read_snapshot(snapshots(folder)[-1][1])
    for _, entry in after(folder, start.position):
        if entry.payload:
            yield Record.decoded(entry.payload)


def _grid(core: EngineCore) -> np.ndarray[Any, Any]:
    rows = np.arange(core.pipeline.store.rows, dtype=np.int32)
    return core.pipeline.store.resident.leverage_grid(rows, weighted=True)


def _raise(error: BaseException) -> None:
    raise error


def main() -> int:
    """Run it, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the server keeps its files; default: a temporary folder")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(run(folder, args.kills, args.seed, lambda line: print(line, flush=True)))
    print(result.text())
    return 0 if result.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
