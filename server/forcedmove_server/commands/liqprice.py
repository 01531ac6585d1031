"""``forcedmove liqprice``: where one position is liquidated, or every row of a CSV file."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from forcedmove_server.commands import fraction, plain_number, reports_errors
from forcedmove_server.commands.arguments import add_config_argument, read_base_config
from forcedmove_server.commands.liqprice_batch import answer_rows, as_json, legs_of
from forcedmove_server.engine.rules import ladder_book
from forcedmove_server.errors import InputError
from forcedmove_server.margin.equations import FORMULAS
from forcedmove_server.margin.position import Status
from forcedmove_server.margin.question import Answer, Question, answer
from forcedmove_server.market.instruments import ContractType

HELP = "where a position is liquidated"

#: flags that have no meaning beside a file of positions
_OF_ONE_POSITION = (
    "venue", "contract", "side", "entry", "quantity", "leverage", "margin", "balance", "other", "mmr", "maint_amount",
    "fee", "rule", "max_leverage",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Print the liquidation price of a position in USD: by a venue's rule and tiers, or by numbers you give.\n"
        "Margins, balances and maintenance amounts are in USD on linear contracts, in coin on inverse ones."
    )
    parser.epilog = (
        "examples:\n"
        "  forcedmove liqprice --entry 98000 --leverage 50 --side long --mmr 0        96040, the bankruptcy price\n"
        "  forcedmove liqprice --venue binance --side long --entry 98000 --leverage 25 --quantity 40 --json\n"
        "  forcedmove liqprice --venue deribit --contract inverse --side short --entry 98000 --leverage 10\n"
        "  forcedmove liqprice --venue binance --side long --entry 1456.84 --quantity 3683.979\n"
        "      --mmr 10% --maint-amount 135365 --mode cross --balance 1535443.01\n"
        "      --other 'BTC: qty 109.488 entry 32481.98 mark 31967.27 mmr 2.5% cum 16300'\n"
        "  forcedmove liqprice --batch positions.csv                                  one JSON line per row"
    )
    parser.add_argument("--venue", metavar="NAME", help="for example binance, bybit, okx; see docs/venues.md")
    parser.add_argument("--symbol", metavar="S", default="BTC", help="BTC, BTCUSDT or BTC/USDT:USDT (default: BTC)")
    parser.add_argument(
        "--contract", choices=[str(kind) for kind in ContractType], help="default: what the symbol says, else linear"
    )
    parser.add_argument("--side", choices=("long", "short"), help="side of the position")
    parser.add_argument("--entry", type=float, metavar="USD", help="entry price")
    parser.add_argument(
        "--quantity",
        type=float,
        metavar="Q",
        help="size: base units, on inverse contracts USD (default: a typical one)",
    )
    parser.add_argument(
        "--contract-size", type=float, metavar="X", default=1.0, help="what --quantity counts (default: 1)"
    )
    lose = parser.add_argument_group("what the position can lose")
    either = lose.add_mutually_exclusive_group()
    either.add_argument("--leverage", type=float, metavar="X", help="entry value / margin, at least 1")
    either.add_argument(
        "--margin", type=float, metavar="M", help="margin actually locked; with --mode cross the balance"
    )
    lose.add_argument("--extra-margin", type=float, metavar="M", default=0.0, help="margin added to that of --leverage")
    lose.add_argument("--mode", choices=("isolated", "cross"), default="isolated", help="(default: %(default)s)")
    lose.add_argument("--balance", type=float, metavar="B", help="wallet balance of a cross account")
    lose.add_argument(
        "--other", action="append", default=[], metavar="LEG", help="another position of the account; may be repeated"
    )
    stated = parser.add_argument_group("numbers instead of the venue's")
    stated.add_argument("--mmr", type=fraction, metavar="RATE", help="maintenance margin rate: 0.004 or 0.4%%")
    stated.add_argument("--maint-amount", type=float, metavar="C", help="maintenance amount that is deducted")
    stated.add_argument("--fee", type=fraction, metavar="RATE", help="fee rate that the trigger counts")
    stated.add_argument("--rule", choices=list(FORMULAS), metavar="ID", help=f"formula: {', '.join(FORMULAS)}")
    stated.add_argument("--max-leverage", type=float, metavar="X", help="the market's greatest leverage")
    parser.add_argument("--json", action="store_true", help="print everything that led to the price, as JSON")
    parser.add_argument(
        "--batch", type=Path, metavar="FILE", help="CSV file with one position a row; see docs/FORMATS.md"
    )
    add_config_argument(parser)
    parser.add_argument("--tiers-dir", type=Path, metavar="DIR", help="folder of tier tables (default: as configured)")


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Print the price, or with ``--json`` everything that led to it; with ``--batch`` a line per row."""
    config = read_base_config(args).margin
    if args.tiers_dir is not None:
        config = replace(config, tiers_dir=str(args.tiers_dir))
    book, today = ladder_book(config), datetime.now(UTC).date()

    def ask(question: Question) -> Answer:
        return answer(question, book, today, config.tiers_stale_after_days)

    if args.batch is not None:
        for name in _OF_ONE_POSITION:
            if getattr(args, name) not in (None, []):
                reason = "is of a single position; with --batch every row has its own"
                raise InputError(f"--{name.replace('_', '-')}", getattr(args, name), reason, "command line")
        return answer_rows(args.batch, ask, sys.stdout, sys.stderr)
    found = ask(_question(args))
    if args.json:
        sys.stdout.write(json.dumps(as_json(found), indent=2) + "\n")
    else:
        price = found.liquidation.liquidation_price
        sys.stdout.write(("never" if price is None else plain_number(price)) + "\n")
        if args.venue is not None:
            sys.stderr.write("\n".join(_details(found)) + "\n")
    return 0


