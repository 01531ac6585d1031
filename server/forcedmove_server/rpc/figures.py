"""A summary of the scorecard as one list of figures, each with its measure, unit and interval.

The names of measures are part of the wire: ``proto/forcedmove/v1/scorecard.proto`` says at ``Figure`` what each one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from forcedmove.v1 import scorecard_pb2
from forcedmove_server.scorecard.measures.capture import Capture
from forcedmove_server.scorecard.measures.cascades import CascadeScore
from forcedmove_server.scorecard.measures.coverage import Coverage
from forcedmove_server.scorecard.measures.reach import Reach
from forcedmove_server.scorecard.measures.released import Released
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.summary import Intensity, Placement, Summary

_PLACED: Mapping[str, scorecard_pb2.Unit.ValueType] = {
    "usd": scorecard_pb2.UNIT_USD,
    "bits_over_flat": scorecard_pb2.UNIT_BITS,
    "bits_over_prior": scorecard_pb2.UNIT_BITS,
    "bits_over_flat_per_dollar": scorecard_pb2.UNIT_BITS,
    "bits_over_prior_per_dollar": scorecard_pb2.UNIT_BITS,
    "capture_share": scorecard_pb2.UNIT_SHARE,
    "capture_uniform": scorecard_pb2.UNIT_SHARE,
    "capture_distance_matched": scorecard_pb2.UNIT_SHARE,
    "capture_lift": scorecard_pb2.UNIT_RATIO,
    "capture_lift_distance_matched": scorecard_pb2.UNIT_RATIO,
}
#: every measure that a figure can have, with its unit
MEASURES: Mapping[str, scorecard_pb2.Unit.ValueType] = {
    "released.rank": scorecard_pb2.UNIT_CORRELATION,
    "released.plain": scorecard_pb2.UNIT_CORRELATION,
    "released.rank_gain": scorecard_pb2.UNIT_CORRELATION,
    "released.plain_gain": scorecard_pb2.UNIT_CORRELATION,
    **{f"{kind}.{name}": unit for kind in ("positions", "liquidations", "sampled") for name, unit in _PLACED.items()},
    "intensity.capture_ratio": scorecard_pb2.UNIT_RATIO,
    "intensity.poisson_bits_per_event": scorecard_pb2.UNIT_BITS,
    "intensity.wasserstein": scorecard_pb2.UNIT_BASIS_POINTS,
    "intensity.spearman": scorecard_pb2.UNIT_CORRELATION,
    "reach.brier": scorecard_pb2.UNIT_RATIO,
    "reach.skill": scorecard_pb2.UNIT_RATIO,
    "cascades.alarms": scorecard_pb2.UNIT_COUNT,
    "cascades.seen": scorecard_pb2.UNIT_COUNT,
    "cascades.hits": scorecard_pb2.UNIT_COUNT,
    "cascades.missed": scorecard_pb2.UNIT_COUNT,
    "cascades.false_alarms": scorecard_pb2.UNIT_COUNT,
    "cascades.observed": scorecard_pb2.UNIT_SECONDS,
    "cascades.floor_error": scorecard_pb2.UNIT_BASIS_POINTS,
    "cascades.total_error": scorecard_pb2.UNIT_RATIO,
    "cascades.depth_error": scorecard_pb2.UNIT_COUNT,
    "cascades.lead_time": scorecard_pb2.UNIT_SECONDS,
    "cascades.false_alarms_per_day": scorecard_pb2.UNIT_PER_DAY,
    "coverage.share": scorecard_pb2.UNIT_SHARE,
    "coverage.share_of_truth": scorecard_pb2.UNIT_SHARE,
    "coverage.below": scorecard_pb2.UNIT_SHARE,
    "coverage.above": scorecard_pb2.UNIT_SHARE,
}
#: level of the bound of a captured share, which does not follow the rules: see Capture
_CAPTURE_LEVEL = 0.95

#: a measure, its estimate, and the level of the estimate's interval where that is not the rules'
_Measured = Iterator[tuple[str, Estimate, float | None]]


def figures_of(summary: Summary) -> list[scorecard_pb2.Figure]:
    """Flatten a summary: of every map and horizon first, then of every horizon, then what has neither.

    What was not observed at all is left out; a value that cannot be given stays, with its reason.
    """
    level = summary.rules.level
    figures = []
    for score in summary.maps:
        parts = [_released(score.released)]
        placements = (("positions", score.positions), ("liquidations", score.liquidations), ("sampled", score.sampled))
        parts += [_placement(kind, placement) for kind, placement in placements if placement is not None]
        parts += [_intensity(score.intensity)] if score.intensity is not None else []
        for part in parts:
            figures += [_figure(score.map, score.horizon_ns, *measured, level) for measured in part]
    for forecast in summary.reach:
        figures += [_figure("", forecast.horizon_ns, *measured, level) for measured in _reach(forecast.reach)]
    if summary.cascades is not None:
        figures += [_figure("", None, *measured, level) for measured in _cascades(summary.cascades)]
    figures += [_figure("", None, *measured, level) for measured in _coverage(summary.coverage)]
    return figures


def estimate_message(estimate: Estimate, level: float) -> scorecard_pb2.Estimate:
    """One estimate; a level only where there is an interval."""
    bounded = estimate.low is not None or estimate.high is not None
    return scorecard_pb2.Estimate(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        level=level if bounded else None,
        n=estimate.n,
        blocks=estimate.blocks,
        reason=estimate.reason or "",
    )


def _figure(
    of_map: str, horizon_ns: int | None, measure: str, estimate: Estimate, own_level: float | None, level: float
) -> scorecard_pb2.Figure:
    return scorecard_pb2.Figure(
        map=of_map,
        measure=measure,
        unit=MEASURES[measure],
        horizon_s=None if horizon_ns is None else horizon_ns / 1e9,
        estimate=estimate_message(estimate, own_level or level),
    )


def _point(value: float | None, n: int, reason: str | None) -> Estimate:
    """A value without interval; the reason is told where there is no value."""
    return Estimate(value, n=n, reason=reason if value is None else None)


def _released(score: Released) -> _Measured:
    yield "released.rank", score.rank, None
    yield "released.plain", score.plain, None
    if score.rank_gain is not None:
        yield "released.rank_gain", score.rank_gain, None
    if score.plain_gain is not None:
        yield "released.plain_gain", score.plain_gain, None


def _placement(kind: str, score: Placement) -> _Measured:
    yield f"{kind}.usd", _point(score.usd, score.bits_over_flat.n, None), None
    yield f"{kind}.bits_over_flat", score.bits_over_flat, None
    yield f"{kind}.bits_over_prior", score.bits_over_prior, None
    yield f"{kind}.bits_over_flat_per_dollar", score.bits_over_flat_per_dollar, None
    yield f"{kind}.bits_over_prior_per_dollar", score.bits_over_prior_per_dollar, None
    yield from _capture(kind, score.capture)


def _capture(kind: str, score: Capture) -> _Measured:
    n = int(score.effective_n)
    share = Estimate(score.share, low=score.low, n=n, reason=score.reason)
    yield f"{kind}.capture_share", share, _CAPTURE_LEVEL
    yield f"{kind}.capture_uniform", _point(score.uniform, n, score.reason), None
    yield f"{kind}.capture_distance_matched", _point(score.distance_matched, n, score.reason), None
    nothing = score.reason or "the null captures nothing"
    yield f"{kind}.capture_lift", _point(score.lift, n, nothing), None
    yield f"{kind}.capture_lift_distance_matched", _point(score.lift_distance_matched, n, nothing), None


def _intensity(score: Intensity) -> _Measured:
    yield "intensity.capture_ratio", score.capture_ratio, None
    few = score.reason or "no window with touched bins enough"
    for name, value in (
        ("poisson_bits_per_event", score.poisson_bits_per_event),
        ("wasserstein", score.wasserstein_bp),
        ("spearman", score.spearman),
    ):
        yield f"intensity.{name}", _point(value, score.windows, few), None


def _reach(score: Reach) -> _Measured:
    yield "reach.brier", _point(score.brier, score.n, score.reason), None
    constant = score.reason or "everything or nothing was reached"
    yield "reach.skill", _point(score.skill, score.n, constant), None


def _cascades(score: CascadeScore) -> _Measured:
    for name, count in (
        ("alarms", score.alarms),
        ("seen", score.cascades),
        ("hits", score.hits),
        ("missed", score.missed),
        ("false_alarms", score.false_alarms),
    ):
        yield f"cascades.{name}", _point(float(count), count, None), None
    yield "cascades.observed", _point(score.observed_s, score.cascades, None), None
    for name, error in (
        ("floor_error", score.floor_error_bp),
        ("total_error", score.total_error),
        ("depth_error", score.depth_error),
        ("lead_time", score.lead_time_s),
    ):
        yield f"cascades.{name}", _point(error, score.hits, score.reason), None
    yield (
        "cascades.false_alarms_per_day",
        _point(score.false_alarms_per_day, score.false_alarms, score.reason),
        None,
    )


def _coverage(score: Coverage) -> _Measured:
    no_truth = score.reason or "the truth is zero where a band was compared"
    yield "coverage.share", _point(score.share, score.bins, score.reason), None
    yield "coverage.share_of_truth", _point(score.share_of_truth, score.bins, no_truth), None
    yield "coverage.below", _point(score.below, score.bins, score.reason), None
    yield "coverage.above", _point(score.above, score.bins, score.reason), None
