"""What was seen of a market before: repeated trades are found again, missing ones noticed."""

from __future__ import annotations

from typing import NamedTuple

from forcedmove_server.collectors.records import Liquidation, Trade

#: ids remembered per market: more than a reconnection usually replays; of liquidations, several pages of a polled list
_REMEMBERED, _REMEMBERED_LIQUIDATIONS = 256, 1024
#: a missing number may still come, out of order, for this long
HOLE_PATIENCE_NS = 500_000_000
#: more holes at once than this are one
_MOST_HOLES = 64
#: event time this far from the time of receipt is not believed
MOST_SKEW_NS = 10 * 10**9

_Key = int | str | tuple[int, float, float]


class Hole(NamedTuple):
    """Trades that are missing: their number, and event times around them."""

    missing: int
    begin_ns: int
    end_ns: int


class Continuity:
    """One market's trades, or its liquidations: which ids came already, which numbers are missing."""

    __slots__ = ("_forgotten_ns", "_holes", "_last", "_last_ns", "_recent")

    def __init__(self) -> None:
        self._recent: dict[_Key, int] = {}
        self._forgotten_ns = 0
        self._last = -1
        self._last_ns = 0
        #: number that is missing -> (event times before and after, when noticed)
        self._holes: dict[int, tuple[int, int, int]] = {}

    def admit(self, event: Trade | Liquidation, received_ns: int, started_ns: int) -> bool:
        """Whether an event is new. A replayed one from before ``started_ns`` or the time ids are kept for is not.

        One without an id is known by its time, price and quantity, but only when it is replayed: two equal trades of
        one moment are two trades.
        """
        event_id = event.trade_id if isinstance(event, Trade) else event.liquidation_id
        forced = isinstance(event, Liquidation)
        # lists of liquidations tell whole seconds: of the second that was forgotten last, ids decide
        if event.replayed and event.time_ns <= max(started_ns, self._forgotten_ns - forced):
            return False
        key: _Key = event_id if event_id != "" else (event.time_ns, event.price, event.quantity)
        recent = self._recent
        if key in recent and (event_id != "" or event.replayed):
            return False
        time_ns = _believed_ns(event, received_ns)
        recent[key] = time_ns
        if len(recent) > (_REMEMBERED_LIQUIDATIONS if forced else _REMEMBERED):
            oldest = next(iter(recent))
            self._forgotten_ns = max(self._forgotten_ns, recent.pop(oldest))
        if isinstance(event, Trade) and event.sequence >= 0:
            self._count(event.sequence, time_ns, received_ns)
        return True

    def lost(self, now_ns: int, patience_ns: int = HOLE_PATIENCE_NS) -> Hole | None:
        """Return what is missing for good, all of it as one span, and forget it; None when nothing is."""
        if not self._holes:
            return None
        ripe = [number for number, (_, _, noticed) in self._holes.items() if now_ns - noticed >= patience_ns]
        if not ripe:
            return None
        spans = [self._holes.pop(number) for number in ripe]
        return Hole(len(ripe), min(s[0] for s in spans), max(s[1] for s in spans))

    def _count(self, sequence: int, time_ns: int, received_ns: int) -> None:
        last = self._last
        began_anew = sequence < last and sequence not in self._holes and time_ns > self._last_ns
        if sequence == last + 1 or last < 0 or began_anew:
            self._last, self._last_ns = sequence, time_ns
        elif sequence > last:
            missing = range(last + 1, sequence)
            for number in missing[:_MOST_HOLES]:
                self._holes[number] = (self._last_ns, time_ns, received_ns)
            self._last, self._last_ns = sequence, time_ns
        else:
            self._holes.pop(sequence, None)  # it comes late; any other number that is older and later began anew


def _believed_ns(event: Trade | Liquidation, received_ns: int) -> int:
    """Event time, or that of the receipt where the stamp is missing or cannot be right; what is replayed is old."""
    early = MOST_SKEW_NS if not event.replayed else received_ns
    return event.time_ns if -MOST_SKEW_NS <= received_ns - event.time_ns < early else received_ns
