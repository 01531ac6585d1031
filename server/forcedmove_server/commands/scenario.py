"""``forcedmove simulate --scenario FILE``: the cascade of a hand-written map and book."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from forcedmove_kernels.backend import select_backend
from forcedmove_server.commands import fraction, plain_number, reports_errors
from forcedmove_server.engine.frames import ChainInfo
from forcedmove_server.engine.scenario import Scenario, read_scenario, run_scenario

HELP = "follow a cascade on a hand-written map and book"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Follow a shock through the map and book of a scenario file (docs/SCENARIO.md). Needs no server."
    )
    parser.epilog = "example:\n  forcedmove simulate --scenario examples/acceptance.toml --json"
    parser.add_argument("--scenario", type=Path, required=True, metavar="FILE", help="scenario file, TOML")
    shock = parser.add_mutually_exclusive_group()
    shock.add_argument("--shock", type=fraction, metavar="MOVE", help="another shock: -2%% or -0.02 of the mark")
    shock.add_argument("--price", type=float, metavar="USD", help="another shock: the price the mark is pushed to")
    parser.add_argument("--json", action="store_true", help="print JSON")


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Print the chain as a table or as JSON."""
    scenario, errors = read_scenario(args.scenario)
    for error in errors:
        sys.stderr.write(f"forcedmove: {error}\n")
    if scenario is None:
        return 2
    if args.shock is not None or args.price is not None:
        scenario = scenario.with_shock(price=args.price, fraction=args.shock)
    # The oracle: a scenario is tiny, all backends give the same bits, and this one starts at once.
    backend, _ = select_backend("reference")
    chain = run_scenario(scenario, backend)
    sys.stdout.write(json.dumps(as_json(scenario, chain), indent=2) + "\n" if args.json else as_text(scenario, chain))
    return 0


def as_json(scenario: Scenario, chain: ChainInfo) -> dict[str, Any]:
    """Return the chain with the names and units that docs/SCENARIO.md promises."""
    return {
        "symbol": scenario.symbol,
        "side": chain.side,
        "mark": chain.start_price_usd,
        "shock_price": chain.shock_price_usd,
        "levels": [
            {
                "trigger_price": level.trigger_price_usd,
                "notional_usd": level.notional_usd,
                "venues": list(level.venues),
                "cumulative_usd": level.cumulative_usd,
                "price_after": level.price_after_usd,
            }
            for level in chain.levels
        ],
        "depth": len(chain.levels),
        "total_usd": chain.total_usd,
        "venues": venues_of(chain),
        "terminal_price": chain.terminal_price_usd,
        "amplification": chain.amplification,
        "beyond_window": chain.beyond_window,
    }


def as_text(scenario: Scenario, chain: ChainInfo) -> str:
    """Return the chain as a table with a closing sentence."""
    mark, shock, terminal = chain.start_price_usd, chain.shock_price_usd, chain.terminal_price_usd
    rows = [("level", "trigger", "notional", "cumulative", "mark after", "venues")]
    rows += [
        (
            str(number),
            _price(level.trigger_price_usd),
            _millions(level.notional_usd),
            _millions(level.cumulative_usd),
            _price(level.price_after_usd),
            ", ".join(level.venues),
        )
        for number, level in enumerate(chain.levels, 1)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    table = [
        "  ".join([*(cell.rjust(w) for cell, w in zip(row, widths, strict=False)), row[5]]).rstrip() for row in rows
    ]
    plural = "" if len(chain.levels) == 1 else "s"
    outcome = (
        f"{len(chain.levels)} level{plural}, {_millions(chain.total_usd)} of {chain.side}s on "
        f"{len(venues_of(chain))} venues; the mark ends at {_price(terminal)}: a move of {_price(abs(mark - shock))} "
        f"becomes {_price(abs(mark - terminal))} ({chain.amplification:.2f}x)"
    )
    bound = (
        ["the book of the scenario is used up: the last price is a bound, not an end"] if chain.beyond_window else []
    )
    title = f"{scenario.symbol}: mark {_price(mark)}, shock to {_price(shock)} ({shock / mark - 1:+.2%})"
    return "\n".join([title, "", *(table if chain.levels else ["nothing fires"]), "", outcome, *bound]) + "\n"


def venues_of(chain: ChainInfo) -> list[str]:
    """Return the venues of all levels, in the order they are first hit."""
    return list(dict.fromkeys(venue for level in chain.levels for venue in level.venues))


def _price(value: float) -> str:
    whole, _, decimals = plain_number(value).partition(".")
    return f"{int(whole):,}" + (f".{decimals}" if decimals else "")


def _millions(usd: float) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if usd >= unit:
            return f"${usd / unit:.4g}{name}"
    return f"${usd:.2f}"
