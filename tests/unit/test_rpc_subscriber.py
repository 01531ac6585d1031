"""The slot of a reader: what is replaced, what is counted, what comes next. No server, no clock."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from forcedmove_server.engine.frames import RenderedView, SymbolMap, ViewSpec
from forcedmove_server.errors import GoingAwayError
from forcedmove_server.rpc.encoding import EncodedFrame, EncodingCounts, SymbolPart, ViewEncoder
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.subscriber import Subscriber
from tests.unit.watched_views import WatchedViews


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


def reader(clock: Clock, **subscription: float) -> Subscriber:
    made = Subscriber(clock)
    made.restart(Subscription(None, ViewSpec(), **subscription), {})
    return made


def kinds(taken: list[tuple[EncodedFrame, int]]) -> list[str]:
    return ["delta" if frame.continues(position) else "snapshot" for frame, position in taken]


async def test_a_replaced_frame_is_counted_and_followed_by_a_snapshot() -> None:
    slot, (first, second, third, fourth, fifth), (other,) = reader(Clock()), frames("BTC", 5), frames("ETH", 1)
    slot.offer(first)
    assert kinds(slot.take()[0]) == ["snapshot"]
    slot.offer(second)
    assert kinds(slot.take()[0]) == ["delta"]
    slot.offer(third)
    slot.offer(other)
    slot.offer(fourth)
    taken, skipped = slot.take()
    assert [(frame.symbol, frame.seq) for frame, _ in taken] == [("BTC", 4), ("ETH", 1)]
    assert (kinds(taken), skipped) == (["snapshot", "snapshot"], 1)
    slot.offer(fifth)
    taken, skipped = slot.take()
    assert (kinds(taken), skipped) == (["delta"], 0)


async def test_what_the_rate_holds_back_is_not_counted() -> None:
    clock = Clock()
    slot, made = reader(clock, min_interval_s=10.0), frames("BTC", 4)
    slot.offer(made[0])
    assert await slot.ready(0)
    slot.take()
    slot.offer(made[1])
    assert not await slot.ready(0)  # held back until 10.0
    waiting = asyncio.create_task(slot.ready(60.0))
    await asyncio.sleep(0)
    slot.offer(made[2])
    clock.now = 10.0
    slot.wake()
    assert await waiting
    slot.offer(made[3])  # a tick between waking up and taking is still the rate's doing
    taken, skipped = slot.take()
    assert ([frame.seq for frame, _ in taken], kinds(taken), skipped) == ([4], ["snapshot"], 0)


async def test_resumed_positions_continue() -> None:
    slot, made = reader(Clock()), frames("BTC", 3)
    slot.offer(made[0])
    slot.restart(Subscription(None, ViewSpec()), {"BTC": 2})
    assert slot.take() == ([], 0)  # what was pending belonged to the subscription before
    slot.offer(made[2])
    assert kinds(slot.take()[0]) == ["delta"]


async def test_a_failed_reader_wakes_up() -> None:
    slot = reader(Clock())
    waiting = asyncio.create_task(slot.ready(60.0))
    await asyncio.sleep(0)
    slot.fail(GoingAwayError("first"))
    slot.fail(GoingAwayError("second"))
    with pytest.raises(GoingAwayError, match="first"):
        await waiting
