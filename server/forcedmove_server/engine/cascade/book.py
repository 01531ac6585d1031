"""One side of a symbol as chains run through it: what fires, and what absorbs it, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.depth import depth_after_shock

if TYPE_CHECKING:  # maps are drawn with chains
    from forcedmove_server.engine.maps import SymbolState

U64 = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class SideBook:
    """Longs and bids, or shorts and asks: u64 ``[C]`` cents per cell of the symbol's axis (see maps.SymbolState)."""

    notional: U64
    depth: U64
    mark_cell: int
    first_bin: int
    bin_width: float


def side_book(state: SymbolState, side: int, shock_usd: float | None = None) -> SideBook:
    """Return a side of a symbol's state, 0 long or 1 short, as a chain that starts at ``shock_usd`` meets it.

    Without a shock the book is the one that rests around the mark: one row for every shock of a sweep, deeper at a
    distance than what a chain meets there after a shock, around which the latent book re-forms (engine.depth).
    """
    mark, width = state.rows.mark_usd, state.rows.bin_width_usd
    shock = mark if shock_usd is None else shock_usd
    depth = depth_after_shock(state.visible, mark, shock, side, state.first_bin, width, state.law)
    return SideBook(state.profile[side], depth, state.cell(mark), state.first_bin, width)
