"""What all plans of simulated runs have in common: every seed in every regime, in so many processes."""

from __future__ import annotations

from collections.abc import Sequence

from forcedmove_server.errors import InputError

MOST_JOBS = 64


def check_runs(seeds: Sequence[int], regimes: Sequence[str]) -> None:
    """Raise InputError unless there is at least one of each, each once."""
    for name, values in (("seeds", seeds), ("regimes", regimes)):
        if not values or len(set(values)) != len(values):
            raise InputError(name, values, "needs at least one, each once")


def check_jobs(jobs: int) -> None:
    """Raise InputError for a number of processes that cannot be."""
    if not 1 <= jobs <= MOST_JOBS:
        raise InputError("jobs", jobs, f"must lie in 1 .. {MOST_JOBS}")
