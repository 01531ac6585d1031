"""The price ladder: longs to the left, shorts to the right, what they add up to as length and colour."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from forcedmove_client.frames import Chain, Cluster, MapFrame
from forcedmove_client.terminal import figures
from forcedmove_client.terminal.bars import eighths_of, leftward, rightward
from forcedmove_client.terminal.ladder import Ladder, build_ladder, largest_clusters
from forcedmove_client.terminal.palette import BACKGROUND, BRIGHT, DIM, EDGE, MARK, TEXT, shade, venue_colour

_GROUP_WIDTH = 4
_LEAST_BAR = 12


@dataclass(frozen=True, slots=True)
class Heatmap:
    """One frame as a ladder that fills whatever room it is given.

    ``reach`` is how far from ``centre`` (by default the mark) the rows go at least, as a fraction of the mark.
    """

    frame: MapFrame
    reach: float = 0.1
    centre: float | None = None
    clusters: int = 8

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield title, rows and scale, exactly as high as the room."""
        height = options.height or 30
        ladder = build_ladder(self.frame, max(height - 2, 3), self.reach, self.centre)
        for line in _lines(self, ladder, options.max_width):
            yield from line.render(console, end="")
            yield Segment.line()


def _lines(heatmap: Heatmap, ladder: Ladder, width: int) -> list[Text]:
    frame = heatmap.frame
    prices = (figures.price(float(ladder.low[0]), ladder.step), figures.price(frame.mark_price, _tick(frame)))
    price_width = max(map(len, prices))
    groups = min(len(ladder.groups), max(0, (width - price_width - 6 - 4 * _LEAST_BAR) // _GROUP_WIDTH))
    bar = max((width - price_width - 6 - groups * _GROUP_WIDTH - bool(groups)) // 2, 4)
    marks = _Marks(heatmap, ladder)
    lines = [_title(ladder, bar, price_width, groups, frame)]
    lines += [_row(frame, ladder, marks, row, bar, price_width, groups) for row in range(len(ladder.low))]
    lines.append(_scale(ladder, bar * 2 + price_width + 6))
    for line in lines:
        line.truncate(width, pad=True)
        line.stylize_before(Style(bgcolor=BACKGROUND))
    return lines


class _Marks:
    """What is written beside the rows: cluster labels, levels of the next chains, where they end."""

    def __init__(self, heatmap: Heatmap, ladder: Ladder) -> None:
        frame = heatmap.frame
        self.clusters: dict[int, Cluster] = {}
        for cluster in largest_clusters(frame, len(frame.clusters)):
            row = ladder.row_of(cluster.peak_price)
            if row is None or row == ladder.mark_row or len(self.clusters) >= heatmap.clusters:
                continue
            self.clusters.setdefault(row, cluster)
        self.levels: dict[int, str] = {}
        self.ends: set[int] = set()
        for chain in (frame.next_down, frame.next_up):
            self._add_chain(chain, ladder)

    def _add_chain(self, chain: Chain | None, ladder: Ladder) -> None:
        if chain is None:
            return
        for number, level in enumerate(chain.levels[:9], 1):
            row = ladder.row_of(level.trigger_price)
            if row is not None:
                self.levels.setdefault(row, str(number))
        end = ladder.row_of(chain.terminal_price)
        if end is not None:
            self.ends.add(end)


def _cluster_label(cluster: Cluster, frame: MapFrame, room: int) -> Text:
    """Notional, distance and as many of its venues as there is room for."""
    label = Text().append(f"{figures.money(cluster.notional_usd)} ", f"bold {BRIGHT}")
    label.append(f"{figures.move(cluster.distance, 1)} ", TEXT)
    names = sorted({market.venue for market in frame.markets})
    for venue, amount in sorted(cluster.venues.items(), key=lambda item: -item[1]):
        part = f" {venue} {amount / cluster.notional_usd:.0%}"
        if len(label) + len(part) > room:
            break
        label.append(part, venue_colour(venue, names))
    return label


def _row(frame: MapFrame, ladder: Ladder, marks: _Marks, row: int, bar: int, price_width: int, groups: int) -> Text:
    at_mark = row == ladder.mark_row
    peak = ladder.peak or 1.0
    ground = "#1d2230" if at_mark else BACKGROUND
    shares = {"long": ladder.long[row] / peak, "short": ladder.short[row] / peak}
    left = leftward(shares["long"], bar, shade("long", shares["long"]), ground)
    right = rightward(shares["short"], bar, shade("short", shares["short"]), ground)
    cluster = marks.clusters.get(row)
    if cluster is not None:
        left, right = _with_label(left, right, cluster, frame, shares, bar)
    if at_mark:
        left, right = _mark_line(left, shares["long"], bar, True), _mark_line(right, shares["short"], bar, False)
    line = Text()
    line.append_text(left)
    line.append_text(_gutter(frame, ladder, marks, row, price_width, at_mark))
    line.append_text(right)
    if groups:
        line.append_text(_strip(ladder, row, groups, ground))
    return line


def _gutter(frame: MapFrame, ladder: Ladder, marks: _Marks, row: int, price_width: int, at_mark: bool) -> Text:
    """Chain level, price, cluster mark."""
    if at_mark:
        text = figures.price(frame.mark_price, _tick(frame)).center(price_width)
        return Text(f" ▸ {text} ◂ ", style=f"bold {BACKGROUND} on {MARK}")
    below = row > ladder.mark_row
    end = ("▼" if below else "▲") if row in marks.ends else " "
    gutter = Text().append(f"{marks.levels.get(row, ' ')}{end} ", f"bold {MARK}")
    clustered = row in marks.clusters
    gutter.append(
        figures.price(ladder.low[row], ladder.step).rjust(price_width), f"bold {BRIGHT}" if clustered else DIM
    )
    gutter.append(" ◆ " if clustered else "   ", style=shade("long" if below else "short", 0.5))
    return gutter


def _with_label(
    left: Text, right: Text, cluster: Cluster, frame: MapFrame, shares: dict[str, float], bar: int
) -> tuple[Text, Text]:
    """Put a cluster's label on the side of the row that is empty, where it fits."""
    on_left = shares["long"] < shares["short"]
    taken = -(-eighths_of(shares["long" if on_left else "short"], bar) // 8)
    text = _cluster_label(cluster, frame, bar - taken - 2)
    free = bar - taken - 1 - len(text)
    if free < 0:
        return left, right
    if on_left:
        return Text.assemble(" " * free, text, " ", left[bar - taken :]), right
    return left, Text.assemble(right[:taken], " ", text, " " * free)


def _mark_line(bar: Text, share: float, width: int, to_left: bool) -> Text:
    """Draw the mark's line through the part of the row that no bar covers."""
    taken = -(-eighths_of(share, width) // 8)
    line = Text("╌" * (width - taken), style=f"{MARK} on #1d2230")
    return line + bar[width - taken :] if to_left else bar[:taken] + line


def _strip(ladder: Ladder, row: int, groups: int, ground: str) -> Text:
    """One cell per venue or leverage, coloured by what it holds in this row."""
    strip = Text(" ", style=Style(bgcolor=ground))
    peak = float(ladder.by_group.max(initial=0.0)) or 1.0
    side = "long" if ladder.long[row] >= ladder.short[row] else "short"
    for amount in ladder.by_group[row][:groups]:
        colour = shade(side, float(amount) / peak) if amount > 0 else ground
        strip.append("█" * (_GROUP_WIDTH - 1) + " ", Style(color=colour, bgcolor=ground))
    return strip


def _title(ladder: Ladder, bar: int, price_width: int, groups: int, frame: MapFrame) -> Text:
    title = Text()
    title.append("longs liquidated ".rjust(bar), shade("long", 0.45))
    title.append(f"{frame.symbol} mark".center(price_width + 6), f"bold {TEXT}")
    title.append(" shorts liquidated".ljust(bar), shade("short", 0.45))
    if groups:
        names = sorted({market.venue for market in frame.markets})
        title.append(" ")
        for name in ladder.groups[:groups]:
            title.append(
                name[: _GROUP_WIDTH - 1].ljust(_GROUP_WIDTH), venue_colour(name, names) if name in names else DIM
            )
    return title


def _scale(ladder: Ladder, width: int) -> Text:
    """Colours with what they stand for, and what lies beyond the rows."""
    scale = Text().append(f"{figures.money(ladder.peak)} ", DIM)
    for k in range(8, 0, -1):
        scale.append("█", shade("long", k / 8))
    scale.append(f" per {figures.price(ladder.step, ladder.step)} USD ", TEXT)
    for k in range(1, 9):
        scale.append("█", shade("short", k / 8))
    scale.append(f" {figures.money(ladder.peak)}", DIM)
    left, right = f"below {figures.money(ladder.below[0])} ", f" above {figures.money(ladder.above[1])}"
    pad = width - len(scale) - len(left) - len(right)
    if pad < 0:
        return Text(" " * max((width - len(scale)) // 2, 0)).append_text(scale)
    return Text.assemble((left, DIM), (" " * (pad // 2), EDGE), scale, " " * (pad - pad // 2), (right, DIM))


def _tick(frame: MapFrame) -> float:
    """Smallest step worth showing in a mark price."""
    return frame.bin_width / 100
