"""The kernels in numba: the oracle's bits, one or more threads."""

from __future__ import annotations

from forcedmove_kernels.cpu.backend import CpuBackend

__all__ = ["CpuBackend"]
