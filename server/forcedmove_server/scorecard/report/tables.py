"""Tables of a summary: every figure of it stands in one of these, with what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields

from forcedmove_server.scorecard.report.markup import Markup, join, table, tag
from forcedmove_server.scorecard.report.wording import (
    NONE,
    SIDES,
    count,
    duration,
    estimate,
    map_name,
    moment,
    money,
    number,
    percent,
)
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.summary import MapScore, MarketRow, Placement, Summary

#: open interest is conserved within this, on every market at every time; worse is a defect of the model
CONSERVATION_GATE = 0.01
#: markets that the page lists; the JSON report has all
MOST_MARKETS = 150

_MEANINGS = {
    "step_ns": "grid on which maps are frozen, from the Unix epoch",
    "horizons_ns": "lengths of the windows that are scored; windows of one length never overlap",
    "headline_horizon_ns": "horizon of the headline figures",
    "move_threshold": "a move is an excursion of at least this many volatilities of its window",
    "volatility_half_life_ns": "half-life of the volatility that is measured before a window",
    "least_volatility_cells": "grid steps of prices before there is a volatility",
    "least_decile_bins": "touched bins that capture, Wasserstein and Spearman need",
    "bits_floor": "share of map and null that is spread evenly, so that no bin is impossible",
    "most_days": "days that are remembered",
    "most_moves_per_day": "moves of one day and horizon that are kept, a uniform sample",
    "most_rows": "sums by day, market and side that are kept per horizon",
    "resamples": "bootstrap resamples behind an interval",
    "level": "level of the intervals",
    "least_blocks": "blocks (days, or accounts) that an interval needs",
    "least_moves": "moves that a partial correlation needs",
    "seed": "seed of the bootstrap",
}


def headline_table(summary: Summary) -> Markup:
    """Both headline figures of every map at the headline horizon: ours beside the baselines."""
    head, least = summary.headline, summary.rules.least_moves
    rows = []
    for score in at_horizon(summary, head.horizon_ns):
        placed = score.positions if head.bits_from == "positions" else score.liquidations
        gain = score.released.rank_gain
        bits = head.bits if score.map == head.map else None if placed is None else placed.bits_over_flat
        rows.append(
            (
                _name(score.map, score.map == head.map),
                _cell(score.released.rank, least),
                count(score.released.rank.n),
                "baseline" if gain is None and score.map == head.baseline else _cell(gain, least),
                _cell(bits),
                NONE if bits is None else count(bits.n),
            )
        )
    per = "position" if head.bits_from == "positions" else "liquidation"
    return table(
        f"Headline figures by map, {duration(head.horizon_ns)}, {percent(summary.rules.level, 0)} intervals",
        ("map", "open interest released on crossing", "moves", "paired gain", f"bits per {per}", f"{per}s"),
        rows,
        note="Released: rank partial correlation of crossed mass with released open interest; its null is 0, which the "
        "distance prior has by construction. Bits: against the same map made flat inside each side and distance band, "
        "whose null is 0; below it, sharp peaks stand in wrong places.",
    )


def split_table(test: Summary, fit: Summary) -> Markup:
    """The headline of both periods: a score on what was fitted is no evidence, the difference tells of overfitting."""
    columns = []
    for summary in (test, fit):
        head, least = summary.headline, summary.rules.least_moves
        columns.append(
            (
                *((NONE, NONE) if e is None else (_cell(e, least), count(e.n)) for e in (head.released, head.gain)),
                (_cell(head.bits), f"{count(head.bits.n)} {head.bits_from}"),
            )
        )
    names = (
        "released on crossing, rank partial correlation",
        "paired gain over the baseline",
        "bits over the flat map",
    )
    rows = [(name, *ours, *theirs) for name, ours, theirs in zip(names, *columns, strict=True)]
    return table("Test period beside fit period", ("figure", "test", "n", "fit, no evidence", "n"), rows)


def released_table(summary: Summary) -> Markup:
    """Open interest released on crossing: all maps and horizons."""
    least = summary.rules.least_moves
    rows = [
        (
            *_of(s, summary),
            count(s.released.rank.n),
            count(s.released.rank.blocks),
            _cell(s.released.rank, least),
            _cell(s.released.rank_gain, least),
            _cell(s.released.plain, least),
            _cell(s.released.plain_gain, least),
        )
        for s in summary.maps
    ]
    head = ("horizon", "map", "moves", "days", "rank", "rank, paired gain", "plain", "plain, paired gain")
    base = summary.headline.baseline
    return table(
        "Open interest released on crossing, partial correlation",
        head,
        _once(rows),
        words=2,
        note=None if base is None else f"Gains are over the {map_name(base)} map, on the same resamples.",
    )


def placement_tables(summary: Summary) -> Markup:
    """Bits and capture of known positions, of complete feeds' liquidations, and of those known to miss some."""
    kinds: tuple[tuple[str, str, Callable[[MapScore], Placement | None]], ...] = (
        ("Known positions: liquidation prices on touched bins", "accounts", lambda score: score.positions),
        ("Liquidations, complete feeds", "days", lambda score: score.liquidations),
        ("Liquidations, feeds that miss some: a floor, no headline rests on them", "days", lambda score: score.sampled),
    )
    built = []
    for caption, blocks, read in kinds:
        found = [(score, placed) for score in summary.maps if (placed := read(score)) is not None]
        if found:
            built += [_bits_table(summary, caption, blocks, found), _capture_table(summary, caption, found)]
        else:
            built.append(tag("p", tag("strong", f"{caption}."), " None in this period.", class_="none"))
    return join(built, "\n")


