"""The live source as the server reads it: batches from a thread, failures in the reader, a quick end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from forcedmove_server.collectors import supervisor as supervisor_module
from forcedmove_server.collectors.supervisor import LiveSettings
from forcedmove_server.config import LiveSourceConfig
from forcedmove_server.errors import ConfigError, ForcedMoveError, UnknownNameError
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.live import LiveSource
from forcedmove_server.sources.make import make_source
from tests.live.feeding import traded_market
from tests.live.waiting import eventually

SETTINGS = LiveSettings(("bybit",), ("BTC", "ETH"))


def collectors() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("collectors-")]


async def test_trades_come_in_order_once_each_and_it_ends_within_two_seconds() -> None:
    async with traded_market() as market:
        source, registry = (
            LiveSource("live", LiveSettings(("bybit",), ("BTC", "ETH"), urls=market.urls)),
            InstrumentRegistry(),
        )
        batches = source.batches(registry)
        found: list[float] = []
        untils: list[int] = []
        end = time.monotonic() + 20.0
        while len(found) < 40:
            batch = await asyncio.to_thread(next, batches)
            untils.append(batch.until_ns)
            found += [float(quantity) for quantity in batch.trades["quantity"]]
            assert time.monotonic() < end, source.defects.so_far()
        assert len(collectors()) == 1
        feeds = {status.channel: status for status in source.feeds()}
        began = time.monotonic()
        await asyncio.to_thread(batches.close)
        assert time.monotonic() - began < 2.0
        assert collectors() == []
        assert not psutil.Process().children(), "discovery has left a process"
        await eventually(lambda: market.server.connections == 0, "the venue sees us go")
    assert untils == sorted(untils)
    assert len(found) == len(set(found))
    assert set(found) <= {trade.quantity for trade in market.trades}
    assert {trade.quantity for trade in market.seen[: len(found) // 2]} <= set(found)
    assert set(registry.symbols()) == {"BTC", "ETH"}
    for channel in Channel:
        assert (feeds[channel].live, feeds[channel].wanted) == (4, 4)
    assert feeds[Channel.TRADES].messages >= 40
    assert not source.defects.counts


async def test_it_ends_while_discovery_is_under_way() -> None:
    async with traded_market() as market:
        source = LiveSource("live", LiveSettings(("bybit",), ("BTC",), urls=market.urls))
        batches = source.batches(InstrumentRegistry())
        await asyncio.to_thread(next, batches)
        began = time.monotonic()
        await asyncio.to_thread(batches.close)
        assert time.monotonic() - began < 2.0
        assert collectors() == []
        assert not psutil.Process().children()


def test_what_the_collectors_fail_with_is_raised_in_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(0.15)
        raise RuntimeError("a bug")
        yield

    monkeypatch.setattr(supervisor_module, "discover", broken)
    source = LiveSource("live", SETTINGS)
    with pytest.raises(ExceptionGroup) as raised:
        list(source.batches(InstrumentRegistry()))
    assert raised.value.subgroup(RuntimeError)
    assert collectors() == []


def test_nothing_is_started_before_it_is_read() -> None:
    source = LiveSource("live", SETTINGS)
    source.batches(InstrumentRegistry()).close()  # type: ignore[attr-defined]
    assert (source.feeds(), source.progress(), collectors()) == ([], None, [])


def test_a_reader_that_does_not_read_is_waited_for_without_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches wait in a queue of fixed size; events stay with the collectors, which are bounded too."""

    async def nothing(*_: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(60)
        yield

    monkeypatch.setattr(supervisor_module, "discover", nothing)
    monkeypatch.setattr(supervisor_module, "_CUT_S", 0.001)
    source = LiveSource("live", SETTINGS)
    batches = source.batches(InstrumentRegistry())
    next(batches)
    time.sleep(0.3)
    assert source._batches.full()
    assert source._batches.qsize() == 32
    for _ in range(40):
        next(batches)
    batches.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"venues": ("nowhere",)}, UnknownNameError, "unknown venue 'nowhere'"),
        ({"channels": ("candles",)}, UnknownNameError, "unknown channel 'candles'"),
        ({"venues": ("bybit", "okx", "bybit")}, ConfigError, "venues = 'bybit': is named twice"),
        ({"symbols": ("top:0",)}, ConfigError, "must be like top:100"),
        ({"symbols": ("top5",)}, ConfigError, "must be like top:100"),
        ({"urls": {"api.bybit.com": "localhost"}}, ConfigError, "must be a URL"),
    ],
)
def test_what_cannot_be_collected_is_refused_before_anything_starts(
    changes: dict[str, Any], error: type[ForcedMoveError], said: str
) -> None:
    with pytest.raises(error, match=said):
        make_source(LiveSourceConfig(**changes))
