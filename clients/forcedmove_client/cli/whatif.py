"""``forcedmove whatif``: a position of one's own against the newest map."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.arguments import add_server, describe, duration, move, positive
from forcedmove_client.cli.failures import BAD_INPUT, DONE, CommandError
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.simulate import show as show_chain
from forcedmove_client.cli.tables import output, table
from forcedmove_client.terminal import figures
from forcedmove_client.whatif import Outlook, WhatIf, WhatIfRow

HELP = "where a position of yours is liquidated, and which cascade gets there"

_NOTHING = "–"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Tell where a position is liquidated, which shock's cascade would get there, with what probability, and how\n"
        "that changes with leverage and added margin. It does not enter the map, and the server keeps nothing of it.\n"
        "Margins and balances are in USD on linear contracts, in coin on inverse ones.",
        "forcedmove whatif BTC --venue binance --side long --quantity 40 --entry 98000 --leverage 25",
        "forcedmove whatif ETHUSDT --venue okx --side short --quantity 300 --entry 3400 --balance 80000 --shock 3%",
        "forcedmove whatif BTC --venue bybit --side long --quantity 2 --entry 97000 --leverage 50 --book mine.csv",
    )
    parser.add_argument("symbol", metavar="SYMBOL", help="BTC, BTCUSDT or BTC/USDT:USDT")
    parser.add_argument("--venue", required=True, metavar="NAME", help="for example binance, bybit, okx")
    parser.add_argument("--side", required=True, choices=("long", "short"))
    parser.add_argument("--entry", required=True, type=positive, metavar="USD", help="entry price")
    parser.add_argument(
        "--quantity", required=True, type=positive, metavar="Q", help="base units, on inverse contracts USD"
    )
    parser.add_argument("--contract", choices=("linear", "inverse"), help="default: what the symbol says, else linear")
    parser.add_argument("--leverage", type=positive, metavar="X", help="isolated with this leverage")
    lose = parser.add_mutually_exclusive_group()
    lose.add_argument("--margin", type=positive, metavar="M", help="isolated with this margin")
    lose.add_argument("--balance", type=positive, metavar="B", help="cross, with this wallet balance")
    parser.add_argument("--extra-margin", type=positive, default=0.0, metavar="M", help="added to that of --leverage")
    parser.add_argument("--horizons", nargs="+", type=duration, default=(), metavar="TIME", help="default: 1h 24h")
    parser.add_argument("--leverages", nargs="+", type=positive, default=(), metavar="X", help="rows of the table")
    parser.add_argument("--add-margin", nargs="+", type=positive, default=(), metavar="M", help="rows of the table")
    shock = parser.add_mutually_exclusive_group()
    shock.add_argument("--shock", type=move, metavar="MOVE", help="follow this shock too: -2%% or -0.02")
    shock.add_argument("--price", type=positive, metavar="USD", help="the same as a price")
    parser.add_argument(
        "--book", type=Path, metavar="FILE", help="CSV with side (bid, ask), price, quantity, for the visible books"
    )
    parser.add_argument("--book-ends", action="store_true", help="nothing rests beyond the visible book")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_server(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    if args.leverage is None and args.margin is None and args.balance is None:
        raise CommandError("give --leverage, --margin or --balance", BAD_INPUT)
    bids, asks = ((), ()) if args.book is None else read_book(args.book)

    async def ask(client: AsyncClient) -> WhatIf:
        return await client.what_if(
            symbol=args.symbol,
            venue=args.venue,
            side=args.side,
            entry_price=args.entry,
            quantity=args.quantity,
            contract=args.contract,
            leverage=args.leverage,
            margin=args.margin,
            balance=args.balance,
            extra_margin=args.extra_margin,
            horizons_s=args.horizons,
            leverages=args.leverages,
            added_margins=args.add_margin,
            price=args.price,
            move=args.shock,
            bids=bids,
            asks=asks,
            book_ends=args.book_ends,
        )

    found = with_client(args.server, ask)
    if args.json:
        print(json.dumps(as_json(found), indent=2, allow_nan=False))
    else:
        show(found, output())
    return DONE


def read_book(path: Path) -> tuple[tuple[tuple[float, float], ...], tuple[tuple[float, float], ...]]:
    """Read bids and asks, (price, quantity) each. Raises CommandError naming the line that cannot be used."""
    sides: dict[str, list[tuple[float, float]]] = {"bid": [], "ask": []}
    with path.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), 2):
            try:
                sides[row["side"].strip().lower()].append((positive(row["price"]), positive(row["quantity"])))
            except (KeyError, AttributeError, TypeError, argparse.ArgumentTypeError):
                reason = "needs side (bid or ask), price and quantity above 0"
                raise CommandError(f"{path}:{number}: {reason}", BAD_INPUT) from None
    if not sides["bid"] and not sides["ask"]:
        raise CommandError(f"{path}: no order", BAD_INPUT)
    return tuple(sides["bid"]), tuple(sides["ask"])


def as_json(found: WhatIf) -> dict[str, Any]:
    """Return the answer as plain values."""
    return dataclasses.asdict(found)


def show(found: WhatIf, console: Console) -> None:
    """Print the answer: the level, what gets there, the tables."""
    own, liquidation = found.outlook, found.liquidation
    sure = "" if found.volatility_measured else " (not measured yet)"
    console.print(
        f"[bold]{found.symbol}[/]: mark {figures.quote(found.mark_price)}, volatility "
        f"{100 * found.volatility_day:.1f}% a day{sure}"
    )
    if own.liquidation_price is None:
        console.print("no price liquidates this position")
    elif own.distance == 0:
        console.print(f"liquidated at {figures.quote(own.liquidation_price)}: the mark has crossed it")
    else:
        console.print(
            f"liquidated at {figures.quote(own.liquidation_price)} ({figures.move(own.distance or 0.0)}), rule "
            f"{liquidation.formula}, maintenance {100 * liquidation.maintenance_rate:.3g}%; {_shock_words(own)}"
        )
    for horizon in own.touches:
        console.print(
            f"  within {figures.age(horizon.horizon_s)}: {horizon.alone:.1%} by itself, "
            f"{horizon.with_cascade:.1%} with cascades"
        )
    if found.nearest is not None:
        console.print("\nthe smallest shock that gets there:")
        show_chain(found.symbol, found.nearest, console)
    if found.shock is not None:
        console.print(f"\nthe shock that was asked for {'reaches' if found.shock_reaches else 'does not reach'} it:")
        show_chain(found.symbol, found.shock, console)
    for name, unit, rows in (
        ("leverage", "x", found.by_leverage),
        ("added margin", "", found.by_added_margin),
    ):
        if rows:
            console.print()
            _show_rows(name, unit, rows, [touch.horizon_s for touch in own.touches], console)


def _shock_words(own: Outlook) -> str:
    if own.shock is None:
        return "outside the map's window"
    if own.shock == own.distance:
        return "no smaller shock cascades there"
    return f"a shock of {figures.move(own.shock)} cascades there"


def _show_rows(name: str, unit: str, rows: tuple[WhatIfRow, ...], horizons: list[float], console: Console) -> None:
    heads = [f"{what} {figures.age(horizon)}" for horizon in horizons for what in ("alone", "cascade")]
    lines = table(name, "liquidated at", "distance", "smallest shock", *heads, left=("liquidated at",))
    for row in rows:
        value = f"{row.value:,.10g}{unit}"
        if row.outlook is None:
            lines.add_row(value, "not possible", *[""] * (2 + len(heads)))
            continue
        own = row.outlook
        chances = [f"{chance:.1%}" for touch in own.touches for chance in (touch.alone, touch.with_cascade)]
        lines.add_row(
            value,
            "never" if own.liquidation_price is None else figures.quote(own.liquidation_price),
            *(
                _NOTHING if move is None else figures.move(move) if move else "crossed"
                for move in (own.distance, own.shock)
            ),
            *chances,
        )
    console.print(lines)
    for row in rows:
        if row.refused:
            console.print(f"[dim]{row.refused}[/]")
