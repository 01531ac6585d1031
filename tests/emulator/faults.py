"""What goes wrong, on demand: faults of connections, of messages and of REST answers."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from enum import StrEnum

from forcedmove_server.market.events import Channel


class Fault(StrEnum):
    """One thing that venues and networks do."""

    DROP = "drop"  # the connection is gone, without a goodbye
    CLOSE = "close"  # a goodbye
    HALF_MESSAGE = "half message"  # the connection ends within a message
    HALF_OPEN = "half open"  # nothing more is sent or answered, but nobody says so
    STALL = "stall"  # nothing for a while, pongs neither, then everything
    MUTE = "mute"  # one topic brings nothing any more until it is subscribed again, while its connection lives
    SLOW_DRIP = "slow drip"  # a message comes a few bytes at a time
    DUPLICATE = "duplicate"  # a message comes twice
    REORDER = "reorder"  # two messages change places
    SKIP = "skip"  # a numbered message is left out
    GARBAGE = "garbage"  # a message that means nothing
    GIANT = "giant"  # a message beyond all limits
    TOO_MANY = "429"  # REST is refused for a while
    SERVER_ERROR = "503"  # REST fails for a while
    CLOCK_SKEW = "clock skew"  # the venue's clock is wrong for a while


CONNECTION_FAULTS = (Fault.DROP, Fault.CLOSE, Fault.HALF_MESSAGE, Fault.HALF_OPEN, Fault.GIANT)
DELIVERY_FAULTS = (Fault.STALL, Fault.SLOW_DRIP, Fault.DUPLICATE, Fault.REORDER, Fault.GARBAGE)
VENUE_FAULTS = (Fault.TOO_MANY, Fault.SERVER_ERROR, Fault.CLOCK_SKEW)
#: faults after which a client hears at once that its connection is of no use
VISIBLE_FAULTS = (Fault.DROP, Fault.CLOSE, Fault.HALF_MESSAGE, Fault.GIANT)

#: a market, by its instrument's key, and one of its channels
Feed = tuple[str, Channel]

_HOSTILE = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b"\xff\xfe\x00",
    b'{"topic":1}',
    b"\x1f\x8b\x08broken",
    b'"' + b"a" * 5000 + b'"',
)


@dataclass(frozen=True, slots=True)
class Incident:
    """A fault that cut feeds off: from ``at_ns`` (Unix nanoseconds) on, for ``lasts_s``, ``feeds`` brought nothing.

    ``feeds`` are those of the connection's topics that had been confirmed for a while.
    """

    venue: str
    fault: Fault
    at_ns: int
    feeds: frozenset[Feed]
    lasts_s: float = math.inf


@dataclass
class FaultPlan:
    """Seeded faults, as rates: per connection and second, per message, per venue and second.

    A stall lasts one of ``stalls_s``. ``mute_rate`` is per connection and second; muted are topics that bring one of
    ``mute_channels``: those that never pause, since of others nobody can say that they should have brought something.
    """

    seed: int = 0
    connection_rate: float = 0.0
    message_rate: float = 0.0
    venue_rate: float = 0.0
    mute_rate: float = 0.0
    stalls_s: tuple[float, ...] = (1.0,)
    mute_channels: frozenset[Channel] = frozenset({Channel.MARK_PRICES})
    source: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.source = random.Random(self.seed)

    def of_connection(self) -> Fault | None:
        """What befalls a connection in this second."""
        if self.source.random() < self.connection_rate:
            return self.source.choice(CONNECTION_FAULTS)
        return Fault.MUTE if self.mute_rate and self.source.random() < self.mute_rate else None

    def of_message(self, numbered: bool) -> Fault | None:
        """What befalls a message."""
        if self.source.random() >= self.message_rate:
            return None
        return self.source.choice((*DELIVERY_FAULTS, Fault.SKIP) if numbered else DELIVERY_FAULTS)

    def of_venue(self) -> Fault | None:
        """What befalls a venue in this second."""
        return self.source.choice(VENUE_FAULTS) if self.source.random() < self.venue_rate else None

    def stall_s(self) -> float:
        """How long a stall lasts."""
        return self.source.choice(self.stalls_s)

    def garbage(self) -> bytes:
        """A message that means nothing."""
        return self.source.choice(_HOSTILE)
