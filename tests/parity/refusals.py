"""What would write outside an array or leave a number format is an error that names the field."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import (
    NOT_OBSERVED,
    ClusterRule,
    Freshness,
    Noise,
    Notional,
    Rules,
    Updates,
    Window,
    empty_cohorts,
    empty_standing,
)
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.errors import MemoryBudgetError
from forcedmove_kernels.fixed_point import MAX_ROW_CENTS, NOISE_BITS, PHASES, SHARE_ONE
from tests.parity.compare import assert_same, copy, refused

BEYOND = np.array([4], np.int32)


def bad_arguments(backend: Backend) -> None:
    """Ask for everything that must be refused."""
    cohort_kernels(backend)
    lifecycle(backend)
    cell_kernels(backend)
    cascades(backend)
    with refused(MemoryBudgetError, "max_cohorts_per_market"):
        backend.open_store(1 << 16, 1 << 24, 17, 2048)


def small_world() -> tuple:
    """Two markets of four slots, nothing in them."""
    rules = Rules(np.ones(2, np.uint8), np.ones((2, 2, PHASES, 1), np.uint32), np.zeros((2, 2, 2, 2), np.uint32))
    return empty_cohorts(4, 2), rules, Window(np.zeros(2, np.uint32), 8), Freshness(np.ones(1, np.uint32), 1, 0)


def cohort_kernels(backend: Backend) -> None:
    world = small_world()
    totals = np.zeros((2, 2, 10), np.uint64)
    ladder = np.array([[0, 60], [0, 60]], np.uint32)
    with refused(ValueError, "rows"):
        backend.standing_totals(*world, BEYOND, totals)
    with refused(ValueError, "totals"):
        backend.standing_totals(*world, BEYOND - 1, totals[:, :, 1:])
    with refused(ValueError, "rows"):
        backend.rebuild(*world, empty_standing(world[0], 8), BEYOND)
    with refused(ValueError, "markets"):
        backend.leverage_grid(*world, -BEYOND)
    with refused(ValueError, "ladder"):
        backend.compact(world[0], 0, 0, ladder, 0)
    with refused(ValueError, "time buckets"):
        backend.compact(world[0], 0, 0, ladder[:1] * 0, 0)
    with refused(ValueError, "entry_shift"):
        backend.compact(world[0], 0, 0, ladder[:1], 22)
    with refused(ValueError, "market"):
        backend.compact(world[0], 2, 0, ladder[:1], 0)


def lifecycle(backend: Backend) -> None:
    """Steps that cannot be applied change nothing."""
    world = small_world()
    standing = empty_standing(world[0], 8)
    one, both = np.ones(1, np.uint32), np.ones((1, 2), np.uint32)
    step = Updates(BEYOND * 0, one, one, one, both, one, np.array([0, 1]), one, one)
    before = copy(world[0]), copy(standing)
    five = np.ones(5, np.uint32)
    wrong = {
        "market": {"market": BEYOND},
        "low": {"low": one + 1},
        "first_open": {"first_open": np.array([0, 0])},
        "open_lots: more": {"open_lots": one + 1},
        "open_lots: more opened": {"open_lots": one * 3, "open_interest": np.array([[4, 2]], np.uint32)},
        "open_interest: observed": {"open_interest": np.array([[1, NOT_OBSERVED]], np.uint32)},
        "open_interest: need": {"open_interest": both[:, :1]},
        "overflow": {"first_open": np.array([0, 5]), "open_entry": five, "open_lots": five, "open_interest": 5 * both},
    }
    for field, values in wrong.items():
        with refused(ValueError, field):
            backend.apply_updates(*world, standing, step._replace(**values))
    with refused(OverflowError, "market 0 "):
        most = {"open_interest": both * NOT_OBSERVED, "first_open": np.array([0, 2]), "open_entry": five[:2]}
        lots = np.array([0xFFFF_FFFF, 1], np.uint32)
        backend.apply_updates(*world, standing, step._replace(open_lots=lots, **most))
    assert_same(world[0], before[0])
    assert_same(standing, before[1])


def cell_kernels(backend: Backend) -> None:
    window = Window(np.zeros(2, np.uint32), 8)
    totals, cells = np.zeros((2, 2, 10), np.uint64), np.zeros(10, np.uint64)
    first, histogram = np.zeros(1, np.int64), np.zeros((1, 3), np.uint64)
    one, money = np.ones(1, np.uint32), Notional(np.ones(2), np.ones(2))
    with refused(ValueError, "row"):
        backend.accumulate_volume(BEYOND, one, one, first, histogram, histogram.copy())
    with refused(ValueError, "volume"):
        backend.accumulate_volume(BEYOND, one, one, first, histogram, histogram[:, 1:])
    for wrong in ([0, 1], [1, 2], [0, 2, 1, 2], []):
        with refused(ValueError, "first"):
            backend.profiles(totals, np.array(wrong, np.int64), money, window)
    with refused(ValueError, "slope"):
        backend.profiles(totals, np.array([0, 2]), Notional(np.ones(2), np.ones(3)), window)
    with refused(ValueError, "target"):
        backend.render(totals[0], np.array([0, 4], np.int32), 4, money, 0, 0, 8)
    with refused(ValueError, "low"):
        backend.render(totals[0], np.array([0, -1], np.int32), 4, money, 0, 3, 3)
    with refused(ValueError, "high"):
        backend.render(totals[0], np.array([0, -1], np.int32), 4, money, 0, 3, 9)
    with refused(ValueError, "values"):
        backend.changed_cells(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
    for field, number in (("half_width", -1), ("ratio_percent", 1 << 64), ("share", SHARE_ONE + 1), ("share", -1)):
        with refused(ValueError, field):
            backend.clusters(cells[None], ClusterRule(1, 100, 0)._replace(**{field: number}))
    with refused(ValueError, "notional"):
        backend.clusters(cells, ClusterRule(1, 100, 0))


def cascades(backend: Backend) -> None:
    cells, rows = np.zeros(10, np.uint64), np.zeros((2, 10), np.uint64)
    mark, row, outside = np.zeros(2, np.int32), np.zeros(1, np.int32), np.array([10], np.int32)
    noise = Noise(np.full(2, 1 << NOISE_BITS, np.uint32), np.full(4, 1 << NOISE_BITS, np.uint32), 0)
    crowded = rows.copy()
    crowded[1, 3:5] = MAX_ROW_CENTS, 1
    with refused(ValueError, "shock"):
        backend.cascade_chain(cells, cells, 0, 10)
    with refused(ValueError, "mark"):
        backend.cascade_chain(cells, cells, -1, 0)
    with refused(ValueError, "depth"):
        backend.cascade_chain(cells, cells[1:], 0, 0)
    for extra in ((), (3, noise)):
        follow = backend.cascade_paths if extra else backend.cascade_chains
        with refused(ValueError, "notional"):
            follow(crowded, rows, mark, row, row, *extra)
        with refused(ValueError, "depth"):
            follow(rows, rows[:, 1:], mark, row, row, *extra)
        with refused(ValueError, "mark"):
            follow(rows, rows, mark + 10, row, row, *extra)
        with refused(ValueError, "row"):
            follow(rows, rows, mark, row + 2, row, *extra)
        with refused(ValueError, "shock"):
            follow(rows, rows, mark, row, outside, *extra)
    with refused(ValueError, "notional"):
        backend.shock_curves(crowded, rows, mark, mark)
    with refused(ValueError, "depth"):
        backend.shock_curves(rows, rows[:, 1:], mark, mark)
    with refused(ValueError, "mark"):
        backend.shock_curves(rows, rows, mark - 1, mark)
    with refused(ValueError, "side"):
        backend.shock_curves(rows, rows, mark, mark + 2)
    with refused(ValueError, "paths"):
        backend.cascade_paths(rows, rows, mark, row, row, -1, noise)
    with refused(ValueError, "notional"):
        backend.cascade_paths(rows, rows, mark, row, row, 3, noise._replace(notional=np.ones(3, np.uint32)))
    with refused(ValueError, "depth"):
        too_large = np.full(2, 16 << NOISE_BITS, np.uint32)
        backend.cascade_paths(rows, rows, mark, row, row, 3, noise._replace(depth=too_large))
