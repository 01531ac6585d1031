"""Runs of an engine's core that can be repeated: seeded inputs by tick, with or without a journal beside them."""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from forcedmove_server.config import Config, EngineConfig, ExactConfig, RecoveryConfig, ScorecardConfig
from forcedmove_server.engine.core import INGEST, SET_POSITIONS, EngineCore
from forcedmove_server.engine.recovery.journal import Journal
from forcedmove_server.engine.recovery.log import Witness, read_segment, segments
from forcedmove_server.engine.recovery.record import SealedRecord, TickRecord
from forcedmove_server.engine.recovery.resume import Resumed, resume
from forcedmove_server.engine.recovery.snapshot import snapshots
from forcedmove_server.engine.recovery.state import capture
from forcedmove_server.errors import ForcedMoveError
from forcedmove_server.market.ingest import DeltaChange, IngestRequest, PositionDelta, Refusal, RefusalKind
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import ExactPosition, PositionChange, PositionKey
from tests.unit.market_feed import minute, two_venue_registry

CONFIG = Config(
    engine=EngineConfig(backend="cpu", threads=1, max_markets=8, bins=1024),
    exact=ExactConfig(max_markets=4, max_age_s=60, max_producers=4),
)
#: what is left to do of a batch, whatever that is
WHOLE = -1
_MARKETS = ("binance:BTCUSDT", "hyperliquid:BTC", "binance:BTCUSD_PERP", "binance:ETHUSDT")
_PRICES = (97_500.0, 97_500.0, 97_500.0, 3_400.0)


class Tick(NamedTuple):
    """Minutes of the feed that are begun, how many steps of each are taken, changes, and what the clock says."""

    minutes: tuple[tuple[int, int], ...]
    changes: tuple[PositionChange | IngestRequest, ...]
    clock_s: float


def script(seed: int, ticks: int) -> list[Tick]:
    """Return ticks of a market in which positions come, change, are crossed and expire; batches end across ticks."""
    draw = random.Random(seed)
    found, next_minute, clock_s = [], 0, 0.0
    sequences, streamed = dict.fromkeys(("desk", "fund", "bot"), 0), [0]
    for _ in range(ticks):
        minutes = []
        for _ in range(draw.choice((0, 1, 1, 2))):
            minutes.append((next_minute, WHOLE))
            next_minute += 1
        if minutes and draw.random() < 0.4:  # the rest of it comes with the next tick
            minutes[-1] = (minutes[-1][0], 1)
        changes = tuple(
            _request(draw, streamed) if draw.random() < 0.4 else _change(draw, sequences)
            for _ in range(draw.choice((0, 0, 1, 3)))
        )
        clock_s += draw.choice((0.25, 0.5, 2.0, 20.0))
        found.append(Tick(tuple(minutes), changes, clock_s))
    return found


def _change(draw: random.Random, sequences: dict[str, int]) -> PositionChange:
    producer = draw.choice(sorted(sequences))
    sequences[producer] += draw.choice((0, 1, 1, 1))  # some come twice, which changes nothing
    positions = tuple(
        {position.key: position for position in (_position(draw) for _ in range(draw.randrange(5)))}.values()
    )
    return PositionChange(
        producer,
        max(sequences[producer], 1),
        positions,
        replace=draw.random() < 0.3,
        representative=draw.random() < 0.5,
        lenient=draw.random() < 0.7,
    )


def _request(draw: random.Random, last: list[int]) -> IngestRequest:
    """Return a stream's next request, an earlier one again or a sign of life: deltas, positions, or a refusal."""
    sequence = draw.choice((last[0] + 1, last[0] + 1, last[0], 0))
    after, last[0] = max(sequence - 1, 0), max(last[0], sequence)
    deltas = tuple(_delta(draw) for _ in range(draw.randrange(1, 4)))
    position = PositionChange("stream", max(sequence, 1), (_position(draw),), lenient=True)
    refusal = Refusal(RefusalKind.VALUE, "deltas[0].leverage", "is not a number")
    body = draw.choice((DeltaChange(deltas), DeltaChange(deltas, representative=True), position, refusal))
    return IngestRequest("stream", sequence, after, body)


def _delta(draw: random.Random) -> PositionDelta:
    market, side = draw.randrange(4), draw.randrange(2)
    entry = _PRICES[market] * draw.choice((0.99, 1.0, 1.01))
    leverage = draw.choice((5.0, 20.0))
    level = entry * (1 - 0.8 / leverage if side == 0 else 1 + 0.8 / leverage)
    quantity = draw.choice((2.0, 40.0, -1.0, -30.0))
    return PositionDelta(_MARKETS[market], side, quantity, entry, leverage, level)


def _position(draw: random.Random) -> ExactPosition:
    market, side = draw.randrange(4), draw.randrange(2)
    away = draw.choice((0.0005, 0.002, 0.02, 0.1))
    return ExactPosition(
        PositionKey(f"account-{draw.randrange(4)}", _MARKETS[market], side),
        quantity=draw.choice((0.5, 20.0, 3_000.0)),
        liquidation_price_usd=_PRICES[market] * (1 - away if side == 0 else 1 + away),
        leverage=draw.choice((None, 5.0, 20.0)),
        opened_at_ns=draw.choice((None, 1_700_000_000 * 10**9)),
    )


