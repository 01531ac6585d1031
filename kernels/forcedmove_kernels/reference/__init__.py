"""The oracle: every kernel in NumPy and plain Python, slow and obvious. It is the definition of the bits."""

from __future__ import annotations

from forcedmove_kernels.host_store import HostStore
from forcedmove_kernels.reference.cascade import cascade_chain, cascade_chains, cascade_paths, shock_curves
from forcedmove_kernels.reference.clusters import clusters
from forcedmove_kernels.reference.compact import compact
from forcedmove_kernels.reference.frames import changed_cells, render
from forcedmove_kernels.reference.grid import leverage_grid, standing_totals
from forcedmove_kernels.reference.lifecycle import apply_updates
from forcedmove_kernels.reference.profile import profiles
from forcedmove_kernels.reference.spread import spread_levels
from forcedmove_kernels.reference.standing import rebuild
from forcedmove_kernels.reference.volume import accumulate_volume


class ReferenceBackend:
    """The oracle as a backend. See :class:`forcedmove_kernels.backend.Backend` for every argument."""

    name = "reference"

    def open_store(self, markets: int, capacity: int, tiers: int, bins: int) -> HostStore:
        """Return an empty store in this process. Raises MemoryBudgetError before anything is allocated."""
        return HostStore(self, markets, capacity, tiers, bins)

    accumulate_volume = staticmethod(accumulate_volume)
    apply_updates = staticmethod(apply_updates)
    rebuild = staticmethod(rebuild)
    standing_totals = staticmethod(standing_totals)
    leverage_grid = staticmethod(leverage_grid)
    spread_levels = staticmethod(spread_levels)
    compact = staticmethod(compact)
    profiles = staticmethod(profiles)
    render = staticmethod(render)
    changed_cells = staticmethod(changed_cells)
    clusters = staticmethod(clusters)
    cascade_chain = staticmethod(cascade_chain)
    cascade_chains = staticmethod(cascade_chains)
    shock_curves = staticmethod(shock_curves)
    cascade_paths = staticmethod(cascade_paths)


__all__ = ["ReferenceBackend"]
