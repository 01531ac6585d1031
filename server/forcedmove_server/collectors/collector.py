"""One venue, collected: which connections carry which topics, what is polled, and how its channels are doing."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Collection, Iterable, Sequence

from forcedmove_server.collectors.connection import Connection
from forcedmove_server.collectors.health import VenueHealth
from forcedmove_server.collectors.intake import Intake, channel_of
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.network import Network, RateLimit
from forcedmove_server.collectors.plausibility import Screen
from forcedmove_server.collectors.records import (
    Event,
    Liquidation,
    Record,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.rest import Poller
from forcedmove_server.collectors.venue import Poll, Stream, Topic, Venue
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType

_LOG = logging.getLogger(__name__)

#: what every market has at any time
_STATES = frozenset({Channel.MARK_PRICES, Channel.OPEN_INTEREST, Channel.DEPTH})
#: what is left out of a market is announced this often
_TELL_NS = 500_000_000


class VenueCollector:
    """Collects the chosen markets of one venue. Used on one event loop; ``run`` collects until it is cancelled."""

    def __init__(
        self,
        venue: type[Venue],
        intake: Intake,
        network: Network,
        channels: Collection[Channel] = tuple(Channel),
        silence_s: float | None = None,
        screen: Screen | None = None,
    ) -> None:
        """``channels`` are those wanted; ``silence_s`` replaces longer limits of the venue's streams.

        ``screen`` is shared by all venues; without one every price is believed.
        """
        self.venue = venue
        self.health = VenueHealth(venue.name)
        self.listings: dict[str, Listing] = {}
        self._parser = venue(self.listings)
        self._intake, self._network = intake, network
        self._channels = frozenset(channels)
        self._silence_s, self._screen = silence_s, screen
        self._opening = RateLimit(venue.connections_per_s)
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._poller = Poller(venue, self.listings, self, network)
        self._poll_lost_ns: dict[Poll, int] = {}
        self._poll_good_ns: dict[Poll, int] = {}
        #: channels of the events that its answers held
        self._poll_brings: dict[Poll, set[Channel]] = {}
        #: what the last answer held: times by market and id
        self._poll_pages: dict[Poll, dict[tuple[str, int | str], int]] = {}
        #: channels that the engine was told are fed: markets by native id
        self._told: dict[Channel, dict[str, int]] = {channel: {} for channel in Channel}
        self._planned = asyncio.Event()
        self._told_ns = 0

    async def run(self) -> None:
        """Collect; connections are made and given up as listings come and go."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._poller.run(), name=f"{self.venue.name} polls")
            while True:
                await self._planned.wait()
                self._planned.clear()
                self._plan(tasks)

    def set_listings(self, listings: Iterable[Listing]) -> None:
        """Collect these markets from now on, each with its index in the registry."""
        wanted = {listing.native_id: listing for listing in listings}
        for native_id in [key for key in self.listings if key not in wanted]:
            del self.listings[native_id]
        self.listings.update(wanted)
        self._planned.set()

    def check(self, now_ns: int) -> None:
        """Announce missing numbers and what is fed, and measure rates; called a few times a second."""
        self._intake.missing(self.listings.values(), now_ns, self.health)
        self._tell_states(now_ns)
        self.health.measure()
        if self._screen is not None and now_ns - self._told_ns > _TELL_NS:
            self._told_ns = now_ns
            for listing, (begin_ns, end_ns) in self._screen.take_dropped(self.venue.name).items():
                for channel in self._channels:
                    self._intake.gap(listing, channel, begin_ns, end_ns, self.health)

    def _tell_states(self, now_ns: int) -> None:
        """Tell which channels of which markets began to be fed, or ceased to be, since it was told last."""
        for channel, told in self._told.items():
            live = self.health.live[channel]
            if live == told.keys():
                continue
            for native_id in live - told.keys():
                if (listing := self.listings.get(native_id)) is not None:
                    told[native_id] = listing.market
                    self._intake.tell_state(listing.market, channel, True, now_ns)
            for native_id in told.keys() - live:
                self._intake.tell_state(told.pop(native_id), channel, False, now_ns)

    # what connections and polls tell

    def event(self, event: Event, received_ns: int) -> bool:
        """Hand an event on, or hold it back; see :class:`~forcedmove_server.collectors.feed.Feed`."""
        channel = channel_of(event)
        if channel not in self._channels:  # a topic may feed more than what is wanted
            return True
        self.health.channels[channel].received(received_ns, event.time_ns)
        self.health.live[channel].add(event.listing.native_id)  # one that joined a topic of the whole market, too
        screen = self._screen
        if screen is not None:
            if event.listing.market not in screen.cleared:
                in_step = True
                for held, at_ns in screen.look(event, received_ns):
                    in_step = self._intake.take(held, at_ns, self.health) or held is not event
                return in_step
            if not screen.keeps(event, received_ns):
                return True
        return self._intake.take(event, received_ns, self.health)

    def live(self, topic: Topic, lost_ns: int, now_ns: int) -> None:
        """Note that a topic is fed, and what was missed until then.

        A venue that confirms a subscription need not serve it: marks are fed when one comes.
        """
        for channel in topic.channels:
            for listing in self._listings_of(topic.native_ids):
                if channel is not Channel.MARK_PRICES:
                    self.health.live[channel].add(listing.native_id)
                if lost_ns:
                    self._intake.gap(listing, channel, lost_ns, now_ns, self.health)

    def lost(self, topics: Iterable[Topic], since_ns: int, now_ns: int, reason: str) -> None:
        """Announce a gap in every channel of every market that the topics fed."""
        channels: set[Channel] = set()
        for topic in topics:
            channels.update(topic.channels)
            for channel in topic.channels:
                for listing in self._listings_of(topic.native_ids):
                    self.health.live[channel].discard(listing.native_id)
                    self._intake.gap(listing, channel, since_ns, now_ns, self.health)
                    if channel is Channel.DEPTH:
                        self._intake.forget_book(listing)
        for channel in channels:
            self.health.channels[channel].reconnects += 1
        self._trouble(reason)

    def malformed(self, error: MalformedMessage) -> None:
        """Count a message that could not be read, with a sample."""
        self.health.malformed += 1
        self._intake.defects.note(f"{self.venue.name}.malformed", 1, str(error))

    def unknown(self, kind: str) -> None:
        """Count a message of an unknown kind."""
        self.health.note_unknown(kind)
        self._intake.defects.note(f"{self.venue.name}.unknown", 1, kind)

    def unlisted(self, native_id: str) -> None:
        """Market-wide topics bring markets that nobody asked for: nothing is missing."""

    def refused(self, topics: Iterable[Topic], reason: str) -> None:
        """Count refused subscriptions."""
        for topic in topics:
            for channel in topic.channels:
                self.health.channels[channel].refused += 1
            self._intake.defects.note(f"{self.venue.name}.refused", 1, f"{topic.name}: {reason}")
        self._trouble(f"refused: {reason}")

    def answered(self, poll: Poll, records: Iterable[Record], received_ns: int) -> None:
        """Take the events of a poll's answer; what a failed poll missed is announced."""
        lost_ns = self._poll_lost_ns.pop(poll, 0)
        self._poll_good_ns[poll] = received_ns
        records = list(records)
        told = {record.listing.native_id for record in records if isinstance(record, Event)}
        self._poll_brings.setdefault(poll, set()).update(channel_of(r) for r in records if isinstance(r, Event))
        for listing in self._listings_of(poll.native_ids, poll.contract_type):
            # a list of liquidations may hold none of a market; what always has a value and is absent is not fed
            if poll.channel not in _STATES or listing.native_id in told:
                self.health.live[poll.channel].add(listing.native_id)
            else:
                self.health.live[poll.channel].discard(listing.native_id)
            if lost_ns:
                self._intake.gap(listing, poll.channel, lost_ns, received_ns, self.health)
        if poll.page:
            self._overlap(poll, records)
        for record in records:
            if isinstance(record, Event):
                self.event(record, received_ns)
            elif isinstance(record, Unknown):
                self.unknown(record.kind)
            elif isinstance(record, Unlisted):
                self.unlisted(record.native_id)

    def _overlap(self, poll: Poll, records: Sequence[Record]) -> None:
        """Announce a gap where a full page has nothing in common with the one before: something came in between."""
        events = [record for record in records if isinstance(record, Liquidation)]
        full = len(events) + sum(isinstance(record, Unlisted) for record in records) >= poll.page
        seen = self._poll_pages.get(poll)
        self._poll_pages[poll] = {_identity(event): event.time_ns for event in events}
        if not (seen and events and full) or any(_identity(event) in seen for event in events):
            return
        begin_ns, end_ns = max(seen.values()), min(event.time_ns for event in events)
        for listing in self._listings_of(poll.native_ids, poll.contract_type):
            self._intake.gap(listing, poll.channel, begin_ns, end_ns, self.health)

    def failed(self, poll: Poll, reason: str, now_ns: int) -> None:
        """Note a failed poll; the first failure after a success begins a gap."""
        if poll not in self._poll_lost_ns and poll in self._poll_good_ns:
            self._poll_lost_ns[poll] = self._poll_good_ns[poll]
            for listing in self._listings_of(poll.native_ids, poll.contract_type):
                # what a stream brings too is live again with its next event
                for channel in self._poll_brings.get(poll, set()) | {poll.channel}:
                    self.health.live[channel].discard(listing.native_id)
                self._intake.gap(listing, poll.channel, self._poll_good_ns[poll], now_ns, self.health)
        self._intake.defects.note(f"{self.venue.name}.polls.failed", 1, reason)
        self._trouble(reason)

    # plans

    def _plan(self, tasks: asyncio.TaskGroup) -> None:
        """Bring connections and polls in line with the listings."""
        polls: list[Poll] = []
        wanted: dict[Channel, set[str]] = {channel: set() for channel in Channel}

        def want(channels: Iterable[Channel], native_ids: Iterable[str]) -> None:
            for channel in channels:
                wanted[channel].update(native_ids)

        for stream in self.venue.streams:
            topics = {topic.name: topic for topic in self._topics(stream)}
            for topic in topics.values():
                want(topic.channels, topic.native_ids)
            self._carry(stream, topics, tasks)
        for kind in ContractType:
            own = self._listings_of((), kind)
            if own:
                polls += [poll for poll in self._parser.polls(kind, own) if poll.channel in self._channels]
        for poll in polls:
            want((poll.channel,), [one.native_id for one in self._listings_of(poll.native_ids, poll.contract_type)])
        self._poller.set_polls(polls)
        for remembered in (self._poll_good_ns, self._poll_lost_ns, self._poll_pages, self._poll_brings):
            for poll in remembered.keys() - set(polls):
                del remembered[poll]
        self.health.wanted = wanted
        for channel in Channel:
            self.health.live[channel] &= wanted[channel]

    def _topics(self, stream: Stream) -> Iterable[Topic]:
        """Topics of a stream that are wanted; those of the whole market name all of it."""
        if not stream.channels & self._channels:
            return
        own = self._listings_of((), stream.contract_type)
        everything = tuple(listing.native_id for listing in own)
        for topic in self._parser.topics(stream, own) if own else ():
            if self._channels.intersection(topic.channels):
                yield topic if topic.native_ids else dataclasses.replace(topic, native_ids=everything)

    def _carry(self, stream: Stream, topics: dict[str, Topic], tasks: asyncio.TaskGroup) -> None:
        """Spread topics over connections: those that are carried stay where they are."""
        own = [connection for connection in self._connections if connection.stream is stream]
        carried = {name for connection in own for name in connection.topics}
        for connection in own:
            connection.remove([name for name in connection.topics if name not in topics])
            connection.add([topics[name] for name in connection.topics])  # one of the whole market may have grown
        new = [topic for name, topic in topics.items() if name not in carried]
        for connection in own:
            if new and connection.room > 0:
                room = connection.room
                connection.add(new[:room])
                new = new[room:]
            if not connection.topics:
                self._connections.pop(connection).cancel()
        while new:
            connection = Connection(
                self.venue, stream, self.listings, self, self._network, self._opening, self._silence_s
            )
            connection.add(new[: stream.topics_per_connection])
            new = new[stream.topics_per_connection :]
            name = f"{self.venue.name} {stream.name}"
            self._connections[connection] = tasks.create_task(connection.run(), name=name)

    def _listings_of(self, native_ids: tuple[str, ...], contract_type: ContractType | None = None) -> list[Listing]:
        if native_ids:
            return [listing for key in native_ids if (listing := self.listings.get(key)) is not None]
        return [
            listing
            for listing in self.listings.values()
            if contract_type is None or listing.inverse == (contract_type is ContractType.INVERSE)
        ]

    def _trouble(self, reason: str) -> None:
        if reason != self.health.trouble:
            _LOG.info("%s: %s", self.venue.name, reason)
        self.health.trouble = reason


def _identity(event: Liquidation) -> tuple[str, int | str]:
    return event.listing.native_id, event.liquidation_id
