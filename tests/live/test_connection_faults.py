"""What goes wrong with a connection: every loss is announced from when it began, and made good."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import WSMsgType, web

from forcedmove_server.collectors.connection import Connection
from forcedmove_server.collectors.network import Addresses, Network, RateLimit, http_session
from forcedmove_server.collectors.records import Mark
from forcedmove_server.market.events import Channel
from tests.emulator.faults import Fault
from tests.live.fake_venue import FakeEmulator, FakeVenue, Joined, RecordingFeed, joined, topics_of, trade, venue_type
from tests.live.samples import book
from tests.live.scripted import Handler, scripted
from tests.live.waiting import eventually, running

ALL_OF_BTC = {"liquidations", "trades.BTCUSDT", "ticker.BTCUSDT", "book.BTCUSDT"}


async def all_live(both: Joined, times: int = 1) -> None:
    await eventually(lambda: len(both.feed.lives) >= times * len(ALL_OF_BTC), f"all are live {times} times")


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.CLOSE, Fault.HALF_MESSAGE, Fault.HALF_OPEN, Fault.GIANT])
async def test_a_lost_connection_is_announced_and_made_anew(fault: Fault) -> None:
    silence_s = 0.8
    async with joined(silence_s=silence_s) as both:
        await all_live(both)
        both.trade(1)
        await eventually(lambda: both.feed.trades() == [1], "a trade")
        last_ns = both.feed.events[-1].time_ns
        both.server.befall("fake", fault)
        fell = time.monotonic()
        await eventually(lambda: both.feed.losses, "the loss is told")
        allowed_s = silence_s + 1.5 if fault in (Fault.HALF_OPEN, Fault.GIANT) else 1.0
        assert time.monotonic() - fell < allowed_s
        await all_live(both, 2)
        assert time.monotonic() - fell < allowed_s + 2.0
        both.trade(2)
        await eventually(lambda: both.feed.trades() == [1, 2], "the next trade")
    (names, since_ns, now_ns, reason) = both.feed.losses[0]
    assert set(names) == ALL_OF_BTC
    assert since_ns <= last_ns, "what was on its way with the last trade may be lost"
    assert last_ns - since_ns < 10**9
    assert now_ns > last_ns
    assert reason.startswith("ConnectionLostError")
    again = {name: lost_ns for name, lost_ns, _ in both.feed.lives[4:]}
    mute_ns = again.pop("ticker.BTCUSDT")
    assert mute_ns <= since_ns, "it has not brought a mark at all"
    assert again == dict.fromkeys(ALL_OF_BTC - {"ticker.BTCUSDT"}, since_ns), "the gap is told again up to its end"
    assert len(both.feed.losses) == 1


async def test_a_gap_begins_with_the_last_message_and_not_with_the_end_of_the_connection() -> None:
    """Between the two everything may have been lost: a cable that is pulled resets nothing."""
    async with joined() as both:
        await all_live(both)
        both.publish(Mark(both.listing, 0, 100.0))  # no stamp helps
        await eventually(lambda: both.feed.events, "a mark")
        received_ns = time.time_ns()
        both.server.befall("fake", Fault.HALF_OPEN)
        await asyncio.sleep(0.5)
        both.server.befall("fake", Fault.DROP)
        await eventually(lambda: both.feed.losses, "the loss is told")
    assert both.feed.losses[0][1] <= received_ns


async def test_what_was_not_live_yet_is_not_lost_but_still_wanted() -> None:
    emulator = FakeEmulator()
    emulator.acknowledges = False
    async with joined(emulator=emulator) as both:
        await eventually(lambda: emulator.asked("subscribe"), "topics are asked for")
        both.server.befall("fake", Fault.DROP)
        await eventually(lambda: both.feed.losses, "the end is told")
        emulator.acknowledges = True
        await all_live(both)
    assert both.feed.losses[0][0] == []
    assert {lost_ns for _, lost_ns, _ in both.feed.lives} == {0}


async def test_two_losses_in_a_row_are_one_gap_from_the_first() -> None:
    emulator = FakeEmulator()
    async with joined(emulator=emulator) as both:
        await all_live(both)
        emulator.acknowledges = False
        both.server.befall("fake", Fault.DROP)
        await eventually(lambda: len(emulator.asked("subscribe")) >= 2, "a second connection")
        both.server.befall("fake", Fault.DROP)
        emulator.acknowledges = True
        await all_live(both, 2)
    first_ns = both.feed.losses[0][1]
    assert {lost_ns for name, lost_ns, _ in both.feed.lives[4:] if not name.startswith("ticker")} == {first_ns}


async def test_the_venue_may_ask_for_a_new_connection() -> None:
    async with joined() as both:
        await all_live(both)
        both.say('{"op":"reset"}')
        await all_live(both, 2)
    assert "the venue asks for a new connection: maintenance" in both.feed.losses[0][3]


@pytest.mark.parametrize("fault", [Fault.STALL, Fault.SLOW_DRIP, Fault.GARBAGE, Fault.REORDER, Fault.DUPLICATE])
async def test_bad_delivery_does_not_end_a_connection(fault: Fault) -> None:
    async with joined(silence_s=3.0) as both:
        await all_live(both)
        for one in both.server._connections["fake"]:
            for number in range(3):
                message = both.emulator.encode(trade(both.listing, number))[0]
                one.send([message.content], fault if number == 1 else None)
        await eventually(lambda: set(both.feed.trades()) == {0, 1, 2}, "all three trades")
        assert both.server.faults[fault] == 1
    assert not both.feed.losses


async def test_a_silent_connection_is_probed_before_it_is_given_up() -> None:
    """A quiet market is no fault: the server still answers the websocket protocol's own ping."""
    async with joined(silence_s=0.4) as both:
        await all_live(both)
        await asyncio.sleep(1.2)
        assert not both.feed.losses
        assert both.server.connections == 1


