"""All venues at once: listings come and go, choices change, and what cannot be collected is counted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from forcedmove_server.collectors import plausibility
from forcedmove_server.collectors import supervisor as supervisor_module
from forcedmove_server.collectors.discovery import Found, FoundInstrument
from forcedmove_server.collectors.network import Backoff
from forcedmove_server.collectors.supervisor import LiveSettings, Supervisor
from forcedmove_server.errors import NotReadyError
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from tests.emulator.faults import Fault
from tests.emulator.server import EmulatorServer
from tests.live.fake_venue import STREAM, FakeEmulator, FakeVenue, trade
from tests.live.waiting import eventually, running

COINS = ("BTC", "ETH", "SOL", "DOGE")


class Fake2(FakeVenue):
    name = "fake2"
    streams = (dataclasses.replace(STREAM, url="wss://fake2.example/ws"),)


VENUES: dict[str, type[FakeVenue]] = {"fake": FakeVenue, "fake2": Fake2}


def listed(coin: str, contract_size: float = 1.0) -> FoundInstrument:
    return FoundInstrument(f"{coin}USDT", coin, "USDT", False, contract_size, 1.0, 0.01, 100.0, "", 1.0)


class World:
    """What discovery finds, what open interest there is, and what the supervisor made of it."""

    def __init__(self) -> None:
        self.lists: dict[str, list[FoundInstrument]] = {name: [listed(coin) for coin in COINS] for name in VENUES}
        self.failing: set[str] = set()
        self.broken = False
        self.figures: dict[str, float] = {}
        self.looks: list[tuple[float, tuple[str, ...]]] = []
        self.batches: list[EventBatch] = []
        self.full = False
        self.defects, self.registry = Defects(), InstrumentRegistry()
        self.supervisor: Supervisor
        self.server: EmulatorServer

    async def discover(self, venues: tuple[str, ...], urls: Mapping[str, str]) -> AsyncIterator[Found]:
        self.looks.append((time.monotonic(), venues))
        await asyncio.sleep(0)
        if self.broken:
            raise NotReadyError("no process")
        for name in venues:
            if name in self.failing:
                yield Found(name, failure="no answer")
            else:
                yield Found(name, tuple(self.lists[name]), {"ODD": "cannot be"})

    async def rank(self, *_: object) -> dict[str, float]:
        return self.figures

    def put(self, batch: EventBatch) -> bool:
        if not self.full:
            self.batches.append(batch)
        return not self.full

    def topics(self, venue: str = "fake") -> set[str]:
        """Markets whose trades are subscribed."""
        sessions = [one.session.topics for one in self.server._connections[venue]]
        return {name.removeprefix("trades.") for topics in sessions for name in topics if name.startswith("trades.")}

    def looks_at(self, venue: str) -> list[float]:
        return [when for when, venues in self.looks if venue in venues]

    def trades(self) -> list[float]:
        return [float(quantity) for batch in self.batches for quantity in batch.trades["quantity"]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(supervisor_module, "discover", made.discover)
    monkeypatch.setattr(supervisor_module, "venue_class", VENUES.__getitem__)
    monkeypatch.setattr(supervisor_module, "open_interest_by_symbol", made.rank)
    monkeypatch.setattr(plausibility, "_ALONE_NS", 0)  # nobody waits for another market to agree with
    monkeypatch.setattr(supervisor_module, "Backoff", lambda least_s, most_s: Backoff(0.05, 0.8))
    return made


@contextlib.asynccontextmanager
async def supervised(world: World, symbols: Sequence[str] = COINS, **settings: Any) -> AsyncIterator[World]:
    emulators = [FakeEmulator([f"{coin}USDT" for coin in COINS], venue) for venue in VENUES.values()]
    emulators[1].hosts = frozenset({"fake2.example"})  # type: ignore[misc]
    given = {"venues": ("fake",), "hold_ms": 0, "discovery_interval_s": 0.1} | settings
    async with EmulatorServer(emulators) as server:
        world.server = server
        live = LiveSettings(symbols=tuple(symbols), urls=server.urls, **given)
        world.supervisor = Supervisor(live, world.registry, world.defects, world.put)
        async with running(world.supervisor.run()):
            yield world


async def test_markets_come_and_go_without_a_restart(world: World) -> None:
    world.lists["fake"] = [listed("BTC"), listed("ETH")]
    async with supervised(world):
        await eventually(lambda: world.topics() == {"BTCUSDT", "ETHUSDT"}, "what is listed is collected")
        world.lists["fake"] = [listed("ETH"), listed("SOL")]
        await eventually(lambda: world.topics() == {"ETHUSDT", "SOLUSDT"}, "what is listed now is collected")
        world.lists["fake"] = [listed("BTC"), listed("ETH"), listed("SOL")]
        await eventually(lambda: world.topics() == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}, "one is listed again")
    assert [one.native_id for one in world.registry] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"], "indices never change"


async def test_events_of_a_market_that_is_listed_later_carry_its_index(world: World) -> None:
    world.lists["fake"] = [listed("BTC")]
    async with supervised(world):
        await eventually(lambda: world.topics() == {"BTCUSDT"}, "one market")
        world.lists["fake"] = [listed("BTC"), listed("ETH")]
        await eventually(lambda: world.topics() == {"BTCUSDT", "ETHUSDT"}, "two markets")
        emulator = world.server.venues["fake"]
        world.server.publish("fake", trade(emulator.listings["ETHUSDT"], 1))
        await eventually(world.trades, "a trade")
    assert [int(market) for batch in world.batches for market in batch.trades["market"]] == [1]


async def test_a_venue_that_does_not_answer_keeps_its_markets_and_is_asked_sooner(world: World) -> None:
    async with supervised(world, venues=("fake", "fake2"), discovery_interval_s=0.6):
        await eventually(lambda: len(world.topics("fake")) == len(world.topics("fake2")) == 4, "both are collected")
        world.failing = {"fake2"}
        await eventually(lambda: len(world.looks_at("fake2")) >= 4, "it is asked again and again")
        assert len(world.looks_at("fake")) <= 3
        assert len(world.topics("fake2")) == 4
        waits = [later - earlier for earlier, later in itertools.pairwise(world.looks_at("fake2"))]
        assert max(waits[2:]) < 0.6
    assert world.defects.samples["fake2.discovery.failed"] == "no answer"


async def test_one_answer_begins_the_waits_of_a_failing_venue_anew(world: World) -> None:
    """Else a venue that once failed for an hour would be asked late for ever."""
    world.failing = {"fake"}
    async with supervised(world, discovery_interval_s=0.05):
        await eventually(lambda: len(world.looks) >= 5, "four waits, the last half a second or so")
        world.failing.clear()
        await eventually(lambda: world.topics(), "it answers")
        world.failing = {"fake"}
        looks = len(world.looks) + 1
        await eventually(lambda: len(world.looks) >= looks + 2, "it fails again")
    assert world.looks[looks][0] - world.looks[looks - 1][0] < 0.3


async def test_a_discovery_that_cannot_be_made_is_counted_and_made_again(world: World) -> None:
    world.broken = True
    async with supervised(world):
        await eventually(lambda: world.defects.counts["discovery.failed"] >= 2, "it is counted")
        world.broken = False
        await eventually(lambda: len(world.topics()) == 4, "it works at last")


async def test_what_there_is_no_room_for_is_counted(world: World) -> None:
    async with supervised(world, max_markets=2):
        await eventually(lambda: len(world.topics()) == 2, "two markets")
        await eventually(lambda: len(world.looks) >= 3, "another look")
        assert world.topics() == {"BTCUSDT", "ETHUSDT"}
    assert world.defects.samples["discovery.no_room"] == "fake:SOLUSDT"


async def test_a_contract_that_is_another_than_before_is_not_mixed_with_it(world: World) -> None:
    """Its quantities would be read in the old unit."""
    async with supervised(world, ("BTC", "ETH")):
        await eventually(lambda: len(world.topics()) == 2, "two markets")
        world.lists["fake"] = [listed("BTC", 10.0), listed("ETH")]
        await eventually(lambda: world.topics() == {"ETHUSDT"}, "the changed one is given up")
    assert world.defects.samples["discovery.changed"] == "fake:BTCUSDT: is another contract than before"


async def test_what_changes_from_day_to_day_does_not_end_a_market(world: World) -> None:
    world.lists["fake"] = [listed("BTC")]
    async with supervised(world):
        await eventually(lambda: len(world.topics()) == 1, "one market")
        world.lists["fake"] = [FoundInstrument("BTCUSDT", "BTC", "USDT", False, 1.0, 5.0, 0.5, 20.0, "", 1.0)]
        looks = len(world.looks)
        await eventually(lambda: len(world.looks) >= looks + 3, "more looks")
        assert world.topics() == {"BTCUSDT"}
        assert "discovery.changed" not in world.defects.counts


async def test_markets_that_could_not_be_described_are_counted(world: World) -> None:
    async with supervised(world):
        await eventually(lambda: world.defects.counts["fake.discovery.left_out"], "it is counted")
    assert world.defects.samples["fake.discovery.left_out"] == "ODD: cannot be"


async def test_the_largest_are_collected_and_change_with_open_interest(world: World) -> None:
    world.figures = {"BTC": 9.0, "ETH": 5.0, "SOL": 1.0}
    async with supervised(world, ("top:2",)):
        await eventually(lambda: world.topics() == {"BTCUSDT", "ETHUSDT"}, "the two largest")
        world.figures = {"BTC": 9.0, "ETH": 5.0, "SOL": 7.0}
        await eventually(lambda: world.topics() == {"BTCUSDT", "SOLUSDT"}, "the two largest now")


async def test_without_any_figure_it_is_asked_again_soon(world: World) -> None:
    """A network that is late by a second must not cost ten minutes without a market."""
    async with supervised(world, ("top:2",), discovery_interval_s=600.0):
        await eventually(lambda: len(world.looks) >= 2, "it is asked again")
        world.figures = {"BTC": 9.0, "ETH": 5.0}
        await eventually(lambda: world.topics() == {"BTCUSDT", "ETHUSDT"}, "the two largest")


async def test_what_the_engine_has_no_room_for_waits_and_keeps_its_order(world: World) -> None:
    async with supervised(world, ("BTC",)):
        await eventually(lambda: world.topics() == {"BTCUSDT"}, "one market")
        listing = world.server.venues["fake"].listings["BTCUSDT"]
        world.full = True
        for number in range(1, 4):
            world.server.publish("fake", trade(listing, number, quantity=float(number)))
            await asyncio.sleep(0.12)
        assert world.trades() == []
        world.full = False
        await eventually(lambda: len(world.trades()) == 3, "all three")
    assert world.trades() == [1.0, 2.0, 3.0]
    untils = [batch.until_ns for batch in world.batches]
    assert untils == sorted(untils)


async def test_a_bug_in_one_venue_ends_all_of_it(world: World) -> None:
    async def run() -> None:
        async with supervised(world):
            await eventually(lambda: len(world.topics()) == 4, "it collects")
            for one in world.server._connections["fake"]:
                one.send(['{"op":"bug"}'])
            await asyncio.sleep(0.3)

    with pytest.raises(ExceptionGroup) as raised:
        await run()
    assert raised.value.subgroup(KeyError)


async def test_it_ends_within_two_seconds_and_leaves_nothing_connected(world: World) -> None:
    async with supervised(world, venues=("fake", "fake2")):
        await eventually(lambda: len(world.topics("fake2")) == 4, "it collects")
        for venue in VENUES:
            world.server.befall(venue, Fault.HALF_OPEN)
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
