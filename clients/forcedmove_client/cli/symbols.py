"""``forcedmove symbols``: what the server has maps of."""

from __future__ import annotations

import argparse
import dataclasses
import json

from forcedmove_client.cli.arguments import add_server, describe
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.tables import output, table
from forcedmove_client.terminal import figures

HELP = "list the symbols the server has maps of"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(parser, "List symbols with mark price, open interest and markets.", "forcedmove symbols --json")
    add_server(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the symbols."""
    symbols = with_client(args.server, lambda client: client.symbols())
    if args.json:
        print(json.dumps([dataclasses.asdict(info) for info in symbols], indent=2))
        return 0
    rows = table("symbol", "mark", "open interest", "bin", "cohorts", "markets", left=("symbol", "markets"))
    for info in symbols:
        rows.add_row(
            f"[bold]{info.symbol}[/]",
            figures.price(info.mark_price, info.bin_width / 100),
            figures.money(info.open_interest_usd),
            f"{info.bin_width:g}",
            f"{info.cohorts:,}",
            ", ".join(info.markets),
        )
    output().print(rows)
    return 0
