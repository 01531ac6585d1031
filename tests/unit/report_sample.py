"""A backtest result that was made up: plausible, seeded, with every part of a report in it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.distance import BAND_EDGES
from forcedmove_server.scorecard.measures.capture import Capture
from forcedmove_server.scorecard.measures.cascades import CascadeScore
from forcedmove_server.scorecard.measures.coverage import Coverage
from forcedmove_server.scorecard.measures.reach import Reach, ReliabilityBin
from forcedmove_server.scorecard.measures.released import Released, move_dtype, released
from forcedmove_server.scorecard.report.deciles import DecileSums
from forcedmove_server.scorecard.report.largest import largest_moves
from forcedmove_server.scorecard.report.residuals import residual_bins
from forcedmove_server.scorecard.report.result import (
    BacktestResult,
    MarketInput,
    RealisedExample,
    Setting,
    WeightSnapshot,
)
from forcedmove_server.scorecard.resampling import Estimate, Resampling
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
from forcedmove_server.scorecard.tables import MarketName

DAY = 86_400 * 10**9
HOUR = DAY // 24
MAPS = ("ours", "naive", "naive_maintenance", "distance")
FIT = (20_480 * DAY, 20_500 * DAY)
TEST = (20_500 * DAY, 20_541 * DAY)
RULES = ScoringRules()
RESAMPLING = Resampling(resamples=200)
TIERS = (2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 25.0, 33.0, 50.0, 75.0, 100.0, 125.0)


def moves(seed: int = 0, truth: float = 1.0, days: int = 41, per_day: int = 40, markets: int = 7) -> Records:
    """Moves whose open interest leaves by size, market and volatility, and by ``truth`` times the mass of "ours"."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    rows = np.zeros(n, move_dtype(len(MAPS)))
    rows["at_ns"] = TEST[0] + np.repeat(np.arange(days), per_day) * DAY + rng.integers(0, 24, n) * HOUR
    rows["market"], rows["side"] = rng.integers(0, markets, n), rng.integers(0, 2, n)
    size = rows["size"] = rng.exponential(0.01, n) + 0.004
    rows["volatility"] = rng.lognormal(-5, 0.3, n)
    rows["interest_change_before"] = rng.normal(0, 0.02, n)
    prior = 1 - np.exp(-8 * size)
    peaks = rng.lognormal(0, 0.5, (4, n))
    naive = peaks[0] ** 0.3 * peaks[1]
    rows["crossed"] = np.stack([prior * peaks[0], prior * naive, prior * naive * peaks[2] ** 0.2, prior], axis=1)
    rows["released"] = (
        3 * size
        + 2 * rows["volatility"]
        + rng.normal(0, 0.02, markets)[rows["market"]]
        + truth * rows["crossed"][:, 0]
        + rng.normal(0, 0.3, n)
    )
    return rows


def estimate(value: float, n: int = 812, blocks: int = 41, half: float = 0.05) -> Estimate:
    return Estimate(value, value - half, value + 1.5 * half, n, blocks)


def placement(k: int, n: int = 812, blocks: int = 211) -> Placement:
    values = (0.041 - 0.11 * k, 0.032 - 0.09 * k, 0.021 - 0.07 * k, 0.013 - 0.05 * k)
    bits = [Estimate(v, v - 0.06, v + 0.05, n, blocks) for v in values]
    return Placement(
        18_433_210.5 + k, *bits, Capture(0.231 - 0.04 * k, 0.188 - 0.03 * k, 117.3, 0.104, 0.143, 2.22 - 0.1 * k, 1.61)
    )


def map_scores(found: dict[str, Released], horizons: tuple[int, ...] = RULES.horizons_ns) -> tuple[MapScore, ...]:
    return tuple(
        MapScore(
            map=name,
            horizon_ns=horizon,
            released=found[name],
            positions=placement(k),
            liquidations=placement(k, 4211, 41),
            sampled=placement(k, 977, 39),
            intensity=Intensity(1604 + h, estimate(0.37 + 0.11 * k), 0.52 - 0.2 * k, 143.7 + 20 * k, 0.417 - 0.1 * k),
        )
        for h, horizon in enumerate(horizons)
        for k, name in enumerate(MAPS)
    )


