"""``forcedmove venues``: which markets the server follows, and how they liquidate."""

from __future__ import annotations

import argparse
import dataclasses
import json

from forcedmove_client.cli.arguments import add_server, describe
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.tables import output, table
from forcedmove_client.frames import MarginRule
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
    output().print(rows)
    return 0


def _rule(rule: MarginRule | None) -> str:
    """Formula, how sure it is, and a mark where the tiers behind it are old or a stand-in."""
    if rule is None:
        return ""
    return f"{rule.formula} {rule.confidence}" + (" [yellow]old tiers[/]" if rule.tiers_stale else "")
