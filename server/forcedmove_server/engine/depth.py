"""Resting depth by price cell: visible books pooled over venues, extended by the square-root law.

Beyond the visible book the law ``I = Y sigma_D sqrt(Q / V_D)`` (MODEL section 6; exponent 0.489 +- 0.0015,
arXiv 2411.13965; bitcoin: arXiv 1412.4503) is inverted to the notional that moves the price by a fraction ``x``:
``Q(x) = V_D (x / (Y sigma_D))^2``. Books end at different distances: of each cell the law fills the part that belongs
to markets whose book ends before it, by open interest. A book ends where ``SEEN_SHARE`` of what it holds has been
met: one small order far out says nothing of what rests before it. ``x`` counts from where the shock has brought the
mark: a shock is news, the latent book re-forms around the price it leads to, and what is then forced to trade meets
that book. Depth withdraws as the price moves: at a distance ``d`` from the mark before the shock a share
``exp(-d / w)`` is left, ``LEAST_DEPTH`` at least; the default ``w`` leaves 10 % after a move of 10 %, what was seen on
10 October 2025. Where books were seen to withdraw, ``w`` follows them as far as they were seen to move, and no further
(engine.cascade.withdrawal).

A shock that takes time to play out is met by books that refill (:meth:`ImpactLaw.lasting`). Where withdrawal was fitted
it was seen over ``MOVE_S``: of a move that takes longer only what falls into that span counts, where the path is even.
The default was seen of a whole move, for which ``WHOLE_MOVE_S`` stands: up to there it counts whole. And of what
was sold at an even pace over ``D`` seconds a share ``r = p + (1 - p) (tau / D) (1 - exp(-D / tau))`` is still felt at
the end: a part ``p`` of every impact stays, the rest decays with ``tau`` (exponential resilience: Obizhaeva and Wang,
J. Financial Markets 16, 2013; measured in engine.cascade.response). A chain then meets ``1 / r`` of the depth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import PRICE_BITS, price_units
from forcedmove_server.engine.cascade.withdrawal import MOVE_S
from forcedmove_server.market.events import Records
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]


#: a cell that holds this much stops every chain; what the law gives may exceed the integer format
DEEPEST_CENTS = float(1 << 62)
#: share of the depth that never withdraws: books thinned by nine tenths, and did not vanish
LEAST_DEPTH = 0.1
#: about how long the move took of which the default was seen: the fall of 10 October 2025, around 21:00 UTC
WHOLE_MOVE_S = 1_800.0
#: share of what a book holds within which it is taken to be whole
SEEN_SHARE = 0.99
#: a book that has not been told of for longer says nothing of what rests now. Books are told of when they change: a
#: quiet one is old and right; one whose feed is lost is forgotten at once
BOOK_STALE_S = 600.0


@dataclass(frozen=True, slots=True)
class BookReach:
    """How far the visible book of one market reaches from the mark, as fractions of it, and how old it is."""

    market: int
    age_s: float
    bid_reach: float
    ask_reach: float
    bid_usd: float
    ask_usd: float
    stale: bool  # left out of the depth


class VisibleBook(NamedTuple):
    """Books of a symbol on its axis, float64 ``[2, C]`` by side (0 bids, 1 asks) and cell, the outer two included.

    ``usd`` is what rests; ``unseen`` in 0..1 which part of the cell no book tells of, which the law fills.
    """

    usd: F64
    unseen: F64

    @classmethod
    def of_one(cls, usd: F64) -> VisibleBook:
        """Return a single book, ``[2, C]`` USD."""
        return cls.pooled([usd], np.ones(1))

    @classmethod
    def pooled(cls, books: Sequence[F64], interest: F64) -> VisibleBook:
        """Pool books ``[2, C]`` USD of markets, whose open interest in USD says how much of a cell is theirs."""
        usd = np.sum(books, axis=0)
        unseen = np.ones_like(usd)
        shares = interest if interest.sum() > 0 else np.ones(len(books))
        for side in range(2):
            ends = np.array([_ends(book[side, ::-1] if side == 0 else book[side]) for book in books])
            known = ends >= 0
            if not known.any() or not shares[known].sum() > 0:
                continue
            ended = np.bincount(ends[known] + 1, shares[known] / shares[known].sum(), usd.shape[1] + 1)
            outwards = np.minimum(np.cumsum(ended[:-1]), 1.0)
            unseen[side] = outwards[::-1] if side == 0 else outwards
        return cls(usd, unseen)


def _ends(outwards: F64) -> int:
    """Cell by which a side, the way a shock goes, has shown ``SEEN_SHARE`` of itself; -1 of an empty one.

    What lies outside the window is not counted: nobody knows how far.
    """
    cumulated = np.cumsum(outwards[1:-1])
    return int(np.searchsorted(cumulated, SEEN_SHARE * cumulated[-1])) + 1 if cumulated[-1] > 0 else -1


class BookTable:
    """The newest book snapshot of every market."""

    def __init__(self, registry: InstrumentRegistry) -> None:
        self._registry = registry
        self._books: dict[int, Records] = {}

    def of(self, markets: Iterable[int]) -> BookTable:
        """Return a table with the books that ``markets`` have now; what this one takes later is not in it."""
        found = BookTable(self._registry)
        found._books = {market: self._books[market] for market in markets if market in self._books}
        return found

    def take(self, depth: Records) -> None:
        """Keep each market's last snapshot of a batch."""
        for market in np.unique(depth["market"]):
            rows = depth[depth["market"] == market]
            self._books[int(market)] = rows[rows["time_ns"] == rows["time_ns"][-1]]

    def forget(self, markets: Iterable[int]) -> None:
        """Drop books that are not fed any more: nobody knows what is left of them."""
        for market in markets:
            self._books.pop(market, None)

    def visible(
        self, interest: Mapping[int, float], first_bin: int, bins: int, bin_width: float, now_ns: int
    ) -> tuple[VisibleBook, int]:
        """Pool the books of some markets with their open interest in USD, and tell how many had one.

        A book older than ``BOOK_STALE_S`` at ``now_ns`` is left out.
        """
        found, weights = [np.zeros((2, bins + 2))], [0.0]
        for market, usd in interest.items():
            rows = self._books.get(market)
            if rows is None or _age_s(rows, now_ns) > BOOK_STALE_S:
                continue
            absolute = (price_units(rows["price"], bin_width) >> PRICE_BITS).astype(np.int64)
            cell = np.clip(absolute - first_bin + 1, 0, bins + 1)
            book = np.zeros((2, bins + 2))
            np.add.at(book, (rows["side"], cell), self._usd(market, rows))
            found.append(book)
            weights.append(usd)
        return VisibleBook.pooled(found, np.array(weights)), len(found) - 1

    def reaches(self, markets: Iterable[int], mark_usd: float, now_ns: int) -> tuple[BookReach, ...]:
        """Return how far the books of ``markets`` reach and how old they are; markets without one are missing."""
        found = []
        for market in markets:
            rows = self._books.get(market)
            if rows is None:
                continue
            usd, away = self._usd(market, rows), np.abs(rows["price"] / mark_usd - 1)
            bid = rows["side"] == 0
            age_s = _age_s(rows, now_ns)
            found.append(
                BookReach(
                    market=market,
                    age_s=age_s,
                    bid_reach=float(away[bid].max(initial=0.0)),
                    ask_reach=float(away[~bid].max(initial=0.0)),
                    bid_usd=float(usd[bid].sum()),
                    ask_usd=float(usd[~bid].sum()),
                    stale=age_s > BOOK_STALE_S,
                )
            )
        return tuple(found)

    def _usd(self, market: int, rows: Records) -> F64:
        inverse = self._registry[market].contract_type is ContractType.INVERSE
        usd: F64 = rows["quantity"] * (1.0 if inverse else rows["price"])
        return usd