def play(core: EngineCore, tick: Tick) -> SealedRecord:
    """Give a core one tick's inputs up to its publication, and return the record of them."""
    record = TickRecord()
    _finish(core, record)
    for number, steps in tick.minutes:
        _finish(core, record)
        batch = minute(number)
        core.begin("feed", batch)
        record.batch("feed", batch)
        _step(core, record) if steps != WHOLE else _finish(core, record)
    core.begin_tick(tick.clock_s)
    for change in tick.changes:
        name = INGEST if isinstance(change, IngestRequest) else SET_POSITIONS
        try:
            core.change(name, change)
        except ForcedMoveError:
            continue
        record.change(name, change)
    return record.sealed(tick.clock_s)


def _finish(core: EngineCore, record: TickRecord) -> None:
    while not core.between_batches:
        _step(core, record)


def _step(core: EngineCore, record: TickRecord) -> None:
    core.step()
    record.step()


def config_at(folder: Path, **recovery: Any) -> Config:
    """Return the configuration of a server that keeps what it knows in ``folder``."""
    return replace(CONFIG, recovery=RecoveryConfig(path=str(folder), **recovery))


def new_core(config: Config = CONFIG, registry: InstrumentRegistry | None = None) -> EngineCore:
    """Return a core that knows the markets of the feed, and has seen nothing."""
    return EngineCore(config, two_venue_registry() if registry is None else registry, epoch=1)


def uninterrupted(ticks: Sequence[Tick], config: Config = CONFIG) -> EngineCore:
    """Return a core that was given all ticks, and never stopped."""
    core = new_core(config)
    for tick in ticks:
        play(core, tick)
        core.publish()
    return core


class Server:
    """A core with its journal, driven tick by tick: what the engine's thread does, without the thread."""

    def __init__(self, folder: Path, **recovery: Any) -> None:
        """Bring back what the folder keeps, or begin anew."""
        self.config = config_at(folder, **recovery)
        self.bugs: list[BaseException] = []
        self.core = EngineCore(self.config, InstrumentRegistry(), epoch=2)
        if not any(folder.glob("*.snapshot")):
            for instrument in two_venue_registry():
                self.core.registry.add(instrument)
        self.journal: Journal
        self.resumed: Resumed
        self.journal, self.resumed = resume(self.config, self.core, self.bugs.append)
        self.answers: dict[int, str | None] = {}
        self._told = threading.Condition()

    @property
    def number(self) -> int:
        """Number of the last record."""
        return self.journal.status().kept

    def tick(self, tick: Tick, snapshot: bool = False) -> int:
        """Play a tick and hand its record to the journal; return its number."""
        number = self.journal.append(play(self.core, tick), self.core.registry)
        self.core.publish()
        self.journal.when_kept(number, [lambda problem: self._answer(number, problem)])
        if snapshot and self.core.between_batches:
            self.journal.snapshot(capture(self.core), self.core.worked_s, 0.0)
        return number

    def finish_batch(self) -> None:
        """Go on to where a batch ends, with a tick: only there can a state be captured."""
        if not self.core.between_batches:
            self.tick(Tick((), (), self.core.clock.now_s))

    def wait(self, number: int) -> str | None:
        """Wait until it is told whether a record is kept; return why not."""
        with self._told:
            assert self._told.wait_for(lambda: number in self.answers, 20), f"record {number} is never answered"
            return self.answers[number]

    def _answer(self, number: int, problem: str | None) -> None:
        with self._told:
            self.answers[number] = problem
            self._told.notify_all()

    def stop(self) -> None:
        """Write what there is, and let go of the folder."""
        self.journal.close()
        assert not self.bugs


def kept_at(folder: Path, ticks: Sequence[Tick], snapshots: Sequence[int] = (), **recovery: Any) -> None:
    """Let a server take ticks, with snapshots behind some of them, and leave its folder as a killed one would."""
    recovery.setdefault("snapshot_interval_s", 86_400.0)
    server = Server(folder, **recovery)
    for place, tick in enumerate(ticks):
        number = server.tick(tick, snapshot=place in snapshots)
        assert server.wait(number) is None
    server.stop()


def copied(folder: Path, to: Path) -> Path:
    """Copy a folder as a crash would leave it: its log is settled, a snapshot may be under way.

    Where a file is renamed or retired before its turn comes, everything is copied anew.
    """
    for _ in range(100):
        try:
            shutil.copytree(folder, to)
        except shutil.Error:
            shutil.rmtree(to)
        else:
            return to
    raise AssertionError(f"{folder}: never quiet for long enough to be copied")


def crashed(folder: Path, draw: random.Random) -> int:
    """Take from a folder what a crash might not have written of its newest segment; return what was kept for sure.

    Records are synced in groups: of those after the one that the witness tells of, any number of bytes is there.
    """
    (_, path), newest = segments(folder)[-1], snapshots(folder)[0][0]
    entries = [entry for entry in read_segment(path) if entry.number >= newest]
    last = draw.choice(entries)
    witness = Witness(folder)
    witness.reset(last.number, last.chain)
    witness.close()
    os.truncate(path, draw.randint(last.end, entries[-1].end))
    return last.number


def without_scores() -> Config:
    """Return a configuration in which batches are taken in at once."""
    return replace(CONFIG, scorecard=ScorecardConfig(enabled=False))


def places(path: Path, seed: int, count: int) -> Iterator[int]:
    """Yield seeded places in a file."""
    draw, size = random.Random(seed), path.stat().st_size
    yield from sorted(draw.randrange(size) for _ in range(count))
