"""What a topic brings, found by trying it on the emulator's own wire and not by asking the collector."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Sequence

from forcedmove_server.collectors.intake import channel_of
from forcedmove_server.market.events import Channel
from tests.emulator.faults import Feed
from tests.emulator.truth import Truth
from tests.emulator.venue import EmulatedSession, EmulatedVenue, Message


class TopicFeeds:
    """Feeds of a venue's topics: one event of each kind and market is encoded, and it is seen which topic it takes."""

    def __init__(self, venue: EmulatedVenue) -> None:
        self._venue = venue
        self._samples: list[tuple[Feed, Sequence[Message]]] = []
        self._known: dict[tuple[str, str, str], frozenset[Feed]] = {}

    def of(self, session: EmulatedSession, topic: str) -> frozenset[Feed]:
        """Feeds that ``session`` is sent under one of its topics."""
        where = session.host, session.path, topic
        found = self._known.get(where, frozenset())
        if not found:  # nothing is no lasting answer: a session may be about to give its client up
            probe = copy.copy(session)
            probe.topics = {topic}
            self._samples = self._samples or list(_samples(self._venue))
            found = self._known[where] = frozenset(
                feed for feed, messages in self._samples if any(probe.deliver(message) for message in messages)
            )
        return found


def _samples(venue: EmulatedVenue) -> Iterable[tuple[Feed, Sequence[Message]]]:
    """Encode events on a twin of the venue, whose numbers nobody sees; twice, as some build on the one before."""
    twin = type(venue)(list(venue.listings))
    truth, now_ns = Truth(twin.listings), time.time_ns()
    for listing in 2 * list(twin.listings.values()):
        key = listing.instrument.key
        trades = twin.publish(truth.trade(listing, now_ns))
        yield (key, Channel.TRADES), trades
        forced = twin.publish(truth.liquidation(listing, now_ns))
        told = {message.topic for message in trades}  # a liquidation may be told as a trade besides
        yield (key, Channel.LIQUIDATIONS), [one for one in forced if one.topic not in told] or forced
        for event in (truth.mark(listing, now_ns), truth.open_interest(listing, now_ns), truth.book(listing, now_ns)):
            yield (key, channel_of(event)), twin.publish(event)
