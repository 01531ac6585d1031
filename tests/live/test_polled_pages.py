"""Lists of the newest events that are polled: what no page showed is announced."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from forcedmove_server.collectors.collector import VenueCollector
from forcedmove_server.collectors.continuity import Continuity
from forcedmove_server.collectors.intake import Intake
from forcedmove_server.collectors.network import Addresses, Network
from forcedmove_server.collectors.records import Record, Unlisted
from forcedmove_server.collectors.venue import Poll
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import Channel
from tests.live.fake_venue import FakeVenue
from tests.live.samples import BTC, NOW_NS, SECOND_NS, liquidation

POLL = Poll(Channel.LIQUIDATIONS, "http://fake.example/list", page=10)


def page(first: int, count: int = 10) -> list[Record]:
    return [
        liquidation(number, NOW_NS - (100 - number) * SECOND_NS // 10, replayed=True)
        for number in range(first, first + count)
    ]


@pytest.fixture
async def collector() -> AsyncIterator[VenueCollector]:
    async with aiohttp.ClientSession() as session:
        made = VenueCollector(FakeVenue, Intake(Defects(), 0), Network(session, Addresses()))
        made.set_listings([BTC])
        yield made


def gaps(collector: VenueCollector) -> int:
    return collector.health.channels[Channel.LIQUIDATIONS].gaps


def test_pages_that_overlap_or_are_not_full_lose_nothing(collector: VenueCollector) -> None:
    for found in (page(0), page(9), page(30, 9)):
        collector.answered(POLL, found, NOW_NS)
    assert gaps(collector) == 0


def test_a_full_page_without_anything_known_is_a_gap_since_the_last_one(collector: VenueCollector) -> None:
    collector.answered(POLL, page(0), NOW_NS)
    collector.answered(POLL, page(20), NOW_NS)
    assert gaps(collector) == 1
    (gap,) = collector._intake.cut(NOW_NS + SECOND_NS).gaps
    assert (gap["begin_ns"], gap["time_ns"]) == (NOW_NS - 9_100_000_000, NOW_NS - 8_000_000_000)


def test_events_of_other_markets_fill_a_page_too(collector: VenueCollector) -> None:
    collector.answered(POLL, page(0), NOW_NS)
    collector.answered(POLL, [*page(20, 5), *[Unlisted("OTHER")] * 5], NOW_NS)
    assert gaps(collector) == 1


def test_many_liquidations_of_one_second_are_all_taken_once() -> None:
    seen = Continuity()
    for _ in range(2):
        taken = [seen.admit(liquidation(number, NOW_NS, replayed=True), NOW_NS, 0) for number in range(600)]
    assert not any(taken)
    fresh = [seen.admit(liquidation(number, NOW_NS, replayed=True), NOW_NS, 0) for number in range(600, 2000)]
    assert all(fresh)
