"""A tick of the resident store: what it costs follows what changed.

Deltas are openings in some markets, whose prices move by 5 bp each and so cross levels; how many cohorts are swept is
listed. For all markets at once that is a violent quarter of a second. A variant moves prices by half a basis point,
which is a standard deviation of that time at 50 to 100 % a year. A tick touches the same number of markets at every
size, so that a cost that follows change is flat. The baseline is our own full rebuild of the same store in the same
race: totals, totals weighted by age, and triggers, which are what a tick keeps up to date.

Before a tick its markets are put back as they were, which leaves some of them in the caches; the cold variant reads
through a block larger than the caches in between. Where open interest is observed, survivors are scaled and those rows
are rebuilt: that variant is listed for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from forcedmove_kernels.arrays import F64, I32, NOT_OBSERVED, U64, Cohorts, Freshness, Updates
from forcedmove_kernels.store import ResidentStore
from tests.benchmarks.rebuild_bench import refresh
from tests.benchmarks.rounds import Contestant, medians
from tests.benchmarks.rows import Cost, goal, row
from tests.benchmarks.runners import Runner
from tests.benchmarks.stores import UPDATES_PER_COHORT, aged, build_store, resident, settle, tick

#: openings of one market in one tick where there are markets enough, and the most markets that tick
DELTAS_PER_MARKET, MOST_MARKETS = 35, 285
#: one market in so many reports an open interest, of this share of each side's live lots
OBSERVED_EVERY, LEFT_PERCENT = 10, 99
#: this many deltas are promised to cost a thirtieth of a rebuild at the first size, and as much at every other
PROMISED_DELTAS, PROMISED_RATIO, FLAT = 10_000, 30.0, 1.1
CACHES_BYTES = 128 << 20

#: how far prices move, and how far in a usual quarter of a second
MOVE_BP, USUAL_BP = 5.0, 0.5

REBUILD, TICK, COLD = "full rebuild, weighted too", "tick", "tick, caches cold"
USUAL = f"tick, prices move {USUAL_BP:g} bp"
OBSERVED = f"tick, open interest of one market in {OBSERVED_EVERY}"


class Sizes(NamedTuple):
    """How much is done."""

    cohorts: tuple[int, ...]
    deltas: tuple[int, ...]
    rounds: int


class Arena(NamedTuple):
    """One runner's store, the markets that tick and what they were before."""

    runner: Runner
    there: ResidentStore
    fresh: Freshness
    markets: I32
    before: list[Cohorts]
    block: F64  # larger than the caches

    def restore(self) -> None:
        """Put the markets back; their rows are rebuilt."""
        for market, cohorts in zip(self.markets.tolist(), self.before, strict=True):
            self.there.replace(market, cohorts)
        self.there.refresh()

    def restore_cold(self) -> None:
        """Put the markets back, then read something else."""
        self.restore()
        assert self.block.sum() == len(self.block)

    def swept(self, updates: Updates) -> int:
        """How many cohorts a step sweeps, counted by side."""
        self.restore()
        self.there.apply(updates)
        count = 0
        for market, before in zip(self.markets.tolist(), self.before, strict=True):
            after = self.there.cohorts(market).live_tiers[:, : before.live_tiers.shape[1]]
            count += int(np.count_nonzero(after != before.live_tiers))
        return count

    def step(self, updates: Updates) -> None:
        """Take a step to its end."""
        self.there.apply(updates)
        self.there.refresh()
        self.runner.finish()

    def maintained(self) -> tuple[U64, U64]:
        """Totals of the markets that tick, unweighted and weighted: those maintained must equal those rebuilt."""
        kept = tuple(self.there.totals(self.markets, weighted) for weighted in (False, True))
        self.there.set_freshness(self.fresh)
        self.there.refresh()
        for weighted in (False, True):
            np.testing.assert_array_equal(kept[weighted], self.there.totals(self.markets, weighted))
        return kept


def bench_ticks(
    results: list[dict[str, Any]], goals: list[dict[str, Any]], runners: Sequence[Runner], sizes: Sizes
) -> None:
    """Every size; at the promised number of deltas also with cold caches, a usual move, and open interest.

    The promise is kept by the number of threads that ticks fastest at the first size.
    """
    races = [_race(results, runners, cohorts, sizes) for cohorts in sizes.cohorts]
    cpu = [runner for runner in runners if not runner.device]
    if not cpu or PROMISED_DELTAS not in sizes.deltas:
        return
    for kind in (TICK, USUAL):
        fastest = min(cpu, key=lambda runner: races[0][_label(runner, kind, PROMISED_DELTAS)])
        ticked = races[0][_label(fastest, kind, PROMISED_DELTAS)]
        what = f"{kind}, {PROMISED_DELTAS:,} deltas at {sizes.cohorts[0]:.0e} cohorts, against our own full rebuild"
        goals.append(goal(what, PROMISED_RATIO, None, races[0][fastest.name] / ticked, "x"))
        for cohorts, seconds in zip(sizes.cohorts[1:], races[1:], strict=True):
            what = f"the same tick at {cohorts:.0e} cohorts, times that at {sizes.cohorts[0]:.0e} (flat)"
            larger = seconds[_label(fastest, kind, PROMISED_DELTAS)]
            goals.append(goal(what, FLAT, None, larger / ticked, "x", at_most=True))


