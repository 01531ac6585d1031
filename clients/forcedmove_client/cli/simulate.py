"""``forcedmove simulate``: what a shock would set off, on a server's map or on a hand-written one."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from forcedmove_client.cli import extensions
from forcedmove_client.cli.arguments import add_server, describe, duration, move, positive, whole
from forcedmove_client.cli.failures import BAD_INPUT, CommandError
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.tables import output, table
from forcedmove_client.forecasts import Forecast
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
        "forcedmove simulate BTC --shock -5% --paths 2000 --coupling 5",
        "forcedmove simulate BTC --shock -5% --duration 10m --paths 2000",
        "forcedmove simulate --scenario examples/acceptance.toml",
    )
    parser.add_argument("symbol", nargs="?", metavar="SYMBOL", help="BTC, binance:BTCUSDT or BTC/USDT:USDT")
    shock = parser.add_mutually_exclusive_group()
    shock.add_argument("--shock", type=move, metavar="MOVE", help="move of the mark: -2%% or -0.02")
    shock.add_argument("--price", type=positive, metavar="USD", help="price the mark is pushed to")
    parser.add_argument("--scenario", type=Path, metavar="FILE", help="hand-written map and book, TOML")
    parser.add_argument(
        "--paths", type=whole(0, 20_000), default=0, metavar="N", help="random paths to follow beside it"
    )
    parser.add_argument("--seed", type=whole(0, 2**63 - 1), default=0, metavar="N", help="of the paths (default: 0)")
    parser.add_argument(
        "--coupling",
        type=coupling_time,
        metavar="SECONDS",
        help="follow venues one by one too, with this coupling time",
    )
    parser.add_argument(
        "--duration",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="how long the shock takes to play out, 10m or 90s; books refill meanwhile (default: it comes at once)",
    )
    parser.add_argument(
        "--curve", type=whole(0, 512), default=0, metavar="N", help="other shocks to follow (JSON only)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_server(parser)


def run(args: argparse.Namespace) -> int:
    """Print the chain."""
    if args.scenario is not None:
        if args.symbol is not None:
            raise CommandError(f"SYMBOL = {args.symbol!r}: a scenario names its own symbol", BAD_INPUT)
        if args.paths or args.curve or args.duration or args.coupling is not None:
            asked = "--paths, --curve, --duration and --coupling"
            raise CommandError(f"{asked}: a scenario is followed exactly, once, at once", BAD_INPUT)
        return extensions.run(extensions.load("simulate-scenario"), "simulate --scenario", args)
    if args.symbol is None:
        raise CommandError("SYMBOL is missing: name one, or give a --scenario", BAD_INPUT)
    if args.shock is None and args.price is None:
        raise CommandError("the shock is missing: give --shock or --price", BAD_INPUT)
    found = with_client(
        args.server,
        lambda c: c.forecast(
            args.symbol,
            price=args.price,
            move=args.shock,
            paths=args.paths,
            seed=args.seed,
            coupling_s=args.coupling,
            curve_points=args.curve,
            duration_s=args.duration,
        ),
    )
    if args.json:
        print(json.dumps(as_json(args.symbol, found.chain) | certainty_json(found), indent=2))
    else:
        console = output()
        probabilities = found.paths.level_probabilities if found.paths else ()
        show(args.symbol, found.chain, console, probabilities)
        show_certainty(found, console)
    return 0


def certainty_json(found: Forecast) -> dict[str, object]:
    """Return what a forecast says beside its chain; what was not asked for is null."""
    fields = ("paths", "tipping_points", "by_venue", "curve", "books", "assumptions")
    whole = dataclasses.asdict(found)
    return {name: whole[name] for name in fields}


def coupling_time(text: str) -> float:
    """Read seconds from 0 to 60."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 60")
    return value


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


def show(symbol: str, chain: Chain, console: Console, probabilities: Sequence[float] = ()) -> None:
    """Print a chain as a table with a closing sentence; ``probabilities`` are those of its levels, where known."""
    mark, shock, terminal = chain.start_price, chain.shock_price, chain.terminal_price
    console.print(
        f"[bold]{symbol}[/]: mark {figures.quote(mark)}, shock to {figures.quote(shock)} "
        f"({figures.move(shock / mark - 1)})\n"
    )
    if not chain.levels:
        console.print("nothing fires")
        return
    reached = ("reached",) if probabilities else ()
    rows = table("level", "trigger", *reached, "notional", "cumulative", "mark after", "venues", left=("venues",))
    for number, level in enumerate(chain.levels, 1):
        rows.add_row(
            str(number),
            figures.quote(level.trigger_price),
            *(f"{share:.0%}" for share in probabilities[number - 1 : number]),
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


def show_certainty(found: Forecast, console: Console) -> None:
    """Print how sure a chain is, how venues take it, and how far the smallest shock that tips is away."""
    mark = found.chain.start_price
    if found.paths is not None:
        rows = table("probability", "mark ends within", "move", "liquidated at most")
        for quantile in found.paths.quantiles:
            end = quantile.terminal_price
            rows.add_row(
                f"{quantile.probability:.0%}",
                figures.quote(end),
                figures.move(end / mark - 1),
                figures.money(quantile.total_usd),
            )
        console.print(f"\n{found.paths.paths:,} paths, seed {found.paths.seed}")
        console.print(rows)
    if found.by_venue is not None:
        rows = table("venue", "furthest mark", "liquidated", left=("venue",))
        for venue in found.by_venue.venues:
            rows.add_row(venue.venue, figures.quote(venue.furthest_price), figures.money(venue.total_usd))
        ends = figures.quote(found.by_venue.terminal_price)
        took = (
            f"after {found.by_venue.duration_s:.0f} s" if found.by_venue.settled else "and goes on after half an hour"
        )
        console.print(f"\nvenue by venue, coupled in {found.by_venue.coupling_s:g} s: meets at {ends} {took}")
        console.print(rows)
    tips = [point for point in found.tipping_points if point.distance is not None]
    for point in tips:
        way = -1 if point.side == "long" else 1
        console.print(
            f"smallest shock of {point.side}s that tips: {figures.move(way * (point.distance or 0))} to "
            f"{figures.quote(point.shock_price or 0)}, ends at {figures.quote(point.terminal_price or 0)}"
        )
    if not tips:
        console.print("no shock within 20 % of the mark tips")


def venues_of(chain: Chain) -> list[str]:
    """Return the venues of all levels, in the order they are first hit."""
    return list(dict.fromkeys(venue for level in chain.levels for venue in level.venues))
