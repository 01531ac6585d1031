"""Live collection: reading a venue's trades, and the whole way from the socket to the updates of positions.

Reading is compared with ccxt: ``json.loads`` and its own ``parse_trade`` or ``parse_ws_trade`` per trade, on the same
messages. The whole way has no rival; it has to carry 50 000 trades a second on one core.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import sys
import time
from typing import Any

import numpy as np
import psutil

from forcedmove_server.collectors.collector import VenueCollector
from forcedmove_server.collectors.intake import Intake
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Addresses, Network, http_session
from forcedmove_server.collectors.records import Trade
from forcedmove_server.collectors.venue import Venue
from forcedmove_server.collectors.venues import venue_class, venue_names
from forcedmove_server.config import Config
from forcedmove_server.engine.pipeline import configured_pipeline
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import InstrumentRegistry
from tests.benchmarks.market_sender import emulators
from tests.benchmarks.rounds import Contestant, medians
from tests.emulator.ccxt_markets import markets
from tests.emulator.ccxt_trades import trade_reader
from tests.emulator.truth import Truth
from tests.emulator.venue import Content, EmulatedSession, EmulatedVenue
from tests.emulator.venues import emulator_class
from tests.emulator.wire import connected

MESSAGES = 2_000
CARRIED = 150_000
SYMBOLS = 100
COST_SECONDS = 20.0
_NOW_NS = 1_790_000_000_000_000_000


def run(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the rows of this benchmark; returns the figures that have to be reached."""
    slowest = min((_read(name, results) for name in venue_names()), default=0.0)
    _cost(results)
    carried = min(_carry(name, results) for name in ("binance", "bybit"))
    return [
        _goal("reading trades against ccxt, the worst of all venues", 10.0, slowest, "x"),
        _goal("trades a second from the socket to updates, one core", 50_000.0, carried, "/s"),
    ]


def _read(name: str, results: list[dict[str, Any]]) -> float:
    """One venue's trades; returns the ratio."""
    emulator = emulator_class(name)(emulator_class(name).native_ids(("BTC", "ETH", "SOL")))
    stream = next(one for one in emulator.collector.streams if Channel.TRADES in one.channels)
    session, parser, _ = connected(venue_class(name)(emulator.listings), stream, emulator)
    read = trade_reader(name, stream.url, markets(emulator))
    for answer in session.said:  # Bitfinex tells there which number stands for which channel
        read(answer)
    messages = _trade_messages(emulator, session)

    def ours() -> list[Trade]:
        return [record for message in messages for record in parser.parse(message) if isinstance(record, Trade)]

    def theirs() -> list[dict[str, Any]]:
        return [trade for message in messages for trade in read(message)]

    mine, other = ours(), theirs()
    assert len(mine) == len(other) == MESSAGES, f"{name}: {len(mine)} and {len(other)} of {MESSAGES}"
    for trade, row in zip(mine, other, strict=True):
        assert np.isclose(trade.price, row["price"] / trade.listing.units), f"{name}: {trade} and {row}"
        assert row["side"] == {1: "buy", -1: "sell"}[trade.aggressor], f"{name}: {trade} and {row}"
    seconds = medians(
        [
            Contestant("ours", lambda: len(ours())),
            Contestant("ccxt", lambda: len(theirs()), rounds=5),
        ],
        rounds=9,
    )
    results.append(
        {
            "name": "reading trades",
            "params": {"venue": name, "messages": MESSAGES},
            "median": MESSAGES / seconds["ours"],
            "unit": "/s",
            "baseline": "ccxt",
            "ratio": seconds["ccxt"] / seconds["ours"],
        }
    )
    return seconds["ccxt"] / seconds["ours"]


def _trade_messages(emulator: EmulatedVenue, session: EmulatedSession) -> list[Content]:
    """What a subscriber gets, a trade at a time."""
    truth = Truth(emulator.listings, 11)
    found: list[Content] = []
    listings = [one for one in emulator.listings.values() if not one.inverse]
    for number in range(MESSAGES):
        trade = truth.trade(listings[number % len(listings)], _NOW_NS + number * 1_000_000)
        for message in emulator.publish(trade):
            found += session.deliver(message)
    return found


def _carry(name: str, results: list[dict[str, Any]]) -> float:
    """Trades a second of processor time: websocket, parsing, columns, inference into updates of positions."""
    sender = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.trade_sender", name, str(CARRIED)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert sender.stdout is not None
        told = json.loads(sender.stdout.readline())
        urls = {host: f"http://127.0.0.1:{told['port']}/{host}" for host in told["hosts"]}
        taken, spent, elapsed = asyncio.run(_collect(venue_class(name), urls))
    finally:
        sender.kill()
        sender.wait()
    results.append(
        {
            "name": "socket to updates",
            "params": {"venue": name, "trades": taken, "wall": f"{taken / elapsed:,.0f}/s"},
            "median": taken / spent,
            "unit": "/s of one core",
            "baseline": "50 000/s",
            "ratio": taken / spent / 50_000,
        }
    )
    return taken / spent


