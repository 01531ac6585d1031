"""``forcedmove score``: how true the server's maps have been, headline first, with what each figure is compared to."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forcedmove_client.cli.arguments import add_server, describe
from forcedmove_client.cli.running import with_client, with_spinner
from forcedmove_client.cli.tables import output, table
from forcedmove_client.scorecard import Estimate, Scorecard
from forcedmove_client.terminal import figures

HELP = "tell how true the maps have been"

_NOTHING = "–"
#: what one event of the headline's evidence is called
_EVENTS = {"positions": "position", "liquidations": "liquidation"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Tell how true the server's maps have been, measured on what happened after each was drawn: bits per position\n"
        "over a map that knows distances alone, and open interest released on crossing, with intervals, nulls and the\n"
        "naive maps beside; then every horizon, reach forecasts, cascades, and what could not be scored.",
        "forcedmove score",
        "forcedmove score --symbol BTC --venue binance --side long",
        "forcedmove score --symbol BTC --rows --json",
    )
    add_server(parser)
    parser.add_argument("--venue", default="", metavar="NAME", help="only this venue")
    parser.add_argument("--symbol", default="", metavar="SYMBOL", help="BTC, binance:BTCUSDT or BTC/USDT:USDT")
    parser.add_argument("--side", choices=("long", "short"), help="only positions of this side")
    parser.add_argument("--rows", action="store_true", help="also list every venue, symbol, side, horizon and map")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the scorecard."""
    card = with_client(
        args.server,
        lambda client: with_spinner(
            client.scorecard(venue=args.venue, symbol=args.symbol, side=args.side, rows=args.rows), "resampling"
        ),
    )
    if args.json:
        print(json.dumps(as_json(card), indent=2, allow_nan=False))
    else:
        show(card, output(), rows=args.rows)
    return 0


def as_json(card: Scorecard) -> dict[str, Any]:
    """Return a scorecard as plain values, with the names of Scorecard; times are ISO 8601."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(card))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value, "s")) + "Z"
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def show(card: Scorecard, console: Console, rows: bool = False) -> None:
    """Print a scorecard: headline, every horizon and map, forecasts, the rest in sentences; rows where wanted."""
    console.print(_title(card) + "\n")
    console.print(_headline(card))
    for title, part in (
        ("open interest released on crossing; the distance prior is its null", _moved(card)),
        (f"where {card.headline.bits_from} lay, on the bins that the price touched", _placed(card)),
        ("will the price get there: forecasts of a driftless diffusion", _forecasts(card)),
    ):
        if part.row_count:
            console.print(f"\n[dim]{title}[/]")
            console.print(part)
    sentences = list(_sentences(card))
    if sentences:
        console.print("", *map(escape, sentences), sep="\n")
    if rows:
        console.print()
        console.print(_rows(card) if card.rows else "no rows yet")


def _title(card: Scorecard) -> str:
    sides = f"{card.side}s" if card.side else "both sides"
    part = escape(f"{card.symbol or 'all symbols'} on {card.venue or 'all venues'}, {sides}")
    if card.begin_time is None or card.end_time is None:
        return f"[bold]{part}[/]: nothing scored yet"
    return f"[bold]{part}[/]: {figures.utc(card.begin_time)} to {figures.utc(card.end_time)} UTC"


def _headline(card: Scorecard) -> Table:
    headline, rules = card.headline, card.rules
    event = _EVENTS[headline.bits_from]
    shown = table(
        f"{headline.map} at {span(headline.horizon_s)}", "", f"{rules.level:.0%}", "n", "null", left=("null",)
    )
    shown.columns[0].justify = shown.columns[2].justify = "left"
    lines = [
        (f"bits per {event}", headline.bits, f"{event}s", "0: the map made flat inside distance bands"),
        ("open interest released on crossing", headline.released, "moves", "0: the distance prior"),
    ]
    if headline.gain is not None:
        lines.append((f"gain over {headline.baseline}", headline.gain, "moves", f"0: {headline.baseline}"))
    for name, estimate, counted, null in lines:
        value = _NOTHING if estimate.value is None else f"[bold]{signed(estimate.value)}[/]"
        shown.add_row(
            escape(name),
            value,
            escape(_interval(estimate, counted, rules.least_moves)),
            f"{estimate.n:,}",
            escape(null),
        )
    return shown


def _interval(estimate: Estimate, counted: str, least_moves: int) -> str:
    """Return an interval, or why there is none."""
    if estimate.value is None and counted == "moves" and estimate.n < least_moves:
        return f"not enough yet: {estimate.n:,} moves of {least_moves:,}"
    if estimate.value is None:
        return f"not enough yet: {estimate.reason}" if estimate.reason else "not enough yet"
    return bounds(estimate) or estimate.reason


def _moved(card: Scorecard) -> Table:
    """Open interest released on crossing, by horizon and map; no row where there was no move."""
    shown = table("horizon", "map", "released", "interval", "moves", "gain", "interval", left=("map",))
    for label, of_map, horizon in _maps(card):
        moved = card.figure("released.rank", of_map, horizon)
        if moved is not None and moved.n:
            gain = card.figure("released.rank_gain", of_map, horizon)
            shown.add_row(label, escape(of_map), *_cells(moved, card.rules.least_moves), *_cells(gain, 0)[:2])
    return shown


def _placed(card: Scorecard) -> Table:
    """Bits and captured notional, by horizon and map; no row where there was no event."""
    events = card.headline.bits_from
    columns = (f"bits per {_EVENTS[events]}", "interval", "n", "in top tenth", "by chance", "at its distance")
    shown = table("horizon", "map", *columns, left=("map",))
    for label, of_map, horizon in _maps(card):
        bits = card.figure(f"{events}.bits_over_flat", of_map, horizon)
        if bits is not None and bits.n:
            shares = [
                card.figure(f"{events}.capture_{name}", of_map, horizon)
                for name in ("share", "uniform", "distance_matched")
            ]
            captured = (_NOTHING if some is None or some.value is None else f"{some.value:.1%}" for some in shares)
            shown.add_row(label, escape(of_map), *_cells(bits, 0), *captured)
    return shown


def _maps(card: Scorecard) -> Iterator[tuple[str, str, float]]:
    """Label, map and horizon of every map that was scored; only a horizon's first one has a label."""
    before: float | None = None
    for horizon, of_map in dict.fromkeys((f.horizon_s, f.map) for f in card.figures if f.map):
        if horizon is not None:
            yield "" if horizon == before else span(horizon), of_map, horizon
            before = horizon


