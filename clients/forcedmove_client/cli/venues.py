"""``forcedmove venues``: which markets the server follows, how they liquidate, and how their feeds are doing."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.arguments import add_server, describe
from forcedmove_client.cli.failures import BAD_INPUT, CommandError
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.tables import output, table
from forcedmove_client.frames import Feed, MarginRule, VenueInfo
from forcedmove_client.terminal import figures

HELP = "list venues, their markets, margin rules and feeds"

_REFRESH_S = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "List every market with its open interest, the age of its feeds and its liquidation formula, and of live\n"
        "venues every channel: markets fed, messages per second, lag, gaps, reconnects, the newest fault.",
        "forcedmove venues --server 10.0.0.5:7878",
        "forcedmove venues --feeds --watch",
    )
    add_server(parser)
    parser.add_argument("--feeds", action="store_true", help="show the live feeds only")
    parser.add_argument("--watch", action="store_true", help="show it anew every second, until interrupted")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the venues."""
    if args.watch:
        if args.json:
            raise CommandError("--watch draws tables: not together with --json", BAD_INPUT)
        with_client(args.server, lambda client: _watch(client, args.feeds, Console(highlight=False)))
        return 0
    venues = with_client(args.server, lambda client: client.venues())
    if args.json:
        shown = [dataclasses.asdict(info) for info in venues]
        if args.feeds:
            shown = [{"venue": info["venue"], "feeds": info["feeds"]} for info in shown]
        print(json.dumps(shown, indent=2))
        return 0
    output().print(view(venues, args.feeds))
    return 0


async def _watch(client: AsyncClient, feeds_only: bool, console: Console) -> None:
    """Draw the venues again and again; without a terminal one table follows the other."""
    with Live(view(await client.venues(), feeds_only), console=console, auto_refresh=False, screen=False) as live:
        while True:
            await asyncio.sleep(_REFRESH_S)
            live.update(view(await client.venues(), feeds_only), refresh=True)


def view(venues: list[VenueInfo], feeds_only: bool) -> Group:
    """Return the tables of feeds, where there are any, and of markets."""
    parts: list[Table | str] = []
    if any(info.feeds for info in venues):
        parts.append(_feeds(venues))
    elif feeds_only:
        parts.append("no live feeds")
    if not feeds_only:
        parts += ["", _markets(venues)] if parts else [_markets(venues)]
    return Group(*parts)


def _feeds(venues: list[VenueInfo]) -> Table:
    columns = (
        "venue",
        "channel",
        "markets",
        "msg/s",
        "age",
        "lag",
        "gaps",
        "drops",
        "lost",
        "repeated",
        "bad",
        "trouble",
    )
    rows = table(*columns, left=("venue", "channel", "trouble"))
    for info in venues:
        for number, feed in enumerate(info.feeds):
            rows.add_row(
                "" if number else f"[bold]{info.venue}[/]",
                feed.channel.replace("_", " "),
                _coloured(f"{feed.live}/{feed.wanted}", feed),
                f"{feed.messages_per_second:.1f}",
                "–" if feed.age_ms is None else figures.age(feed.age_ms / 1000),
                "–" if feed.lag_ms is None else f"{feed.lag_ms:.0f} ms",
                f"{feed.gaps:,}",
                f"{feed.drops:,}",
                f"{feed.reconnects:,}",
                f"{feed.repeated:,}",
                "" if number else f"{feed.malformed + feed.unknown + feed.refused:,}",
                "" if number else feed.trouble,
            )
    return rows


def _coloured(text: str, feed: Feed) -> str:
    colour = "green" if feed.live == feed.wanted else "yellow" if feed.live else "red"
    return f"[{colour}]{text}[/]"


def _markets(venues: list[VenueInfo]) -> Table:
    text = ("venue", "market", "rule", "feeds")
    rows = table("venue", "market", "mark", "open interest", "price age", "OI age", "rule", "feeds", left=text)
    for info in venues:
        for number, market in enumerate(info.markets):
            rows.add_row(
                "" if number else f"[bold]{info.venue}[/]",
                market.market,
                figures.quote(market.mark_price),
                figures.money(market.open_interest_usd),
                figures.age(market.price_age_ms / 1000),
                figures.age(market.open_interest_age_ms / 1000),
                _rule(info.rules.get(market.market)),
                "[green]fresh[/]" if market.fresh else "[yellow]stale[/]",
            )
    return rows


def _rule(rule: MarginRule | None) -> str:
    """Formula, how sure it is, and a mark where the tiers behind it are old or a stand-in."""
    if rule is None:
        return ""
    return f"{rule.formula} {rule.confidence}" + (" [yellow]old tiers[/]" if rule.tiers_stale else "")
