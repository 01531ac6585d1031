"""What can go wrong before a kernel runs.

::

    BackendUnavailableError(RuntimeError)   the backend that was asked for cannot run here
    MemoryBudgetError(MemoryError)          the arrays would not fit where the backend computes
"""

from __future__ import annotations


class BackendUnavailableError(RuntimeError):
    """The backend that was asked for cannot run here; the message says why."""


class MemoryBudgetError(MemoryError):
    """The arrays would not fit; the message says how much is needed, how much is free and what to lower."""
