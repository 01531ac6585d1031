"""Which symbols a scan keeps, and in what order."""

from __future__ import annotations

from collections.abc import Iterable

from forcedmove_server.engine.scan.follow import SymbolScan
from forcedmove_server.engine.scan.question import Measure, ScanQuestion


def value_of(found: SymbolScan, measure: Measure) -> float | None:
    """Return a measure of a symbol; None for the tipping distance of one that does not tip."""
    if measure is Measure.TIPPING_DISTANCE:
        return found.tipping_distance
    if measure is Measure.AMPLIFICATION:
        return float(found.amplification.max())
    return float(found.fragility.max()) if measure is Measure.FRAGILITY else found.expected_loss_usd


def is_kept(found: SymbolScan, question: ScanQuestion) -> bool:
    """Whether a symbol passes the question's filters."""
    if found.notional_usd < question.min_notional_usd:
        return False
    distance = found.tipping_distance
    return not question.max_distance or (distance is not None and distance <= question.max_distance)


def ranked(values: Iterable[tuple[str, float | None]], question: ScanQuestion) -> list[tuple[str, float | None]]:
    """Order symbols by their values, the most fragile first, equals by name; at most ``question.top``."""
    sign = 1 if question.measure is Measure.TIPPING_DISTANCE else -1  # the nearest tip first, otherwise the largest
    ordered = sorted(values, key=lambda one: (one[1] is None, sign * (one[1] or 0.0), one[0]))
    return ordered[: question.top] if question.top else ordered
