"""One connection against a server of ours: what it asks for, what it hands on, what it says of itself."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from forcedmove_server.collectors import connection as connection_module
from forcedmove_server.collectors.records import Liquidation, Mark
from forcedmove_server.collectors.venue import Stream
from forcedmove_server.errors import MalformedMessage
from tests.emulator.venue import Answer, RestRequest
from tests.live.fake_venue import FakeEmulator, FakeVenue, encoded, joined, topics_of, venue_type
from tests.live.samples import BTC, NOW_NS
from tests.live.waiting import eventually

ALL_OF_BTC = {"liquidations", "trades.BTCUSDT", "ticker.BTCUSDT", "book.BTCUSDT"}


async def test_what_is_subscribed_becomes_live_and_its_events_are_handed_on() -> None:
    async with joined() as both:
        await eventually(lambda: both.feed.live_topics() == ALL_OF_BTC, "all topics are live")
        both.trade(1)
        await eventually(lambda: both.feed.trades() == [1], "a trade")
        assert all(lost_ns == 0 for _, lost_ns, _ in both.feed.lives), "what is new has missed nothing"
    assert not both.feed.losses, "the end of the program is no loss"


async def test_topics_are_asked_for_in_batches_at_the_venue_s_pace() -> None:
    native_ids = [f"C{k}USDT" for k in range(7)]
    collector = venue_type(topics_per_message=3, messages_per_s=8.0)
    emulator = FakeEmulator(native_ids, collector)
    async with joined(collector, emulator=FakeEmulator(("BTCUSDT", *native_ids), collector)) as both:
        both.connection.add(topics_of(collector, emulator, *native_ids))
        await eventually(lambda: len(both.feed.live_topics()) == 25, "all are live")
        sizes = [len(request["topics"]) for request in both.emulator.asked("subscribe")]
        assert max(sizes) <= 3
        assert sum(sizes) == 25
        times = [when for when, request in both.emulator.received if request["op"] == "subscribe"]
        late = times[8:]  # the first second's worth comes at once
        assert all(later - earlier > 0.1 for earlier, later in itertools.pairwise(late))


async def test_a_refused_topic_is_told_and_not_asked_for_again_on_this_connection() -> None:
    emulator = FakeEmulator()
    emulator.refuses = {"ticker.BTCUSDT"}
    async with joined(emulator=emulator) as both:
        await eventually(lambda: both.feed.refusals, "the refusal is told")
        await eventually(lambda: both.feed.live_topics() == ALL_OF_BTC - {"ticker.BTCUSDT"}, "the others are live")
        both.connection.add(topics_of(FakeVenue, emulator, "ETHUSDT"))
        await eventually(lambda: "trades.ETHUSDT" in both.feed.live_topics(), "more is asked for")
        asked = [name for request in emulator.asked("subscribe") for name in request["topics"]]
        assert asked.count("ticker.BTCUSDT") == 1
        assert both.feed.refusals == [(["ticker.BTCUSDT"], "no such topic")]


async def test_what_was_refused_is_asked_for_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_REFUSED_S", 0.5)
    emulator = FakeEmulator()
    emulator.refuses = {"ticker.BTCUSDT"}
    async with joined(emulator=emulator) as both:
        await eventually(lambda: len(both.feed.refusals) >= 2, "it is asked for again")
        emulator.refuses = set()
        await eventually(lambda: both.feed.live_topics() == ALL_OF_BTC, "and granted")


async def test_one_bad_topic_of_a_refused_request_does_not_cost_the_others() -> None:
    emulator = FakeEmulator()
    emulator.refuses, emulator.refuses_by = {"ticker.BTCUSDT"}, "request"
    async with joined(emulator=emulator) as both:
        await eventually(lambda: both.feed.live_topics() == ALL_OF_BTC - {"ticker.BTCUSDT"}, "the others are live")
        await eventually(lambda: (["ticker.BTCUSDT"], "no such topic") in both.feed.refusals, "and the one is told")


async def test_where_nobody_knows_what_was_refused_silence_is_no_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_UNANSWERED_S", 0.3)
    emulator = FakeEmulator()
    emulator.refuses, emulator.refuses_by = {"ticker.BTCUSDT"}, "nothing"
    async with joined(emulator=emulator) as both:
        await eventually(lambda: both.feed.refusals, "the refusal is told")
        await asyncio.sleep(1.0)
        assert both.feed.live_topics() == set()


async def test_topics_come_and_go_while_it_runs() -> None:
    async with joined() as both:
        await eventually(lambda: both.feed.live_topics() >= ALL_OF_BTC, "all are live")
        both.connection.add(topics_of(FakeVenue, both.emulator, "ETHUSDT"))
        await eventually(lambda: "trades.ETHUSDT" in both.feed.live_topics(), "the new ones are live")
        both.connection.remove(["trades.BTCUSDT", "book.BTCUSDT"])
        await eventually(lambda: both.emulator.asked("unsubscribe"), "the old ones are given up")
        given_up = {name for request in both.emulator.asked("unsubscribe") for name in request["topics"]}
        assert given_up == {"trades.BTCUSDT", "book.BTCUSDT"}
        (session,) = [one.session for one in both.server._connections["fake"]]
        assert session.topics == set(both.connection.topics)
        assert both.server.connections == 1
    assert not both.feed.losses


async def test_an_event_is_as_good_as_an_answer() -> None:
    emulator = FakeEmulator()
    emulator.acknowledges = False
    async with joined(emulator=emulator) as both:
        await eventually(lambda: emulator.asked("subscribe"), "topics are asked for")
        assert both.feed.live_topics() == set()
        both.trade(1)
        await eventually(lambda: both.feed.live_topics() == {"trades.BTCUSDT"}, "only what is fed is live")
        both.publish(Liquidation(emulator.listings["ETHUSDT"], NOW_NS, 1.0, 1.0, 0, 1))
        await eventually(lambda: "liquidations" in both.feed.live_topics(), "a topic of all markets, by any of them")


async def test_what_nobody_answers_is_taken_for_granted_once_something_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_UNANSWERED_S", 0.2)
    emulator = FakeEmulator()
    emulator.acknowledges = False
    async with joined(emulator=emulator, silence_s=3.0) as both:
        await eventually(lambda: emulator.asked("subscribe"), "topics are asked for")
        await asyncio.sleep(0.6)
        assert both.feed.live_topics() == set(), "nothing at all came: the connection may be dead"
        both.trade(1)
        await eventually(lambda: both.feed.live_topics() == ALL_OF_BTC, "the quiet ones too")


async def test_the_venue_s_own_ping_is_answered_and_ours_is_sent() -> None:
    emulator = FakeEmulator()
    emulator.pings = True
    async with joined(venue_type(ping_s=0.1), emulator=emulator) as both:
        await eventually(lambda: len(emulator.asked("ping")) >= 3, "our pings")
        await eventually(lambda: emulator.asked("pong"), "its ping is answered")
        assert emulator.asked("pong")[0]["number"] == 7
        pings = [when for when, request in emulator.received if request["op"] == "ping"]
        assert pings[2] - pings[1] >= 0.09
    assert not both.feed.losses


async def test_a_message_that_means_nothing_is_told_and_costs_nothing_else() -> None:
    async with joined() as both:
        await eventually(lambda: both.feed.live_topics() == ALL_OF_BTC, "all are live")
        for hostile in (b"\xff\xfe", "[]", b"\x1f\x8bx", '{"op":"event","kind":"Trade","key":"BTCUSDT","fields":1e9'):
            both.say(hostile)
        both.say('{"op":"news"}')
        both.say(encoded(Mark(BTC, NOW_NS, 1.0)).replace("BTCUSDT", "DOGEUSDT"))
        both.trade(1)
        await eventually(lambda: both.feed.trades() == [1], "the next trade")
    assert len(both.feed.malformations) == 4
    assert both.feed.unknowns == ["news"]
    assert both.feed.strangers == ["DOGEUSDT"]
    assert not both.feed.losses


async def test_a_bug_in_a_parser_ends_the_run_loudly() -> None:
    """To reconnect would hide it for ever."""

    async def run() -> None:
        async with joined() as both:
            await eventually(lambda: both.feed.live_topics() == ALL_OF_BTC, "all are live")
            both.say('{"op":"bug"}')
            await asyncio.sleep(0.3)

    with pytest.raises(ExceptionGroup) as raised:
        await run()
    assert raised.value.subgroup(KeyError)


async def test_a_ticket_says_where_to_connect_and_one_that_says_nothing_is_asked_for_again() -> None:
    answers = [Answer(b"", 503), Answer(b"not yet"), Answer(b"wss://fake.example/other?token=1")]
    asked: list[str] = []

    class Ticketed(FakeEmulator):
        def answer(self, request: RestRequest) -> Answer | None:
            asked.append(f"{request.method} {request.path}")
            return answers.pop(0)

    def connect_to(self: FakeVenue, stream: Stream, ticket: bytes) -> str:
        if not ticket.startswith(b"wss"):
            raise MalformedMessage("fake", ticket, "is no ticket")
        return ticket.decode()

    collector = venue_type(ticket="https://fake.example/ticket", connect_to=connect_to)
    async with joined(collector, emulator=Ticketed(("BTCUSDT", "ETHUSDT"), collector)) as both:
        await eventually(lambda: both.feed.live_topics() == ALL_OF_BTC, "all are live")
        (connected,) = both.server._connections["fake"]
        assert connected.session.path == "/other"
    assert asked == ["POST /ticket"] * 3
    assert ["503" in both.feed.losses[0][3], "is no ticket" in both.feed.losses[1][3]] == [True, True]
