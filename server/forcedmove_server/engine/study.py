"""A study: one evaluation per regime and seed, one after the other or in processes of their own."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from forcedmove_server.config import Config, SimulationRegime
from forcedmove_server.engine.backtest import model_settings
from forcedmove_server.engine.evaluation import Evaluation
from forcedmove_server.engine.plans import check_jobs, check_runs
from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.scorecard.report.result import Setting
from forcedmove_server.scorecard.study.result import StudyResult, StudyRun
from forcedmove_server.sources.make import bounded_simulation
from forcedmove_server.sources.simulate import SimulationConfig
from forcedmove_server.sources.simulate.regime_profiles import REGIMES

#: is told what share of a study is done
Told = Callable[[float], None]

#: of the credible bands whose coverage is counted
_LEVEL = 0.9


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a study runs: every seed in every regime. Raises InputError or UnknownNameError for what cannot be."""

    seeds: tuple[int, ...]
    regimes: tuple[SimulationRegime, ...]
    symbols: tuple[str, ...] = ()
    hours: float = 24.0
    skip_hours: int = 6
    jobs: int = 1

    def __post_init__(self) -> None:
        check_runs(self.seeds, self.regimes)
        for regime in self.regimes:
            if regime not in REGIMES:
                raise UnknownNameError("regime", regime, list(REGIMES))
        if not 1 <= self.hours <= 24 * 365:
            raise InputError("hours", self.hours, "must lie in 1 .. 8760: maps are compared every hour")
        if not 0 <= self.skip_hours < int(self.hours):
            raise InputError("skip-hours", self.skip_hours, f"must lie in 0 .. {int(self.hours) - 1}, below the hours")
        check_jobs(self.jobs)
        for regime in self.regimes:
            bounded_simulation(self.seeds[0], self.symbols, self.hours, regime)


@dataclass(frozen=True, slots=True)
class _Task:
    """One run, in a form that another process can be given."""

    seed: int
    regime: SimulationRegime
    symbols: tuple[str, ...]
    hours: float
    config: Config


def run_study(plan: StudyPlan, config: Config, told: Told = lambda _: None) -> StudyResult:
    """Run a study; the result depends on the plan and the configuration alone, not on ``jobs``."""
    if plan.jobs > 1:
        # bits do not depend on threads; processes that each take all cores get in each other's way
        threads = max((os.cpu_count() or 1) // plan.jobs, 1)
        config = dataclasses.replace(config, engine=dataclasses.replace(config.engine, threads=threads))
    tasks = [
        _Task(seed, regime, plan.symbols, plan.hours, config) for regime in plan.regimes for seed in plan.seeds
    ]  # fmt: skip
    runs = _one_by_one(tasks, told) if plan.jobs == 1 else _in_processes(tasks, plan.jobs, told)
    symbols = tuple(symbol.upper() for symbol in plan.symbols) or SimulationConfig().symbols
    return StudyResult(
        title=f"Simulated market: {len(plan.seeds)} seeds, {len(plan.regimes)} regimes, {plan.hours:g} h",
        symbols=symbols,
        hours=plan.hours,
        skip_hours=plan.skip_hours,
        level=_LEVEL,
        settings=_settings(plan, config),
        runs=tuple(runs),
    )


def _run(task: _Task, told: Told = lambda _: None) -> StudyRun:
    source = bounded_simulation(task.seed, task.symbols, task.hours, task.regime)
    evaluation = Evaluation(source, task.config, _LEVEL)
    for _ in evaluation:
        told(source.progress() or 0.0)
    return evaluation.result()


def _one_by_one(tasks: list[_Task], told: Told) -> list[StudyRun]:
    runs: list[StudyRun] = []
    for task in tasks:
        runs.append(_run(task, lambda part: told((len(runs) + part) / len(tasks))))
    return runs


def _in_processes(tasks: list[_Task], jobs: int, told: Told) -> list[StudyRun]:
    """Run tasks in processes that start afresh: a fork would copy the threads of the kernels half."""
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures: list[Future[StudyRun]] = [pool.submit(_run, task) for task in tasks]
        try:
            for done, _ in enumerate(as_completed(futures), 1):
                told(done / len(tasks))
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _settings(plan: StudyPlan, config: Config) -> tuple[Setting, ...]:
    """Return what the regimes fix, and what the model was set to."""
    found = []
    for name in plan.regimes:
        weather = REGIMES[name]
        if name == "mixed":
            found.append(Setting(f"regime {name}", "by chance", weather.meaning))
            continue
        told = [f"volatility x{weather.volatility:g}", f"activity x{weather.activity:g}", f"depth x{weather.depth:g}"]
        if weather.drift_per_day:
            told.append(f"drift {weather.drift_per_day:.0%} a day")
        if weather.crowd:
            told.append(f"crowd {weather.crowd:+g}")
        if weather.crashes is not None:
            low, high = weather.crashes.log_move
            told.append(
                f"news of {low:+.1%} to {high:+.1%} at hour {weather.crashes.first_hour:g}, then every "
                f"{weather.crashes.every_hours:g} h"
            )
        found.append(Setting(f"regime {name}", ", ".join(told), weather.meaning))
    return (*found, *model_settings(config))
