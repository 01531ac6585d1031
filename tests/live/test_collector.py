"""One venue's collector: topics over connections, what is wanted and live, and gaps that become rows."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Iterable, Sequence

from forcedmove_server.collectors.collector import VenueCollector
from forcedmove_server.collectors.health import ChannelHealth
from forcedmove_server.collectors.intake import Intake
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Addresses, Network, http_session
from forcedmove_server.collectors.records import Liquidation, Mark
from forcedmove_server.collectors.venue import Poll, Stream, Topic
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import Channel, EventBatch
from forcedmove_server.market.instruments import ContractType
from tests.emulator.faults import Fault
from tests.emulator.server import EmulatorServer
from tests.emulator.venue import Answer, RestRequest
from tests.live.fake_venue import FakeEmulator, FakeVenue, trade, venue_type
from tests.live.samples import book
from tests.live.waiting import eventually, running

BTC_AND_ETH = ("BTCUSDT", "ETHUSDT")


@dataclasses.dataclass
class Collected:
    """A running collector, the server it talks to, and the batches so far."""

    collector: VenueCollector
    intake: Intake
    emulator: FakeEmulator
    server: EmulatorServer

    def want(self, *native_ids: str) -> None:
        order = list(self.emulator.listings)
        found = [dataclasses.replace(self.emulator.listings[key], market=order.index(key)) for key in native_ids]
        self.collector.set_listings(found)

    def cut(self) -> EventBatch:
        return self.intake.cut(time.time_ns() + 1)

    def publish_trade(self, number: int, native_id: str = "BTCUSDT") -> None:
        self.server.publish("fake", trade(self.emulator.listings[native_id], number))

    def counts(self, channel: Channel) -> tuple[int, int]:
        health = self.collector.health
        return len(health.wanted[channel]), len(health.wanted[channel] & health.live[channel])

    def all_live(self) -> bool:
        """Whether everything is; marks are when one comes, so one of each market that lacks it is sent."""
        health = self.collector.health
        for key in health.wanted[Channel.MARK_PRICES] - health.live[Channel.MARK_PRICES]:
            self.server.publish("fake", Mark(self.emulator.listings[key], time.time_ns(), 100.0))
        states = [self.counts(channel) for channel in Channel]
        return any(wanted for wanted, _ in states) and all(wanted == live for wanted, live in states)

    def sessions(self) -> list[set[str]]:
        return [one.session.topics for one in self.server._connections["fake"]]


@contextlib.asynccontextmanager
async def collecting(
    venue: type[FakeVenue] = FakeVenue,
    native_ids: Sequence[str] = BTC_AND_ETH,
    channels: Sequence[Channel] = tuple(Channel),
    emulator: FakeEmulator | None = None,
) -> AsyncIterator[Collected]:
    emulator = emulator or FakeEmulator(native_ids, venue)
    intake = Intake(Defects(), time.time_ns() - 10**9)
    async with EmulatorServer([emulator]) as server, http_session() as session:
        collector = VenueCollector(venue, intake, Network(session, Addresses(server.urls)), channels)
        async with running(collector.run()):
            yield Collected(collector, intake, emulator, server)


async def test_topics_are_spread_over_as_few_connections_as_the_venue_allows() -> None:
    native_ids = [f"C{k}USDT" for k in range(8)]
    async with collecting(venue_type(topics_per_connection=10), native_ids) as one:
        one.want(*native_ids)
        await eventually(one.all_live, "everything is live")
        assert sorted(map(len, one.sessions())) == [5, 10, 10]
        assert len(set.union(*one.sessions())) == 25


async def test_new_markets_fill_connections_and_empty_connections_are_given_up() -> None:
    native_ids = [f"C{k}USDT" for k in range(5)]
    async with collecting(venue_type(topics_per_connection=4), native_ids) as one:
        one.want(native_ids[0])
        await eventually(lambda: one.all_live() and one.server.connections == 1, "one connection")
        one.want(*native_ids)
        await eventually(lambda: one.all_live() and one.server.connections == 4, "four connections")
        one.want(native_ids[4])
        await eventually(lambda: one.server.connections < 4, "connections without topics are closed")
        await eventually(lambda: len(set.union(*one.sessions())) == 4, "the topics of one market and of all")
        assert one.all_live()
        one.want()
        await eventually(lambda: one.server.connections == 0, "all are closed")
        assert not len(one.cut().gaps), "what nobody wants any more is not missed"


async def test_a_market_that_is_new_to_a_topic_of_all_markets_is_live_at_once() -> None:
    """Nothing has to be asked for, and nobody would ever say that it is fed."""
    async with collecting() as one:
        one.want("BTCUSDT")
        await eventually(one.all_live, "BTC is live")
        one.want(*BTC_AND_ETH)
        await eventually(lambda: one.counts(Channel.LIQUIDATIONS) == (2, 2), "liquidations of both are live")
        await eventually(one.all_live, "everything is live")
        assert sum("liquidations" in topics for topics in one.sessions()) == 1
        one.server.publish("fake", Liquidation(one.emulator.listings["ETHUSDT"], time.time_ns(), 1.0, 1.0, 0, 1))
        rows: list[int] = []

        def found() -> list[int]:
            rows.extend(one.cut().liquidations["market"])
            return rows

        await eventually(found, "a liquidation of ETH")
        assert rows == [1]


async def test_a_lost_connection_becomes_gaps_of_every_channel_of_every_market() -> None:
    async with collecting() as one:
        one.want(*BTC_AND_ETH)
        await eventually(one.all_live, "everything is live")
        assert not len(one.cut().gaps)
        one.publish_trade(1)
        began_ns = time.time_ns()
        await eventually(lambda: len(one.cut().trades), "a trade")
        one.server.befall("fake", Fault.DROP)
        await eventually(lambda: not one.all_live(), "the loss is noticed", 1.0)
        first = one.cut().gaps
        assert {(int(row["market"]), int(row["channel"])) for row in first} == {(m, c) for m in (0, 1) for c in Channel}
        assert (first["begin_ns"] <= began_ns).all()
        await eventually(one.all_live, "everything is live again")
        live_ns = time.time_ns()
        second = one.cut().gaps
        assert len(second) == 10
        paused = second["begin_ns"][second["channel"] == Channel.TRADES]
        assert (paused == first["begin_ns"][0]).all(), "what was missed until it was live again"
        assert (second["begin_ns"] <= first["begin_ns"][0]).all(), "marks had not even begun"
        assert (second["time_ns"] >= first["time_ns"].max()).all()
        assert live_ns - second["time_ns"].max() < 10**9
        status = {one.channel: one for one in one.collector.health.status(live_ns)}
        assert status[Channel.TRADES].reconnects == 1
        assert status[Channel.TRADES].gaps == 4
        assert "ConnectionLostError" in status[Channel.TRADES].trouble


async def test_only_wanted_channels_are_subscribed() -> None:
    async with collecting(channels=(Channel.TRADES, Channel.OPEN_INTEREST)) as one:
        one.want("BTCUSDT")
        await eventually(lambda: one.sessions() == [{"trades.BTCUSDT", "ticker.BTCUSDT"}], "two topics")


async def test_a_book_whose_snapshot_comes_before_the_answer_is_kept() -> None:
    """Else the change that follows finds no book, the topic is asked for again, and so on for ever."""
    emulator = FakeEmulator(("BTCUSDT",))
    emulator.book_before_answer = True
    listing = emulator.listings["BTCUSDT"]
    emulator.snapshots["BTCUSDT"] = book({1.0: 1.0}, {2.0: 1.0}, snapshot=True, sequence=1, time_ns=time.time_ns())
    async with collecting(emulator=emulator) as one:
        one.want("BTCUSDT")
        await eventually(one.all_live, "everything is live")
        one.server.befall("fake", Fault.DROP)
        await eventually(lambda: not one.all_live(), "the loss is noticed")
        await eventually(one.all_live, "everything is live again")
        for number in range(2, 5):
            change = book({1.0: float(number)}, {}, False, number, number - 1, time.time_ns(), listing)
            one.server.publish("fake", change)
        one.publish_trade(1)
        await eventually(lambda: len(one.cut().trades), "what came after the changes")
        assert not emulator.asked("unsubscribe")
        assert one.collector.health.channels[Channel.DEPTH].reconnects == 1


async def test_a_missing_message_of_a_book_is_made_good() -> None:
    emulator = FakeEmulator(("BTCUSDT",))
    listing = emulator.listings["BTCUSDT"]
    emulator.snapshots["BTCUSDT"] = book({1.0: 1.0}, {2.0: 1.0}, snapshot=True, sequence=5, time_ns=time.time_ns())
    async with collecting(emulator=emulator) as one:
        one.want("BTCUSDT")
        await eventually(one.all_live, "everything is live")
        one.server.publish("fake", book({1.0: 9.0}, {}, False, 8, 7, time.time_ns(), listing))
        await eventually(lambda: emulator.asked("unsubscribe"), "the book is given up")
        await eventually(one.all_live, "and live again")
        gaps = one.cut().gaps
        assert {(int(row["market"]), int(row["channel"])) for row in gaps} == {(0, int(Channel.DEPTH))}
        one.server.publish("fake", book({1.0: 2.0}, {}, False, 6, 5, time.time_ns(), listing))
        one.publish_trade(1)
        await eventually(lambda: len(one.cut().trades), "what came after the change")
        assert len(emulator.asked("unsubscribe")) == 1


async def test_a_refused_topic_stays_wanted_and_is_counted() -> None:
    emulator = FakeEmulator(("BTCUSDT",))
    emulator.refuses = {"trades.BTCUSDT"}
    async with collecting(emulator=emulator) as one:
        one.want("BTCUSDT")
        await eventually(lambda: one.counts(Channel.DEPTH) == (1, 1), "the others are live")
        await eventually(lambda: one.collector.health.channels[Channel.TRADES].refused, "the refusal is counted")
        assert one.counts(Channel.TRADES) == (1, 0)
        assert one.intake.defects.samples["fake.refused"] == "trades.BTCUSDT: no such topic"


async def test_overdue_numbers_become_a_gap() -> None:
    async with collecting() as one:
        one.want("BTCUSDT")
        await eventually(one.all_live, "everything is live")
        listing = one.emulator.listings["BTCUSDT"]
        for number in (1, 2, 5):
            one.server.publish("fake", trade(listing, number, sequence=number))
        trades = 0

        def three() -> bool:
            nonlocal trades
            trades += len(one.cut().trades)
            return trades == 3

        await eventually(three, "three trades")
        one.collector.check(time.time_ns())
        assert not len(one.cut().gaps)
        one.collector.check(time.time_ns() + 600_000_000)
        assert len(one.cut().gaps) == 1


class PolledVenue(FakeVenue):
    """Open interest comes from one call for all markets, marks from one for each."""

    def topics(self, stream: Stream, listings: Sequence[Listing]) -> Iterable[Topic]:
        return (topic for topic in super().topics(stream, listings) if not topic.name.startswith("ticker"))

    def polls(self, contract_type: ContractType, listings: Sequence[Listing]) -> Iterable[Poll]:
        if contract_type is ContractType.INVERSE:
            return
        yield Poll(Channel.OPEN_INTEREST, "https://fake.example/oi", (), contract_type, interval_s=0.05)
        for one in listings:
            yield Poll(
                Channel.MARK_PRICES, f"https://fake.example/mark/{one.native_id}", (one.native_id,), interval_s=0.05
            )


class PolledEmulator(FakeEmulator):
    """Answers marks, and the open interest of all markets but one."""

    absent = ""

    def answer(self, request: RestRequest) -> Answer | None:
        if request.path.startswith("/mark/"):
            mark = Mark(self.listings[request.path.removeprefix("/mark/")], time.time_ns(), 100.0)
            return Answer(self.encode(mark)[0].content.encode())  # type: ignore[union-attr]
        fields = {"time_ns": time.time_ns(), "quantity": 1.0}
        present = [key for key in self.listings if key != self.absent]
        events = [{"kind": "OpenInterest", "key": key, "fields": fields} for key in present]
        return Answer(json.dumps({"op": "events", "events": events}).encode())


async def test_a_failed_poll_is_a_gap_until_the_next_answer() -> None:
    async with collecting(PolledVenue, emulator=PolledEmulator(BTC_AND_ETH, PolledVenue)) as one:
        one.want(*BTC_AND_ETH)
        await eventually(one.all_live, "everything is live")
        one.cut()
        good_ns = time.time_ns()
        one.server.trouble("fake", Fault.SERVER_ERROR, 0.3)
        await eventually(lambda: one.counts(Channel.OPEN_INTEREST) == (2, 0), "the failure is noticed")
        failed_ns = time.time_ns()
        await eventually(lambda: one.counts(Channel.OPEN_INTEREST) == (2, 2), "it recovers")
        gaps = one.cut().gaps
        gaps = gaps[gaps["channel"] == Channel.OPEN_INTEREST]
        assert sorted(gaps["market"].tolist()) == [0, 0, 1, 1], "once when it failed, once when it was over"
        assert (gaps["begin_ns"] <= good_ns).all()
        assert gaps["time_ns"].min() <= failed_ns <= gaps["time_ns"].max()


async def test_what_is_remembered_of_polls_goes_with_them() -> None:
    """Markets come and go for months."""
    async with collecting(PolledVenue, emulator=PolledEmulator(BTC_AND_ETH, PolledVenue)) as one:
        one.want(*BTC_AND_ETH)
        await eventually(one.all_live, "everything is live")
        assert len(one.collector._poll_good_ns) == 3
        one.want()
        await eventually(lambda: not one.collector._poll_good_ns, "nothing is remembered of what is not polled")


def test_a_rate_is_that_of_the_last_seconds() -> None:
    health = ChannelHealth()
    for _ in range(100):
        health.received(10**9, 10**9 - 5_000_000)
    health._counted_at = time.monotonic() - 1.0
    health.measure()
    assert 10 < health.rate_hz < 100
    assert health.lag_ns == 5_000_000
    for _ in range(40):
        health._counted_at -= 1.0
        health.measure()
    assert health.rate_hz < 0.1


def states(batch: EventBatch, channel: Channel) -> list[tuple[int, int]]:
    """Market and whether it is fed, of every state that was told of one channel."""
    rows = batch.feed_states
    return [(int(row["market"]), int(row["live"])) for row in rows[rows["channel"] == channel]]


async def test_what_is_fed_is_told_once_and_what_is_not_any_more_too() -> None:
    async with collecting() as one:
        one.want("BTCUSDT")
        await eventually(one.all_live, "all is live")
        for _ in range(2):
            one.collector.check(time.time_ns())
        batch = one.cut()
        assert states(batch, Channel.TRADES) == states(batch, Channel.MARK_PRICES) == [(0, 1)]
        one.want("ETHUSDT")
        live = one.collector.health.live
        await eventually(lambda: live[Channel.TRADES] == {"ETHUSDT"}, "the other market is live instead")
        one.collector.check(time.time_ns())
        assert sorted(states(one.cut(), Channel.TRADES)) == [(0, 0), (1, 1)]


async def test_a_dead_connection_is_told_of() -> None:
    async with collecting() as one:
        one.want("BTCUSDT")
        await eventually(one.all_live, "all is live")
        one.collector.check(time.time_ns())
        one.cut()
        one.server.befall("fake", Fault.DROP)
        await eventually(lambda: one.counts(Channel.MARK_PRICES) == (1, 0), "it is lost")
        one.collector.check(time.time_ns())
        assert states(one.cut(), Channel.MARK_PRICES) == [(0, 0)]


async def test_a_market_that_an_answer_leaves_out_is_not_fed() -> None:
    emulator = PolledEmulator(BTC_AND_ETH, PolledVenue)
    async with collecting(PolledVenue, emulator=emulator) as one:
        one.want(*BTC_AND_ETH)
        await eventually(one.all_live, "everything is live")
        emulator.absent = "ETHUSDT"
        await eventually(lambda: one.counts(Channel.OPEN_INTEREST) == (2, 1), "one is not any more")
        assert one.collector.health.live[Channel.OPEN_INTEREST] == {"BTCUSDT"}
