"""All venues at once under random faults: nothing is lost outside announced gaps, nothing comes twice, nothing leaks.

A short run of what ``make soak-feeds`` does for ten minutes, and proof that its judge can say no.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Sequence

import pytest

from forcedmove_server.collectors.records import Mark, Trade
from forcedmove_server.collectors.venues import venue_names
from forcedmove_server.market.events import Channel
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.market.instruments import ContractType
from tests.emulator import judge
from tests.emulator.faults import Fault, FaultPlan, Feed, Incident
from tests.emulator.feeds import TopicFeeds
from tests.emulator.judge import Announcements, Growth, Outages, Report, judge_announcements
from tests.emulator.ledger import Account, Gap, Ledger
from tests.emulator.soak import soak, soak_plan
from tests.emulator.truth import Truth
from tests.emulator.venues import emulator_class, emulator_names
from tests.emulator.wire import connected
from tests.live.fake_venue import FakeEmulator, FakeVenue, Joined, joined, topics_of, trade, venue_type
from tests.live.waiting import eventually, running

SECONDS = 12.0
S = 10**9
FAULT_NS = 1_800_000_000 * S
BTC, ETH = ("okx:BTC-USDT-SWAP", Channel.TRADES), ("okx:ETH-USDT-SWAP", Channel.DEPTH)


async def test_all_venues_survive_random_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "RESYNCED_S", 60.0)
    monkeypatch.setattr(judge, "SHUTDOWN_S", 20.0)
    plan = dataclasses.replace(soak_plan(5), connection_rate=1 / 15, message_rate=0.004, venue_rate=1 / 40)
    report = await soak(venue_names(), SECONDS, seed=5, plan=plan, warm_s=1.0, end_s=9.0)
    # to the second is for ``make soak-feeds``, on a machine that does nothing else
    assert [failed for failed in report.failed if "announced late" not in failed] == []
    assert report.venues == 22
    assert report.received > 2_000
    assert report.gaps > 20
    assert len(report.faults) > 8
    told = report.announcements
    assert told.visible.count > 5
    assert told.silent.count > 0
    assert told.nothing_to_announce < told.visible.count
    assert told.visible.max_s is not None
    assert 0.05 < told.visible.max_s < 10.0, "a batch waits longer than the one"
    assert report.resync.count > 5


# the judge


def judged(
    *gaps: tuple[Feed, float, float, float],
    fault: Fault = Fault.DROP,
    feeds: Sequence[Feed] = (BTC,),
    lasts_s: float = 60.0,
    loop_wait_s: float = 0.0,
) -> Announcements:
    """Judge one fault; gaps in seconds from it: begin, end, when they were handed on."""
    ledger = Ledger()
    for feed, *seconds in gaps:
        begin_ns, end_ns, announced_ns = (FAULT_NS + round(second * S) for second in seconds)
        ledger.announce(feed, begin_ns, end_ns, announced_ns)
    incident = Incident("okx", fault, FAULT_NS, frozenset(feeds), lasts_s)
    return judge_announcements(ledger, [incident], silence_s=3.0, mute_s=lambda _: 20.0, loop_wait_s=loop_wait_s)


def complaints(told: Announcements, **changes: object) -> list[str]:
    """What a report with these announcements has failed."""
    report = dataclasses.replace(Report(announcements=told, seconds=600.0), **changes)  # type: ignore[arg-type]
    report.conclude(Account(9, 9, 0, [], []), Outages(), Growth(0.0, -0.1, 0.1))
    return report.failed


def test_a_fault_that_is_announced_in_time_passes() -> None:
    told = judged((BTC, -0.2, 0.1, 0.4))
    assert (told.visible.count, told.visible.median_s, told.visible.p99_s, told.visible.max_s) == (1, 0.4, 0.4, 0.4)
    assert told.visible.limit_s == 1.0
    assert complaints(told) == []


@pytest.mark.parametrize(
    "gap",
    [
        pytest.param((BTC, 0.2, 5.0, 0.4), id="begins after the fault"),
        pytest.param((BTC, -9.0, -0.2, 0.4), id="ends before the fault"),
        pytest.param(((BTC[0], Channel.DEPTH), -0.2, 0.1, 0.4), id="of another channel"),
        pytest.param((("okx:SOL-USDT-SWAP", Channel.TRADES), -0.2, 0.1, 0.4), id="of another market"),
    ],
)
def test_a_gap_that_does_not_cover_the_fault_is_none(gap: tuple[Feed, float, float, float]) -> None:
    told = judged(gap)
    assert told.missing == [f"okx: drop at {FAULT_NS}: no gap covers it of okx:BTC-USDT-SWAP TRADES"]
    (complaint,) = complaints(told)
    assert complaint.startswith("1 faults not announced, the first: okx: drop")


def test_what_was_on_its_way_is_read_as_late_as_the_loop_allows_but_not_later() -> None:
    assert judged((BTC, 0.12, 0.2, 0.4), loop_wait_s=0.1).missing == []
    assert judged((BTC, 0.12, 0.2, 0.4), loop_wait_s=0.05).missing
    assert judged((BTC, 0.35, 0.4, 0.5), loop_wait_s=9.0).missing


def test_every_feed_of_the_connection_has_to_be_announced() -> None:
    told = judged((BTC, -0.2, 0.1, 0.4), feeds=(BTC, ETH))
    assert told.missing == [f"okx: drop at {FAULT_NS}: no gap covers it of okx:ETH-USDT-SWAP DEPTH"]


def test_the_last_feed_that_is_announced_counts() -> None:
    told = judged((BTC, -0.2, 0.1, 0.4), (ETH, -0.2, 0.1, 0.7), feeds=(BTC, ETH))
    assert told.visible.max_s == 0.7


def test_a_late_announcement_is_reported() -> None:
    told = judged((BTC, -0.2, 0.9, 1.2))
    assert told.late == [f"okx: drop at {FAULT_NS}: announced after 1.20 s, 1 s are allowed"]
    (complaint,) = complaints(told)
    assert complaint.startswith("1 faults announced late, the first: okx: drop")


@pytest.mark.parametrize(("fault", "limit_s"), [(Fault.HALF_OPEN, 4.0), (Fault.STALL, 4.0), (Fault.MUTE, 21.0)])
def test_silent_faults_have_their_limit_and_a_second_and_are_shown_as_they_are(fault: Fault, limit_s: float) -> None:
    told = judged((BTC, -0.2, limit_s - 0.1, limit_s - 0.1), fault=fault)
    spread = told.mute if fault is Fault.MUTE else told.silent
    assert (spread.limit_s, spread.max_s) == (limit_s, limit_s - 0.1)
    assert complaints(told) == []
    assert complaints(judged((BTC, -0.2, limit_s, limit_s + 0.1), fault=fault))
    assert complaints(judged(fault=fault))


def test_a_stall_that_ends_in_time_needs_no_gap() -> None:
    told = judged(fault=Fault.STALL, lasts_s=1.0)
    assert (told.missing, told.silent.count, told.nothing_to_announce) == ([], 0, 0)


def test_what_is_missing_already_is_not_announced_again() -> None:
    told = judged((BTC, -5.0, -4.0, -3.5), (BTC, -5.0, 2.0, 2.4))
    assert (told.missing, told.visible.count, told.nothing_to_announce) == ([], 0, 1)
    told = judged((BTC, -5.0, -4.0, -3.5), (BTC, -4.9, 2.0, 2.4))
    assert told.late, "a gap of its own"


def test_a_connection_without_confirmed_topics_has_nothing_to_announce() -> None:
    told = judged(feeds=())
    assert (told.missing, told.visible.count, told.nothing_to_announce) == ([], 0, 1)


def test_rows_of_one_gap_are_one() -> None:
    ledger = Ledger()
    for begin_ns, end_ns, announced_ns in ((5, 6, 7), (5, 9, 11), (8, 9, 10)):
        ledger.announce(BTC, begin_ns, end_ns, announced_ns)
    assert ledger.gaps(BTC) == [Gap(5, 9, 7), Gap(8, 9, 10)]
    assert ledger.gap_rows == 3


def test_a_trade_that_is_missing_outside_of_gaps_is_lost() -> None:
    (listing, *_) = FakeEmulator().listings.values()
    feed = listing.instrument.key, Channel.TRADES
    ledger = Ledger()
    for number in range(3):
        ledger.publish(Trade(listing, FAULT_NS + number * S, 1.0, 1.0, 1, number), counted=True)
    ledger.announce(feed, FAULT_NS, FAULT_NS + S, FAULT_NS)
    account = ledger.balance()
    assert (account.published, account.received, account.in_gaps) == (3, 0, 2)
    assert account.lost == [f"{listing.instrument.key} TRADES number 3 at {FAULT_NS + 2 * S}"]
    report = Report()
    report.conclude(account, Outages(), None)
    assert "no event was received: nothing was judged" in report.failed
    assert any("lost outside" in complaint for complaint in report.failed)


def feeds(live: int, venue: str = "okx") -> list[FeedStatus]:
    counts = dict.fromkeys(
        ("messages", "gaps", "drops", "reconnects", "repeated", "malformed", "unknown", "refused"), 0
    )
    return [FeedStatus(venue, Channel.TRADES, 3, live, age_s=None, lag_s=None, rate_hz=0.0, trouble="", **counts)]


def test_outages_count_from_the_loss_until_all_is_fed_again() -> None:
    outages = Outages()
    for now, live in ((0.0, 1), (50.0, 3), (60.0, 2), (61.0, 1), (71.5, 3), (80.0, 2), (81.0, 3), (90.0, 2)):
        outages.look(feeds(live), now)
    outages.end(95.0)
    assert outages.lasted_s == [11.5, 1.0, 5.0], "what was never fed has lost nothing"
    assert outages.too_long == ["okx TRADES: fed again after 11.50 s"]
    report = Report()
    report.conclude(Account(9, 9, 0, [], []), outages, None)
    assert report.failed == ["1 channels not fed again in time, the first: okx TRADES: fed again after 11.50 s"]


@pytest.mark.parametrize(
    ("per_min", "noise", "verdict"),
    [(0.0, 0.3, ""), (0.3, 0.3, ""), (2.0, 0.3, "grows by"), (1.0, 0.1, "grows by"), (0.0, 20.0, "too restless")],
)
def test_memory_has_to_be_flat_after_the_first_half(per_min: float, noise: float, verdict: str) -> None:
    source = random.Random(3)
    minutes = [number / 4 for number in range(1, 41)]
    mib = [min(at, 5) * 20 + per_min * at + source.gauss(0.0, noise) for at in minutes]
    mib[30] += 34.0  # two giants that wait
    found = Growth.of(minutes, mib).complaints()
    assert len(found) == bool(verdict)
    assert all(verdict in complaint for complaint in found)


def test_every_other_limit_of_the_requirement_counts() -> None:
    fine = judged((BTC, -0.2, 0.1, 0.4))
    assert complaints(fine, shutdown_s=2.1) == ["shut down after 2.10 s, 2 s are allowed"]
    assert complaints(fine, tasks_left=1) == ["1 tasks left behind"]
    assert complaints(fine, not_live_at_end=["okx DEPTH"])
    assert complaints(fine, strange=["okx:BTC-USDT-SWAP TRADES number 7"])
    for account in (Account(9, 8, 0, ["one"], []), Account(9, 9, 0, [], ["one"])):
        report = Report(announcements=fine)
        report.conclude(account, Outages(), None)
        assert len(report.failed) == 1
    leak, report = Growth(3.0, 2.8, 3.2), Report(announcements=fine, seconds=600.0)
    report.conclude(Account(9, 9, 0, [], []), Outages(), leak)
    assert report.failed == ["memory grows by 3.00 MiB a minute (2.80 to 3.20), 0.5 are allowed"]
    report = Report(announcements=fine, seconds=60.0)
    report.conclude(Account(9, 9, 0, [], []), Outages(), leak)
    assert (report.memory_judged, report.failed) == (False, [])


# what the emulator notes for it


@pytest.mark.parametrize("name", emulator_names())
def test_what_topics_bring_is_what_the_collector_says_of_them(name: str) -> None:
    """Found out by trying on the emulator's side, so that neither can hide a feed from the other."""
    emulator = emulator_class(name)(emulator_class(name).native_ids(("BTC", "ETH", "SOL")))
    topic_feeds = TopicFeeds(emulator)
    venue = emulator.collector(emulator.listings)
    for event in Truth(emulator.listings).initial(time.time_ns()):
        emulator.publish(event)
    for stream in emulator.collector.streams:
        own = [
            one
            for one in emulator.listings.values()
            if stream.contract_type in (None, ContractType.INVERSE if one.inverse else ContractType.LINEAR)
        ]
        said = {
            (emulator.listings[native_id].instrument.key, channel)
            for topic in venue.topics(stream, own)
            for native_id in topic.native_ids or [one.native_id for one in own]
            for channel in topic.channels
        }
        session, _, _ = connected(venue, stream, emulator)
        assert {feed for topic in session.topics for feed in topic_feeds.of(session, topic)} == said


