"""What is not wanted is not taken, and what is wanted does not wait for what is not."""

from __future__ import annotations

import aiohttp

from forcedmove_server.collectors.collector import VenueCollector
from forcedmove_server.collectors.intake import Intake
from forcedmove_server.collectors.network import Addresses, Network
from forcedmove_server.collectors.supervisor import LiveSettings, Supervisor
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import InstrumentRegistry
from tests.live.fake_venue import FakeVenue
from tests.live.samples import NOW_NS, liquidation, trade


def supervisor(*channels: Channel) -> Supervisor:
    return Supervisor(LiveSettings(("bybit",), ("BTC",), channels), InstrumentRegistry(), Defects(), lambda _: True)


async def test_a_topic_that_feeds_more_than_is_wanted_brings_only_that() -> None:
    intake = Intake(Defects(), 0)
    async with aiohttp.ClientSession() as session:
        collector = VenueCollector(FakeVenue, intake, Network(session, Addresses()), (Channel.LIQUIDATIONS,))
        assert collector.event(trade(1), NOW_NS)
        assert collector.event(liquidation(2), NOW_NS)
    batch = intake.cut(NOW_NS + 1)
    assert (len(batch.trades), len(batch.liquidations)) == (0, 1)


async def test_prices_are_compared_only_where_some_are_collected() -> None:
    assert supervisor(Channel.LIQUIDATIONS)._screen is None
    assert supervisor(Channel.OPEN_INTEREST, Channel.DEPTH)._screen is None
    assert supervisor(Channel.MARK_PRICES)._screen is not None
    assert supervisor(*Channel)._screen is not None