_Placed = list[tuple[MapScore, Placement]]


def _bits_table(summary: Summary, caption: str, blocks: str, found: _Placed) -> Markup:
    rows = [
        (
            *_of(score, summary),
            count(placed.bits_over_flat.n),
            count(placed.bits_over_flat.blocks),
            money(placed.usd),
            _cell(placed.bits_over_flat),
            _cell(placed.bits_over_prior),
            _cell(placed.bits_over_flat_per_dollar),
            _cell(placed.bits_over_prior_per_dollar),
        )
        for score, placed in found
    ]
    head = (
        *("horizon", "map", "n", blocks, "notional", "bits over flat", "bits over distance"),
        *("per dollar, over flat", "per dollar, over distance"),
    )
    return table(caption, head, _once(rows), words=2)


def _capture_table(summary: Summary, caption: str, found: _Placed) -> Markup:
    rows: list[tuple[object, ...]] = []
    for score, placed in found:
        c = placed.capture
        if c.share is None:
            rows.append((*_of(score, summary), c.reason or NONE, number(c.effective_n, 1), *(NONE,) * 4))
            continue
        rows.append(
            (
                *_of(score, summary),
                _two_lines(percent(c.share), f"≥ {percent(c.low)}"),
                number(c.effective_n, 1),
                percent(c.uniform),
                percent(c.distance_matched),
                number(c.lift, 2),
                number(c.lift_distance_matched, 2),
            )
        )
    head = (
        *("horizon", "map", "in top decile, Wilson bound", "effective n", "random bins", "random, same distance"),
        *("lift", "lift, same distance"),
    )
    return table(f"{caption}: share of notional in the map's top decile", head, _once(rows), words=2)


def intensity_table(summary: Summary) -> Markup:
    """Capture ratio, Poisson deviance, Wasserstein and Spearman."""
    rows = []
    for score in summary.maps:
        found = score.intensity
        if found is None:
            continue
        rows.append(
            (
                *_of(score, summary),
                count(found.windows),
                found.reason if found.reason else _cell(found.capture_ratio, signed=False),
                number(found.poisson_bits_per_event, 3, signed=True),
                NONE if found.wasserstein_bp is None else number(found.wasserstein_bp, 1),
                number(found.spearman, 3, signed=True),
            )
        )
    if not rows:
        return tag("p", tag("strong", "Intensity of liquidation."), " No complete feed of liquidations.", class_="none")
    head = ("horizon", "map", "windows", "capture ratio", "Poisson, bits per event", "W1, bp", "Spearman")
    return table(
        "Intensity of liquidation, complete feeds",
        head,
        _once(rows),
        words=2,
        note="Capture ratio: USD liquidated over USD predicted on touched bins. Poisson: fall of deviance from the "
        "distance prior. W1 and Spearman compare profiles by price, weighted by USD.",
    )


def reach_table(summary: Summary) -> Markup:
    """Brier score and skill by horizon, and every bin of the reliability diagram."""
    rows = [
        (
            duration(score.horizon_ns),
            count(score.reach.n),
            number(score.reach.brier, 4),
            number(score.reach.skill, 3, signed=True),
            score.reach.reason
            or join(
                (
                    f"{percent(b.forecast, 0)} → {percent(b.observed, 0)} ({count(b.n)})"
                    for b in score.reach.reliability
                ),
                "; ",
            ),
        )
        for score in summary.reach
    ]
    head = ("horizon", "forecasts", "Brier", "skill", "forecast → observed (forecasts)")
    return table("Probability that the price gets there", head, rows)


