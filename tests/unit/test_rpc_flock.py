"""Readers in step: they get the same response, under a number that comes next for each."""

from __future__ import annotations

import itertools

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.rpc.flock import TickShare
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.responses import heartbeat
from forcedmove_server.rpc.subscriber import Subscriber
from tests.integration.fake_engine import FakeEngine
from tests.unit.test_rpc_subscriber import Clock, Read, frames

_ROOM = 1 << 20
Response = heatmap_pb2.SubscribeResponse


def joined(read: Read, **wants: int) -> Subscriber:
    """Another reader of the same flock, in step with it."""
    reader = Subscriber(Clock())
    read.flock.readers.add(reader)
    reader.restart(Subscription(None, ViewSpec(), **wants), read.flock, {})
    reader.take(_ROOM)
    return reader


async def test_readers_in_step_get_the_same_bytes() -> None:
    read, made, numbers = Read(Clock()), frames("BTC", 3), itertools.count(5)
    read.offer(made[0])
    read.take()
    other, under_an_id = joined(read), joined(read, request_id=7)
    read.offer(made[1])
    ours, same, own = (reader.take_shared(numbers, _ROOM) for reader in (read.reader, other, under_an_id))
    assert ours is not None
    assert same is ours
    response = Response.FromString(ours.message)
    assert (response.number, response.request_id, ours.number) == (5, 0, 5)
    assert [(frame.seq, frame.prev_seq) for frame in response.frames] == [(2, 1)]
    assert own is not None
    assert (Response.FromString(own.message).request_id, own.number) == (7, 6)
    assert not read.reader.has_news()


async def test_a_reader_that_is_not_in_step_gets_its_own() -> None:
    read, made, numbers = Read(Clock()), frames("BTC", 4), itertools.count(1)
    read.offer(made[0])
    assert read.reader.take_shared(numbers, _ROOM) is None  # it begins
    read.take()
    other = joined(read)
    read.offer(made[1])
    assert other.take_shared(numbers, _ROOM) is not None
    read.offer(made[2])
    assert other.take_shared(numbers, _ROOM) is not None
    assert read.reader.take_shared(numbers, _ROOM) is None  # two frames behind
    assert read.take() == ([("BTC", 3, "snapshot")], 1)


async def test_a_symbol_that_appears_begins_with_what_there_is() -> None:
    """Of all symbols: there are none, then one that somebody else reads already."""
    (first, second), numbers = frames("BTC", 2), itertools.count(1)
    other, read = Read(Clock()), Read(Clock(), ())
    assert read.take() == ([], 0)
    other.offer(first)
    topic = other.flock.topics["BTC"]
    read.flock.add(topic)
    assert read.reader.take_shared(numbers, _ROOM) is None
    assert read.take() == ([("BTC", 1, "snapshot")], 0)
    read.tick(second)
    assert read.reader.take_shared(numbers, _ROOM) is not None


async def test_who_is_a_tick_behind_when_a_symbol_appears_gets_that_too() -> None:
    numbers, ethers = itertools.count(1), Read(Clock(), ("ETH",))
    (first, second), (other,) = frames("BTC", 2), frames("ETH", 1)
    read = Read(Clock())
    read.offer(first)
    read.take()
    read.offer(second)
    ethers.offer(other)
    read.flock.add(ethers.flock.topics["ETH"])
    assert read.reader.take_shared(numbers, _ROOM) is None
    assert read.take() == ([("BTC", 2, "delta"), ("ETH", 1, "snapshot")], 0)


async def test_numbers_of_a_stream_rise() -> None:
    """A response that was made for others before this reader's own last one comes too late for it."""
    read, made, numbers = Read(Clock()), frames("BTC", 3), itertools.count(1)
    read.offer(made[0])
    read.take()
    other = joined(read)
    read.offer(made[1])
    assert other.take_shared(numbers, _ROOM) is not None
    read.reader.sends(next(numbers), 100)
    assert read.reader.take_shared(numbers, _ROOM) is None
    assert read.take() == ([("BTC", 2, "delta")], 0)
    read.offer(made[2])
    assert read.reader.take_shared(numbers, _ROOM) is not None


async def test_who_has_no_credit_left_gets_nothing_shared() -> None:
    numbers = itertools.count(1)
    read, made = Read(Clock(), max_unacked=1), frames("BTC", 4)
    read.offer(made[0])
    read.take()
    read.offer(made[1])
    response = read.reader.take_shared(numbers, _ROOM)
    assert response is not None
    assert read.reader.number == response.number
    read.offer(made[2])
    assert read.reader.take_shared(numbers, _ROOM) is None
    read.reader.acknowledge(response.number)
    assert read.reader.take_shared(numbers, _ROOM) is not None


async def test_what_a_rate_holds_back_and_what_is_too_long_is_not_shared() -> None:
    numbers = itertools.count(1)
    for wants, room in (({"min_interval_s": 1.0}, _ROOM), ({}, 10)):
        read, made = Read(Clock(), **wants), frames("BTC", 2)
        read.offer(made[0])
        read.take()
        read.offer(made[1])
        assert read.reader.take_shared(numbers, room) is None
    assert next(numbers) == 1


def test_responses_are_kept_under_few_ids() -> None:
    share, numbers = TickShare([b"chunk"], 1, b""), itertools.count(1)
    made = [share.response(request_id, numbers, _ROOM) for request_id in range(20)]
    again = [share.response(request_id, numbers, _ROOM) for request_id in range(20)]
    assert sum(one is other for one, other in zip(made, again, strict=True)) == 8
    assert [one.number for one in made if one] == list(range(1, 21))


def test_a_heartbeat_comes_with_maps() -> None:
    engine = FakeEngine()
    engine.step()
    share = TickShare([], 0, heartbeat(engine.latest(), 3, {"BTC": 9}))
    response = share.response(0, itertools.count(1), _ROOM)
    assert response is not None
    assert response.has_heartbeat
    told = Response.FromString(response.message).heartbeat
    assert (told.missed_ticks, dict(told.head_seq)) == (3, {"BTC": 9})
    engine.close()
