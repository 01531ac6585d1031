"""What a range of prices is made of: notional by venue and by leverage, and how old it is. Computed for events only."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import UNWEIGHTED, Freshness, Notional, View, Window
from forcedmove_kernels.fixed_point import FRESHNESS_ONE
from forcedmove_server.engine.clusters.events import ClusterFacts
from forcedmove_server.engine.frames import SIDES
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.rules import LEVERAGES, rules_of

F64 = NDArray[np.float64]
T = TypeVar("T")

#: ages are counted in these steps, up to a month
_AGE_STEP_S, _AGE_STEPS = 600, 4320
_RAMP = np.rint(np.linspace(0, FRESHNESS_ONE, _AGE_STEPS + 1)).astype(np.uint32)


def cluster_facts(pipeline: Pipeline, state: SymbolState, side: int, begin: int, end: int) -> ClusterFacts:
    """Return what one side has in the cells ``begin <= cell < end`` of a state's axis, as of the store's refresh."""
    venues = {venue: float(cents[side, begin:end].sum()) / 100 for venue, cents in state.venue_cents.items()}
    leverages = dict(zip(LEVERAGES.tolist(), _by_tier(pipeline, state, side, begin, end).tolist(), strict=True))
    return ClusterFacts(_largest(venues), _largest(leverages), _mean_age_s(pipeline, state, side, begin, end))


def _largest(usd: dict[T, float]) -> tuple[tuple[T, float], ...]:
    return tuple(sorted(((name, amount) for name, amount in usd.items() if amount > 0), key=lambda item: -item[1]))


def _by_tier(pipeline: Pipeline, state: SymbolState, side: int, begin: int, end: int) -> F64:
    """USD of every leverage tier, float64 ``[T]``."""
    rows, tiers = state.rows, len(LEVERAGES)
    target = np.full((len(rows.rows), len(SIDES), tiers), -1, np.int32)
    target[:, side] = np.arange(tiers)
    places = rows.places
    view = View(
        markets=rows.rows,
        tiers=np.arange(tiers, dtype=np.int32),
        weighted=False,
        notional=Notional(rows.notional.base[places], rows.notional.slope[places]),
        target=target,
        outputs=tiers,
        low=begin - 1,
        high=end - 1,
    )
    usd: F64 = pipeline.store.resident.render(view)[:, 1:-1].sum(axis=1, dtype=np.float64)
    return usd


def _mean_age_s(pipeline: Pipeline, state: SymbolState, side: int, begin: int, end: int) -> float | None:
    """Mean age by notional of what has its levels there, before they are spread; ages beyond a month count as one."""
    rows, store = state.rows, pipeline.store
    aged = Freshness(_RAMP, _AGE_STEP_S, pipeline.now_s)
    window = Window(np.array([state.first_bin + begin - 1], np.uint32), end - begin)
    middle = state.first_bin + (begin + end) / 2 - 1
    old = live = 0.0
    for row, place in zip(rows.rows.tolist(), rows.places.tolist(), strict=True):
        cohorts, rules = store.resident.cohorts(row), rules_of(store.rules, row)
        cents = float(rows.notional.base[place] + rows.notional.slope[place] * middle)
        weighed, all_of_it = (
            pipeline.backend.leverage_grid(cohorts, rules, window, fresh, np.zeros(1, np.int32))[0, side, :, 1:-1].sum()
            for fresh in (aged, UNWEIGHTED)
        )
        old, live = old + cents * float(weighed), live + cents * float(all_of_it)
    return old / live * _AGE_STEP_S * _AGE_STEPS if live > 0 else None
