"""``forcedmove simulate``: what a shock would set off, on a server's map or on a hand-written one."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from rich.console import Console

from forcedmove_client.cli import extensions
from forcedmove_client.cli.arguments import add_server, describe, positive, share
from forcedmove_client.cli.failures import BAD_INPUT, CommandError
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.tables import output, table
from forcedmove_client.frames import Chain
from forcedmove_client.terminal import figures

HELP = "follow the cascade of a shock"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Follow the cascade that a shock would set off: through the newest map and books of a server, or through a\n"
        "hand-written scenario (docs/SCENARIO.md), which needs no server.",
        "forcedmove simulate BTC --shock -2%",
        "forcedmove simulate BTC --price 96800 --json",
        "forcedmove simulate --scenario examples/acceptance.toml",
    )
    parser.add_argument("symbol", nargs="?", metavar="SYMBOL", help="BTC, binance:BTCUSDT or BTC/USDT:USDT")
    shock = parser.add_mutually_exclusive_group()
    shock.add_argument("--shock", type=share(-1, 10), metavar="MOVE", help="move of the mark: -2%% or -0.02")
    shock.add_argument("--price", type=positive, metavar="USD", help="price the mark is pushed to")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="hand-written map and book, TOML")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_server(parser)


def run(args: argparse.Namespace) -> int:
    """Print the chain."""
    if args.scenario is not None:
        if args.symbol is not None:
            raise CommandError(f"SYMBOL = {args.symbol!r}: a scenario names its own symbol", BAD_INPUT)
        return extensions.run(extensions.load("simulate-scenario"), "simulate --scenario", args)
    if args.symbol is None:
        raise CommandError("SYMBOL is missing: name one, or give a --scenario", BAD_INPUT)
    if args.shock is None and args.price is None:
        raise CommandError("the shock is missing: give --shock or --price", BAD_INPUT)
    chain = with_client(args.server, lambda c: c.simulate(args.symbol, price=args.price, move=args.shock))
    if args.json:
        print(json.dumps(as_json(args.symbol, chain), indent=2))
    else:
        show(args.symbol, chain, output())
    return 0


def as_json(symbol: str, chain: Chain) -> dict[str, object]:
    """Return a chain with the names that offline scenarios use too."""
    return {
        "symbol": symbol,
        "side": chain.side,
        "mark": chain.start_price,
        "shock_price": chain.shock_price,
        "levels": [dataclasses.asdict(level) for level in chain.levels],
        "depth": chain.depth,
        "total_usd": chain.total_usd,
        "venues": venues_of(chain),
        "terminal_price": chain.terminal_price,
        "amplification": chain.amplification,
        "beyond_window": chain.beyond_window,
    }


def show(symbol: str, chain: Chain, console: Console) -> None:
    """Print a chain as a table with a closing sentence."""
    mark, shock, terminal = chain.start_price, chain.shock_price, chain.terminal_price
    console.print(
        f"[bold]{symbol}[/]: mark {figures.quote(mark)}, shock to {figures.quote(shock)} "
        f"({figures.move(shock / mark - 1)})\n"
    )
    if not chain.levels:
        console.print("nothing fires")
        return
    rows = table("level", "trigger", "notional", "cumulative", "mark after", "venues", left=("venues",))
    for number, level in enumerate(chain.levels, 1):
        rows.add_row(
            str(number),
            figures.quote(level.trigger_price),
            figures.money(level.notional_usd),
            figures.money(level.cumulative_usd),
            figures.quote(level.price_after),
            ", ".join(level.venues),
        )
    console.print(rows)
    bound = "beyond " if chain.beyond_window else ""
    console.print(
        f"\n{chain.depth} level{'' if chain.depth == 1 else 's'}, {figures.money(chain.total_usd)} of {chain.side}s on "
        f"{len(venues_of(chain))} venues; the mark ends {bound or 'at '}{figures.quote(terminal)}: a move of "
        f"{figures.quote(abs(mark - shock))} becomes {figures.quote(abs(mark - terminal))} "
        f"({chain.amplification:.2f}x)"
    )


def venues_of(chain: Chain) -> list[str]:
    """Return the venues of all levels, in the order they are first hit."""
    return list(dict.fromkeys(venue for level in chain.levels for venue in level.venues))
