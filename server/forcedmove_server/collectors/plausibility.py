"""Markets that cannot be what they are listed as: another coin of the same name, or a unit that was misread.

All markets of a symbol share one map. One whose price has nothing to do with that of the others would spoil it, and one
whose open interest is a thousand times too large would fill it; both have happened to everyone who pools venues.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Mark, OpenInterest, OpenInterestValue, Trade
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.instruments import bin_width_usd

#: prices within this factor agree, prices beyond that one do not
_AGREE, _DISAGREE = 1.5, 2.0
#: how long the first market of a symbol waits for another to agree with
_ALONE_NS = 10 * 10**9
_AGAIN_NS = 10 * 10**9
#: events kept of a market that waits
_MOST_HELD = 5_000
#: a price older than this says nothing any more: its market may be gone
_PRICE_LIFE_NS = 60 * 10**9
#: more than all open interest in crypto derivatives
_MOST_OPEN_INTEREST_USD = 2e11
#: how many price bins a price may be
_FEWEST_BINS, _MOST_BINS = 20, 200_000

Received = tuple[Event, int]


class Screen:
    """Holds a market's events back until its price is known to be plausible, and leaves out those that are not.

    A market is let through when its price is within a factor of 1.5 of that of another market of its symbol; the first
    market of a symbol also when nobody has agreed for ten seconds. It is put out again when most others disagree by a
    factor of two. What is left out of a market is a gap of it: :meth:`take_dropped`.
    """

    def __init__(self, defects: Defects) -> None:
        self._defects = defects
        #: markets whose events go straight through
        self.cleared: set[int] = set()
        #: newest price of every market and its time, by symbol
        self._prices: dict[str, dict[int, tuple[float, int]]] = defaultdict(dict)
        #: first market of every symbol, and since when
        self._first: dict[str, tuple[int, int]] = {}
        #: times of what was left out, by venue and market
        self._dropped: dict[str, dict[Listing, tuple[int, int]]] = defaultdict(dict)
        self._held: dict[int, list[Received]] = defaultdict(list)
        self._checked_ns: dict[int, int] = {}

    def look(self, event: Event, received_ns: int) -> Sequence[Received]:
        """Look at an event of a market that is not cleared; returns what may be taken now, in order."""
        listing = event.listing
        held = self._held[listing.market]
        if len(held) >= _MOST_HELD:
            self._leave_out(
                listing, held, f"{listing.instrument.venue}.held_too_long", "no price that could be checked"
            )
        if isinstance(event, Book) and event.snapshot:  # what a book was before no longer counts
            held[:] = [one for one in held if not isinstance(one[0], Book)]
        held.append((event, received_ns))
        if not isinstance(event, Mark | Trade):
            return ()
        others = self._others(listing, event.price, received_ns)
        first, since_ns = self._first.setdefault(listing.symbol, (listing.market, received_ns))
        if first not in self._prices[listing.symbol]:  # it is gone: this one is first now
            first, since_ns = self._first[listing.symbol] = listing.market, received_ns
        bins = event.price / bin_width_usd(listing.symbol, event.price)
        agreed = any(_within(event.price, other, _AGREE) for other in others)
        waited = first == listing.market and received_ns - since_ns >= _ALONE_NS
        if _FEWEST_BINS <= bins <= _MOST_BINS and (agreed or waited):
            self.cleared.add(listing.market)
            return self._held.pop(listing.market)
        if others or not _FEWEST_BINS <= bins <= _MOST_BINS:
            reason = f"{event.price:g} is not the price of {listing.symbol}: others have {others}"
            if first != listing.market or not _FEWEST_BINS <= bins <= _MOST_BINS:
                self._leave_out(listing, held, f"{listing.instrument.venue}.implausible", reason)
        return ()

    def keeps(self, event: Event, received_ns: int) -> bool:
        """Whether an event of a cleared market is plausible. Prices are compared again every ten seconds."""
        listing = event.listing
        if isinstance(event, Mark):
            if received_ns - self._checked_ns.get(listing.market, 0) < _AGAIN_NS:
                return True
            self._checked_ns[listing.market] = received_ns
            others = self._others(listing, event.price, received_ns)
            if len(others) > 1 and not _within(event.price, others[len(others) // 2], _DISAGREE):
                self.cleared.discard(listing.market)
                reason = f"{event.price:g} is not the price of {listing.symbol} any more: others have {others}"
                self._leave_out(listing, [(event, received_ns)], f"{listing.instrument.venue}.implausible", reason)
                return False
        elif isinstance(event, OpenInterest | OpenInterestValue):
            if isinstance(event, OpenInterestValue):
                usd = event.value_usd
            else:
                usd = event.quantity * (1.0 if listing.inverse else self._price_of(listing))
            if usd > _MOST_OPEN_INTEREST_USD:
                reason = f"open interest of ${usd:.3g} is not plausible"
                self._leave_out(listing, [(event, received_ns)], f"{listing.instrument.venue}.implausible", reason)
                return False
        return True

    def take_dropped(self, venue: str) -> dict[Listing, tuple[int, int]]:
        """Return when the first and the last event came that were left out of a venue's markets since the last call."""
        return self._dropped.pop(venue, {})

    def _price_of(self, listing: Listing) -> float:
        return self._prices[listing.symbol].get(listing.market, (0.0, 0))[0]

    def _others(self, listing: Listing, price: float, now_ns: int) -> list[float]:
        """Note a market's price; returns those that other markets of its symbol showed lately, ascending."""
        prices = self._prices[listing.symbol]
        prices[listing.market] = price, now_ns
        for market in [m for m, (_, at_ns) in prices.items() if now_ns - at_ns > _PRICE_LIFE_NS]:
            del prices[market]
        return sorted(other for market, (other, _) in prices.items() if market != listing.market)

    def _leave_out(self, listing: Listing, held: list[Received], kind: str, reason: str) -> None:
        self._defects.note(kind, len(held), f"{listing.instrument.key}: {reason}"[:400])
        begin_ns, _ = self._dropped[listing.instrument.venue].get(listing, (held[0][1], 0))
        self._dropped[listing.instrument.venue][listing] = begin_ns, held[-1][1]
        held.clear()


def _within(price: float, other: float, factor: float) -> bool:
    return other / factor <= price <= other * factor
