"""``forcedmove events``: chains that are armed, what becomes of them, and what really happened."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
from typing import Any

import numpy as np

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.arguments import add_server, describe, duration, whole
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.tables import output, table
from forcedmove_client.events import EVENT_NAMES, Event
from forcedmove_client.terminal import figures

HELP = "list or follow armed chains and what came of them"

_NOTHING = "–"
_MOST_AT_ONCE = 1_000
_COLOURS = {"armed": "yellow", "escalated": "yellow", "triggered": "red", "resolved": "cyan"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "A chain is armed when its cluster stands near the mark and it would fire enough levels, notional and venues\n"
        "([arming] in docs/CONFIG.md). Then it escalates, is triggered, disarms or expires; what was triggered is\n"
        "resolved with what really happened. The server keeps the newest events of its run.",
        "forcedmove events",
        "forcedmove events --follow --symbol BTC ETH --type armed triggered",
        "forcedmove events --from 120 --json",
    )
    add_server(parser)
    parser.add_argument("--follow", action="store_true", help="go on with events as they happen")
    parser.add_argument("--symbol", nargs="+", default=[], metavar="S", help="BTC, binance:BTCUSDT ... (default: all)")
    parser.add_argument(
        "--type", nargs="+", default=[], choices=list(EVENT_NAMES.values()), metavar="TYPE", help="only these types"
    )
    parser.add_argument(
        "--from", dest="from_seq", type=whole(1, 2**63 - 1), metavar="SEQ", help="first event (default: oldest kept)"
    )
    parser.add_argument("--duration", type=duration, metavar="TIME", help="with --follow: end by itself, 30s or 10m")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def run(args: argparse.Namespace) -> int:
    """Print events."""
    show = _lines(args.json)

    async def work(client: AsyncClient) -> None:
        at, epoch = args.from_seq or 0, 0
        while True:
            page = await client.list_events(args.symbol, types=args.type, from_seq=at, epoch=epoch, limit=_MOST_AT_ONCE)
            for event in page.events:
                show(event)
            at, epoch = page.next_seq, page.epoch
            if at > page.last_seq:
                break
        if not args.follow:
            return
        async with client.events(args.symbol, types=args.type, from_seq=at, epoch=epoch) as stream:
            try:
                async with asyncio.timeout(args.duration):
                    async for event in stream:
                        show(event)
            except TimeoutError:
                return

    with_client(args.server, work)
    return 0


def as_json(event: Event) -> dict[str, Any]:
    """Return an event as plain values, with the names of Event; times are ISO 8601 in UTC."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(event))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value, "ms")) + "Z"
    if isinstance(value, dict):
        return {f"{name:g}" if isinstance(name, float) else name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _lines(as_lines: bool) -> Any:
    """Return what prints one event, at once: the output may be followed."""
    if as_lines:
        return lambda event: print(json.dumps(as_json(event), allow_nan=False), flush=True)
    console = output()
    told = False

    def show(event: Event) -> None:
        nonlocal told
        rows = _columns()
        rows.show_header = not told
        rows.add_row(*cells(event))
        console.print(rows)
        told = True

    return show


def _columns() -> Any:
    rows = table(*(name for name, _ in _LAYOUT), left=tuple(name for name, _ in _LAYOUT if name in _LEFT))
    for column, (_, width) in zip(rows.columns, _LAYOUT, strict=True):
        column.min_width = width
    return rows


_LEFT = ("time", "type", "symbol", "side", "reason")
#: columns and their least widths: rows are printed one by one
_LAYOUT = (
    ("seq", 5),
    ("time", 19),
    ("type", 9),
    ("symbol", 6),
    ("side", 5),
    ("cluster", 7),
    ("edge", 10),
    ("away", 7),
    ("levels", 6),
    ("fires", 7),
    ("p95", 7),
    ("venues", 6),
    ("ends at", 10),
    ("1 h", 5),
    ("reason", 6),
)


def cells(event: Event) -> tuple[str, ...]:
    """Return one row of the table."""
    chain = event.chain
    near = event.price_high if event.side == "long" else event.price_low
    touch = event.touch.get(3_600.0)
    colour = _COLOURS.get(event.type, "dim")
    reason = event.reason if event.outcome is None else f"{event.reason}: {outcome_text(event)}"
    return (
        str(event.seq),
        figures.utc(event.time),
        f"[{colour}]{event.type}[/]",
        event.symbol,
        event.side,
        str(event.cluster_id),
        figures.quote(near),
        figures.move(event.distance),
        str(chain.depth),
        figures.money(chain.total_usd),
        _NOTHING if event.total_p95_usd is None else figures.money(event.total_p95_usd),
        str(len(event.chain_venues)),
        figures.quote(chain.terminal_price),
        _NOTHING if touch is None else f"{touch:.0%}",
        reason,
    )


def outcome_text(event: Event) -> str:
    """Say in a few words what really happened."""
    outcome = event.outcome
    if outcome is None:
        return ""
    lead = f", {outcome.lead_time_s:g} s ahead" if outcome.lead_time_s is not None else ""
    return (
        f"{outcome.levels} level{'' if outcome.levels == 1 else 's'}, {figures.money(outcome.total_usd)}, "
        f"to {figures.quote(outcome.floor_price)}{lead}"
    )
