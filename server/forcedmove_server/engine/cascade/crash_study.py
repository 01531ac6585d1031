"""Many simulated crashes: their forecasts' errors, how often bands hold what happened, with intervals over seeds."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import Config, SimulationRegime
from forcedmove_server.engine.cascade.crashes import FORECASTS, Crash, simulated_crashes
from forcedmove_server.engine.cascade.forecast import MAX_DURATION_S
from forcedmove_server.engine.plans import check_jobs, check_runs
from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.resampling import Estimate, Resampling
from forcedmove_server.sources.simulate.regime_profiles import regime_profile

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: quantiles of the errors that are told
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_CRASHES = 100


@dataclass(frozen=True, slots=True)
class CrashPlan:
    """Every seed in every regime, up to the ``number``-th crash, asked as a shock over ``duration_s``.

    Without a duration it is the mean of the regime's crashes. Raises InputError or UnknownNameError.
    """

    seeds: tuple[int, ...]
    regimes: tuple[SimulationRegime, ...]
    symbols: tuple[str, ...] = ()
    number: int = 3
    jobs: int = 1
    duration_s: float | None = None

    def __post_init__(self) -> None:
        check_runs(self.seeds, self.regimes)
        for regime in self.regimes:
            if regime_profile(regime).crashes is None:
                raise InputError("regimes", regime, "has no scheduled crash: crash and squeeze have")
        if not 1 <= self.number <= _MOST_CRASHES:
            raise InputError("crash", self.number, f"must lie in 1 .. {_MOST_CRASHES}")
        check_jobs(self.jobs)
        if self.duration_s is not None and not 0 <= self.duration_s <= MAX_DURATION_S:
            raise InputError("duration_s", self.duration_s, f"must lie in 0 .. {MAX_DURATION_S:g}")


@dataclass(frozen=True, slots=True)
class ForecastErrors:
    """Errors of one forecast. Floors in basis points of the mark before, above 0 where the mark went further.

    ``floor_bp`` and ``total_log`` (log of liquidated over predicted) are quantiles at ``QUANTILES``; ``floor_mean_bp``,
    ``total_mean_log`` and ``levels_mean`` means of absolute errors with intervals over seeds.
    """

    forecast: str
    floor_bp: tuple[float, ...]
    total_log: tuple[float, ...]
    floor_mean_bp: Estimate
    total_mean_log: Estimate
    levels_mean: Estimate


@dataclass(frozen=True, slots=True)
class CrashSummary:
    """Errors of all forecasts; how often the chain's 5 to 95 % band held what happened, and how wide it was."""

    crashes: int
    seeds: int
    with_clusters: int  # crashes that had a cluster of the map in their way
    forecasts: tuple[ForecastErrors, ...]
    floor_held: Estimate
    total_held: Estimate
    nearer: float  # share of floors nearer than the band, and further
    further: float
    band_bp: float  # median width


