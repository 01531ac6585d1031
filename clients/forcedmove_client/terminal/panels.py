"""What stands around the ladder: header, clusters, the next cascades, venues, keys."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from forcedmove_client.events import Event
from forcedmove_client.frames import Chain, MapFrame
from forcedmove_client.terminal import figures
from forcedmove_client.terminal.armed import armed_rows
from forcedmove_client.terminal.bars import stacked
from forcedmove_client.terminal.ladder import largest_clusters
from forcedmove_client.terminal.palette import (
    BACKGROUND,
    BAD,
    BRIGHT,
    DIM,
    EDGE,
    GOOD,
    MARK,
    TEXT,
    WARN,
    shade,
    venue_colour,
)

_STALE_S, _LATE_S = 10.0, 2.0


def tabs(symbols: Sequence[str], chosen: str, width: int) -> Text:
    """Return the program's name and the symbols, the chosen one highlighted, as far as they fit."""
    line = Text().append(" ▍", shade("long", 0.4))
    line.append("forced", f"bold {BRIGHT}").append("move", f"bold {MARK}").append("  ")
    start = max(0, list(symbols).index(chosen) - 6) if chosen in symbols else 0
    if start:
        line.append("‹ ", DIM)
    for symbol in symbols[start:]:
        if len(line) + len(symbol) + 5 > width:
            line.append(" ›", DIM)
            break
        line.append(f" {symbol} ", f"bold {BACKGROUND} on {MARK}" if symbol == chosen else TEXT).append(" ")
    return line


def status(frame: MapFrame, age_s: float, skipped: int) -> Text:
    """Return how new and how complete the picture is."""
    colour = GOOD if age_s < _LATE_S else (WARN if age_s < _STALE_S else BAD)
    line = Text().append("● ", colour)
    line.append("live" if age_s < _STALE_S else "stalled", f"bold {colour}")
    line.append(f"  {figures.age(age_s)} old", TEXT)
    line.append(f"  seq {frame.seq:,}", DIM)
    line.append(f"  skipped {skipped:,} ", WARN if skipped else DIM)
    return line


def summary(frame: MapFrame, first_mark: float) -> Text:
    """Return mark, change since the first frame, open interest, coverage and the map's weighting."""
    change = frame.mark_price / first_mark - 1 if first_mark else 0.0
    line = Text().append(f" {frame.symbol} ", f"bold {BRIGHT}")
    line.append(figures.price(frame.mark_price, frame.bin_width / 100), f"bold {MARK}")
    line.append(f"  {figures.move(change)}", GOOD if change >= 0 else BAD)
    line.append("   open interest ", DIM)
    line.append(figures.money(sum(market.open_interest_usd for market in frame.markets)), f"bold {TEXT}")
    line.append("   coverage ", DIM)
    colour = GOOD if frame.coverage > 0.9 else (WARN if frame.coverage > 0.5 else BAD)
    line.append(f"{frame.coverage:.0%}", f"bold {colour}")
    line.append("   map ", DIM).append(frame.weighting, TEXT)
    line.append("   events to ", DIM).append(f"{figures.utc(frame.event_time)} UTC", TEXT)
    return line


def interest_bar(frame: MapFrame, width: int) -> Text:
    """Return the open interest of each venue as one stacked bar."""
    held: dict[str, float] = {}
    for market in frame.markets:
        held[market.venue] = held.get(market.venue, 0.0) + market.open_interest_usd
    order = sorted(held.items(), key=lambda item: -item[1])
    total = sum(held.values()) or 1.0
    parts = [(f"{venue} {usd / total:.0%}", usd, venue_colour(venue, list(held))) for venue, usd in order]
    return Text(" ").append_text(stacked(parts, max(width - 2, 1), BACKGROUND))