def _race(results: list[dict[str, Any]], runners: Sequence[Runner], cohorts: int, sizes: Sizes) -> dict[str, float]:
    """Median seconds of every rebuild, by the runner's name, and tick."""
    store = build_store(cohorts)
    fresh = aged(store)
    size = len(store.cohorts.used)
    chosen = np.random.default_rng(3).permutation(size)[: min(MOST_MARKETS, max(size // 2, 1))].astype(np.int32)
    spare = max(sizes.deltas) // min(len(chosen), max(sizes.deltas) // DELTAS_PER_MARKET) + 2
    arenas, live, block = [], np.zeros((0, 2), np.uint64), np.ones(CACHES_BYTES // 8)
    for runner in runners:
        there = resident(runner.backend, store, spare)
        there.set_freshness(fresh)
        live = settle(there)
        before = [there.cohorts(market) for market in chosen.tolist()]
        arenas.append(Arena(runner, there, fresh, chosen, before, block))
    steps = _steps(chosen, sizes.deltas, fresh.now, live)
    contestants = [_tick(arena, *step) for step in steps.items() for arena in arenas]
    contestants += [refresh(arena.runner, arena.there, fresh)._replace(question=REBUILD) for arena in arenas]
    swept = {step: arenas[0].swept(updates) for step, updates in steps.items()} if arenas else {}
    seconds = medians(contestants, sizes.rounds)
    for (kind, deltas), step in steps.items():
        touched = int(store.cohorts.used[step.market].sum())
        cost = Cost(2 * deltas * UPDATES_PER_COHORT, 8 * touched + 26 * deltas, True)
        for runner in runners:
            params = {"cohorts": cohorts, "deltas": deltas, "swept": swept[kind, deltas]}
            params |= {"markets": f"{len(step.market)}/{size}", "by": runner.name}
            against = (REBUILD, seconds[runner.name])
            spent = seconds[_label(runner, kind, deltas)]
            results.append(row(kind, params, spent, "ms", cost, runner.limits, against))
    return seconds


def _steps(chosen: I32, sizes: Sequence[int], now: int, live: U64) -> dict[tuple[str, int], Updates]:
    """One tick per number of deltas, and the variants of the second number (of the first where it is the only one)."""
    found: dict[tuple[str, int], Updates] = {}
    for deltas in sizes:
        markets = np.sort(chosen[: max(deltas // DELTAS_PER_MARKET, 1)])
        unknown = np.full((len(markets), 2), NOT_OBSERVED, np.uint32)
        found[TICK, deltas] = tick(markets, deltas, now, unknown, MOVE_BP, seed=11)
    deltas = sizes[min(1, len(sizes) - 1)]
    markets = found[TICK, deltas].market
    unknown = np.full((len(markets), 2), NOT_OBSERVED, np.uint32)
    found[USUAL, deltas] = tick(markets, deltas, now, unknown, USUAL_BP, seed=11)
    plain = found[TICK, deltas]
    found[COLD, deltas] = plain
    opened = np.add.reduceat(plain.open_lots.astype(np.uint64), plain.first_open[:-1])
    interest = plain.open_interest.copy()
    left = live[plain.market] * np.uint64(LEFT_PERCENT) // np.uint64(100) + opened[:, None]
    interest[::OBSERVED_EVERY] = left[::OBSERVED_EVERY]
    found[OBSERVED, deltas] = plain._replace(open_interest=interest)
    return found


def _tick(arena: Arena, kind_deltas: tuple[str, int], updates: Updates) -> Contestant:
    kind, deltas = kind_deltas
    prepare: Callable[[], None] = arena.restore_cold if kind == COLD else arena.restore
    name = _label(arena.runner, kind, deltas)
    return Contestant(name, lambda: arena.step(updates), prepare, arena.maintained, question=f"{deltas} {kind}")


def _label(runner: Runner, kind: str, deltas: int) -> str:
    return f"{runner.name}: {kind}, {deltas}"