async def _collect(venue: type[Venue], urls: dict[str, str]) -> tuple[int, float, float]:
    """Trades taken, processor seconds of this process, seconds."""
    emulator = emulator_class(venue.name)
    registry = InstrumentRegistry()
    listings = []
    for key in emulator.native_ids(("BTC", "ETH", "SOL")):
        listing = venue.describe(key)
        assert listing is not None
        listings.append(_registered(listing, registry))
    truth = Truth({listing.native_id: listing for listing in listings})
    pipeline = configured_pipeline(registry, Config())
    intake = Intake(Defects(), time.time_ns())
    async with http_session() as session:
        collector = VenueCollector(venue, intake, Network(session, Addresses(urls)), (Channel.TRADES,))
        collector.set_listings(listings)
        for listing in listings:  # a market has positions once its open interest is known
            now_ns = time.time_ns()
            collector.event(truth.mark(listing, now_ns), now_ns)
            collector.event(truth.open_interest(listing, now_ns), now_ns)
        running = asyncio.create_task(collector.run())
        taken, began, cpu = 0, 0.0, 0.0
        while taken < CARRIED:
            await asyncio.sleep(0.1)
            batch = intake.cut(time.time_ns() + 3600 * 10**9)
            pipeline.take(batch)
            if not began:
                taken = 0
                if len(batch.trades) > len(listings):
                    began, cpu = time.monotonic(), time.process_time()
                continue
            taken += len(batch.trades)
            if taken >= CARRIED * 0.8:
                break
        spent, elapsed = time.process_time() - cpu, time.monotonic() - began
        running.cancel()
        await asyncio.wait([running])
    return taken, spent, elapsed


def _cost(results: list[dict[str, Any]]) -> None:
    """Processor time and memory of collecting everything at once, the emulator in another process."""
    sender = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.market_sender", str(SYMBOLS)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert sender.stdout is not None
        urls = json.loads(sender.stdout.readline())
        cost = asyncio.run(_collect_all(urls))
    finally:
        sender.kill()
        sender.wait()
    markets, messages, share, memory = cost
    params = {"venues": len(venue_names()), "markets": markets, "messages": f"{messages:,.0f}/s"}
    for name, value, unit in (("processor", share * 100, "% of a core"), ("memory", memory, "MiB")):
        results.append(
            {
                "name": f"collecting everything: {name}",
                "params": params,
                "median": value,
                "unit": unit,
                "baseline": None,
                "ratio": None,
            }
        )


async def _collect_all(urls: dict[str, str]) -> tuple[int, float, float, float]:
    """Markets, messages a second, share of one core, MiB."""
    registry = InstrumentRegistry()
    intake = Intake(Defects(), time.time_ns())
    process = psutil.Process()
    async with http_session() as session:
        network = Network(session, Addresses(urls))
        collectors = []
        for name, emulator in emulators(SYMBOLS).items():
            collector = VenueCollector(venue_class(name), intake, network)
            collector.set_listings([_registered(listing, registry) for listing in emulator.listings.values()])
            collectors.append(collector)
        running = [asyncio.create_task(collector.run()) for collector in collectors]

        async def pass_on(seconds: float) -> None:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await asyncio.sleep(0.1)
                intake.cut(time.time_ns() - 250_000_000)
                for collector in collectors:
                    collector.check(time.time_ns())

        def messages() -> int:
            return sum(one.messages for collector in collectors for one in collector.health.channels.values())

        await pass_on(30.0)  # hundreds of subscriptions, asked for as slowly as venues demand
        began, cpu, before = time.monotonic(), time.process_time(), messages()
        await pass_on(COST_SECONDS)
        elapsed = time.monotonic() - began
        cost = len(registry), (messages() - before) / elapsed, (time.process_time() - cpu) / elapsed
        for task in running:
            task.cancel()
        await asyncio.wait(running)
    return (*cost, process.memory_info().rss / 2**20)


def _registered(listing: Listing, registry: InstrumentRegistry) -> Listing:
    return dataclasses.replace(listing, market=registry.add(listing.instrument))


def _goal(what: str, must: float, seen: float, unit: str) -> dict[str, Any]:
    return {
        "what": what,
        "must": must,
        "aim": None,
        "seen": seen,
        "unit": unit,
        "at_most": False,
        "reached": seen >= must,
    }
