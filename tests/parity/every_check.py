"""All checks, and how often each is worth running: the oracle is slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from forcedmove_kernels.backend import Backend
from tests.parity import cascade_checks, checks, store_checks, watched_checks
from tests.parity.builders import Size
from tests.parity.draws import Draws


class Check(NamedTuple):
    """A check and the number of tables that one run of the tests draws for it."""

    run: Callable[[Backend, Draws, Size], None]
    small: int
    large: int

    @property
    def name(self) -> str:
        return self.run.__name__


CHECKS = (
    Check(checks.accumulate_volume, 30, 4),
    Check(checks.apply_updates, 60, 8),
    Check(checks.too_many_lots, 15, 2),
    Check(checks.rebuild, 30, 4),
    Check(checks.standing_totals, 20, 3),
    Check(checks.leverage_grid, 25, 4),
    Check(checks.spread_levels, 60, 6),
    Check(checks.compact, 30, 3),
    Check(checks.profiles, 25, 4),
    Check(checks.render, 40, 5),
    Check(checks.changed_cells, 40, 8),
    Check(checks.clusters, 40, 6),
    Check(cascade_checks.cascade_chain, 40, 8),
    Check(cascade_checks.cascade_chains, 40, 4),
    Check(cascade_checks.shock_curves, 30, 4),
    Check(cascade_checks.wide_shock_curves, 10, 3),
    Check(cascade_checks.cascade_paths, 40, 5),
    Check(cascade_checks.many_cascade_paths, 10, 4),
    Check(store_checks.resident_store, 40, 6),
    Check(watched_checks.watched_views, 40, 6),
)
