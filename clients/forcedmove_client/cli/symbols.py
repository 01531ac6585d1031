"""``forcedmove symbols``: what the server has maps of."""

from __future__ import annotations

import argparse
import dataclasses
import json

from rich.console import Console
from rich.table import Table

from forcedmove_client.cli.arguments import add_server, describe
from forcedmove_client.cli.running import with_client
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
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("symbol", "mark", "open interest", "bin", "cohorts"):
        table.add_column(name, justify="left" if name == "symbol" else "right")
    table.add_column("markets")
    for info in symbols:
        table.add_row(
            f"[bold]{info.symbol}[/]",
            figures.price(info.mark_price, info.bin_width / 500),
            figures.money(info.open_interest_usd),
            f"{info.bin_width:g}",
            f"{info.cohorts:,}",
            ", ".join(info.markets),
        )
    Console().print(table)
    return 0
