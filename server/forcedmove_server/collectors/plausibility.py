"""Markets that cannot be what they are listed as: another coin of the same name, or a unit that was misread.

All markets of a symbol share one map. One whose price has nothing to do with that of the others would spoil it, and one
whose open interest is a thousand times too large would fill it; both have happened to everyone who pools venues.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Book, Event, Mark, OpenInterest, OpenInterestValue, Trade
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.instruments import bin_width_usd

#: prices within this factor agree, prices beyond that one do not
_AGREE, _DISAGREE = 1.5, 2.0
#: how long a market waits for another that agrees with it, unless two or more speak against it
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
#: how far a price may be from the first one of its symbol, from which the engine takes the width of its bins for good
_AXIS = 300.0

Received = tuple[Event, int]


class Screen:
    """Holds a market's events back until its price is known to be plausible, and leaves out those that are not.

    A market is let through once its price is within a factor of 1.5 of that of another market of its symbol, or when
    nobody has agreed for ten seconds and nobody overrules it. It is overruled, and stays or is put out, where two or
    more others agree with each other, disagree with it (by a factor of 1.5 on its way in, of two later on), and are
    more than it and those that agree with it. Once overruled it comes back when it agrees with one of the others, or
    ten seconds after all of those have been silent for a minute.

    Who of two that contradict each other is right cannot be told: not by who came first, and not by size, since it is
    sizes that are misread. Both are let through, and the contradiction is counted as ``<venue>.disputed`` for as long
    as it lasts. What one axis of price bins cannot hold beside a symbol's first price is left out even so.

    What is left out of a market is a gap of it: :meth:`take_dropped`.
    """

    def __init__(self, defects: Defects) -> None:
        self._defects = defects
        #: markets whose events go straight through
        self.cleared: set[int] = set()
        #: newest price of every market and its time, by symbol
        self._prices: dict[str, dict[int, tuple[float, int]]] = defaultdict(dict)
        #: since when a market that is not cleared waits, and nobody overrules it
        self._waits_ns: dict[int, int] = {}
        #: markets that were overruled, and have agreed with nobody since
        self._overruled: set[int] = set()
        #: first price of every symbol that was let through
        self._axis: dict[str, float] = {}
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
        market, price = listing.market, event.price
        _, shown_ns = self._prices[listing.symbol].get(market, (0.0, 0))
        others = self._others(listing, price, received_ns)
        agreed = any(_within(price, other, _AGREE) for other in others)
        if _are_against(others, price, _AGREE):
            self._overruled.add(market)
        elif agreed or not others:
            self._overruled.discard(market)
        if reason := self._objection(listing, price, others):
            self._waits_ns.pop(market, None)
            self._leave_out(listing, held, f"{listing.instrument.venue}.implausible", reason)
            return ()
        if received_ns - shown_ns > _PRICE_LIFE_NS:  # it was gone, and begins anew
            self._waits_ns.pop(market, None)
        waits_ns = self._waits_ns.setdefault(market, received_ns)
        if not agreed and received_ns - waits_ns < _ALONE_NS:
            return ()
        if others and not agreed:
            self._note_dispute(listing, price, others)
        del self._waits_ns[market]
        self._axis.setdefault(listing.symbol, price)
        self.cleared.add(market)
        return self._held.pop(market)

    def keeps(self, event: Event, received_ns: int) -> bool:
        """Whether an event of a cleared market is plausible. Prices are compared again every ten seconds."""
        listing = event.listing
        if isinstance(event, Mark):
            if received_ns - self._checked_ns.get(listing.market, 0) < _AGAIN_NS:
                return True
            self._checked_ns[listing.market] = received_ns
            others = self._others(listing, event.price, received_ns)
            if _are_against(others, event.price, _DISAGREE):
                self.cleared.discard(listing.market)
                self._overruled.add(listing.market)
                reason = f"{event.price:g} is not the price of {listing.symbol} any more: others have {others}"
                self._leave_out(listing, [(event, received_ns)], f"{listing.instrument.venue}.implausible", reason)
                return False
            if others and not any(_within(event.price, other, _DISAGREE) for other in others):
                self._note_dispute(listing, event.price, others)
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

    def _objection(self, listing: Listing, price: float, others: list[float]) -> str:
        """Why a market may not be let through at this price, however long it waits; empty where nothing is wrong."""
        symbol = listing.symbol
        bins = price / bin_width_usd(symbol, price)
        if not _FEWEST_BINS <= bins <= _MOST_BINS:
            return f"{price:g} cannot be the price of {symbol}"
        if listing.market in self._overruled:
            return f"{price:g} is not the price of {symbol}: others have {others}"
        if not _within(price, axis := self._axis.get(symbol, price), _AXIS):
            return f"{price:g} and {axis:g}, the first price of {symbol}, do not fit on one axis"
        return ""

    def _note_dispute(self, listing: Listing, price: float, others: list[float]) -> None:
        reason = f"{price:g} for {listing.symbol}, others have {others}: who is right cannot be told"
        self._defects.note(f"{listing.instrument.venue}.disputed", 1, f"{listing.instrument.key}: {reason}"[:400])

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


def _are_against(others: Sequence[float], price: float, factor: float) -> bool:
    """Whether two or more of the others (ascending) agree with each other, and outnumber those that agree with a price.

    Those within ``factor`` of it are not against it.
    """
    friends = sum(_within(price, other, _AGREE) for other in others)
    against = [other for other in others if not _within(price, other, factor)]
    most = max((bisect_right(against, one * _AGREE) - place for place, one in enumerate(against)), default=0)
    return most >= 2 and most > 1 + friends