def reach(seed: int) -> Reach:
    rng = np.random.default_rng(seed)
    n = np.array([9120, 4022, 2113, 1408, 977, 812, 701, 655, 690, 1290])
    forecast = (np.arange(10) + rng.uniform(0.35, 0.65, 10)) / 10
    observed = np.clip(forecast + rng.normal(0, 0.02, 10), 0, 1)
    bins = tuple(ReliabilityBin(int(a), float(b), float(c)) for a, b, c in zip(n, forecast, observed, strict=True))
    return Reach(int(n.sum()), 0.0912 + 0.01 * seed, 0.461 - 0.02 * seed, bins)


@cache
def summary(truth: float = 1.0, period: tuple[int, int] = TEST, seed: int = 0) -> Summary:
    found = released(moves(seed, truth), MAPS, "naive", RESAMPLING)
    scores = map_scores(found)
    ours = found["ours"]
    return Summary(
        where=Where(),
        rules=RULES,
        begin_ns=period[0],
        end_ns=period[1],
        headline=Headline(
            "ours",
            "naive",
            RULES.headline_horizon_ns,
            placement(0).bits_over_flat,
            "positions",
            ours.rank,
            ours.rank_gain,
        ),
        maps=scores,
        reach=tuple(ReachScore(horizon, reach(k)) for k, horizon in enumerate(RULES.horizons_ns)),
        cascades=CascadeScore(31, 19, 12, 7, 18, 41 * 86_400.0, 38.2, 0.47, 1.25, 312.0, 0.44),
        coverage=Coverage(41_230, 0.913, 0.887, 0.041, 0.046),
        invariants=Invariants(1_204_211, 3.1e-9, "binance:ETHUSDT", TEST[0] + 7 * HOUR, 2.2e-12),
        unscored=(
            Unscored("move left the map's window", 17),
            Unscored("no history of price or open interest yet", 412),
            Unscored("open interest missing or stale", 93),
        ),
    )


def weights(seed: int = 5, venues: tuple[str, ...] = ("binance", "bybit", "hyperliquid")) -> tuple[WeightSnapshot, ...]:
    """Posteriors that drift from the prior to the truth and end a little beside it."""
    rng = np.random.default_rng(seed)
    snapshots = []
    for venue in venues:
        for side in (0, 1):
            prior, truth = rng.dirichlet(np.full(len(TIERS), 2.0)), rng.dirichlet(np.full(len(TIERS), 2.0))
            for step in range(25):
                share = 0.9 * (1 - np.exp(-step / 7))
                posterior = (1 - share) * prior + share * truth
                posterior = posterior * rng.lognormal(0, 0.05, len(TIERS))
                posterior /= posterior.sum()
                snapshots.append(
                    WeightSnapshot(
                        TEST[0] + step * 40 * HOUR,
                        venue,
                        side,
                        TIERS,
                        tuple(prior.tolist()),
                        tuple(posterior.tolist()),
                        tuple(truth.tolist()) if venue != "bybit" else None,
                    )
                )
    return tuple(snapshots)


def examples(seed: int = 9) -> tuple[RealisedExample, ...]:
    rng = np.random.default_rng(seed)
    found = []
    for venue, symbol, side, mark, width in (
        ("hyperliquid", "BTC", 0, 97_500.0, 50.0),
        ("binance", "ETH", 1, 3_412.0, 2.0),
        ("okx", "PEPE", 0, 0.00001234, 0.00000001),
    ):
        bins = 60
        edges = mark + (np.arange(bins + 1) - (bins if side == 0 else 0)) * width
        predicted = rng.gamma(0.6, 3.0, bins) * np.linspace(1.5, 0.5, bins)
        naive = rng.gamma(0.3, 6.0, bins)
        realised = rng.poisson(predicted * 0.4).astype(float)
        rows = (tuple(values.tolist()) for values in (edges, predicted, naive, realised))
        edges_usd, predicted_by, naive_by, realised_by = rows
        begin = TEST[0] + 9 * DAY
        found.append(
            RealisedExample(
                *(venue, symbol, side, begin, begin + 4 * HOUR),
                *(edges_usd, predicted_by, naive_by, realised_by, symbol, "liquidations"),
            )
        )
    return tuple(found)


