"""What a stream's consumer sees of the client: frames across changes, its own pace, what was skipped, cut-offs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from forcedmove_client import AsyncClient, HistoryGoneError
from forcedmove_client.checking import StreamChecker
from forcedmove_client.credit import WINDOW
from forcedmove_server.rpc.limits import Limits
from tests.integration.fake_engine import FakeEngine, eventually, serving

WHOLE: dict[str, Any] = {"price_range": 0}


async def begun(engine: FakeEngine, stream: Any, frames: int = 1) -> list[Any]:
    """Return a stream's first frames; they come with the tick after the subscription."""

    async def take() -> list[Any]:
        return [await anext(stream) for _ in range(frames)]

    pending = asyncio.create_task(take())
    before = engine.watched.total()
    await eventually(lambda: engine.watched.total() > before or pending.done())
    engine.step()
    return await pending


@pytest.mark.parametrize("names", [["BTC", "ETH"], ["binance:BTCUSDT", "okx:ETHUSDT"], []])
@pytest.mark.parametrize("delivery", ["latest", "every"])
async def test_frames_that_came_before_a_change_are_told_before_what_follows(
    engine: FakeEngine, client: AsyncClient, delivery: Any, names: list[str]
) -> None:
    checker = StreamChecker()
    stream = client.subscribe(names, delivery=delivery, checker=checker, **WHOLE)
    await begun(engine, stream, 2)
    engine.step()
    seen = [await anext(stream)]
    await stream.change(max_unacked=8)  # the other frame of the response waits
    for _ in range(3):
        engine.step()
        seen += [await anext(stream) for _ in range(2)]
    first = seen[0].seq
    for symbol in ("BTC", "ETH"):
        seqs = [frame.seq for frame in seen if frame.symbol == symbol]
        assert seqs == list(range(first, first + len(seqs)))
    assert (stream.stats.skipped, checker.problems) == (0, [])


async def test_frames_of_symbols_and_views_that_are_not_wanted_any_more_are_dropped(
    engine: FakeEngine, client: AsyncClient
) -> None:
    stream = client.subscribe(["BTC", "ETH"], **WHOLE)
    await begun(engine, stream, 2)
    engine.step()
    frame = await anext(stream)
    (waiting,) = {"BTC", "ETH"} - {frame.symbol}
    await stream.change(symbols=frame.symbol)
    engine.step()
    following = await anext(stream)
    assert (following.symbol, following.seq, following.skipped) == (frame.symbol, frame.seq + 1, 0)
    await stream.change(symbols=waiting)  # comes anew: what was between is not missed
    await eventually(lambda: stream._seqs == {})
    again = asyncio.create_task(anext(stream))
    await eventually(lambda: (engine.step(), again.done())[1])
    assert ((await again).symbol, (await again).skipped) == (waiting, 0)
    await stream.change(keep="venue")
    again = asyncio.create_task(anext(stream))
    await eventually(lambda: (engine.step(), again.done())[1])
    assert (await again).axes == ("venue", "price")


async def test_what_was_skipped_is_told_once_with_the_frame_behind_it(engine: FakeEngine) -> None:
    checker = StreamChecker()
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        stream = client.subscribe(["BTC", "ETH"], max_unacked=4, checker=checker, **WHOLE)
        before = {frame.symbol: frame.seq for frame in await begun(engine, stream, 2)}
        (reader,) = server.hub._readers

        async def take() -> None:
            while min(before.values()) < engine.latest().maps["BTC"].seq:
                frame = await anext(stream)
                assert frame.skipped == frame.seq - before[frame.symbol] - 1
                before[frame.symbol] = frame.seq

        engine.step(5)  # all at once for the server
        await take()
        assert stream.stats.skipped == checker.gaps == checker.skipped == 2 * 4
        number = reader.number
        engine.step(5)
        await eventually(lambda: reader.number > number)
        # a response that tells of them is on its way when the request is replaced, and they are told again
        await stream.change(symbols=["ETH", "BTC"])
        await take()
        engine.step()
        await take()
        assert stream.stats.skipped == checker.gaps == checker.skipped == 2 * 8
        assert checker.problems == []


async def test_a_damaged_frame_is_history_gone_where_every_one_is_wanted(
    engine: FakeEngine, client: AsyncClient
) -> None:
    stream = client.subscribe(["BTC", "ETH"], delivery="every", **WHOLE)
    await begun(engine, stream, 2)
    state = stream._states["BTC"]
    assert state._elements is not None
    state._elements = state._elements + 1
    engine.step(changed_share=0.001)
    with pytest.raises(HistoryGoneError, match="BTC: a frame came damaged"):
        await anext(stream)
    engine.step(2)
    seqs: dict[str, list[int]] = {"BTC": [], "ETH": []}
    while not all(engine.latest().maps[symbol].seq in seqs[symbol] for symbol in seqs):
        frame = await anext(stream)
        assert frame.skipped == 0
        seqs[frame.symbol].append(frame.seq)
    assert seqs["ETH"] == [3, 4, 5]


async def test_a_steady_consumer_is_not_cut_off_however_wide_its_window(engine: FakeEngine) -> None:
    limits = Limits(stalled_after_s=0.8, heartbeat_s=0.1)
    async with serving(engine, limits) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        engine.run(0.005)
        stream = client.subscribe("BTC", max_unacked=16, **WHOLE)
        for _ in range(20):
            await anext(stream)
            await asyncio.sleep(0.1)  # twelve of these are longer than the server waits
        assert (stream.stats.cut_offs, stream.stats.reconnects) == (0, 0)


async def test_a_slow_consumer_of_the_newest_gets_the_newest(engine: FakeEngine, client: AsyncClient) -> None:
    checker, now = StreamChecker(), 0.0
    stream = client.subscribe("BTC", checker=checker, **WHOLE)
    stream._credit._clock = lambda: now
    await begun(engine, stream)
    before = 0
    for turn in range(6):
        now += 2.0
        engine.step(20)  # while the consumer is busy
        frame = await anext(stream)
        if turn:  # the first response was on its way, for the window begins with two
            assert frame.seq == engine.latest().maps["BTC"].seq
            assert frame.skipped == frame.seq - before - 1
        before = frame.seq
    assert (stream._credit.window, checker.problems) == (1, [])


async def test_a_fast_consumer_has_the_whole_window(engine: FakeEngine) -> None:
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        engine.run(0.005)
        stream = client.subscribe("BTC", **WHOLE)
        await anext(stream)
        (reader,) = server.hub._readers
        await eventually(lambda: reader._window == 2)
        while reader._window < WINDOW:
            await anext(stream)
        await stream.change(symbols="ETH")
        await eventually(lambda: reader._window == 2)
        while reader._window < WINDOW:
            await anext(stream)


async def test_each_cut_off_is_seen_as_what_it_is(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(stalled_after_s=0.2, heartbeat_s=0.05)
    async with serving(engine, limits) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        engine.run(0.005)
        stream = client.subscribe("BTC", **WHOLE)
        for count in (1, 2, 3):
            await anext(stream)
            await eventually(lambda: not server.hub._readers)
            while stream.stats.cut_offs < count:
                await anext(stream)
        assert stream.stats.reconnects == 0
        assert "connection lost" not in caplog.text
        assert caplog.text.count("slow consumer: nothing was acknowledged for 0.2 s") >= 3
