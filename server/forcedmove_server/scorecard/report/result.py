"""What a backtest found, as frozen dataclasses of plain numbers: everything a report shows, and nothing else."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.summary import MarketRow, Summary

#: begin (inclusive) and end (exclusive), nanoseconds since the Unix epoch
Period = tuple[int, int]
Floats = tuple[float, ...]

#: how far from one shares may add up: they come from float64 sums over tiers
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that the run depended on, and what it means."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class MarketInput:
    """What the source had of one market: ``counts`` of events by kind, ``defects`` by reason."""

    venue: str
    instrument: str
    symbol: str
    counts: tuple[tuple[str, int], ...]
    defects: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class WeightSnapshot:
    """Leverage weights of one venue and side at ``at_ns``, by tier: each tuple sums to one.

    ``truth`` where the source knows it, as a simulation does. Raises InputError for another length, for shares outside
    [0, 1] or that do not sum to one, and for leverages that do not ascend.
    """

    at_ns: int
    venue: str
    side: int
    leverages: Floats
    prior: Floats
    posterior: Floats
    truth: Floats | None = None

    def __post_init__(self) -> None:
        if any(not b > a for a, b in pairwise(self.leverages)):
            raise InputError("leverages", self.leverages, "must ascend", self.venue)
        for name in ("prior", "posterior", "truth"):
            shares = getattr(self, name)
            if shares is None:
                continue
            if len(shares) != len(self.leverages):
                raise InputError(name, len(shares), f"must have one share per tier, {len(self.leverages)}", self.venue)
            if not all(0 <= share <= 1 + _ROUNDING for share in shares) or abs(sum(shares) - 1) > _ROUNDING:
                raise InputError(name, shares, "must be shares that sum to one", self.venue)


@dataclass(frozen=True, slots=True)
class RealisedExample:
    """One side of one market over one window: predicted against realised quantity by price, touched bins only.

    ``edges_usd`` ``[B + 1]`` ascending; ``predicted``, ``naive`` (None without that baseline) and ``realised`` ``[B]``
    not negative, in ``unit``. ``realised_from`` says what was realised: ``"liquidations"`` or ``"positions"``.
    Raises InputError otherwise.
    """

    venue: str
    symbol: str
    side: int
    begin_ns: int
    end_ns: int
    edges_usd: Floats
    predicted: Floats
    naive: Floats | None
    realised: Floats
    unit: str
    realised_from: str

    def __post_init__(self) -> None:
        place, edges = f"{self.venue}:{self.symbol}", self.edges_usd
        if len(edges) < 2 or any(not b > a for a, b in pairwise(edges)):
            raise InputError("edges_usd", edges[:3], "must ascend, at least two", place)
        for name in ("predicted", "naive", "realised"):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != len(edges) - 1:
                raise InputError(name, len(values), f"must have one value per bin, {len(edges) - 1}", place)
            if not all(math.isfinite(value) and value >= 0 for value in values):
                raise InputError(name, min(values), "must be finite and not negative", place)


@dataclass(frozen=True, slots=True)
class DecileLift:
    """Share of realised notional by tenth of the touched bins, the densest tenth last: ten of each.

    ``source`` is ``"liquidations"`` or ``"positions"``; ``matched`` is the share that each tenth would have had, had
    every event fallen on a random touched bin of its own distance band. Random bins have 0.1 each.
    """

    map: str
    horizon_ns: int
    source: str
    shares: tuple[Estimate, ...]
    matched: Floats

    def __post_init__(self) -> None:
        if not len(self.shares) == len(self.matched) == 10:
            raise InputError("shares", len(self.shares), "must be ten, and ten matched", self.map)


@dataclass(frozen=True, slots=True)
class ResidualBins:
    """Crossed against released open interest, both as ranks in [0, 1] with the controls regressed out.

    ``crossed`` are the means of equally filled bins of the crossed residual, ascending; ``released`` the mean released
    residual of each; ``correlation`` that of all moves, the rank partial correlation,
    and ``slope`` their regression.
    """

    map: str
    horizon_ns: int
    correlation: float
    slope: float
    crossed: Floats
    released: tuple[Estimate, ...]

    def __post_init__(self) -> None:
        if len(self.crossed) != len(self.released):
            raise InputError("released", len(self.released), f"must be {len(self.crossed)}, as crossed", self.map)


@dataclass(frozen=True, slots=True)
class LargeMove:
    """One of the largest moves of the test period, told by itself: an event that readers know by its date.

    ``side`` is the side that the move liquidates, ``size`` the log excursion of the trigger price and ``deviations``
    the same in standard deviations of the time before; ``released`` is the share of open interest that left, and
    ``crossed`` what each of ``maps`` had at the levels that were crossed, over open interest.
    """

    at_ns: int
    horizon_ns: int
    venue: str
    symbol: str
    side: int
    size: float
    deviations: float
    released: float
    maps: tuple[str, ...]
    crossed: Floats

    def __post_init__(self) -> None:
        if len(self.crossed) != len(self.maps):
            raise InputError("crossed", len(self.crossed), f"must be {len(self.maps)}, as maps", self.symbol)


@dataclass(frozen=True, slots=True)
class Stability:
    """How steady maps were from one time to the next, ``every_ns`` later, market by market and side by side.

    ``rank`` is the mean rank correlation over bins, ``moved_bp`` the mean Wasserstein-1 distance; ``change`` the mean
    sum of absolute changes over open interest, and ``change_over_flow`` that over all that was opened, closed and
    liquidated in between, at most one where a map only changes for a reason. ``jumps`` is the share of maps that
    changed by more than that and one per cent of open interest, ``worst_unexplained`` the largest such change of any
    market: levels that are spread by their distance from the mark move with it, and cohorts are joined as they age.
    """

    every_ns: int
    rank: Estimate
    moved_bp: Estimate
    change: Estimate
    change_over_flow: Estimate
    jumps: Estimate
    worst_unexplained: float
    worst_market: str
    worst_at_ns: int


@dataclass(frozen=True, slots=True)
class VenueEvidence:
    """What a venue's weights were learnt from, forgotten as of the end, in effective counts of both sides.

    ``windows`` of open interest were regressed on; they are worth ``released`` counts. ``reliability`` is the share of
    the predicted gain that came true out of sample and ``released_share`` the share of what is crossed that leaves open
    interest, of longs and of shorts (None while it is not seen to follow the map). ``printed`` liquidations are
    ``capture`` of what was crossed; ``seen`` are visible positions.
    """

    venue: str
    windows: float
    released: float
    reliability: float
    released_share: tuple[float, float] | None
    printed: float
    capture: float | None
    seen: float


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """A backtest: what ran on what, and what came out.

    ``fit`` is the period that weights were fitted on, None where nothing was fitted; ``summary`` and ``rows`` are of
    the test period alone, ``fit_summary`` of the fit period. ``markets`` is what the source had, ``settings`` what the
    model was set to, ``notes`` sentences on what could not be scored and why.

    Raises InputError where a period ends before it begins, fit and test overlap, or a summary has windows outside its
    period: a score is never shown on what was fitted.
    """

    title: str
    source: str
    fit: Period | None
    test: Period
    settings: tuple[Setting, ...]
    markets: tuple[MarketInput, ...]
    summary: Summary
    fit_summary: Summary | None = None
    rows: tuple[MarketRow, ...] = ()
    weights: tuple[WeightSnapshot, ...] = ()
    realised: tuple[RealisedExample, ...] = ()
    deciles: tuple[DecileLift, ...] = ()
    residuals: tuple[ResidualBins, ...] = ()
    largest: tuple[LargeMove, ...] = ()
    stability: Stability | None = None
    evidence: tuple[VenueEvidence, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_period("test", self.test, self.summary)
        if self.fit is None:
            if self.fit_summary is not None:
                raise InputError("fit_summary", None, "has no fit period")
            return
        _check_period("fit", self.fit, self.fit_summary)
        if self.fit[0] < self.test[1] and self.test[0] < self.fit[1]:
            raise InputError("test", self.test, f"overlaps the fit period {self.fit}")

    def to_json(self) -> str:
        """Return all of it as JSON; numbers that JSON lacks are the strings ``NaN``, ``Infinity`` and ``-Infinity``.

        That spelling is ProtoJSON's, as the rest of the API has it.
        """
        return json.dumps(_plain(asdict(self)), ensure_ascii=True, allow_nan=False, indent=1) + "\n"


def _check_period(name: str, period: Period, summary: Summary | None) -> None:
    if not period[0] < period[1]:
        raise InputError(name, period, "must end after it begins")
    if summary is None or summary.begin_ns is None or summary.end_ns is None:
        return
    if summary.begin_ns < period[0] or summary.end_ns > period[1]:
        raise InputError(f"{name} summary", (summary.begin_ns, summary.end_ns), f"has windows outside {period}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