BTC_KEY = "fake:BTCUSDT"
TICKER = frozenset({(BTC_KEY, Channel.MARK_PRICES), (BTC_KEY, Channel.OPEN_INTEREST)})


async def settled(both: Joined, count: int = 4) -> None:
    """Wait until the client has known for a while that its topics are fed."""
    own = both.server._connections["fake"]
    await eventually(
        lambda: [len(one.settled(time.time_ns())) for one in own] == [count], "topics are confirmed for a while"
    )


async def test_a_fault_is_noted_with_what_its_connection_brought() -> None:
    async with joined() as both:
        await eventually(lambda: len(both.feed.lives) == 4, "all is live")
        both.server.befall("fake", Fault.DROP)
        await eventually(lambda: len(both.feed.lives) == 8, "all is live again")
        await settled(both)
        before_ns = time.time_ns()
        both.server.befall("fake", Fault.HALF_OPEN)
        both.server.befall("fake", Fault.DROP)
        first, second = both.server.incidents
    assert (first.fault, first.feeds) == (Fault.DROP, frozenset()), "just confirmed: who knows whether that was read"
    everything = frozenset({(BTC_KEY, one) for one in Channel} | {("fake:ETHUSDT", Channel.LIQUIDATIONS)})
    assert (second.fault, second.feeds) == (Fault.HALF_OPEN, everything), "it had ended before it was dropped"
    assert before_ns <= second.at_ns <= time.time_ns()


