"""``forcedmove watch``: live maps in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from forcedmove_client.cli.arguments import add_server, add_view, describe, duration, positive, share
from forcedmove_client.cli.failures import BAD_INPUT, DONE, CommandError
from forcedmove_client.cli.running import with_client
from forcedmove_client.terminal.live import Listener, WatchOptions, watch

HELP = "show live maps in the terminal"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Show live liquidation maps: longs that would be liquidated to the left of the price, shorts to the right,\n"
        "the largest clusters, and the cascades that the nearest of them would start. Where the output is no\n"
        "terminal, the same as text every few seconds.\n\n"
        "keys: q quit, left and right change the symbol, + and - zoom, v and l split by venue and by leverage",
        "forcedmove watch",
        "forcedmove watch BTC ETH --range 3%",
        "forcedmove watch BTC --duration 10m --png-history btc.png",
    )
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="BTC, binance:BTCUSDT ... (default: all)")
    add_server(parser)
    add_watching(parser)
    parser.add_argument(
        "--png-history",
        type=Path,
        metavar="FILE",
        help="at the end, draw how the map of the first symbol changed",
    )


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Declare what ``watch`` and ``demo`` have in common."""
    parser.add_argument("--duration", type=duration, metavar="TIME", help="end by itself: 30s, 10m (default: never)")
    parser.add_argument(
        "--range",
        type=share(0, 0.3),
        default=0.05,
        metavar="SHARE",
        help="shown on either side of the mark (5%%)",
    )
    parser.add_argument(
        "--by", choices=("venue", "leverage", "none"), default="venue", help="what the map is split by (default: venue)"
    )
    parser.add_argument("--rate", type=positive, metavar="HZ", help="maps per second at most (default: every one)")
    parser.add_argument(
        "--every", type=duration, default=5.0, metavar="TIME", help="between two texts without a terminal (default: 5s)"
    )
    add_view(parser)


def options_of(args: argparse.Namespace) -> WatchOptions:
    """Return what the arguments ask for."""
    return WatchOptions(
        symbols=tuple(args.symbols),
        duration_s=args.duration,
        reach=args.range,
        by=None if args.by == "none" else args.by,
        weighting=args.weighting,
        max_rate_hz=args.rate or 0.0,
        plain_every_s=args.every,
    )


def run(args: argparse.Namespace) -> int:
    """Watch until the reader leaves."""
    history = None if args.png_history is None else history_for(args.png_history)
    listener: Listener | None = history.add if history is not None else None
    try:
        with_client(args.server, lambda client: watch(client, options_of(args), Console(), listener))
    finally:
        if history is not None and len(history) > 1:
            history.render(args.png_history)
    if history is not None and len(history) < 2:
        raise CommandError(f"--png-history {args.png_history}: fewer than two maps came, there is nothing to draw")
    return DONE


def history_for(path: Path) -> Any:
    """Return an empty history. Raises CommandError where it could not be drawn in the end."""
    if not path.resolve().parent.is_dir():
        raise CommandError(f"{path}: no such folder", BAD_INPUT)
    try:
        from forcedmove_client.picture import History
    except ModuleNotFoundError as error:
        raise CommandError(f"pictures need {error.name}: pip install 'forcedmove[plot]'", BAD_INPUT) from None
    return History()
