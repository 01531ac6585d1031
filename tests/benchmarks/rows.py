"""Lines of the table: what was measured, against what, and how near to the limits of the machine."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.benchmarks.runners import Limits

#: units of time a median is printed in, per second
UNITS = {"ns": 1e9, "us": 1e6, "ms": 1e3, "s": 1.0}


class Cost(NamedTuple):
    """What one run has to do at least."""

    updates: float  # cells added to, chains, paths: whatever the run is about
    moved: float  # bytes that must come from memory or go there
    scattered: bool  # whether the updates are additions to cells in no order


def row(
    name: str,
    params: dict[str, Any],
    seconds: float,
    unit: str,
    cost: Cost,
    limits: Limits,
    baseline: tuple[str, float] | None = None,
) -> dict[str, Any]:
    """One line; ``baseline`` is the name and the seconds of what does the same in the same run."""
    scatter = limits.scatter if cost.scattered else None
    return {
        "name": name,
        "params": params,
        "median": seconds * UNITS[unit],
        "unit": unit,
        "baseline": None if baseline is None else f"{baseline[0]}: {baseline[1] * UNITS[unit]:,.4g} {unit}",
        "ratio": None if baseline is None else baseline[1] / seconds,
        "ns_per_update": seconds / cost.updates * 1e9,
        "of_copy": cost.moved / seconds / limits.copy,
        "of_scatter": None if scatter is None else cost.updates / seconds / scatter,
    }


def goal(what: str, must: float, aim: float | None, seen: float, unit: str, at_most: bool = False) -> dict[str, Any]:
    """A figure that has to be reached: at least ``must``, or at most."""
    reached = seen <= must if at_most else seen >= must
    return {"what": what, "must": must, "aim": aim, "seen": seen, "unit": unit, "at_most": at_most, "reached": reached}
