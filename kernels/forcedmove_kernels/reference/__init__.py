"""The oracle: every kernel in NumPy and plain Python, slow and obvious. It is the definition of the bits."""

from __future__ import annotations

from forcedmove_kernels.reference.cascade import cascade_chain, shock_curve
from forcedmove_kernels.reference.clusters import clusters
from forcedmove_kernels.reference.compact import compact
from forcedmove_kernels.reference.grid import add_cohorts, leverage_grid, standing_totals
from forcedmove_kernels.reference.lifecycle import apply_updates
from forcedmove_kernels.reference.profile import profile
from forcedmove_kernels.reference.volume import accumulate_volume


class ReferenceBackend:
    """The oracle as a backend. See :class:`forcedmove_kernels.backend.Backend` for every argument."""

    name = "reference"

    accumulate_volume = staticmethod(accumulate_volume)
    apply_updates = staticmethod(apply_updates)
    standing_totals = staticmethod(standing_totals)
    add_cohorts = staticmethod(add_cohorts)
    leverage_grid = staticmethod(leverage_grid)
    compact = staticmethod(compact)
    profile = staticmethod(profile)
    clusters = staticmethod(clusters)
    cascade_chain = staticmethod(cascade_chain)
    shock_curve = staticmethod(shock_curve)


__all__ = ["ReferenceBackend"]
