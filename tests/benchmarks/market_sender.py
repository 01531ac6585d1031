"""An emulator process with a realistic mix: ``python -m tests.benchmarks.market_sender SYMBOLS``.

Every market marks once a second and shows its book once a second, open interest every ten seconds; trades follow a Zipf
law over symbols, as they do on real venues. Prints the addresses of the emulated hosts, then sends until it is ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import random
import sys
import time
from collections.abc import Iterator

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Event
from tests.emulator.server import EmulatorServer
from tests.emulator.truth import Truth
from tests.emulator.venue import EmulatedVenue
from tests.emulator.venues import emulator_class, emulator_names

#: trades per second of a venue's most traded symbol, and the exponent of the others
TRADES_HZ, ZIPF = 20.0, 1.0
_STEP_S = 0.05


def symbols(count: int) -> list[str]:
    """BTC, ETH, SOL and made-up ones."""
    return ["BTC", "ETH", "SOL", *(f"SYM{number}" for number in range(3, count))][:count]


def emulators(count: int) -> dict[str, EmulatedVenue]:
    """Every venue with ``count`` symbols, or with the real ones where it cannot name made-up ones.

    Contracts whose size nobody knows are one coin.
    """
    made = {}
    for name in emulator_names():
        venue = emulator_class(name)
        try:
            emulator = venue(venue.native_ids(symbols(count)))
        except KeyError:  # markets are numbers there
            emulator = venue(venue.native_ids(symbols(3)))
        for key, listing in emulator.listings.items():
            if math.isnan(listing.contract):
                emulator.listings[key] = dataclasses.replace(listing, contract=1.0)
        made[name] = emulator
    return made


def events(truth: Truth, listings: list[Listing], source: random.Random, now_ns: int) -> Iterator[Event]:
    """What happens in one step."""
    for rank, listing in enumerate(listings, 1):
        if source.random() < _STEP_S:
            yield truth.mark(listing, now_ns)
        if source.random() < _STEP_S:
            yield truth.book(listing, now_ns)
        if source.random() < _STEP_S / 10:
            yield truth.open_interest(listing, now_ns)
        rate = TRADES_HZ / rank**ZIPF * _STEP_S
        for _ in range(int(rate) + (source.random() < rate % 1)):
            yield truth.trade(listing, now_ns)


async def main() -> None:
    venues = emulators(int(sys.argv[1]))
    source = random.Random(3)
    truths = {name: Truth(venue.listings, 3) for name, venue in venues.items()}
    async with EmulatorServer(venues.values()) as server:
        sys.stdout.write(json.dumps(server.urls) + "\n")
        sys.stdout.flush()
        for name, truth in truths.items():
            for event in truth.initial(time.time_ns()):
                server.publish(name, event)
        due = time.monotonic()
        while True:
            for name, venue in venues.items():
                for event in events(truths[name], list(venue.listings.values()), source, time.time_ns()):
                    server.publish(name, event)
                await asyncio.sleep(0)
            due += _STEP_S
            await asyncio.sleep(max(due - time.monotonic(), 0.0))


if __name__ == "__main__":
    asyncio.run(main())
