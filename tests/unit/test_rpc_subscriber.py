"""One reader: what is replaced, what is counted, what comes next, and when it is too slow. No server, no real clock."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from forcedmove.v1 import heatmap_pb2
from forcedmove_server.engine.frames import RenderedView, SymbolMap, ViewSpec
from forcedmove_server.errors import GoingAwayError, InputError, SlowConsumerError
from forcedmove_server.rpc.encoding import EncodedFrame, EncodingCounts, SymbolPart, ViewEncoder
from forcedmove_server.rpc.flock import Flock
from forcedmove_server.rpc.formats import FrameFormat
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.subscriber import Subscriber
from forcedmove_server.rpc.topics import Topic
from tests.unit.watched_views import WatchedViews

Response = heatmap_pb2.SubscribeResponse
_MANY_BYTES = 1 << 20


def frames(symbol: str, count: int) -> list[EncodedFrame]:
    encoder = ViewEncoder(ViewSpec(), Limits(), EncodingCounts())
    view = RenderedView(("price",), (), (), (), 1, 1, 1.0, np.zeros(3, np.float32))
    parts = (
        SymbolPart(SymbolMap(symbol, seq, 0, 1.0, 1.0, (), 1.0, (), None, None, ()), 1, 0, EncodingCounts())
        for seq in range(1, count + 1)
    )
    watched = WatchedViews()
    return [frame for part in parts if (frame := encoder.encode(part, watched.next(view)))]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Read:
    """A reader and the topics that it reads."""

    def __init__(self, clock: Clock, symbols: Sequence[str] = ("BTC",), limits: Limits | None = None, **wants: Any):
        limits = limits or Limits()
        self.wants = Subscription(None, ViewSpec(), **wants)
        self.flock = Flock()
        for symbol in symbols:
            encoder = ViewEncoder(ViewSpec(), limits, EncodingCounts())
            topic = Topic((symbol, ViewSpec(), FrameFormat()), encoder, limits)
            topic.keeps = self.wants.delivery == "every"
            self.flock.add(topic)
        self.reader = Subscriber(clock, stalled_after_s=10.0)
        self.flock.readers.add(self.reader)
        self.reader.restart(self.wants, self.flock, {})

    def offer(self, *made: EncodedFrame) -> None:
        """One tick for each frame."""
        for frame in made:
            self.tick(frame)

    def tick(self, *made: EncodedFrame) -> None:
        for frame in made:
            self.flock.topics[frame.symbol].publish(frame)
        self.flock.advance(made)
        self.reader.notify()

    def take(self, max_bytes: int = _MANY_BYTES) -> tuple[list[tuple[str, int, str]], int]:
        taken = self.reader.take(max_bytes)
        for frame, position in taken.frames:
            if not frame.is_ready(position):
                frame.encode_snapshot()
        chunks = [frame.chunk(position) for frame, position in taken.frames]
        frames = [frame for chunk in chunks for frame in Response.FromString(chunk).frames]
        return [(f.symbol, f.seq, "delta" if f.HasField("update") else "snapshot") for f in frames], taken.skipped


def send(reader: Subscriber, size: int = 100) -> int:
    reader.sends(reader.number + 1, size)
    return reader.number


async def test_a_replaced_frame_is_counted_and_followed_by_a_snapshot() -> None:
    read, (first, second, third, fourth, fifth), (other,) = (
        Read(Clock(), ("BTC", "ETH")), frames("BTC", 5), frames("ETH", 1),
    )  # fmt: skip
    read.offer(first)
    assert read.take() == ([("BTC", 1, "snapshot")], 0)
    read.offer(second)
    assert read.take() == ([("BTC", 2, "delta")], 0)
    read.offer(third, other, fourth)
    assert read.take() == ([("BTC", 4, "snapshot"), ("ETH", 1, "snapshot")], 1)
    read.offer(fifth)
    assert read.take() == ([("BTC", 5, "delta")], 0)


async def test_what_does_not_fit_a_response_is_replaced_while_it_waits() -> None:
    read, bitcoins, ethers = Read(Clock(), ("BTC", "ETH")), frames("BTC", 3), frames("ETH", 3)
    read.offer(bitcoins[0], ethers[0])
    assert read.take(1) == ([("BTC", 1, "snapshot")], 0)
    read.offer(bitcoins[1], ethers[1])
    assert read.take(1) == ([("ETH", 2, "snapshot")], 0)  # its first: nothing was promised before
    assert read.take(1) == ([("BTC", 2, "delta")], 0)
    assert not read.reader.has_news()


async def test_who_was_in_step_and_gets_less_than_a_tick_gets_what_is_new() -> None:
    """A tick of many maps is not a queue: what has waited of it is replaced like anything else."""
    read, bitcoins, ethers = Read(Clock(), ("BTC", "ETH")), frames("BTC", 4), frames("ETH", 4)
    read.tick(bitcoins[0], ethers[0])
    read.take()
    read.tick(bitcoins[1], ethers[1])
    assert read.take(1) == ([("BTC", 2, "delta")], 0)
    for tick in (2, 3):
        read.tick(bitcoins[tick], ethers[tick])
    assert read.take(1) == ([("ETH", 4, "snapshot")], 2)
    assert read.take(1) == ([("BTC", 4, "snapshot")], 1)


async def test_the_first_map_does_not_wait_for_the_rate() -> None:
    read, made = Read(Clock(), min_interval_s=1e9), frames("BTC", 2)
    assert read.reader.has_news()
    assert read.take() == ([], 0)  # of a view that nobody has read yet
    read.offer(made[0])
    assert read.reader.has_news()
    assert read.take() == ([("BTC", 1, "snapshot")], 0)
    read.offer(made[1])
    assert not read.reader.has_news()


async def test_what_the_rate_holds_back_is_not_counted() -> None:
    clock = Clock()
    read, made = Read(clock, min_interval_s=10.0), frames("BTC", 4)
    read.offer(made[0])
    assert read.reader.has_news()
    read.take()
    read.offer(made[1])
    assert not read.reader.has_news()  # held back until 10.0
    waiting = asyncio.create_task(read.reader.wait(60.0, has_more=False))
    await asyncio.sleep(0)
    read.offer(made[2])
    clock.now = 10.0
    read.reader.wake()
    await waiting
    assert read.reader.has_news()
    read.offer(made[3])  # a tick between waking up and taking is still the rate's doing
    assert read.take() == ([("BTC", 4, "snapshot")], 0)


async def test_resumed_positions_continue() -> None:
    read, made = Read(Clock()), frames("BTC", 3)
    read.offer(made[0])
    read.reader.restart(read.wants, read.flock, {"BTC": 2})
    read.offer(made[2])
    assert read.take() == ([("BTC", 3, "delta")], 0)


async def test_what_was_missed_before_a_resume_is_counted() -> None:
    read, made = Read(Clock()), frames("BTC", 9)
    read.reader.restart(read.wants, read.flock, {"BTC": 4})
    read.offer(made[8])
    assert read.take() == ([("BTC", 9, "snapshot")], 4)


async def test_a_frame_that_a_resumed_reader_has_is_not_sent_again() -> None:
    read, made = Read(Clock()), frames("BTC", 5)
    read.reader.restart(read.wants, read.flock, {"BTC": 4})
    read.offer(made[3])
    assert read.take() == ([], 0)
    read.offer(made[4])
    assert read.take() == ([("BTC", 5, "delta")], 0)


async def test_every_frame_comes_in_order_as_a_delta() -> None:
    read, made = Read(Clock(), delivery="every"), frames("BTC", 7)
    read.offer(made[0], made[1])
    assert read.take() == ([("BTC", 2, "snapshot")], 0)  # its first frame: nothing has gone before
    read.offer(*made[2:])
    taken, skipped = read.take(1)
    assert (taken, skipped) == ([("BTC", 3, "delta")], 0)
    assert read.take() == ([("BTC", seq, "delta") for seq in range(4, 8)], 0)


async def test_a_reader_of_every_frame_is_cut_off_where_frames_are_not_kept_any_more() -> None:
    read, made = Read(Clock(), limits=Limits(every_frames=3), delivery="every"), frames("BTC", 6)
    read.offer(made[0])
    read.take()
    read.offer(*made[1:4])
    assert read.reader.error is None
    read.offer(made[4])
    error = read.reader.error
    assert isinstance(error, SlowConsumerError)
    assert "BTC: fell behind" in str(error)
    assert (error.epoch, error.last_seq) == (1, {"BTC": 1})


async def test_nobody_is_led_across_a_gap_in_silence() -> None:
    """Where the engine is elsewhere, frames may be missing here."""
    made = frames("BTC", 6)
    gap = EncodedFrame(made[4]._part, ViewSpec(), made[4]._view, None, EncodingCounts())
    every, latest = Read(Clock(), delivery="every"), Read(Clock())
    for read in (every, latest):
        read.offer(made[0])
        read.take()
    every.offer(made[1], gap)  # behind by one when the gap comes
    with pytest.raises(SlowConsumerError) as caught:
        every.take()
    assert caught.value.last_seq == {"BTC": 1}
    latest.offer(gap)  # in step when it comes
    assert latest.take() == ([("BTC", 5, "snapshot")], 3)


async def test_long_frames_are_kept_for_less_long() -> None:
    made = frames("BTC", 4)
    assert made[1].delta is not None
    read = Read(Clock(), limits=Limits(every_bytes=2 * len(made[1].delta)), delivery="every")
    read.offer(made[0])
    read.take()
    read.offer(made[1], made[2])
    assert read.reader.error is None
    read.offer(made[3])
    assert isinstance(read.reader.error, SlowConsumerError)


async def test_no_more_is_sent_than_is_acknowledged() -> None:
    clock = Clock()
    read, made = Read(clock, max_unacked=2), frames("BTC", 4)
    reader = read.reader
    assert [send(reader), reader.may_send(), send(reader), reader.may_send()] == [1, True, 2, False]
    reader.acknowledge(1)
    assert reader.may_send()
    reader.acknowledge(1)
    reader.acknowledge(0)  # again, and late: no harm
    assert send(reader) == 3
    assert not reader.may_send()
    with pytest.raises(InputError, match=r"ack.number = 4: the newest response has number 3"):
        reader.acknowledge(4)
    reader.acknowledge(3)
    assert reader.may_send()
    read.offer(*made)
    assert read.take() == ([("BTC", 4, "snapshot")], 0)


async def test_an_acknowledgement_may_change_the_window_within_what_was_asked_for() -> None:
    reader = Read(Clock(), max_unacked=3).reader
    reader.acknowledge(0, window=1)
    assert [send(reader), reader.may_send()] == [1, False]
    reader.acknowledge(0)  # as before
    assert not reader.may_send()
    reader.acknowledge(0, window=100)
    assert [send(reader), reader.may_send(), send(reader), reader.may_send()] == [2, True, 3, False]


async def test_of_long_responses_two_may_be_on_their_way() -> None:
    reader = Read(Clock(), max_unacked=8).reader
    send(reader, 1 << 20)
    assert reader.may_send()
    send(reader, 1 << 20)
    assert not reader.may_send()
    reader.acknowledge(1)
    assert reader.may_send()
    for _ in range(7):
        send(reader, 1_000)
    assert not reader.may_send()
    reader.acknowledge(9)
    assert (reader.may_send(), reader._unacked_bytes) == (True, 0)


async def test_what_was_owed_is_not_owed_to_a_subscription_without_acknowledgements() -> None:
    read = Read(Clock(), max_unacked=1)
    send(read.reader)
    assert not read.reader.may_send()
    read.reader.restart(Subscription(None, ViewSpec()), read.flock, {})
    send(read.reader)
    read.reader.restart(read.wants, read.flock, {})
    assert read.reader.may_send()
    read.reader.acknowledge(2)


async def test_a_reader_that_acknowledges_nothing_is_cut_off_once_there_is_something_to_send() -> None:
    clock = Clock()
    read, made = Read(clock, max_unacked=1), frames("BTC", 2)
    read.offer(made[0])
    read.take()
    send(read.reader)
    clock.now = 100.0
    await read.reader.wait(0.0, has_more=False)  # it owes an acknowledgement, and nobody waits for it
    read.offer(made[1])
    await read.reader.wait(0.0, has_more=False)
    clock.now = 109.9
    await read.reader.wait(0.0, has_more=False)
    clock.now = 110.0
    with pytest.raises(SlowConsumerError, match="nothing was acknowledged for 10 s") as caught:
        await read.reader.wait(0.0, has_more=False)
    assert caught.value.last_seq == {"BTC": 1}
    read.reader.acknowledge(1)
    await read.reader.wait(0.0, has_more=False)


async def test_a_failed_reader_wakes_up() -> None:
    read = Read(Clock())
    waiting = asyncio.create_task(read.reader.wait(asyncio.get_running_loop().time() + 60.0, has_more=False))
    await asyncio.sleep(0)
    read.reader.fail(GoingAwayError("first"))
    read.reader.fail(GoingAwayError("second"))
    await waiting
    assert str(read.reader.error) == "first"