def other_tables(summary: Summary) -> Markup:
    """Conservation, credible bands and cascades."""
    i, c, k = summary.invariants, summary.coverage, summary.cascades
    if i.worst_interest_error is None:
        kept = "not checked"
    else:
        kept = "kept" if i.worst_interest_error <= CONSERVATION_GATE else "BROKEN"
    when = NONE if i.worst_at_ns is None else f"{moment(i.worst_at_ns)} UTC"
    rows: list[tuple[object, ...]] = [
        (f"gate: |live − OI| / OI ≤ {percent(CONSERVATION_GATE, 0)}", kept),
        ("worst |live − OI| / OI", percent(i.worst_interest_error, 4)),
        ("market, time", f"{i.worst_market or NONE}, {when}"),
        ("worst balance error of flows, relative", percent(i.worst_flow_error, 4)),
        ("checks", count(i.checks)),
    ]
    built = [table("Conservation", ("", "value"), rows)]
    rows = [("touched bins of complete liquidation feeds", count(c.bins))]
    if c.reason is None:
        rows += [
            ("liquidated inside the band, of bins", percent(c.share)),
            ("liquidated inside the band, of notional", percent(c.share_of_truth)),
            ("liquidated below / above the band", f"{percent(c.below)} / {percent(c.above)}"),
        ]
    else:
        rows.append(("", c.reason))
    built.append(table("Coverage of the 90 % credible band", ("", "value"), rows))
    rows = [("", "scored for all venues of a symbol together, after some time only")]
    if k is not None:
        rows = [
            ("alarms / cascades / hits", f"{count(k.alarms)} / {count(k.cascades)} / {count(k.hits)}"),
            ("missed / false alarms", f"{count(k.missed)} / {count(k.false_alarms)}"),
            ("false alarms per day", number(k.false_alarms_per_day, 2)),
            ("observed", f"{number(k.observed_s / 86_400, 2)} days"),
            ("error of floor", f"{number(k.floor_error_bp, 1)} bp"),
            ("error of total", percent(k.total_error)),
            ("error of depth", f"{number(k.depth_error, 2)} levels"),
            ("lead time, median", f"{number(k.lead_time_s, 0)} s"),
            *([("", k.reason)] if k.reason else []),
        ]
    built.append(table("Cascades", ("", "value"), rows))
    return tag("div", join(built, "\n"), class_="grid")


def market_table(rows: tuple[MarketRow, ...], summary: Summary) -> Markup:
    """Point values by venue, symbol and side at the headline horizon: a row per map."""
    horizon, head = summary.headline.horizon_ns, summary.headline.map
    by_market: dict[tuple[str, str, int], list[MarketRow]] = {}
    for row in rows:
        if row.horizon_ns == horizon:
            by_market.setdefault((row.venue, row.symbol, row.side), []).append(row)
    most = sorted(by_market, key=lambda key: (-_weight(by_market[key][0]), key))[:MOST_MARKETS]
    listed = []
    for venue, symbol, side in sorted(most):
        for k, row in enumerate(by_market[venue, symbol, side]):
            shared = (f"{venue} {symbol} {SIDES[side]}s", count(row.moves), percent(row.released_mean, 2))
            market, moves, out = shared if k == 0 else ("", "", "")
            listed.append(
                (
                    market,
                    _name(row.map, row.map == head),
                    moves,
                    out,
                    percent(row.crossed_mean, 2),
                    count(row.positions) if k == 0 else "",
                    number(row.position_bits, 3, signed=True),
                    count(row.liquidations) if k == 0 else "",
                    number(row.liquidation_bits, 3, signed=True),
                    percent(row.captured_share),
                    number(row.capture_ratio, 3),
                )
            )
    if not listed:
        return tag("p", "No market has a window that could be scored at this horizon.", class_="none")
    columns = (
        *("market, side", "map", "moves", "OI released", "OI crossed", "positions", "bits", "liquidations", "bits"),
        *("in top decile", "capture ratio"),
    )
    note = (
        f"Means over moves as shares of open interest. {duration(horizon)} only; other horizons are in the JSON report."
    )
    if len(by_market) > len(most):
        note += f" The {len(most)} with most observations of {len(by_market)}; the JSON report has all."
    return table(f"By market, {duration(horizon)}", columns, listed, words=2, note=note)


def rules_table(rules: ScoringRules) -> Markup:
    """Every threshold, in its unit."""
    rows = []
    for field in fields(rules):
        value = getattr(rules, field.name)
        if field.name.endswith("_ns"):
            shown = ", ".join(duration(ns) for ns in value) if isinstance(value, tuple) else duration(value)
        else:
            shown = str(value)
        rows.append((tag("code", field.name), shown, _MEANINGS.get(field.name, "")))
    return table("Thresholds of the scorecard", ("name", "value", "meaning"), rows, words=3)


def at_horizon(summary: Summary, horizon_ns: int) -> list[MapScore]:
    """Scores of all maps at one horizon, the judged map first."""
    return [score for score in summary.maps if score.horizon_ns == horizon_ns]


def _weight(row: MarketRow) -> int:
    return row.moves + row.positions + row.liquidations


def _of(score: MapScore, summary: Summary) -> tuple[object, object]:
    return duration(score.horizon_ns), _name(score.map, score.map == summary.headline.map)


def _cell(found: Estimate | None, least: int | None = None, signed: bool = True) -> object:
    """Value above its interval, or why there is none."""
    if found is None:
        return NONE
    told = estimate(found, least, signed=signed)
    if found.value is None:
        return told
    value, _, rest = told.partition(" ")
    return _two_lines(value, rest) if rest else value


def _two_lines(value: str, below: str) -> Markup:
    return join((tag("b", value), tag("small", below, class_=None if len(below) > 30 else "n")))


def _name(name: str, judged: bool) -> object:
    return tag("strong", map_name(name)) if judged else map_name(name)


def _once(rows: Iterable[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Leave a first cell empty where it repeats the one above."""
    shown, before = [], None
    for row in rows:
        shown.append(("" if row[0] == before else row[0], *row[1:]))
        before = row[0]
    return shown