def run_crashes(plan: CrashPlan, config: Config, told: Callable[[float], None] = lambda _: None) -> list[Crash]:
    """Run a plan; the result does not depend on ``jobs``."""
    tasks = [(seed, regime) for regime in plan.regimes for seed in plan.seeds]
    if plan.jobs > 1:
        config = dataclasses.replace(config, engine=dataclasses.replace(config.engine, threads=1))
        with ProcessPoolExecutor(plan.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            futures = [
                pool.submit(simulated_crashes, seed, config, regime, plan.symbols, plan.number, plan.duration_s)
                for seed, regime in tasks
            ]
            try:
                for done, _ in enumerate(as_completed(futures), 1):
                    told(done / len(tasks))
                return [crash for future in futures for crash in future.result()]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    found: list[Crash] = []
    for done, (seed, regime) in enumerate(tasks, 1):
        found += simulated_crashes(seed, config, regime, plan.symbols, plan.number, plan.duration_s)
        told(done / len(tasks))
    return found


def summarise(crashes: list[Crash], resampling: Resampling | None = None) -> CrashSummary:
    """Summarise crashes; symbols of one seed fall together, so that intervals are drawn over seeds."""
    draw = resampling or Resampling()
    seeds = np.array([crash.seed * 2 + crash.side for crash in crashes], np.int64)
    outward = np.array([_outward(crash, crash.floor_usd) for crash in crashes])
    total = np.array([crash.total_usd for crash in crashes])
    levels = np.array([crash.levels for crash in crashes])
    ends = np.array([sorted(_outward(crash, price) for price in crash.floor_band) for crash in crashes])
    forecasts = []
    for k, name in enumerate(FORECASTS):
        floor = outward - np.array([_outward(crash, crash.predicted[k].floor_usd) for crash in crashes])
        predicted = np.array([crash.predicted[k].total_usd for crash in crashes])
        # a cent, where nothing was liquidated or predicted
        share = np.log(np.maximum(total, 0.01) / np.maximum(predicted, 0.01))
        missed = np.abs(levels - np.array([crash.predicted[k].levels for crash in crashes]))
        forecasts.append(
            ForecastErrors(
                forecast=name,
                floor_bp=tuple(np.quantile(floor, QUANTILES).tolist()),
                total_log=tuple(np.quantile(share, QUANTILES).tolist()),
                floor_mean_bp=_mean(draw, np.abs(floor), seeds),
                total_mean_log=_mean(draw, np.abs(share), seeds),
                levels_mean=_mean(draw, missed.astype(np.float64), seeds),
            )
        )
    return CrashSummary(
        crashes=len(crashes),
        seeds=len(set(seeds.tolist())),
        with_clusters=int(np.count_nonzero(levels)),
        forecasts=tuple(forecasts),
        floor_held=_mean(draw, np.array([crash.floor_held for crash in crashes], np.float64), seeds),
        total_held=_mean(draw, np.array([crash.total_held for crash in crashes], np.float64), seeds),
        nearer=float(np.mean(outward < ends[:, 0])),
        further=float(np.mean(outward > ends[:, 1])),
        band_bp=float(np.median(ends[:, 1] - ends[:, 0])),
    )


def _outward(crash: Crash, price_usd: float) -> float:
    """How far a price lies from the mark before the crash, in its direction, in basis points."""
    return (price_usd / crash.mark_usd - 1) * (1e4 if crash.side else -1e4)


def _mean(draw: Resampling, values: F64, seeds: I64) -> Estimate:
    return draw.ratio(values, np.ones(len(values)), seeds)


def lines(summary: CrashSummary) -> Iterator[str]:
    """Put a summary into words."""
    yield (
        f"{summary.crashes} crashes of {summary.seeds} markets, seen a minute before; "
        f"{summary.with_clusters} had a cluster of the map in their way"
    )
    yield ""
    yield f"{'':<14}{'floor, bp':>22}{'5 / 50 / 95 %':>24}{'total, |log|':>22}{'median x':>10}{'levels':>8}"
    for errors in summary.forecasts:
        low, _, middle, _, high = errors.floor_bp
        spread = f"{low:+.0f} / {middle:+.0f} / {high:+.0f}"
        yield (
            f"{errors.forecast:<14}{_told(errors.floor_mean_bp, 0):>22}{spread:>24}"
            f"{_told(errors.total_mean_log, 2):>22}{np.exp(errors.total_log[2]):>10.2f}"
            f"{errors.levels_mean.value or 0:>8.2f}"
        )
    yield ""
    yield (
        f"5-95 % band: holds {_told(summary.floor_held, 2)} of floors ({summary.nearer:.2f} end nearer, "
        f"{summary.further:.2f} further) and {_told(summary.total_held, 2)} of totals; median width "
        f"{summary.band_bp:.0f} bp"
    )


def _told(estimate: Estimate, digits: int) -> str:
    if estimate.value is None:
        return "-"
    value = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def to_json(crashes: list[Crash], summary: CrashSummary) -> str:
    """Everything, crash by crash, and its summary."""
    return json.dumps(
        {"summary": dataclasses.asdict(summary), "crashes": [dataclasses.asdict(crash) for crash in crashes]}, indent=1
    )
