"""What the terminal shows: rows that add up, bars in proportion, the mark, clusters, chains, and keys."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType
from rich.segment import Segment

from forcedmove_client.terminal import figures
from forcedmove_client.terminal.bars import eighths_of, leftward, rightward, stacked
from forcedmove_client.terminal.heatmap import Heatmap
from forcedmove_client.terminal.keys import split_keys
from forcedmove_client.terminal.ladder import build_ladder, largest_clusters
from forcedmove_client.terminal.palette import (
    BACKGROUND,
    LONG_STOPS,
    MARK,
    SHORT_STOPS,
    from_oklab,
    ramp,
    shade,
    to_oklab,
    venue_colour,
)
from forcedmove_client.terminal.plain import plain_text
from forcedmove_client.terminal.screen import REACHES, ViewState, draw
from tests.unit.terminal_sample import VENUES, sample_frame

KEPT = [("side", "price"), ("venue", "side", "price"), ("side", "leverage", "price")]


def rows_of(renderable: RenderableType, width: int, height: int, colours: str = "truecolor") -> list[list[Segment]]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=colours)  # type: ignore[arg-type]
    return console.render_lines(renderable, console.options.update(height=height), pad=True)


def text_of(row: list[Segment]) -> str:
    return "".join(segment.text for segment in row)


def lit(row: list[Segment], begin: int, end: int) -> float:
    """Cells between two columns that a bar covers, counting eighths."""
    cells = 0.0
    for k, (char, style) in enumerate([(c, s.style) for s in row for c in s.text]):
        if begin <= k < end and char in "▏▎▍▌▋▊▉█":
            share = "▏▎▍▌▋▊▉█".index(char) / 8 + 0.125
            inverse = style is not None and style.color is not None and style.color.name == BACKGROUND
            cells += 1 - share if inverse else share
    return cells


@pytest.mark.parametrize(
    "keep", [("side", "price"), ("venue", "side", "price"), ("side", "leverage", "price"), ("price",)]
)
@pytest.mark.parametrize("reach", REACHES)
def test_ladder_loses_nothing(keep: Any, reach: float) -> None:
    frame = sample_frame(keep)
    ladder = build_ladder(frame, 31, reach)
    total = ladder.long.sum() + ladder.short.sum() + sum(ladder.below) + sum(ladder.above)
    assert total == pytest.approx(float(frame.grid.sum()), rel=1e-6)
    assert ladder.low[0] + ladder.step >= frame.mark_price * (1 + reach) - ladder.step
    assert ladder.low[-1] <= frame.mark_price * (1 - reach) + ladder.step
    assert ladder.low[ladder.mark_row] <= frame.mark_price < ladder.low[ladder.mark_row] + ladder.step
    assert ladder.row_of(frame.mark_price) == ladder.mark_row
    assert ladder.row_of(1.0) is None
    if ladder.groups:
        assert ladder.by_group.sum(1) == pytest.approx(ladder.long + ladder.short)


def test_ladder_rows_begin_at_multiples_of_a_whole_number_of_bins() -> None:
    frame = sample_frame()
    for rows in (5, 17, 40):
        ladder = build_ladder(frame, rows, 0.05)
        assert np.allclose(ladder.low / ladder.step, np.round(ladder.low / ladder.step))
        assert ladder.step % frame.bin_width == 0
        assert np.all(np.diff(ladder.low) == -ladder.step)


def test_bars_are_exact_to_an_eighth_in_both_directions() -> None:
    for share in np.linspace(0, 1, 41):
        wanted = eighths_of(float(share), 10)
        assert wanted == round(share * 80) or share == 0
        for bar in (leftward, rightward):
            text = bar(float(share), 10, "#ffffff", BACKGROUND)
            assert len(text) == 10
            console = Console(file=io.StringIO(), force_terminal=True, width=10, color_system="truecolor")
            (row,) = console.render_lines(text, pad=True)
            assert lit(row, 0, 10) == pytest.approx(wanted / 8)
    assert eighths_of(1e-9, 10) == 1
    assert text_of(rows_of(leftward(0.5, 4, "#ffffff", BACKGROUND), 4, 1)[0]) == "  ██"


def test_stacked_bar_fills_its_width_in_proportion() -> None:
    bar = stacked([("binance", 50.0, "#111111"), ("bybit", 30.0, "#222222"), ("x", 20.0, "#333333")], 40, "#000000")
    assert len(bar) == 40
    assert [len(span) for span in bar.plain.split(" ") if span] == [7, 5, 1]
    assert len(stacked([], 40, "#000000")) == 0


@pytest.mark.parametrize("stops", [LONG_STOPS, SHORT_STOPS])
def test_ramps_rise_evenly_in_lightness(stops: tuple[str, ...]) -> None:
    lightness = to_oklab(ramp(stops))[:, 0]
    steps = np.diff(lightness)
    assert np.all(steps > 0)
    assert steps.max() < 2.5 * steps.mean()
    assert from_oklab(to_oklab(["#123456", "#ffffff", "#000000"])) == ["#123456", "#ffffff", "#000000"]
    assert shade("long", 0.0) == ramp(LONG_STOPS)[0]
    assert shade("short", 1.0) == ramp(SHORT_STOPS)[-1]


def test_venues_keep_their_colours() -> None:
    assert len({venue_colour(venue, VENUES) for venue in VENUES}) == 3
    assert venue_colour("okx", VENUES) == venue_colour("okx", tuple(reversed(VENUES)))
    assert venue_colour("unheard-of", VENUES) not in {venue_colour(venue, VENUES) for venue in VENUES}


def test_heatmap_draws_bars_in_proportion_on_their_sides() -> None:
    frame = sample_frame(("side", "price"))
    rows = rows_of(Heatmap(frame, reach=0.05), 100, 33)
    ladder = build_ladder(frame, 31, 0.05)
    middle = text_of(rows[1 + ladder.mark_row]).index("▸")
    for k in range(31):
        if k in (ladder.mark_row, *(ladder.row_of(p) for p in (96_000.0, 94_000.0, 99_000.0))):
            continue
        row = rows[1 + k]
        left, right = lit(row, 0, middle - 1), lit(row, middle + 10, 100)
        bar = middle - 1
        assert left == pytest.approx(eighths_of(ladder.long[k] / ladder.peak, bar) / 8)
        assert right == pytest.approx(eighths_of(ladder.short[k] / ladder.peak, bar) / 8)
    longest = ladder.row_of(94_000.0)
    assert longest is not None
    assert lit(rows[1 + longest], 0, middle - 1) == middle - 1


def test_heatmap_marks_the_mark_the_clusters_and_the_chain() -> None:
    frame = sample_frame(("side", "price"))
    rows = rows_of(Heatmap(frame, reach=0.05), 100, 33)
    texts = [text_of(row) for row in rows]
    (mark,) = [k for k, text in enumerate(texts) if "▸ 97,512.4 ◂" in text]
    highlighted = [s for s in rows[mark] if "97,512.4" in s.text]
    assert highlighted[0].style is not None
    assert highlighted[0].style.bgcolor is not None
    assert highlighted[0].style.bgcolor.name == MARK
    assert [text.count("◆") for text in texts].count(1) == 3
    first, second = (next(k for k, t in enumerate(texts) if amount in t) for amount in ("$20.0M", "$40.0M"))
    assert mark < first < second
    assert "1" in texts[first].split("9")[0]
    assert "−1.5%" in texts[first]
    assert "binance 50%" in texts[first]
    assert sum("▼" in text for text in texts) == 1
    assert next(k for k, t in enumerate(texts) if "$10.0M" in t) < mark
    assert all(len(text) == 100 for text in texts)


@pytest.mark.parametrize("size", [(40, 10), (80, 24), (99, 30), (100, 12), (120, 40), (200, 60), (300, 100)])
@pytest.mark.parametrize("keep", KEPT)
@pytest.mark.parametrize("colours", ["truecolor", "256", "standard"])
def test_screen_fits_every_size(size: tuple[int, int], keep: Any, colours: str) -> None:
    width, height = size
    state = ViewState(["BTC", *(f"COIN{k}" for k in range(40))], "BTC")
    state.take(sample_frame(keep), 0.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=colours)  # type: ignore[arg-type]
    rows = console.render_lines(draw(state, console, 0.3), console.options.update(height=height), pad=True)
    assert len(rows) == height
    assert all(sum(segment.cell_length for segment in row) == width for row in rows)
    assert any("97,512.4" in text_of(row) for row in rows)


def test_screen_tells_what_matters() -> None:
    state = ViewState(["BTC", "ETH"], "BTC")
    state.take(sample_frame(), 100.0)
    state.take(sample_frame(seq=1285, mark=98_000.0), 101.0)
    console = Console(file=io.StringIO(), force_terminal=True, width=150, height=44, color_system="truecolor")
    text = "\n".join(text_of(row) for row in rows_of(draw(state, console, 101.4), 150, 44))
    for part in ("ETH", "0.4 s old", "seq 1,285", "skipped 0", "+0.50%", "$3.00B", "coverage 80%", "binance 50%"):
        assert part in text
    assert "2 levels  ·  $60.0M" in text
    assert "nothing would fire" in text
    assert "okx:BTCUSDT" in text
    assert "stale" in text
    later = "\n".join(text_of(row) for row in rows_of(draw(state, console, 131.0), 150, 44))
    assert "stalled" in later
    state.step_symbol(1)
    assert state.chosen == "ETH"
    waiting = "\n".join(text_of(row) for row in rows_of(draw(state, console, 131.0), 150, 44))
    assert "waiting for the first map of ETH" in waiting
    state.step_symbol(1)
    assert state.chosen == "BTC"


def test_zoom_stays_in_bounds_and_the_centre_does_not_follow_every_tick() -> None:
    state = ViewState(["BTC"], "BTC", reach=0.04)
    for _ in range(20):
        state.zoom(1)
    assert state.reach == REACHES[-1]
    for _ in range(20):
        state.zoom(-1)
    assert state.reach == REACHES[0]
    state.reach = 0.05
    assert state.centre(sample_frame()) == state.centre(sample_frame(mark=97_900.0)) == 97_512.4
    assert state.centre(sample_frame(mark=99_500.0)) == 99_500.0


def test_plain_text_reads_the_same() -> None:
    text = plain_text(sample_frame(), rows=15, reach=0.05)
    lines = text.splitlines()
    assert lines[0].startswith("BTC  mark 97,512.4  open interest $3.00B on 3 venues  coverage 80%")
    assert sum("<" in line for line in lines) == 1
    longest = max((line.count("#"), line) for line in lines)[1]
    assert longest.split()[0].startswith("$4")
    assert "  long   " in text
    assert "a shock to 96,050 (−1.50%) fires 2 levels, $60.0M on binance, bybit, okx, and ends at 93,000" in text
    assert "next cascade up: nothing would fire" in text
    assert max(map(len, lines)) <= 160


def test_clusters_beyond_reach_are_not_listed() -> None:
    frame = sample_frame()
    assert [cluster.notional_usd for cluster in largest_clusters(frame, 9)] == [40e6, 20e6, 10e6]
    assert [cluster.notional_usd for cluster in largest_clusters(frame, 1)] == [40e6]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "$0"), (999.4, "$999"), (999.6, "$1.00k"), (12_345, "$12.3k"),
        (999_600, "$1.00M"), (18e6, "$18.0M"), (3.4e9, "$3.40B"), (-2e6, "$-2.00M"),
    ],
)  # fmt: skip
def test_money(value: float, text: str) -> None:
    assert figures.money(value) == text


def test_figures() -> None:
    assert [figures.decimals_for(step) for step in (50, 1, 1.5, 0.1, 0.005, 2e-5)] == [0, 0, 1, 1, 3, 5]
    assert figures.price(97_512.44, 0.5) == "97,512.4"
    assert figures.move(-0.0123) == "−1.23%"
    assert [figures.age(s) for s in (-1, 0.26, 45, 300, 7200)] == ["–", "0.3 s", "45 s", "5 min", "2 h"]
    assert [figures.quote(v) for v in (97_500.0, 3404.2131, 0.350001, 2.5e-7, 0)] == [
        "97,500", "3,404.21", "0.350001", "0.00000025", "0",
    ]  # fmt: skip
    assert figures.utc(np.datetime64("2026-01-05T13:05:07.123456789")) == "2026-01-05 13:05:07"


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("q", ["q"]), ("\x1b[C\x1b[D", ["right", "left"]), ("\x1bOA+", ["up", "+"]),
        ("\x1b[5~Q", ["q"]), ("\x1b", []), ("=\t", ["+", "right"]),
    ],
)  # fmt: skip
def test_keys(sent: str, keys: list[str]) -> None:
    assert split_keys(sent) == keys
