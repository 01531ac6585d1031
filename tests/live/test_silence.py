"""A topic of a channel that never pauses is missed when it brings nothing, and its neighbours are not."""

from __future__ import annotations

import asyncio
import time

import pytest

from forcedmove_server.collectors import silence
from forcedmove_server.collectors.records import Mark
from forcedmove_server.collectors.silence import Silence
from forcedmove_server.collectors.venue import Topic
from forcedmove_server.market.events import Channel
from tests.emulator.faults import Fault
from tests.live.fake_venue import joined, topics_of, venue_type
from tests.live.test_liveness import Clock
from tests.live.waiting import eventually

MARKS = Channel.MARK_PRICES
BTC, ETH = (Topic(f"mark.{coin}", (MARKS,), (coin,)) for coin in ("BTC", "ETH"))
BOTH = Topic("marks", (MARKS,), ("BTC", "ETH"))
TRADES = Topic("trades.BTC", (Channel.TRADES,), ("BTC",))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(silence, "time", made)
    return made


@pytest.fixture
def watched(clock: Clock) -> Silence:
    made = Silence({MARKS: 5.0})
    for topic in (BTC, ETH, BOTH, TRADES):
        made.expects(topic)
    return made


def test_one_that_never_begins_is_silent_too_and_trades_may_pause(clock: Clock, watched: Silence) -> None:
    clock.now += 4.0
    watched.fed(MARKS, "BTC", clock.now)
    clock.now += 1.5
    assert watched.silent([BTC, ETH, BOTH, TRADES]) == {ETH: 5.5}
    assert not watched.watches(TRADES)


def test_a_halted_market_is_asked_for_less_and_less_often(clock: Clock, watched: Silence) -> None:
    found = []
    for _ in range(400):
        clock.now += 1.0
        if watched.silent([ETH]):
            found.append(clock.now - 100.0)
    assert found == [6.0, 17.0, 38.0, 79.0, 160.0, 321.0]
    watched.fed(MARKS, "ETH", clock.now)  # trading again: the patience of the beginning
    clock.now += 5.5
    assert watched.silent([ETH]) == {ETH: 5.5}


def test_a_new_connection_does_not_forget_who_was_silent(clock: Clock, watched: Silence) -> None:
    clock.now += 6.0
    assert watched.silent([ETH])
    watched.opened()
    watched.expects(ETH)
    clock.now += 6.0
    assert not watched.silent([ETH])
    clock.now += 5.0
    assert watched.silent([ETH])


async def test_what_was_mute_before_its_connection_ended_has_missed_more() -> None:
    collector = venue_type(channel_silence_s={MARKS: 60.0})
    async with joined(collector) as both:
        await eventually(lambda: len(both.feed.lives) >= 4, "all are live")
        both.publish(Mark(both.listing, time.time_ns(), 100.0))
        await eventually(lambda: both.feed.events, "a mark came")
        mute_ns = time.time_ns()
        for number in range(30):  # more than the stamps that are remembered
            both.trade(number)
            await asyncio.sleep(0.02)
        both.server.befall("fake", Fault.DROP)
        await eventually(lambda: len(both.feed.lives) >= 8, "all are live again")
    lost_ns = {name: since_ns for name, since_ns, _ in both.feed.lives[4:]}
    assert lost_ns["ticker.BTCUSDT"] <= mute_ns < lost_ns["trades.BTCUSDT"]


async def test_a_mute_topic_is_lost_and_asked_for_again_while_the_connection_stays() -> None:
    collector = venue_type(channel_silence_s={MARKS: 0.4})
    async with joined(collector) as both:
        emulator = both.emulator
        both.connection.add(topics_of(collector, emulator, "ETHUSDT"))
        await eventually(lambda: len(both.feed.lives) >= 7, "all are live")
        btc, eth = (emulator.listings[key] for key in ("BTCUSDT", "ETHUSDT"))

        def speaks() -> bool:
            both.publish(Mark(btc, time.time_ns(), 100.0))
            return bool(emulator.asked("unsubscribe"))

        began_ns = time.time_ns()
        await eventually(speaks, "the mute topic is given up")
        assert [request["topics"] for request in emulator.asked("unsubscribe")] == [["ticker.ETHUSDT"]]
        await eventually(lambda: len(both.feed.lives) > 7, "and live again")
        both.publish(Mark(eth, time.time_ns(), 100.0))
        assert both.server.connections == 1
    names, since_ns, now_ns, reason = both.feed.losses[0]
    assert names == ["ticker.ETHUSDT"]
    assert "ticker.ETHUSDT silent for" in reason
    assert since_ns - began_ns < 0.1e9 < 0.4e9 < now_ns - since_ns
    assert both.feed.lives[7][:2] == ("ticker.ETHUSDT", since_ns)