async def test_a_channel_that_never_pauses_has_a_watchdog_of_its_own() -> None:
    collector = venue_type(channel_silence_s={Channel.MARK_PRICES: 0.4})
    async with joined(collector) as both:
        await all_live(both)
        for _ in range(12):
            both.publish(Mark(both.listing, time.time_ns(), 100.0))
            await asyncio.sleep(0.05)
        assert not both.feed.losses, "trades may be silent for as long as they like"
        for number in range(30):
            both.trade(number)
            await asyncio.sleep(0.02)
        await eventually(lambda: both.feed.losses, "marks have stopped")
    assert "ticker.BTCUSDT silent for" in both.feed.losses[0][3]


async def test_a_channel_that_never_begins_is_noticed_too() -> None:
    collector = venue_type(channel_silence_s={Channel.MARK_PRICES: 0.4})
    async with joined(collector) as both:
        await all_live(both)
        await eventually(lambda: both.feed.losses, "marks have not begun", 2.0)
    assert "ticker.BTCUSDT silent for" in both.feed.losses[0][3]


async def test_a_book_out_of_step_is_asked_for_again_and_nothing_else_is() -> None:
    emulator = FakeEmulator()
    async with joined(emulator=emulator) as both:
        emulator.snapshots["BTCUSDT"] = book({1.0: 1.0}, {2.0: 1.0}, snapshot=True)
        await all_live(both)
        both.feed.out_of_step = {"BTCUSDT"}
        both.publish(book({1.0: 1.0}, {2.0: 1.0}, sequence=9, previous=8))
        await eventually(lambda: emulator.asked("unsubscribe"), "the book is given up")
        both.feed.out_of_step = set()
        await eventually(lambda: len(both.feed.lives) == 5, "and live again")
        assert [request["topics"] for request in emulator.asked("unsubscribe")] == [["book.BTCUSDT"]]
        assert emulator.asked("subscribe")[-1]["topics"] == ["book.BTCUSDT"]
        assert both.server.connections == 1
    (names, since_ns, _, reason) = both.feed.losses[0]
    assert (names, reason) == (["book.BTCUSDT"], "a message of the book is missing")
    assert both.feed.lives[4][:2] == ("book.BTCUSDT", since_ns)


async def test_a_book_that_stays_out_of_step_is_not_asked_for_in_a_flood() -> None:
    emulator = FakeEmulator()
    async with joined(emulator=emulator) as both:
        await all_live(both)
        both.feed.out_of_step = {"BTCUSDT"}
        for number in range(60):
            both.publish(book({1.0: 1.0}, {2.0: 1.0}, sequence=number, previous=number - 2))
            await asyncio.sleep(0.01)
        assert len(emulator.asked("unsubscribe")) == 1