def clusters_panel(frame: MapFrame, count: int) -> RenderableType:
    """Return the largest clusters: where, how much, how far, on which venues."""
    table = Table.grid(padding=(0, 1), expand=True)
    for justify in ("right", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    names = sorted({market.venue for market in frame.markets})
    for cluster in largest_clusters(frame, count):
        parts = [(venue, usd, venue_colour(venue, names)) for venue, usd in sorted(cluster.venues.items(), key=_second)]
        table.add_row(
            Text(figures.price(cluster.peak_price, frame.bin_width), style=f"bold {shade(cluster.side, 0.45)}"),
            Text(figures.money(cluster.notional_usd), style=f"bold {BRIGHT}"),
            Text(figures.move(cluster.distance), style=TEXT),
            stacked(parts, 12, BACKGROUND, slim=True),
        )
    body: RenderableType = table if table.row_count else Text().append("none stands out", DIM)
    return _panel(body, "largest clusters")


def armed_panel(frame: MapFrame, events: list[Event]) -> RenderableType:
    """Return the chains that are armed, or triggered and not resolved."""
    return _panel(armed_rows(frame, events), f"[{MARK}]●[/] armed")


def cascade_panel(frame: MapFrame, chain: Chain | None, way: str, levels: int) -> RenderableType:
    """Return the chain that the nearest cluster would start: levels, total, terminal price, amplification."""
    arrow, colour = ("▼", shade("long", 0.45)) if way == "down" else ("▲", shade("short", 0.45))
    title = f"[{colour}]{arrow}[/] next cascade {way}"
    if chain is None or not chain.levels:
        return _panel(Text("nothing would fire", style=DIM), title)
    step, names = frame.bin_width, sorted({market.venue for market in frame.markets})
    head = Text().append(figures.price(chain.shock_price, step), f"bold {BRIGHT}")
    head.append(f" ({figures.move(chain.shock_price / chain.start_price - 1)}) ", TEXT).append("→ ", DIM)
    head.append(
        ("beyond " if chain.beyond_window else "") + figures.price(chain.terminal_price, step), f"bold {colour}"
    )
    facts = Text().append(f"{chain.depth} level{'' if chain.depth == 1 else 's'}", TEXT)
    facts.append("  ·  ", DIM).append(figures.money(chain.total_usd), f"bold {BRIGHT}").append("  ·  ", DIM)
    facts.append(f"{chain.amplification:.2f}×", f"bold {MARK if chain.amplification < 1.5 else BAD}")
    facts.append(" the shock", DIM)
    table = Table.grid(padding=(0, 1))
    for justify in ("right", "right", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    for number, level in enumerate(chain.levels[:levels], 1):
        venues = Text()
        for venue in level.venues[:6]:
            venues.append(f"{venue[:3]} ", venue_colour(venue, names))
        table.add_row(
            Text(str(number), style=MARK),
            Text(figures.price(level.trigger_price, step), style=TEXT),
            Text(figures.money(level.notional_usd), style=BRIGHT),
            venues,
        )
    more = chain.depth - levels
    rest = [Text(f"and {more} more", style=DIM)] if more > 0 else []
    return _panel(Group(head, facts, table, *rest), title)


def venues_panel(frame: MapFrame) -> RenderableType:
    """Return open interest and freshness of each market."""
    table = Table.grid(padding=(0, 1), expand=True)
    for justify in ("left", "right", "right"):
        table.add_column(justify=justify, no_wrap=True)
    names = sorted({market.venue for market in frame.markets})
    for market in sorted(frame.markets, key=lambda market: -market.open_interest_usd):
        table.add_row(
            Text("■ ", style=venue_colour(market.venue, names)).append(market.market, TEXT if market.fresh else DIM),
            Text(figures.money(market.open_interest_usd), style=BRIGHT if market.fresh else DIM),
            Text("● fresh" if market.fresh else "○ stale", style=GOOD if market.fresh else WARN),
        )
    return _panel(table, "markets")


def keys_line(paused: str = "") -> Text:
    """Return what the keys do."""
    line = Text(" ")
    for key, meaning in (("q", "quit"), ("← →", "symbol"), ("+ −", "zoom"), ("v", "venues"), ("l", "leverage")):
        line.append(f" {key} ", f"bold {TEXT} on {EDGE}").append(f" {meaning}   ", DIM)
    return line.append(paused, WARN)


def _second(item: tuple[str, float]) -> float:
    return -item[1]


def _panel(body: RenderableType, title: str) -> Panel:
    return Panel(
        body, title=f"[{TEXT}]{title}[/]", title_align="left", box=box.ROUNDED, border_style=EDGE, padding=(0, 1)
    )