def _age_s(rows: Records, now_ns: int) -> float:
    return max(now_ns - int(rows["time_ns"][0]), 0) / 1e9


@dataclass(frozen=True, slots=True)
class ImpactLaw:
    """Parameters of the depth beyond the visible book and of its withdrawal: fractions of price, USD per day.

    Up to a move of ``seen_move`` depth falls by e for every ``withdrawal_fraction``, from there on for every
    ``unseen_fraction``. Of an impact a share ``permanent`` stays, the rest decays in ``recovery_s`` to 1/e. Of a shock
    that lasts, a share ``counted`` of what was seen and ``counted_unseen`` of what lies beyond withdraws depth, and a
    share ``felt`` of what is sold presses at the end.
    """

    sigma_day: float
    volume_day_usd: float
    y: float
    withdrawal_fraction: float
    seen_move: float = math.inf
    unseen_fraction: float = math.inf
    recovery_s: float = 65.0
    permanent: float = 1.0
    counted: float = 1.0
    counted_unseen: float = 1.0
    felt: float = 1.0

    def lasting(self, duration_s: float) -> ImpactLaw:
        """Return the law of shocks that play out over ``duration_s`` (0: at once); see the module."""
        x = duration_s / self.recovery_s
        if not x > 0:
            return replace(self, counted=1.0, counted_unseen=1.0, felt=1.0)
        felt = self.permanent - (1 - self.permanent) * math.expm1(-x) / x
        return replace(
            self,
            counted=min(1.0, MOVE_S / duration_s),
            counted_unseen=min(1.0, WHOLE_MOVE_S / duration_s),
            felt=min(1.0, felt),
        )