def _cells(estimate: Estimate | None, least: int) -> tuple[str, str, str]:
    """Value, interval and count; the count says what it lacks of ``least``."""
    if estimate is None:
        return _NOTHING, "", ""
    if estimate.value is None:
        return _NOTHING, "", f"{estimate.n:,} of {least:,}" if estimate.n < least else f"{estimate.n:,}"
    return signed(estimate.value), bounds(estimate), f"{estimate.n:,}"


def _forecasts(card: Scorecard) -> Table:
    shown = table("horizon", "forecasts", "Brier score", "skill", "forecast/observed, %")
    for horizon in card.rules.horizons_s:
        brier, skill = (card.figure(f"reach.{name}", "", horizon) for name in ("brier", "skill"))
        if brier is None or brier.value is None:
            continue
        tenths = [some for some in card.reliability if some.horizon_s == horizon]
        shown.add_row(
            span(horizon),
            f"{brier.n:,}",
            f"{brier.value:.4f}",
            _NOTHING if skill is None or skill.value is None else signed(skill.value),
            "  ".join(f"{100 * some.forecast:.0f}/{100 * some.observed:.0f}" for some in tenths),
        )
    return shown


def _sentences(card: Scorecard) -> Iterator[str]:
    yield from _cascades(card)
    inside = card.figure("coverage.share")
    if inside is not None and inside.value is not None:
        yield (
            f"credible bands: liquidations lie inside the 90 % band in {inside.value:.1%} of {inside.n:,} touched bins "
            "of complete feeds"
        )
    kept = card.invariants
    if kept.worst_interest_error is not None:
        at = "" if kept.worst_time is None else f" at {figures.utc(kept.worst_time)}"
        yield (
            f"open interest conserved: {kept.checks:,} checks, largest error {kept.worst_interest_error:.2g} of it "
            f"({kept.worst_market}{at})"
        )
    if kept.worst_flow_error is not None:
        yield f"opened, closed and liquidated balance: largest error {kept.worst_flow_error:.2g}"
    for some in sorted(card.unscored, key=lambda some: (-some.count, some.reason)):
        yield f"not scored: {some.count:,} x {some.reason}"


def _cascades(card: Scorecard) -> Iterator[str]:
    def of(name: str) -> float | None:
        found = card.figure(f"cascades.{name}")
        return None if found is None else found.value

    seen, hits, false, per_day = (of(name) for name in ("seen", "hits", "false_alarms", "false_alarms_per_day"))
    if seen is None or hits is None or false is None or not seen + false:
        return
    lead, floor, often = of("lead_time"), of("floor_error"), "" if per_day is None else f", {per_day:.2g} a day"
    announced = f"cascades: {seen:,.0f} seen, {hits:,.0f} of them announced"
    if lead is not None and floor is not None:
        announced += f" {figures.age(lead)} ahead, floor {floor:.1f} bp off"
    yield f"{announced}; false alarms: {false:,.0f}{often}"


def _rows(card: Scorecard) -> Table:
    shown = table(
        "venue", "symbol", "side", "horizon", "map", "moves", "crossed", "released", "known", "bits",
        "forced", "bits", "top tenth", "ratio", left=("venue", "symbol", "side", "map"),
    )  # fmt: skip
    for row in card.rows:
        shown.add_row(
            escape(row.venue),
            escape(row.symbol),
            row.side,
            span(row.horizon_s),
            escape(row.map),
            f"{row.moves:,}",
            *(_NOTHING if share is None else f"{share:.2%}" for share in (row.crossed_mean, row.released_mean)),
            f"{row.positions:,}",
            _NOTHING if row.position_bits is None else signed(row.position_bits),
            f"{row.liquidations:,}",
            _NOTHING if row.liquidation_bits is None else signed(row.liquidation_bits),
            _NOTHING if row.captured_share is None else f"{row.captured_share:.1%}",
            _NOTHING if row.capture_ratio is None else f"{row.capture_ratio:.1%}",
        )
    return shown


def signed(value: float) -> str:
    """Return a figure whose null is 0: three decimals and a true minus sign."""
    return f"{value:+.3f}".replace("-", "−")


def bounds(estimate: Estimate) -> str:
    """Return an interval in words, empty for none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{signed(estimate.low)} to {signed(estimate.high)}"


def span(seconds: float) -> str:
    """Return a horizon in its own unit: ``5 min``, ``1 h``, ``24 h``."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:g} s"
