"""A summary made up for tests of what is sent and shown: every part is there, and no two numbers are equal."""

from __future__ import annotations

import itertools

from forcedmove_server.scorecard.measures.capture import Capture
from forcedmove_server.scorecard.measures.cascades import CascadeScore
from forcedmove_server.scorecard.measures.coverage import Coverage
from forcedmove_server.scorecard.measures.reach import Reach, ReliabilityBin
from forcedmove_server.scorecard.measures.released import Released
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.summary import (
    Headline,
    Intensity,
    Invariants,
    MapScore,
    MarketRow,
    Placement,
    ReachScore,
    Summary,
    Unscored,
    Where,
)

HOUR_NS = 3600 * 10**9
BEGIN_NS = 1_767_225_600 * 10**9  # 2026-01-01
RULES = ScoringRules(horizons_ns=(HOUR_NS, 4 * HOUR_NS))
MAPS = ("ours", "naive", "distance")


class Numbers:
    """Numbers that never come twice: shares with a fraction, whole counts."""

    def __init__(self) -> None:
        self._next = itertools.count(1)

    def share(self) -> float:
        return next(self._next) / 1024 + 0.0001

    def count(self) -> int:
        return 100_000 + next(self._next)

    def estimate(self) -> Estimate:
        middle = self.share()
        return Estimate(middle, middle - 0.00003, middle + 0.00003, self.count(), self.count())


def _placement(new: Numbers) -> Placement:
    capture = Capture(*(new.share() for _ in range(2)), new.count() + 0.5, *(new.share() for _ in range(4)))
    return Placement(new.share(), *(new.estimate() for _ in range(4)), capture)


def _map_score(new: Numbers, name: str, horizon_ns: int) -> MapScore:
    return MapScore(
        map=name,
        horizon_ns=horizon_ns,
        released=Released(*(new.estimate() for _ in range(4))),
        positions=_placement(new),
        liquidations=_placement(new),
        sampled=_placement(new),
        intensity=Intensity(new.count(), new.estimate(), new.share(), new.share(), new.share()),
    )


def full_summary(where: Where = Where()) -> Summary:  # noqa: B008  frozen
    """Return a summary in which nothing is missing."""
    new = Numbers()
    return Summary(
        where=where,
        rules=RULES,
        begin_ns=BEGIN_NS,
        end_ns=BEGIN_NS + 90 * 24 * HOUR_NS,
        headline=Headline("ours", "naive", HOUR_NS, new.estimate(), "positions", new.estimate(), new.estimate()),
        maps=tuple(_map_score(new, name, horizon) for horizon in RULES.horizons_ns for name in MAPS),
        reach=tuple(
            ReachScore(
                horizon,
                Reach(
                    new.count(),
                    new.share(),
                    new.share(),
                    tuple(ReliabilityBin(new.count(), new.share(), new.share()) for _ in range(10)),
                ),
            )
            for horizon in RULES.horizons_ns
        ),
        cascades=CascadeScore(*(new.count() for _ in range(5)), *(new.share() for _ in range(6))),
        coverage=Coverage(new.count(), *(new.share() for _ in range(4))),
        invariants=Invariants(new.count(), new.share(), "binance:BTCUSDT", BEGIN_NS + HOUR_NS, new.share()),
        unscored=(Unscored("no map at the start", 3), Unscored("price stale", 12)),
    )


def young_summary(where: Where = Where()) -> Summary:  # noqa: B008  frozen
    """Return a summary after an hour: 12 moves, and no position or liquidation at all."""
    few = Estimate(None, n=12, blocks=1, reason="12 moves, 50 needed")
    nothing = Estimate(None, reason="neither known positions nor complete liquidation feeds on touched bins yet")
    unreached = Reach(0, None, None, (), "no forecast has come due: volatility needs a history first")
    return Summary(
        where=where,
        rules=RULES,
        begin_ns=BEGIN_NS,
        end_ns=BEGIN_NS + HOUR_NS,
        headline=Headline("ours", "naive", HOUR_NS, nothing, "liquidations", few, few),
        maps=tuple(
            MapScore(
                name, horizon, Released(few, few, *(None if name == "naive" else few,) * 2), None, None, None, None
            )
            for horizon in RULES.horizons_ns
            for name in MAPS
        ),
        reach=tuple(ReachScore(horizon, unreached) for horizon in RULES.horizons_ns),
        cascades=None,
        coverage=Coverage(0, None, None, None, None, "no band has been compared with a truth"),
        invariants=Invariants(0, None, None, None, None),
        unscored=(),
    )


def market_row(venue: str = "binance", symbol: str = "BTC", side: int = 0, map_name: str = "ours") -> MarketRow:
    """Return one row, of which the captured share was not observed."""
    return MarketRow(venue, symbol, side, HOUR_NS, map_name, 31, 0.012, 0.0034, 5, 0.25, 7, -0.125, None, 0.875)
