"""``forcedmove venues``: which markets the server follows, and how they liquidate."""

from __future__ import annotations

import argparse
import dataclasses
import json

from rich.console import Console
from rich.table import Table

from forcedmove_client.cli.arguments import add_server, describe
from forcedmove_client.cli.running import with_client
from forcedmove_client.terminal import figures

HELP = "list venues, their markets and margin rules"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "List every market with its open interest, the age of its feeds and its liquidation formula.",
        "forcedmove venues --server 10.0.0.5:7878",
    )
    add_server(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the venues."""
    venues = with_client(args.server, lambda client: client.venues())
    if args.json:
        print(json.dumps([dataclasses.asdict(info) for info in venues], indent=2))
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("venue")
    table.add_column("market")
    for name in ("mark", "open interest", "price age", "OI age"):
        table.add_column(name, justify="right")
    table.add_column("rule")
    table.add_column("")
    for info in venues:
        for number, market in enumerate(info.markets):
            table.add_row(
                "" if number else f"[bold]{info.venue}[/]",
                market.market,
                figures.price(market.mark_price, market.mark_price * 1e-6 or 1.0),
                figures.money(market.open_interest_usd),
                figures.age(market.price_age_ms / 1000),
                figures.age(market.open_interest_age_ms / 1000),
                info.margin_rules.get(market.market, ""),
                "[green]fresh[/]" if market.fresh else "[yellow]stale[/]",
            )
    Console().print(table)
    return 0
