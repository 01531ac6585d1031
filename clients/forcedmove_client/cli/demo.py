"""``forcedmove demo``: a server on a simulated market, and its live map, in one command."""

from __future__ import annotations

import argparse

from rich.console import Console

from forcedmove_client.cli import extensions
from forcedmove_client.cli.arguments import describe, whole
from forcedmove_client.cli.failures import DONE
from forcedmove_client.cli.launch import launched_server
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.watch import add_watching, options_of
from forcedmove_client.terminal.live import watch

HELP = "run a server on a simulated market and watch it"
REGIME_HELP = "weather of the market: mixed (default), calm, trend, crash, squeeze or low-liquidity"
#: days of the market may be played before there is anything to show
_PATIENCE_AT_S = 6 * 3_600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Start a server on a simulated market (no network, no keys, no files), show its live map, and stop it again.\n"
        "Needs pip install 'forcedmove[server]'.",
        "forcedmove demo",
        "forcedmove demo --symbols BTC ETH --seed 7 --duration 2m",
        "forcedmove demo --regime crash --at 2026-10-05T14:30",
        "forcedmove demo --duration 20s | less",
    )
    parser.add_argument("--symbols", nargs="+", default=[], metavar="S", help="symbols to simulate")
    parser.add_argument(
        "--seed", type=whole(0, 2**63 - 1), metavar="N", help="the same seed gives the same market (default: 1)"
    )
    parser.add_argument("--regime", metavar="NAME", help=REGIME_HELP)
    parser.add_argument(
        "--at", metavar="UTC", help="play up to this event time at once; the market begins at 2026-10-05T00:00"
    )
    add_watching(parser)


def run(args: argparse.Namespace) -> int:
    """Serve, watch, stop."""
    extensions.load("serve")  # says at once what is missing, instead of a server that ends
    arguments = ["--source", "simulate", "--port", "0", "--log-level", "warning"]
    if args.seed is not None:
        arguments += ["--seed", str(args.seed)]
    if args.regime is not None:
        arguments += ["--regime", args.regime]
    doing, patience_s = "starting a server on a simulated market", 180.0
    if args.at is not None:
        arguments += ["--at", args.at]
        doing += f", played up to {args.at} (after its first 8 hours, 15 s or more for each hour)"
        patience_s = _PATIENCE_AT_S
    if args.symbols:
        arguments += ["--symbols", *args.symbols]
    with launched_server(arguments, doing, patience_s) as target:
        args.symbols = []  # all that are simulated
        with_client(target, lambda client: watch(client, options_of(args), Console()))
    return DONE