def depth_after_shock(
    book: VisibleBook, mark: float, shock: float, side: int, first_bin: int, bin_width: float, law: ImpactLaw
) -> U64:
    """Depth per cell on one side in cents, u64 ``[C]``, as a chain that starts at ``shock`` meets it.

    Side 0 absorbs sells at and below the shock, side 1 buys at and above it; cells
    between mark and shock keep their visible depth, which no chain uses.
    """
    moved = _distance(book.usd.shape[1], mark, side, first_bin, bin_width)[0]
    usd = book.usd[side] + latent_usd(book, mark, shock, side, first_bin, bin_width, law)
    usd = usd * remaining(moved, mark, law)
    cents: U64 = np.floor(np.minimum(usd * 100, DEEPEST_CENTS)).astype(np.uint64)
    return cents


def remaining(moved_usd: F64, mark: float, law: ImpactLaw) -> F64:
    """Depth that a chain meets where the mark has moved so far, 0 USD or more, over what rests there now.

    What has not withdrawn, and above 1 what refills while the shock plays out.
    """
    moved = moved_usd / mark
    seen = np.minimum(moved * law.counted, law.seen_move)
    unseen = np.maximum(moved - law.seen_move / law.counted, 0.0) * law.counted_unseen
    left: F64 = np.exp(-seen / law.withdrawal_fraction - unseen / law.unseen_fraction)
    found: F64 = np.maximum(left, LEAST_DEPTH) / law.felt
    return found


def latent_usd(
    book: VisibleBook, mark: float, shock: float, side: int, first_bin: int, bin_width: float, law: ImpactLaw
) -> F64:
    """What the law puts beyond the visible books, before it withdraws: float64 ``[C]`` USD; as the above."""
    near, far = _distance(book.usd.shape[1], shock, side, first_bin, bin_width) / mark
    implied: F64 = (far**2 - near**2) * law.volume_day_usd
    implied /= (law.y * law.sigma_day) ** 2
    implied *= book.unseen[side]
    return implied


def _distance(cells: int, price: float, side: int, first_bin: int, bin_width: float) -> F64:
    """How far the nearer and the further edge of each cell lie beyond a price: float64 ``[2, C]`` USD, 0 or more."""
    edges = (first_bin + np.arange(cells + 1) - 1) * bin_width
    away = np.maximum((price - edges) if side == 0 else (edges - price), 0)
    found: F64 = np.stack([away[1:], away[:-1]] if side == 0 else [away[:-1], away[1:]])
    return found