async def test_topics_that_nothing_confirms_have_nothing_to_announce() -> None:
    emulator = FakeEmulator()
    emulator.acknowledges = False
    async with joined(emulator=emulator) as both:
        await eventually(lambda: emulator.asked("subscribe"), "topics are asked for")
        await asyncio.sleep(0.6)
        both.server.befall("fake", Fault.CLOSE)
        await eventually(lambda: both.server.incidents, "the fault is noted")
    assert [(one.fault, one.feeds) for one in both.server.incidents] == [(Fault.CLOSE, frozenset())]


async def test_a_stall_holds_everything_back() -> None:
    async with joined(silence_s=0.8) as both:
        await settled(both)
        both.server.plan = FaultPlan(stalls_s=(5.0,))
        (connection,) = both.server._connections["fake"]
        connection.deliver(both.server.venues["fake"].publish(trade(both.listing, 1))[0], Fault.STALL)
        await eventually(lambda: both.feed.losses, "not even pongs come", 2.0)
    (incident,) = both.server.incidents
    assert (incident.fault, incident.lasts_s) == (Fault.STALL, 5.0)
    assert (BTC_KEY, Channel.TRADES) in incident.feeds


async def test_a_mute_topic_is_silent_until_it_is_subscribed_again() -> None:
    quiet: type[FakeVenue] = venue_type(channel_silence_s={Channel.MARK_PRICES: 0.8})
    async with joined(quiet) as both:
        both.connection.add(topics_of(quiet, both.emulator, "ETHUSDT"))
        await settled(both, 7)

        def brought(kind: type, native_id: str) -> int:
            return sum(isinstance(one, kind) and one.listing.native_id == native_id for one in both.feed.events)

        async def marks() -> None:
            while True:
                for listing in both.emulator.listings.values():
                    both.publish(Mark(listing, time.time_ns(), 100.0))
                await asyncio.sleep(0.05)

        async with running(marks()):
            await eventually(lambda: brought(Mark, "BTCUSDT"), "marks come")
            both.server.plan = FaultPlan(seed=1, mute_channels=frozenset({Channel.MARK_PRICES}))
            both.server._connections["fake"].copy().pop().confirmed.pop("ticker.ETHUSDT")  # so that BTC's is chosen
            both.server.befall("fake", Fault.MUTE)
            await asyncio.sleep(0.1)
            before = brought(Mark, "BTCUSDT"), brought(Mark, "ETHUSDT")
            both.trade(1)
            await eventually(lambda: brought(Trade, "BTCUSDT"), "other topics go on")
            await asyncio.sleep(0.2)
            assert brought(Mark, "BTCUSDT") == before[0]
            assert brought(Mark, "ETHUSDT") > before[1]
            await eventually(lambda: both.feed.losses, "the silence is told")
            await eventually(lambda: brought(Mark, "BTCUSDT") > before[0], "asked for again it speaks")
    (incident,) = both.server.incidents
    assert (incident.fault, incident.feeds) == (Fault.MUTE, TICKER)
    assert both.server.faults[Fault.MUTE] == 1
    assert both.feed.losses[0][0] == ["ticker.BTCUSDT"]


def test_nothing_is_muted_unless_it_is_asked_for() -> None:
    plan = FaultPlan(1, connection_rate=0.5)
    assert Fault.MUTE not in {plan.of_connection() for _ in range(500)}
    plan = FaultPlan(1, connection_rate=0.5, mute_rate=0.5)
    assert Fault.MUTE in {plan.of_connection() for _ in range(500)}