async def test_where_nothing_can_be_unsubscribed_a_book_out_of_step_needs_a_new_connection() -> None:
    async with joined(venue_type(can_unsubscribe=False)) as both:
        await all_live(both)
        both.feed.out_of_step = {"BTCUSDT"}
        both.publish(book({1.0: 1.0}, {2.0: 1.0}, sequence=9, previous=8))
        await eventually(lambda: len(both.feed.losses) >= 2, "a new connection")
        both.feed.out_of_step = set()
        await all_live(both, 2)
    assert set(both.feed.losses[1][0]) == ALL_OF_BTC - {"book.BTCUSDT"}


async def test_connections_are_opened_at_the_venue_s_pace() -> None:
    """Fifty connections lost at once must not come back at once."""
    opened: list[float] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        opened.append(time.monotonic())
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        return socket

    async with scripted(handle) as base, http_session() as session:
        opening = RateLimit(4.0)
        network = Network(session, Addresses({"fake.example": base}))
        emulator = FakeEmulator()
        made = [Connection(FakeVenue, FakeVenue.streams[0], {}, RecordingFeed(), network, opening) for _ in range(7)]
        for one in made:
            one.add(topics_of(FakeVenue, emulator, "BTCUSDT"))
        tasks = [asyncio.create_task(one.run()) for one in made]
        try:
            await eventually(lambda: len(opened) >= 7, "all are opened")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    assert opened[6] - opened[3] >= 0.6
    assert opened[3] - opened[0] < 0.3


async def test_the_protocol_s_own_ping_is_answered() -> None:
    pongs: list[bytes] = []

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await socket.ping(b"are you there")
        async for message in socket:
            if message.type is WSMsgType.PONG:
                pongs.append(message.data)  # noqa: PERF401  while the socket is open, not at its end
        return socket

    async with one_against(handle):
        await eventually(lambda: pongs, "a pong")
    assert pongs == [b"are you there"]


async def test_an_address_that_refuses_is_tried_again_with_growing_waits() -> None:
    tried: list[float] = []

    async def handle(_: web.Request) -> web.Response:
        tried.append(time.monotonic())
        return web.Response(status=403)

    async with one_against(handle) as feed:
        await eventually(lambda: len(tried) >= 4, "four tries")
    assert tried[3] - tried[2] > tried[1] - tried[0]
    assert tried[3] - tried[2] >= 0.5
    assert "403" in feed.losses[0][3]
    assert all(names == [] for names, *_ in feed.losses)


async def test_a_handshake_that_takes_for_ever_counts_as_no_time_that_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the waits would begin anew each time, and a hung venue would be tried without a pause."""
    monkeypatch.setattr("forcedmove_server.collectors.connection._CONNECT_S", 0.2)
    worked: list[float] = []

    class Observed:
        def wait_s(self, worked_s: float) -> float:
            worked.append(worked_s)
            return 0.01

    monkeypatch.setattr("forcedmove_server.collectors.connection.Backoff", Observed)

    async def handle(_: web.Request) -> web.Response:
        await asyncio.sleep(5.0)
        return web.Response()

    async with one_against(handle):
        await eventually(lambda: len(worked) >= 2, "two tries")
    assert worked[:2] == [0.0, 0.0]


async def test_a_connection_that_is_cancelled_as_it_fails_does_not_come_back() -> None:
    """A TaskGroup raises the failure in place of the cancellation; whoever waits for the end would wait for ever."""
    async with joined() as both:
        await all_live(both)
        both.feed.unknown = lambda kind: both.task.cancel()  # type: ignore[method-assign,assignment,return-value]
        both.say('{"op":"reset"}')
        await asyncio.wait([both.task], timeout=1.0)
        assert both.task.cancelled()


async def test_a_cancelled_connection_ends_in_time_even_when_nobody_answers_its_goodbye() -> None:
    prepared = asyncio.Event()

    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        prepared.set()
        await asyncio.sleep(30.0)  # reads nothing, so that the goodbye is not answered either
        return socket

    async with one_against(handle):
        await prepared.wait()
        await asyncio.sleep(0.05)
        began = time.monotonic()
    assert time.monotonic() - began < 1.5


@contextlib.asynccontextmanager
async def one_against(handler: Handler) -> AsyncIterator[RecordingFeed]:
    """A running connection against a server that does what ``handler`` says."""
    async with scripted(handler) as base, http_session() as session:
        feed, emulator = RecordingFeed(), FakeEmulator()
        network = Network(session, Addresses({"fake.example": base}))
        one = Connection(FakeVenue, FakeVenue.streams[0], emulator.listings, feed, network, RateLimit(100.0))
        one.add(topics_of(FakeVenue, emulator, "BTCUSDT"))
        async with running(one.run()):
            yield feed
