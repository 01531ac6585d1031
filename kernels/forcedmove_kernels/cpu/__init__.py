"""The kernels in numba: the oracle's bits, one or more threads."""

from __future__ import annotations

from pathlib import Path

from forcedmove_kernels.cpu.cache import drop_stale_kernels

drop_stale_kernels(Path(__file__).parents[1])

from forcedmove_kernels.cpu.backend import CpuBackend  # noqa: E402  (kernels are loaded from the cache on import)

__all__ = ["CpuBackend"]
