"""``forcedmove liqprice``: where one isolated position is liquidated."""

from __future__ import annotations

import argparse
import json
import math
import sys
from typing import Any

from forcedmove_server.commands import fraction, plain_number, reports_errors
from forcedmove_server.config import ModelConfig
from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.margin.equations import (
    FORMULAS,
    LONG,
    SHORT,
    bankruptcy_price,
    checked,
    liquidation_price,
)
from forcedmove_server.margin.rules import MarginRule, rule_for
from forcedmove_server.margin.venues import VENUE_RULES
from forcedmove_server.market.instruments import ContractType, Instrument

HELP = "where a position is liquidated"

#: flags that state a rule by hand, and the attribute argparse puts them in
_BY_HAND = {"--mmr": "mmr", "--amount": "amount", "--fee": "fee"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Print the liquidation price of one isolated position, in USD: by a maintenance rate you give, or by the rule\n"
        "and the tiers of a venue."
    )
    parser.epilog = (
        "examples:\n"
        "  forcedmove liqprice --entry 98000 --leverage 50 --side long --mmr 0        96040, the bankruptcy price\n"
        "  forcedmove liqprice --entry 98000 --leverage 50 --side long --mmr 0.4%\n"
        "  forcedmove liqprice --entry 98000 --leverage 25 --side short --venue okx --symbol BTC --quantity 40 --json"
    )
    parser.add_argument("--entry", type=float, required=True, metavar="USD", help="entry price")
    parser.add_argument("--leverage", type=float, required=True, metavar="X", help="entry value / margin, at least 1")
    parser.add_argument("--side", choices=("long", "short"), required=True, help="side of the position")
    parser.add_argument(
        "--quantity", type=float, metavar="Q", help="size: base units, with --inverse USD (default: a typical position)"
    )
    parser.add_argument("--inverse", action="store_true", help="coin-margined contract worth a fixed number of dollars")
    hand = parser.add_argument_group("a rule by hand")
    hand.add_argument("--mmr", type=fraction, metavar="RATE", help="maintenance margin rate: 0.004 or 0.4%%")
    hand.add_argument("--amount", type=float, metavar="M", help="maintenance amount that is deducted, USD or coin")
    hand.add_argument("--fee", type=fraction, metavar="RATE", help="fee rate that the trigger counts")
    venue = parser.add_argument_group("a venue's rule")
    venue.add_argument("--venue", metavar="NAME", help="for example binance, bybit, okx, hyperliquid")
    venue.add_argument("--symbol", metavar="BASE", default="BTC", help="for example ETH (default: BTC)")
    venue.add_argument(
        "--max-leverage", type=float, default=125.0, metavar="X", help="greatest leverage of the market (default: 125)"
    )
    parser.add_argument("--json", action="store_true", help="print rule and bankruptcy price too, as JSON")


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Print the price, or with ``--json`` everything that led to it."""
    checked("--entry", args.entry, 0.0, open_low=True)
    checked("--leverage", args.leverage, 1.0)
    if args.quantity is not None:
        checked("--quantity", args.quantity, 0.0, open_low=True)
    answer = _by_hand(args) if args.venue is None else _by_venue(args)
    if args.json:
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in answer.items()}
        sys.stdout.write(json.dumps(finite, indent=2) + "\n")
        return 0
    price = answer["liquidation_price"]
    sys.stdout.write(("never" if math.isinf(price) else plain_number(price)) + "\n")
    for note in answer["notes"]:
        sys.stderr.write(f"note: {note}\n")
    return 0


def _by_hand(args: argparse.Namespace) -> dict[str, Any]:
    if args.mmr is None:
        raise InputError("--mmr", None, "give a maintenance rate, or a --venue whose rule to use", "command line")
    given = {"--mmr": args.mmr, "--amount": args.amount or 0.0, "--fee": args.fee or 0.0}
    for name, value in given.items():
        checked(name, value, 0.0, math.inf if name == "--amount" else 0.999)
    if args.amount and args.quantity is None:
        raise InputError("--quantity", None, "is needed with --amount", "command line")
    position: dict[str, Any] = {
        "side": LONG if args.side == "long" else SHORT,
        "entry": args.entry,
        "leverage": args.leverage,
    }
    formula = FORMULAS["I2" if args.inverse else "L1+fee"]
    price = liquidation_price(
        formula,
        **position,
        quantity=args.quantity or 1.0,
        maintenance_rate=args.mmr,
        maintenance_amount=args.amount or 0.0,
        fee_rate=args.fee or 0.0,
    )
    return {
        "liquidation_price": float(price),
        "bankruptcy_price": float(bankruptcy_price(formula, **position)),
        "formula": formula.name,
        "maintenance_rate": args.mmr,
        "maintenance_amount": args.amount or 0.0,
        "fee_rate": args.fee or 0.0,
        "notes": [],
    }


def _by_venue(args: argparse.Namespace) -> dict[str, Any]:
    for flag, name in _BY_HAND.items():
        if getattr(args, name) is not None:
            raise InputError(flag, getattr(args, name), f"{args.venue} has its own; drop either", "command line")
    venue, base = args.venue.lower(), args.symbol.upper()
    if venue not in VENUE_RULES:
        raise UnknownNameError("venue", args.venue, sorted(VENUE_RULES))
    kind = ContractType.INVERSE if args.inverse else ContractType.LINEAR
    quote = "USD" if args.inverse else "USDT"
    rule = rule_for(Instrument(venue, f"{base}{quote}", base, quote, kind, max_leverage=args.max_leverage))
    typical = ModelConfig().typical_position_usd
    quantity = args.quantity or (typical if args.inverse else typical / args.entry)
    side = LONG if args.side == "long" else SHORT
    price = float(rule.liquidation_price(side, args.entry, quantity, args.leverage))
    tier = _tier(rule, quantity, args.entry, price)
    return {
        "liquidation_price": price,
        "bankruptcy_price": float(rule.bankruptcy_price(side, args.entry, args.leverage)),
        "formula": rule.formula.name,
        "maintenance_rate": float(rule.tiers.rates[tier]),
        "maintenance_amount": float(rule.tiers.amounts[tier]),
        "fee_rate": rule.fee_rate,
        "notes": [*rule.notes, *(["the rule is assumed"] if rule.assumed else [])],
    }


def _tier(rule: MarginRule, quantity: float, entry: float, price: float) -> int:
    """Tier that the price was computed with: by value there, or at entry where the rule says so."""
    at_entry = not rule.tiers.cumulative or rule.formula.maintenance_on_entry or not 0 < price < math.inf
    return int(rule.tiers.index(rule.size(quantity, entry if at_entry else price)))
