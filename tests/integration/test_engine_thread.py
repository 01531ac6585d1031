"""The engine on its own thread, fed by the simulated market."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from forcedmove.v1.heatmap_pb2 import SubscribeResponse
from forcedmove_client.assembly import SymbolState
from forcedmove_server.config import Config, EngineConfig, ScorecardConfig
from forcedmove_server.engine import forecasts as forecasts_module
from forcedmove_server.engine.cascade.forecast import ShockQuestion
from forcedmove_server.engine.engine import Engine
from forcedmove_server.engine.frames import Tick, ViewSpec
from forcedmove_server.engine.views import render_view
from forcedmove_server.errors import InputError, NotReadyError, UnknownNameError
from forcedmove_server.market.events import MARK_PRICE, EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.rpc.encoding import EncodingCounts, SymbolPart, ViewEncoder
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.scorecard.summary import Where
from tests.unit.market_feed import ENGINE, S, fed_pipeline, minute, two_venue_registry

FAST = Config(engine=EngineConfig(threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins))


def newest(number: int) -> int:
    return max(int(rows["time_ns"][-1]) for rows in minute(number).by_kind().values() if len(rows))


class Ticks:
    """Collects ticks and lets a test wait for one."""

    def __init__(self, engine: Engine) -> None:
        self._changed = threading.Condition()
        self.seen: list[Tick] = []
        engine.on_tick(self._add)

    def _add(self, tick: Tick) -> None:
        with self._changed:
            self.seen.append(tick)
            self._changed.notify_all()

    def wait(self, until: object, timeout_s: float = 20.0) -> Tick:
        with self._changed:
            assert self._changed.wait_for(lambda: any(until(t) for t in self.seen), timeout_s), "no such tick"  # type: ignore[operator]
            return next(t for t in reversed(self.seen) if until(t))  # type: ignore[operator]


@pytest.fixture
def engine() -> Iterator[Engine]:
    started = Engine(FAST, two_venue_registry())
    started.start()
    yield started
    started.stop()
    assert started.failure is None


def test_before_the_first_map_it_says_so(engine: Engine) -> None:
    with pytest.raises(NotReadyError):
        engine.latest()
    with pytest.raises(NotReadyError):
        engine.render("BTC", ViewSpec()).result(5)


def test_ticks_carry_what_an_offline_run_computes(engine: Engine) -> None:
    ticks = Ticks(engine)
    release = engine.watch("BTC", ViewSpec())
    for number in range(5):
        assert engine.put(minute(number))
    tick = ticks.wait(lambda t: t.event_time_ns == newest(4) and ("BTC", ViewSpec()) in t.views)
    offline = fed_pipeline(5)
    offline.sweep()
    offline.store.refresh(offline.now_s)
    rows = offline.symbol_rows("BTC", offline.notional())
    expected = render_view(offline.store, rows, ViewSpec())
    view = tick.views["BTC", ViewSpec()]
    # bin by bin; sweeps between observations may have rounded some lots differently ($100 each, inverse)
    low = max(view.first_bin, expected.first_bin)
    high = min(view.first_bin + view.bin_count, expected.first_bin + expected.bin_count)
    assert high - low > 900
    inner = [v.values[:, 1 + low - v.first_bin : 1 + high - v.first_bin] for v in (view, expected)]
    assert inner[0].sum() > 1e9
    # levels beyond a window's edge are not spread into it: half of the way from there to the mark may differ
    reach = (high - low) // 4
    np.testing.assert_allclose(*(cells[:, reach:-reach] for cells in inner), rtol=1e-4, atol=2000)
    assert set(tick.maps) == {"BTC", "ETH"}
    assert all(m.live_long <= m.open_interest for m in tick.maps["BTC"].markets)
    release()
    engine.put(minute(5))
    later = ticks.wait(lambda t: t.event_time_ns == newest(5) and "BTC" in t.changed)
    assert not later.views
    assert later.maps["BTC"].seq > tick.maps["BTC"].seq


def marks(step: int) -> EventBatch:
    """After a minute, the mark of one BTC market one step lower."""
    last = minute(0).mark_prices[minute(0).mark_prices["market"] == 0][-1]
    moved = np.array([(last["time_ns"] + step * S, 0, last["price"] * (1 - 0.0005 * step), 0, 0)], MARK_PRICE)
    return EventBatch(until_ns=minute(0).until_ns + step * S, mark_prices=moved)


def test_watched_views_say_what_changed_since_they_were_last_sent(engine: Engine) -> None:
    """A reader that gets every frame follows by deltas, and its checksums agree."""
    ticks, key, counts = Ticks(engine), ("BTC", ViewSpec()), EncodingCounts()
    release = engine.watch(*key)
    encoder, reader = ViewEncoder(ViewSpec(), Limits(), counts), SymbolState()
    changed, sent = 0, 0
    for batch in (minute(0), *map(marks, range(1, 9))):
        newest_ns = max(int(rows["time_ns"][-1]) for rows in batch.by_kind().values() if len(rows))
        assert engine.put(batch)
        last = ticks.wait(lambda t, ns=newest_ns: t.event_time_ns == ns and key in t.views)  # type: ignore[misc]
        for tick in ticks.seen[sent : ticks.seen.index(last) + 1]:
            sent += 1
            if key not in tick.views:
                continue
            frame = encoder.encode(SymbolPart(tick.maps["BTC"], tick.epoch, 0, counts), tick.views[key])
            assert frame is not None
            (message,) = SubscribeResponse.FromString(frame.chunk(frame.prev_seq)).frames
            grid = reader.apply(message).grid
            assert grid.tobytes() == tick.views[key].values.tobytes()
            assert not tick.views[key].values.flags.writeable
            changed += len(tick.views[key].changed)
    assert counts.deltas >= 6  # levels are spread anew, all of them, once the mark has gone eight bins
    assert changed > 0
    release()
    again = engine.watch(*key)
    tick = ticks.wait(lambda t: t.number > last.number and key in t.views)
    assert tick.views[key].since == 0  # who watches now has not seen the frame before
    again()
    ticks.wait(lambda t: t.number > tick.number + 1)
    store: Any = engine.pipeline.store.resident
    assert not store._renderings._last


def test_a_quiet_symbol_does_not_change(engine: Engine) -> None:
    ticks = Ticks(engine)
    engine.put(minute(0))
    first = ticks.wait(lambda t: "ETH" in t.maps)
    number = first.number
    last = minute(0).mark_prices[minute(0).mark_prices["market"] == 0][-1:]
    moved = np.array([(last["time_ns"][0] + 2 * 10**9, 0, last["price"][0], 0, 0)], MARK_PRICE)
    engine.put(EventBatch(until_ns=minute(0).until_ns + 10**9, mark_prices=moved))
    later = ticks.wait(lambda t: t.number > number and "BTC" in t.changed)
    assert "ETH" not in later.changed
    assert later.maps["ETH"].seq == engine.latest().maps["ETH"].seq


def test_questions_are_answered_or_refused_by_name(engine: Engine) -> None:
    ticks = Ticks(engine)
    engine.put(minute(0))
    ticks.wait(lambda t: "BTC" in t.maps)
    built, taken = engine.simulate("BTC", lambda newest: ShockQuestion(96_000)).result(10)
    found = taken.forecast()
    assert found.chain.shock_price_usd == 96_000
    assert built.symbol == "BTC"
    newest, taken = engine.simulate("BTC", lambda newest: ShockQuestion(newest.mark_price_usd * 0.98)).result(10)
    found = taken.forecast()
    assert found.chain.shock_price_usd == newest.mark_price_usd * 0.98
    assert found.chain.start_price_usd == newest.mark_price_usd
    with pytest.raises(UnknownNameError, match="DOGE"):
        engine.render("DOGE", ViewSpec()).result(10)
    with pytest.raises(InputError, match="price_usd"):
        engine.simulate("BTC", lambda newest: ShockQuestion(5)).result(10)
    with pytest.raises(InputError, match="paths"):
        engine.simulate("BTC", lambda newest: ShockQuestion(96_000, paths=10**6)).result(10)
    assert engine.render("BTC", ViewSpec()).result(10)[1].values.sum() > 0


def test_a_bug_stops_the_engine_loudly() -> None:
    failed = threading.Event()
    broken = Engine(FAST, two_venue_registry(), on_failure=failed.set)
    broken.start()
    bad = minute(0)
    bad.mark_prices["price"] = -1
    broken.put(bad)
    assert failed.wait(10)
    assert isinstance(broken.failure, InputError | ValueError)
    with pytest.raises(NotReadyError):
        broken.render("BTC", ViewSpec()).result(5)
    broken.stop()


def test_a_running_engine_keeps_score_and_answers_from_another_thread(engine: Engine) -> None:
    ticks = Ticks(engine)
    assert engine.put(minute(0))
    ticks.wait(lambda tick: "BTC" in tick.maps)
    summary = engine.scorecard(Where(symbol="BTC")).result(timeout=20)
    assert summary.where == Where(symbol="BTC")
    assert summary.headline.released.value is None, "a minute is not enough"
    assert "50 needed" in (summary.headline.released.reason or "")
    assert engine.scorecard_rows().result(timeout=20) == ()
    assert engine.latest().maps["BTC"].score is None


def test_an_engine_without_a_scorecard_says_so() -> None:
    config = Config(engine=EngineConfig(backend="cpu", threads=1), scorecard=ScorecardConfig(enabled=False))
    engine = Engine(config, InstrumentRegistry())
    engine.start()
    try:
        with pytest.raises(NotReadyError, match=r"scorecard\.enabled is false"):
            engine.scorecard(Where()).result(timeout=10)
    finally:
        engine.stop()
    with pytest.raises(NotReadyError, match="stopped"):
        engine.scorecard_rows().result(timeout=10)


def test_ticks_go_on_while_thousands_of_maps_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """At a grid time ticks come between the steps of freezing."""
    monkeypatch.setattr(forecasts_module, "_AT_ONCE", 1)
    engine = Engine(FAST, two_venue_registry())
    ticks = Ticks(engine)
    marked: list[int] = []
    freeze = engine._scores._forecasts.scorecard.freeze  # type: ignore[union-attr]

    def noted(*arguments: Any) -> None:
        marked.append(engine.ticks)
        freeze(*arguments)
        time.sleep(2 * FAST.engine.tick_interval_ms / 1000)

    monkeypatch.setattr(engine._scores._forecasts.scorecard, "freeze", noted)  # type: ignore[union-attr]
    engine.start()
    for number in range(12):
        assert engine.put(minute(number))
    ticks.wait(lambda t: t.event_time_ns == newest(11))
    engine.stop()
    assert engine.failure is None
    first = marked[:4]  # the four markets of the first grid time
    assert len(marked) >= 8
    assert first == sorted(set(first)), "a tick between each two"
