"""What was published and what came of it: events by number, and the gaps that were announced, by feed."""

from __future__ import annotations

import time
from array import array
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from forcedmove_server.collectors.records import Liquidation, Trade
from forcedmove_server.market.events import Channel, EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from tests.emulator.faults import Feed

#: transit on loopback and the grain of venues' stamps
SLACK_NS = 50_000_000


class Gap(NamedTuple):
    """A span in which a feed may have lost events, and when that was first handed on; Unix nanoseconds.

    It is announced as soon as it begins and again, longer, when the feed is back: rows that begin together are one.
    """

    begin_ns: int
    end_ns: int
    announced_ns: int

    def covers(self, time_ns: int, flight_ns: int = 0) -> bool:
        """Whether a moment lies within, give or take 50 ms; ``flight_ns`` later it may begin besides."""
        return self.begin_ns - SLACK_NS - flight_ns <= time_ns <= self.end_ns + SLACK_NS


class Account(NamedTuple):
    """The balance of a ledger: how many events were published, came, and are missing within gaps; what is wrong."""

    published: int
    received: int
    in_gaps: int
    lost: list[str]
    repeated: list[str]


class Ledger:
    """Every event's quantity is its number, in contracts; numbers count by venue.

    Compact, so that the memory that is measured is not its own; ``size_bytes`` is what it takes nevertheless.
    """

    def __init__(self) -> None:
        self._keys: dict[Feed, int] = {}
        #: by venue and number: index of the feed, whether it counts, event time, how often it came
        self._key: dict[str, array[int]] = defaultdict(lambda: array("H", [0]))
        self._counted: dict[str, array[int]] = defaultdict(lambda: array("B", [0]))
        self._time_ns: dict[str, array[int]] = defaultdict(lambda: array("q", [0]))
        self._came: dict[str, array[int]] = defaultdict(lambda: array("B", [0]))
        #: begin, end and time of announcement of one row after the other
        self._gaps: dict[Feed, array[int]] = defaultdict(lambda: array("q"))
        self.strange: list[str] = []

    @property
    def size_bytes(self) -> int:
        """Bytes of what is noted."""
        kept = (self._key, self._counted, self._time_ns, self._came)
        noted: list[array[int]] = [rows for one in kept for rows in one.values()]
        return sum(rows.itemsize * len(rows) for rows in [*noted, *self._gaps.values()])

    @property
    def gap_rows(self) -> int:
        """How many gaps were handed on, those included that were told again."""
        return sum(len(rows) for rows in self._gaps.values()) // 3

    def publish(self, event: Trade | Liquidation, counted: bool) -> None:
        """Note an event before it is sent; its number is one more than the last of its venue."""
        instrument = event.listing.instrument
        channel = Channel.TRADES if isinstance(event, Trade) else Channel.LIQUIDATIONS
        key = self._keys.setdefault((instrument.key, channel), len(self._keys) + 1)
        self._key[instrument.venue].append(key)
        self._counted[instrument.venue].append(counted)
        self._time_ns[instrument.venue].append(event.time_ns)
        self._came[instrument.venue].append(0)

    def take(self, batch: EventBatch, registry: InstrumentRegistry) -> None:
        """Note what was handed on just now."""
        now_ns = time.time_ns()
        for channel, rows in ((Channel.TRADES, batch.trades), (Channel.LIQUIDATIONS, batch.liquidations)):
            for market, quantity in zip(rows["market"].tolist(), rows["quantity"].tolist(), strict=True):
                instrument = registry[market]
                number = round(quantity / instrument.contract_size)
                came = self._came[instrument.venue]
                sent = self._key[instrument.venue][number] if 0 < number < len(came) else 0
                if channel is Channel.TRADES and sent == self._keys.get((instrument.key, Channel.LIQUIDATIONS)):
                    continue  # some venues tell a liquidation as a trade too
                if not sent or sent != self._keys.get((instrument.key, channel)):
                    self.strange.append(f"{instrument.key} {channel.name} number {number}")
                    continue
                came[number] = min(came[number] + 1, 255)
        for row in batch.gaps:
            feed = registry[int(row["market"])].key, Channel(int(row["channel"]))
            self.announce(feed, int(row["begin_ns"]), int(row["time_ns"]), now_ns)

    def announce(self, feed: Feed, begin_ns: int, end_ns: int, now_ns: int) -> None:
        """Note a gap that was handed on."""
        self._gaps[feed].extend((begin_ns, end_ns, now_ns))

    def gaps(self, feed: Feed) -> list[Gap]:
        """Gaps of a feed, each once."""
        found: dict[int, Gap] = {}
        rows = self._gaps.get(feed, array("q"))
        for begin_ns, end_ns, announced_ns in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
            known = found.get(begin_ns, Gap(begin_ns, end_ns, announced_ns))
            first_ns = min(known.announced_ns, announced_ns)
            found[begin_ns] = Gap(begin_ns, max(known.end_ns, end_ns), first_ns)
        return list(found.values())

    def balance(self) -> Account:
        """Find what is lost outside of announced gaps, and what came more than once."""
        names = {index: feed for feed, index in self._keys.items()}
        gaps = {index: self.gaps(feed) for index, feed in names.items()}
        published = received = in_gaps = 0
        lost: list[str] = []
        repeated: list[str] = []
        for venue in self._key:
            for number, (index, counted, time_ns, came) in enumerate(self._events(venue), 1):
                key, channel = names[index]
                if came > 1:
                    repeated.append(f"{key} {channel.name} number {number}: {came} times")
                if not counted:
                    continue
                published += 1
                received += bool(came)
                if came:
                    continue
                if any(gap.covers(time_ns) for gap in gaps[index]):
                    in_gaps += 1
                else:
                    lost.append(f"{key} {channel.name} number {number} at {time_ns}")
        return Account(published, received, in_gaps, lost, repeated)

    def _events(self, venue: str) -> Iterable[tuple[int, int, int, int]]:
        """Events of a venue from number 1 on."""
        about = zip(self._key[venue], self._counted[venue], self._time_ns[venue], self._came[venue], strict=True)
        next(about)
        return about