def deciles(seed: int = 3) -> DecileSums:
    """Sums of windows whose events follow "ours"."""
    rng = np.random.default_rng(seed)
    sums = DecileSums()
    distance = np.linspace(0.0005, 0.06, 80)
    band = np.searchsorted(BAND_EDGES, distance).astype(np.int64)
    for day in range(41):
        for _ in range(4):
            ours = rng.gamma(0.7, 1.0, 80) * np.exp(-distance * 20)
            profiles = (ours, ours**0.2 * rng.gamma(0.7, 1.0, 80), rng.gamma(0.5, 1.0, 80), np.exp(-distance * 20))
            events = rng.poisson(2 * ours)
            usd = events * rng.lognormal(10, 1, 80)
            for name, profile in zip(MAPS, profiles, strict=True):
                sums.add(name, HOUR, "liquidations", day, profile, usd, band, int(events.sum()))
                sums.add(name, HOUR, "positions", day % 29, profile, usd, band, int(events.sum()))
    return sums


def market_rows() -> tuple[MarketRow, ...]:
    return tuple(
        MarketRow(
            *(venue, symbol, side, HOUR, name, 61 + 7 * side, 0.0412 - 0.005 * k, 0.0131),
            *(211 - side, 0.052 - 0.1 * k, 83 + side, 0.047 - 0.1 * k, 0.243 - 0.03 * k, 0.613 + k),
        )
        for venue in ("binance", "hyperliquid")
        for symbol in ("BTC", "ETH", "SOL")
        for side in (0, 1)
        for k, name in enumerate(MAPS)
    )


@cache
def result(truth: float = 1.0) -> BacktestResult:
    return BacktestResult(
        title="Backtest of simulated markets",
        source="simulation, seed 7, regime crash; 7 coins on 3 venues",
        fit=FIT,
        test=TEST,
        settings=(
            Setting("turnover_half_life", "36 h", "half-life of a position that nothing liquidates"),
            Setting("calibration.kappa", "40", "strength of a venue's weights as prior of a market's"),
        ),
        markets=tuple(
            MarketInput(
                venue,
                f"{symbol}USDT",
                symbol,
                (("prices", 59_040 + k), ("open interest", 11_808), ("liquidations", 412 * k)),
                (("open interest older than its stamp", 3),) if k == 1 else (),
            )
            for venue in ("binance", "hyperliquid")
            for k, symbol in enumerate(("BTC", "ETH", "SOL"))
        ),
        summary=summary(truth),
        fit_summary=summary(truth, FIT, seed=1),
        rows=market_rows(),
        weights=weights(),
        realised=examples(),
        deciles=deciles().lifts(RESAMPLING),
        residuals=residual_bins(moves(0, truth), MAPS, HOUR, RESAMPLING),
        largest=largest_moves(
            moves(0, truth), MAPS, HOUR, lambda number: MarketName("binance", f"M{number}", f"C{number}")
        ),
        notes=("OKX publishes at most one liquidation per second and contract: its counts are a floor.",),
    )


@cache
def bare() -> BacktestResult:
    """A result of a run without liquidations and positions, in which twelve moves were seen."""
    few = released(moves()[:12], MAPS, "naive", RESAMPLING, RULES.least_moves)
    full = result()
    nothing = Estimate(None, reason="neither known positions nor complete liquidation feeds on touched bins yet")
    scores = tuple(
        replace(score, released=few[score.map], positions=None, liquidations=None, sampled=None, intensity=None)
        for score in full.summary.maps
    )
    none_due = Reach(0, None, None, (), "no forecast has come due: volatility needs a history first")
    empty = replace(
        full.summary,
        headline=replace(
            full.summary.headline,
            bits=nothing,
            bits_from="liquidations",
            released=few["ours"].rank,
            gain=few["ours"].rank_gain,
        ),
        maps=scores,
        reach=tuple(ReachScore(horizon, none_due) for horizon in RULES.horizons_ns),
        cascades=None,
        coverage=Coverage(0, None, None, None, None, "no band has been compared with a truth"),
        invariants=Invariants(0, None, None, None, None),
        unscored=(),
    )
    return BacktestResult("Bare", "a file", None, TEST, (), (), empty)
