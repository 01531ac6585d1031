"""Sources after a restart: what begins anew goes on where it was, and what was live is told to have been lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forcedmove_server.config import LiveSourceConfig, SimulateSourceConfig
from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.recovery.resume import lost_feeds
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import FEED_STATE, TRADE, Channel, EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.batching import from_time
from forcedmove_server.sources.make import make_source
from forcedmove_server.sources.pacing import paced
from forcedmove_server.sources.pump import Pump
from tests.recovery.script import Server, config_at, kept_at, new_core, script
from tests.unit.market_feed import minute


def trades(*times: int) -> EventBatch:
    rows = np.zeros(len(times), TRADE)
    rows["time_ns"] = times
    return EventBatch(times[-1] + 1, trades=rows)


def times(batches: Iterator[EventBatch]) -> list[int]:
    return [time for batch in batches for time in batch.trades["time_ns"].tolist()]


BATCHES = (trades(1, 2, 3), trades(5, 6), trades(9))


@pytest.mark.parametrize("begin", range(12))
def test_what_was_handed_on_before_is_left_out_to_the_event(begin: int) -> None:
    """A batch's end is exclusive: of one that was cut at a time, events of that time are still to come."""
    found = times(from_time(iter(BATCHES), begin))
    before = [time for batch in BATCHES for time in batch.trades["time_ns"].tolist()]
    assert found == [time for time in before if time >= begin]


def test_a_simulated_market_goes_on_where_it_was(tmp_path: Path) -> None:
    """Cut anywhere, by its pace too, the events of both runs together are those of one."""
    config = SimulateSourceConfig(warmup_hours=0.05, symbols=("BTC",))
    whole = _events(make_source(config).source.batches(InstrumentRegistry()), 40)
    made = make_source(config)
    first: list[EventBatch] = []
    for batch in paced(made.source.batches(InstrumentRegistry()), 7.3e4, pace_from_ns=made.pace_from_ns):
        first.append(batch)
        if len(first) == 9:
            break
    again = from_time(make_source(config).source.batches(InstrumentRegistry()), first[-1].until_ns)
    both = _events(iter([*first, *(next(again) for _ in range(20))]), 40)
    count = min(len(whole), len(both))
    assert count > 1_000
    assert both[:count] == whole[:count]


def _events(batches: Iterator[EventBatch], most: int) -> list[bytes]:
    found: list[bytes] = []
    for number, batch in enumerate(batches):
        if number == most:
            break
        found += [row.tobytes() for row in batch.trades]
    return found


def test_a_pump_hands_on_only_what_is_new() -> None:
    class Three:
        name, defects = "three", Defects()

        def batches(self, registry: InstrumentRegistry) -> Iterator[EventBatch]:
            yield from BATCHES

        def progress(self) -> float | None:
            return None

    taken: list[EventBatch] = []
    pump = Pump(Three(), InstrumentRegistry(), lambda batch: not taken.append(batch), None, lambda: None, resume_ns=6)
    assert pump.caught_up(6)
    pump.start()
    pump.join()
    assert pump.failure is None
    assert times(iter(taken)) == [6, 9]


def test_what_each_source_has_handed_on_comes_back(tmp_path: Path) -> None:
    ticks = script(3, 6)
    kept_at(tmp_path, ticks, snapshots=[2])
    server = Server(tmp_path)
    last = max(number for tick in ticks for number, _ in tick.minutes)
    assert server.core.between_batches
    assert server.core.taken_ns == {"feed": minute(last).until_ns}
    server.stop()


def _told(core: EngineCore, live: int) -> None:
    rows = np.zeros(2, FEED_STATE)
    rows["time_ns"] = minute(0).until_ns
    rows["market"], rows["channel"], rows["live"] = (0, 1), (Channel.TRADES, Channel.MARK_PRICES), live
    core.begin("live", replace(minute(0), feed_states=rows))
    while not core.between_batches:
        core.step()


def test_feeds_that_were_live_are_told_to_be_lost_since_the_end() -> None:
    config = replace(config_at(Path("unused")), sources=(LiveSourceConfig(),))
    core = new_core()
    _told(core, live=1)
    lost = lost_feeds(config, core)
    assert lost is not None
    assert lost.until_ns == core.pipeline.now_ns
    rows = lost.feed_states
    assert rows["market"].tolist() == [0, 1]
    assert rows["channel"].tolist() == [Channel.TRADES, Channel.MARK_PRICES]
    assert rows["live"].tolist() == [0, 0]
    assert rows["time_ns"].tolist() == [core.pipeline.now_ns] * 2
    core.begin("", lost)
    while not core.between_batches:
        core.step()
    assert lost_feeds(config, core) is None
    assert core.pipeline.inference.coverage.lost([0], core.pipeline.now_ns) == [0]


def test_feeds_of_a_source_that_begins_anew_are_not_lost() -> None:
    core = new_core()
    _told(core, live=1)
    assert lost_feeds(config_at(Path("unused")), core) is None
