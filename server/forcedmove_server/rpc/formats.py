"""The ways a reader may have frames written: quantised, compressed, without deltas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from backports import zstd
from numpy.typing import NDArray

Elements = NDArray[np.float32] | NDArray[np.uint32]

#: fast, and within a tenth of what the default level saves on maps
_ZSTD_LEVEL = 1
_MOST_MULTIPLES = 2**32 - 1


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """How frames are written; equal formats share their bytes. ``quantum_usd`` 0 rounds nothing."""

    deltas: bool = True
    quantum_usd: float = 0.0
    zstd: bool = False


def elements_of(values: NDArray[np.float32], quantum_usd: float) -> tuple[Elements, float]:
    """Return a grid's elements and their scale: float32 USD as they are, or uint32 multiples of a quantum.

    Where a cell is beyond 2^32 - 1 multiples: float32 USD, rounded to multiples.
    """
    if not quantum_usd:
        return values, 1.0
    multiples = np.rint(values.astype(np.float64) / quantum_usd)
    if multiples.size and multiples.max() > _MOST_MULTIPLES:
        return (multiples * quantum_usd).astype(np.float32), 1.0
    return multiples.astype(np.uint32), quantum_usd


def compressed(content: bytes) -> bytes:
    """Return one Zstandard frame that tells its content's size."""
    return zstd.compress(content, _ZSTD_LEVEL)
