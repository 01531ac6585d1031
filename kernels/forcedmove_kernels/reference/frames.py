"""Lots into what is sent: USD per output row and cell, and which cells changed."""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import F32, I32, U32, U64, Notional
from forcedmove_kernels.checks import check_frames, check_render
from forcedmove_kernels.reference.profile import cents_of


def render(lots: U64, target: I32, outputs: int, notional: Notional, first_bin: int, low: int, high: int) -> F32:
    """Return f32 ``[outputs, high - low + 2]``; see :meth:`forcedmove_kernels.backend.Backend.render`."""
    check_render(lots, target, outputs, notional, low, high)
    cents = np.zeros((outputs, lots.shape[1]), np.uint64)
    for row in np.flatnonzero(target >= 0).tolist():
        cents[target[row]] += cents_of(lots[row], notional.base[row], notional.slope[row], first_bin)
    folded = [cents[:, : low + 1].sum(1), *cents[:, low + 1 : high + 1].T, cents[:, high + 1 :].sum(1)]
    return (np.stack(folded, 1).astype(np.float64) / 100).astype(np.float32)


def changed_cells(previous: F32, values: F32) -> U32:
    """Return ascending flat indices; see :meth:`forcedmove_kernels.backend.Backend.changed_cells`."""
    check_frames(previous, values)
    differ = previous.ravel().view(np.uint32) != values.ravel().view(np.uint32)
    return np.flatnonzero(differ).astype(np.uint32)
