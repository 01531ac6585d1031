"""All venues at once: what is listed, what of it is collected, and the batches that come of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from forcedmove_server.collectors.collector import VenueCollector
from forcedmove_server.collectors.discovery import Found, discover
from forcedmove_server.collectors.intake import Intake
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Addresses, Backoff, Network, http_session
from forcedmove_server.collectors.plausibility import Screen
from forcedmove_server.collectors.ranking import open_interest_by_symbol
from forcedmove_server.collectors.selection import Selection
from forcedmove_server.collectors.venues import venue_class
from forcedmove_server.errors import InstrumentError, NotReadyError
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import Channel, EventBatch
from forcedmove_server.market.feeds import FeedStatus
from forcedmove_server.market.instruments import InstrumentRegistry

_LOG = logging.getLogger(__name__)

_CUT_S = 0.1
_CHECK_S = 0.25


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What is collected, and how.

    ``venues`` by name; ``symbols`` as people write them, or ``top:N``; ``channels`` wanted; ``urls`` replaces hosts,
    as Addresses does. At most ``max_markets`` are collected, venues in their order. Events wait ``hold_ms`` for others
    that come out of order. ``discovery_interval_s`` is the time between two looks at what is listed; ``silence_s``
    replaces longer limits after which a silent connection is given up.
    """

    venues: tuple[str, ...]
    symbols: tuple[str, ...]
    channels: tuple[Channel, ...] = tuple(Channel)
    urls: Mapping[str, str] = field(default_factory=dict)
    max_markets: int = 512
    hold_ms: int = 250
    discovery_interval_s: float = 600.0
    silence_s: float | None = None


