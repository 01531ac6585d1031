"""The whole screen: header, ladder, side panels, keys; what there is no room for is left out."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.align import Align
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.style import Style
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from forcedmove_client.events import Event
from forcedmove_client.frames import Chain, MapFrame
from forcedmove_client.terminal import panels
from forcedmove_client.terminal.armed import ArmedChains
from forcedmove_client.terminal.heatmap import Heatmap
from forcedmove_client.terminal.palette import BACKGROUND, DIM, TEXT

SIDE_WIDTH = 46
#: shown ranges, as fractions of the mark
REACHES = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3)
_SMALLEST = (40, 10)


@dataclass(slots=True)
class ViewState:
    """What is looked at: the frames so far, the chosen symbol, the zoom."""

    symbols: list[str]
    chosen: str
    reach: float = 0.05
    frames: dict[str, MapFrame] = field(default_factory=dict)
    first_marks: dict[str, float] = field(default_factory=dict)
    received_at: dict[str, float] = field(default_factory=dict)
    skipped: int = 0
    note: str = ""
    armed: ArmedChains = field(default_factory=ArmedChains)
    _centres: dict[str, float] = field(default_factory=dict)

    def take(self, frame: MapFrame, now: float) -> None:
        """Keep the newest frame of its symbol."""
        if frame.symbol not in self.symbols:
            self.symbols.append(frame.symbol)
        self.chosen = self.chosen or frame.symbol
        self.frames[frame.symbol] = frame
        self.first_marks.setdefault(frame.symbol, frame.mark_price)
        self.received_at[frame.symbol] = now
        self.skipped += frame.skipped

    def step_symbol(self, by: int) -> None:
        """Choose the next or the previous symbol."""
        if self.symbols:
            at = self.symbols.index(self.chosen) if self.chosen in self.symbols else 0
            self.chosen = self.symbols[(at + by) % len(self.symbols)]

    def zoom(self, by: int) -> None:
        """Show a wider (positive) or a narrower range."""
        at = min(range(len(REACHES)), key=lambda k: abs(REACHES[k] - self.reach))
        self.reach = REACHES[min(max(at + by, 0), len(REACHES) - 1)]

    def centre(self, frame: MapFrame) -> float:
        """Return the ladder's centre: it follows the mark only once that is a quarter of the range away.

        A ladder that moves with every tick cannot be read.
        """
        kept = self._centres.get(frame.symbol)
        if kept is None or abs(frame.mark_price - kept) > self.reach * frame.mark_price / 4:
            kept = self._centres[frame.symbol] = frame.mark_price
        return kept


def draw(state: ViewState, console: Console, now: float, keys: bool = True) -> RenderableType:
    """Return the screen for the console's present size; without ``keys`` for a picture that does not move."""
    width, height = console.size
    if width < _SMALLEST[0] or height < _SMALLEST[1]:
        return Text(f"needs {_SMALLEST[0]}x{_SMALLEST[1]} characters", style=TEXT)
    frame = state.frames.get(state.chosen)
    if frame is None:
        waiting = f"waiting for the first map of {state.chosen or 'any symbol'} …"
        return Styled(Align.center(Text(waiting, style=DIM), vertical="middle", height=height), _ground())
    screen = Layout()
    screen.split_column(
        Layout(_header(state, frame, width, now), size=3),
        Layout(name="body"),
        Layout(panels.keys_line(state.note) if keys else "", size=1),
    )
    ladder = Layout(Heatmap(frame, state.reach, state.centre(frame)), name="ladder")
    if width >= 100:
        screen["body"].split_row(
            ladder, Layout(_side(frame, state.armed.of(frame.symbol), height - 4), size=SIDE_WIDTH)
        )
    else:
        screen["body"].split_column(ladder)
    return Styled(screen, _ground())


def _header(state: ViewState, frame: MapFrame, width: int, now: float) -> RenderableType:
    right = panels.status(frame, max(now - state.received_at[frame.symbol], 0.0), state.skipped)
    first = Table.grid(expand=True, padding=(0, 1, 0, 0), pad_edge=True)
    first.add_column(no_wrap=True)
    first.add_column(justify="right", no_wrap=True)
    first.add_row(panels.tabs(state.symbols, state.chosen, width - len(right) - 2), right)
    second = panels.summary(frame, state.first_marks[frame.symbol])
    second.truncate(width)
    return Group(first, second, panels.interest_bar(frame, width))


def _side(frame: MapFrame, armed: list[Event], height: int) -> RenderableType:
    """Return the panels that fit ``height`` rows: the chains keep their head, lists give way first."""
    levels = min(6, max(1, (height - 2 * 4 - 10) // 2))
    down = panels.cascade_panel(frame, frame.next_down, "down", levels)
    up = panels.cascade_panel(frame, frame.next_up, "up", levels)
    used = sum(_chain_rows(chain, levels) for chain in (frame.next_down, frame.next_up))
    markets = len(frame.markets) + 2
    count = height - used - 2
    shown: list[RenderableType] = [up, down]
    if armed and count >= len(armed) + 2:
        shown.insert(0, panels.armed_panel(frame, armed))
        count -= len(armed) + 2
    if count - markets >= 6:
        shown.append(panels.venues_panel(frame))
        count -= markets
    if count >= 2:
        shown.insert(0, panels.clusters_panel(frame, min(count, 12)))
    return Group(*shown)


def _chain_rows(chain: Chain | None, levels: int) -> int:
    depth = chain.depth if chain else 0
    return 3 if not depth else 4 + min(depth, levels) + (depth > levels)


def _ground() -> Style:
    return Style(bgcolor=BACKGROUND)
