"""Predicted against realised by price: the earth mover's distance and rank correlation of MODEL section 7.3."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.inference.comparison import spearman, wasserstein

F64 = NDArray[np.float64]


def profile_distance(predicted: ArrayLike, realised: ArrayLike, bin_width_bp: float) -> tuple[F64, F64]:
    """Wasserstein-1 distance in basis points and Spearman's rho between maps and what happened: float64 ``[K]`` each.

    ``predicted`` ``[K, n]`` and ``realised`` ``[n]`` on the touched bins of one side, each scaled to one. The formulas
    and their values for empty and constant profiles are those of :mod:`forcedmove_server.inference.comparison`.
    """
    maps, truth = np.asarray(predicted, np.float64), np.asarray(realised, np.float64)
    return (
        np.array([wasserstein(row, truth) * bin_width_bp for row in maps]),
        np.array([spearman(row, truth) for row in maps]),
    )