class Supervisor:
    """Runs the collectors of all venues on one event loop.

    ``put`` gets a batch every tenth of a second, with events or without; it must not block and says whether there was
    room; what there is no room for waits, up to the intake's bound.
    """

    def __init__(
        self,
        settings: LiveSettings,
        registry: InstrumentRegistry,
        defects: Defects,
        put: Callable[[EventBatch], bool],
    ) -> None:
        self.settings = settings
        self._registry, self._defects, self._put = registry, defects, put
        self._selection = Selection(settings.symbols)
        self._intake = Intake(defects, time.time_ns())
        # without any price there is none to compare, and none to spoil a map
        priced = {Channel.TRADES, Channel.MARK_PRICES} & set(settings.channels)
        self._screen = Screen(defects) if priced else None
        self._collectors: dict[str, VenueCollector] = {}
        self._found: dict[str, list[Listing]] = {}
        self._addresses = Addresses(settings.urls)

    async def run(self) -> None:
        """Collect until cancelled."""
        async with http_session() as session:
            network = Network(session, self._addresses)
            async with asyncio.TaskGroup() as tasks:
                for name in self.settings.venues:
                    collector = VenueCollector(
                        venue_class(name),
                        self._intake,
                        network,
                        self.settings.channels,
                        self.settings.silence_s,
                        self._screen,
                    )
                    self._collectors[name] = collector
                    tasks.create_task(collector.run(), name=name)
                tasks.create_task(self._discover(network), name="discovery")
                tasks.create_task(self._check(), name="checks")
                tasks.create_task(self._cut(), name="batches")

    def feeds(self) -> list[FeedStatus]:
        """How every channel of every venue is doing; from any thread."""
        now_ns = time.time_ns()
        return [status for one in list(self._collectors.values()) for status in one.health.status(now_ns)]

    async def _discover(self, network: Network) -> None:
        """Look at what is listed, again and again; who does not answer keeps what it had, and is asked sooner."""
        backoffs: dict[str, Backoff] = defaultdict(lambda: Backoff(least_s=2.0, most_s=120.0))
        due = dict.fromkeys(self.settings.venues, time.monotonic())
        while True:
            now = time.monotonic()
            wanted = tuple(venue for venue in self.settings.venues if due[venue] <= now)
            if not wanted:
                await asyncio.sleep(min(due.values()) - now)
                continue
            answered: set[str] = set()
            try:
                async for found in discover(wanted, self.settings.urls):
                    if found.failure:
                        self._defects.note(f"{found.venue}.discovery.failed", 1, found.failure)
                        self._collectors[found.venue].health.trouble = f"discovery: {found.failure}"
                        continue
                    answered.add(found.venue)
                    self._note(found)
                    if not self._selection.needs_ranking:
                        self._choose()
            except NotReadyError as error:
                self._defects.note("discovery.failed", 1, str(error))
                for venue in set(wanted) - answered:
                    self._collectors[venue].health.trouble = str(error)
                _LOG.warning("%s", error)
            if self._selection.needs_ranking and answered:
                figures = await open_interest_by_symbol(self._found, network, self._defects)
                self._selection.rank(figures)
                self._choose()
                if not figures:
                    answered.clear()  # there is nothing to choose by: ask again soon
            if len(self._found) == len(self.settings.venues):
                for name in self._selection.without(one.instrument for own in self._found.values() for one in own):
                    self._defects.note("discovery.unknown_symbol", 1, f"{name}: no venue lists it")
            for venue in wanted:
                if venue in answered:
                    backoffs.pop(venue, None)
                    due[venue] = time.monotonic() + self.settings.discovery_interval_s
                else:
                    due[venue] = time.monotonic() + backoffs[venue].wait_s(0.0)

    def _note(self, found: Found) -> None:
        self._found[found.venue] = found.listings()
        for symbol, reason in found.left_out.items():
            self._defects.note(f"{found.venue}.discovery.left_out", 1, f"{symbol}: {reason}")

    def _choose(self) -> None:
        """Collect the chosen markets of every venue that is known.

        Where there is not room for all, the first symbols have theirs on every venue, and the last ones none.
        """
        chosen = [
            (self._selection.place(one.instrument), number, one)
            for number, venue in enumerate(self.settings.venues)
            for one in self._found.get(venue, ())
            if self._selection.has(one.instrument)
        ]
        chosen.sort(key=lambda candidate: candidate[:2])
        by_venue: dict[str, list[Listing]] = {venue: [] for venue in self.settings.venues}
        for listing in self._registered(one for _, _, one in chosen):
            by_venue[listing.instrument.venue].append(listing)
        for venue, listings in by_venue.items():
            self._collectors[venue].set_listings(listings)

    def _registered(self, listings: Iterable[Listing]) -> list[Listing]:
        registered = []
        for listing in listings:
            instrument = listing.instrument
            known = self._registry.find(instrument.key)
            if known is None and len(self._registry) >= self.settings.max_markets:
                self._defects.note("discovery.no_room", 1, instrument.key)
                continue
            if known is not None:
                # Steps and leverages change from day to day; what an instrument is does not.
                before = self._registry[known]
                same = (before.base, before.quote, before.contract_type, before.contract_size)
                if same != (instrument.base, instrument.quote, instrument.contract_type, instrument.contract_size):
                    self._defects.note("discovery.changed", 1, f"{instrument.key}: is another contract than before")
                    continue
                registered.append(dataclasses.replace(listing, instrument=before, market=known))
                continue
            try:
                market = self._registry.add(instrument)
            except InstrumentError as error:
                self._defects.note("discovery.left_out", 1, str(error))
                continue
            registered.append(dataclasses.replace(listing, market=market))
        return registered

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_S)
            now_ns = time.time_ns()
            for collector in self._collectors.values():
                collector.check(now_ns)
            self._intake.tell_books(now_ns)

    async def _cut(self) -> None:
        """Hand on what is due; a batch that finds no room is handed on first next time."""
        waiting: EventBatch | None = None
        while True:
            await asyncio.sleep(_CUT_S)
            if waiting is not None:
                if not self._put(waiting):
                    continue
                waiting = None
            batch = self._intake.cut(time.time_ns() - self.settings.hold_ms * 1_000_000)
            if not self._put(batch):
                waiting = batch


async def run_until(supervisor: Supervisor, stop: asyncio.Event) -> None:
    """Run a supervisor until ``stop`` is set, or until it fails."""
    running = asyncio.create_task(supervisor.run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
