"""Which charts a result has, in which order, and what each of them says."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from forcedmove_server.scorecard.report.charts import (
    draw_intervals,
    draw_lift,
    draw_realised,
    draw_reliability,
    draw_residuals,
    residual_reach,
)
from forcedmove_server.scorecard.report.result import BacktestResult
from forcedmove_server.scorecard.report.style import Draw
from forcedmove_server.scorecard.report.tables import at_horizon
from forcedmove_server.scorecard.report.weight_charts import (
    courses,
    draw_course,
    draw_distances,
    draw_tiers,
    total_variation,
)
from forcedmove_server.scorecard.report.wording import (
    SIDES,
    count,
    duration,
    estimate,
    map_name,
    missing,
    moment,
    number,
    percent,
)
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.summary import MapScore

#: examples of single markets, and venue and side pairs whose weights are drawn; more would be paper nobody reads
MOST_EXAMPLES = 8
MOST_COURSES = 6
_MOST_LINES = 6


@dataclass(frozen=True, slots=True)
class Group:
    """Charts of one subject: a spoken label and what draws it. Without panels ``caption`` says why there are none."""

    title: str
    caption: str
    panels: tuple[tuple[str, Draw], ...] = field(default=())


def headline_group(result: BacktestResult) -> Group:
    """Released and bits of all maps, each with its interval around the null."""
    summary = result.summary
    head, rules = summary.headline, summary.rules
    scores = at_horizon(summary, head.horizon_ns)
    moved = [(score.map, score.released.rank) for score in scores]
    placed = [(score.map, _bits(score, head.bits_from)) for score in scores]
    panels = (
        ("Open interest released on crossing", "rank partial correlation", moved, rules.least_moves),
        (f"Bits per {head.bits_from[:-1]}", "bits over the flattened map", placed, None),
    )
    return Group(
        "The two figures",
        f"Lines are {percent(rules.level, 0)} intervals, hollow points have none; the black line is the null.",
        tuple(
            (
                f"{title}, by map",
                partial(draw_intervals, title=title, unit=unit, found=found, least=least),
            )
            for title, unit, found, least in panels
        ),
    )


def residual_group(result: BacktestResult) -> Group:
    """Released over crossed beyond the controls, a panel per map on the same scale."""
    summary = result.summary
    head = summary.headline
    title = "Released on crossing, beyond what the move itself explains"
    found = [one for one in result.residuals if one.horizon_ns == head.horizon_ns]
    if not found:
        least = summary.rules.least_moves
        short = head.released.value is None and head.released.n < least
        return Group(title, f"No chart: {missing(head.released, least) if short else 'residuals were not kept'}.")
    reach = residual_reach(found)
    return Group(
        title,
        f"Moves of {duration(head.horizon_ns)} in equally filled bins of what the map has crossed, given size, side, "
        "distance prior, volatility, change of open interest before, and the market; ranks, in percentiles. Bars are "
        f"{percent(summary.rules.level, 0)} intervals over days, the dashed line is the regression of all moves. A map "
        "that knows nothing is flat.",
        tuple(
            (
                f"{map_name(one.map)}: correlation {number(one.correlation, 3, signed=True)}",
                partial(draw_residuals, found=one, reach=reach),
            )
            for one in found
        ),
    )


def lift_group(result: BacktestResult) -> Group:
    """Lift by decile, a panel per source."""
    horizon = result.summary.headline.horizon_ns
    title = "Lift by decile of density"
    panels = []
    for source in ("positions", "liquidations"):
        found = [one for one in result.deciles if (one.source, one.horizon_ns) == (source, horizon)]
        if found:
            densest = ", ".join(f"{map_name(one.map)} {estimate(one.shares[-1], signed=False)}" for one in found)
            panels.append((f"Share in the densest tenth by {source}: {densest}", partial(draw_lift, found=found)))
    if not panels:
        return Group(title, "No chart: neither positions nor liquidations fell on touched bins, or none were kept.")
    return Group(
        title,
        "How many times as much as random bins each tenth of the touched bins caught. Shaded is what the "
        f"{map_name(result.summary.headline.map)} map would have caught had every event fallen on a random bin of its "
        "own distance: only what stands above it is structure.",
        tuple(panels),
    )


def reliability_group(result: BacktestResult) -> Group:
    """Reliability of reach forecasts, a panel per horizon."""
    title = "Reliability of reach probabilities"
    found = [score for score in result.summary.reach if score.reach.reliability]
    if not found:
        return Group(title, "No chart: no forecast has come due; volatility needs a history first.")
    return Group(
        title,
        "Forecast against observed frequency; areas are counts of forecasts. On the diagonal a forecast means what it "
        "says.",
        tuple(
            (
                f"Within {duration(score.horizon_ns)}: {count(score.reach.n)} forecasts, Brier "
                f"{number(score.reach.brier, 4)}",
                partial(draw_reliability, score=score),
            )
            for score in found
        ),
    )


def realised_group(result: BacktestResult) -> Group:
    """Predicted against realised by price, a panel per example."""
    title = "Predicted against realised by price"
    shown = result.realised[:MOST_EXAMPLES]
    if not shown:
        return Group(title, "No chart: nothing was realised on touched bins, or no example was kept.")
    more = len(result.realised) - len(shown)
    caption = (
        "Touched bins of single windows: predicted above, realised below, each as shares of its sum, so that shapes "
        "compare. Examples, no evidence." + (f" {count(more)} more in the JSON report." if more else "")
    )
    panels = []
    for one in shown:
        ratio = sum(one.realised) / sum(one.predicted) if sum(one.predicted) > 0 else None
        label = (
            f"{one.venue} {one.symbol} {SIDES[one.side]}s, {moment(one.begin_ns)} to {moment(one.end_ns)} UTC: "
            f"predicted {number(sum(one.predicted), 1)} {one.unit}, {one.realised_from} "
            f"{number(sum(one.realised), 1)} {one.unit}, ratio {number(ratio)}"
        )
        panels.append((label, partial(draw_realised, example=one)))
    return Group(title, caption, tuple(panels))


def weight_groups(result: BacktestResult) -> tuple[Group, ...]:
    """Leverage weights: by tier, over time, and how far they moved."""
    by_side = courses(result.weights)
    title = "Leverage weights"
    if not by_side:
        return (Group(title, "No chart: weights were not calibrated in this run."),)
    ordered = sorted(
        by_side.items(), key=lambda item: (-total_variation(item[1][-1].posterior, item[1][-1].prior), item[0])
    )
    drawn = dict(sorted(ordered[:MOST_COURSES]))
    left = len(by_side) - len(drawn)
    chosen = f" The {len(drawn)} that moved most of {len(by_side)}." if left else ""
    tiers, over_time, distances = [], [], []
    for (venue, side), course in drawn.items():
        last = course[-1]
        moved = number(total_variation(last.posterior, last.prior))
        missed = "" if last.truth is None else f", {number(total_variation(last.posterior, last.truth))} from the truth"
        name = f"{venue} {SIDES[side]}s"
        tiers.append((f"{name}: total variation {moved} from the prior{missed}", partial(draw_tiers, course=course)))
        if len(course) > 1:
            over_time.append((f"{name}, {count(len(course))} snapshots", partial(draw_course, course=course)))
    for side in (0, 1):
        lines = [course for (_, at), course in drawn.items() if at == side and len(course) > 1][:_MOST_LINES]
        if lines:
            distances.append((f"{SIDES[side].capitalize()}s", partial(draw_distances, side=side, found=lines)))
    groups = [Group(f"{title} at the end", f"Share of openings by leverage, per venue and side.{chosen}", tuple(tiers))]
    if over_time:
        told = (
            "Total variation distance, 0 for equal laws, 1 for disjoint ones; solid to the prior, dashed to the truth."
        )
        groups += [
            Group("How far the weights moved", told, tuple(distances)),
            Group(f"{title} over time", "Calibrated shares by tier, the lowest leverage below.", tuple(over_time)),
        ]
    return tuple(groups)


def all_groups(result: BacktestResult) -> tuple[Group, ...]:
    """All but the headline, in the page's order."""
    return (
        residual_group(result),
        lift_group(result),
        realised_group(result),
        reliability_group(result),
        *weight_groups(result),
    )


def _bits(score: MapScore, source: str) -> Estimate:
    placed = score.positions if source == "positions" else score.liquidations
    return Estimate(None, reason="nothing observed") if placed is None else placed.bits_over_flat
