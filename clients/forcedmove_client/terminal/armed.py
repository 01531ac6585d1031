"""Chains that are armed now: followed through the server's events, shown beside the next ones."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from forcedmove_client.aio import AsyncClient
from forcedmove_client.errors import HistoryGoneError, ServerError
from forcedmove_client.events import Event
from forcedmove_client.frames import MapFrame
from forcedmove_client.terminal import figures
from forcedmove_client.terminal.palette import BAD, BRIGHT, DIM, MARK, TEXT, shade

_STANDING = ("armed", "escalated", "triggered")
_MOST_LISTED = 1_000


class ArmedChains:
    """The newest event of every arm that stands, or was triggered and is not resolved."""

    def __init__(self) -> None:
        self._events: dict[tuple[str, str], Event] = {}
        self._epoch = 0

    def take(self, event: Event) -> None:
        """Take the next event."""
        if event.epoch != self._epoch:  # the server has restarted: nothing of before stands
            self._events.clear()
            self._epoch = event.epoch
        if event.type in _STANDING:
            self._events[event.symbol, event.side] = event
        else:
            self._events.pop((event.symbol, event.side), None)

    def of(self, symbol: str) -> list[Event]:
        """Return those of a symbol, longs first."""
        return [event for side in ("long", "short") if (event := self._events.get((symbol, side))) is not None]


async def follow_events(client: AsyncClient, armed: ArmedChains, changed: Callable[[], None]) -> None:
    """Keep ``armed`` up to date until cancelled, and call ``changed`` when it is.

    A server without this service is left alone.
    """
    while True:
        at, epoch = 0, 0
        try:
            while True:
                page = await client.list_events(from_seq=at, epoch=epoch, limit=_MOST_LISTED)
                for event in page.events:
                    armed.take(event)
                at, epoch = page.next_seq, page.epoch
                if at > page.last_seq:
                    break
            changed()
            async with client.events(from_seq=at, epoch=epoch) as stream:
                async for event in stream:
                    armed.take(event)
                    changed()
            return
        except HistoryGoneError:
            continue  # it happened faster than it was read, or the server has restarted in between
        except ServerError:
            return


def near_edge(event: Event) -> float:
    """Price at which a chain starts."""
    return event.price_high if event.side == "long" else event.price_low


def armed_rows(frame: MapFrame, events: list[Event]) -> RenderableType:
    """Return one row per chain: since when, from which price, how far away, how deep."""
    rows = Table.grid(padding=(0, 1), expand=True)
    for justify in ("left", "right", "right", "right", "right"):
        rows.add_column(justify=justify, no_wrap=True)
    for event in events:
        edge = near_edge(event)
        triggered = event.type == "triggered"
        state = Text("▼ " if event.side == "long" else "▲ ", shade(event.side, 0.45))
        state.append("triggered" if triggered else "armed", f"bold {BAD if triggered else MARK}")
        rows.add_row(
            state,
            Text(figures.price(edge, frame.bin_width), style=BRIGHT),
            Text(figures.move(edge / frame.mark_price - 1), style=TEXT),
            Text(f"{event.chain.depth} lv", style=TEXT),
            Text(figures.money(event.chain.total_usd), style=f"bold {BRIGHT}"),
        )
    return rows if events else Text("none", style=DIM)


def armed_text(frame: MapFrame, event: Event) -> str:
    """Return a chain that is armed in one line."""
    edge, chain = near_edge(event), event.chain
    touch = event.touch.get(3_600.0)
    within = "" if touch is None else f"; touched within an hour with {touch:.0%}"
    return (
        f"{'triggered' if event.type == 'triggered' else 'armed'}: {event.side}s from "
        f"{figures.price(edge, frame.bin_width)} ({figures.move(edge / frame.mark_price - 1)}), {chain.depth} "
        f"level{'' if chain.depth == 1 else 's'}, {figures.money(chain.total_usd)} on {len(event.chain_venues)} "
        f"venues, ends at {figures.price(chain.terminal_price, frame.bin_width)}{within}"
    )