def _question(args: argparse.Namespace) -> Question:
    for name in ("side", "entry"):
        if getattr(args, name) is None:
            raise InputError(f"--{name}", None, "is needed", "command line")
    margin, balance = args.margin, args.balance
    if args.mode == "cross":
        if balance is None and margin is None:
            raise InputError("--balance", None, "is needed with --mode cross", "command line")
        if balance is not None and margin is not None:
            raise InputError(
                "--margin", margin, "a cross position loses the balance: give --balance alone", "command line"
            )
        margin, balance = None, margin if balance is None else balance
    elif args.balance is not None:
        raise InputError("--balance", args.balance, "belongs to --mode cross", "command line")
    elif args.leverage is None and args.margin is None:
        raise InputError(
            "--leverage", None, "give --leverage, --margin, or --mode cross with --balance", "command line"
        )
    return Question(
        venue=args.venue,
        symbol=args.symbol,
        contract=None if args.contract is None else ContractType(args.contract),
        side=args.side,
        entry=args.entry,
        quantity=args.quantity,
        contract_size=args.contract_size,
        leverage=args.leverage,
        margin=margin,
        extra_margin=args.extra_margin,
        balance=balance,
        others=tuple(leg for text in args.other for leg in legs_of(text, "--other")),
        mmr=args.mmr,
        maint_amount=args.maint_amount,
        fee=args.fee,
        formula=args.rule,
        max_leverage=args.max_leverage,
    )


def _details(found: Answer) -> list[str]:
    """What the price rests on, line by line: beside stdout, which has the price alone."""
    liquidation = found.liquidation
    bankruptcy = liquidation.bankruptcy_price
    tier = "" if liquidation.tier is None else f", tier {liquidation.tier}"
    amount = f" - {plain_number(liquidation.maintenance_amount)}" if liquidation.maintenance_amount else ""
    lines = [
        f"bankruptcy  {'never' if bankruptcy is None else plain_number(bankruptcy)}",
        f"maintenance {liquidation.maintenance_rate:.4%}{amount}{tier}, fee {liquidation.fee_rate:.4%}; {found.tiers}",
        f"rule        {found.formula}: {found.formula_text}",
        f"source      {found.source} [{found.confidence}]",
        f"process     {found.trigger} price; {found.process}",
    ]
    if liquidation.status is Status.AT_ONCE:
        lines.append("warning     the account is below its maintenance already at the entry price")
    return lines + [f"note        {note}" for note in found.notes]
