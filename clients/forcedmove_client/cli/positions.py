"""``forcedmove positions``: tell a server of positions whose liquidation price is known, list them, take them back."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.arguments import add_server, describe
from forcedmove_client.cli.extensions import missing
from forcedmove_client.cli.failures import BAD_INPUT, CommandError
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.tables import output, table
from forcedmove_client.positions import HeldPositions, Position, PositionKey
from forcedmove_client.terminal import figures

HELP = "tell, list or clear positions whose liquidation price is known"

_NOTHING = "–"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Positions whose liquidation price is known enter the server's map beside the inferred ones, which become\n"
        "less by as much. They stand until they are replaced, cleared, or crossed, and go when their producer has not\n"
        "been heard of for an hour (exact.max_age_s). Whoever knows the producer's name can list them.",
        "forcedmove positions set mine.csv --producer desk-7f3a",
        "forcedmove positions list --producer desk-7f3a",
        "forcedmove positions clear --producer desk-7f3a",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for name, text in (
        ("set", "let the producer have exactly the positions of a file (docs/FORMATS.md, Known positions)"),
        ("list", "list what the producer told and where each position stands"),
        ("clear", "remove all positions of the producer"),
    ):
        action = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        if name == "set":
            action.add_argument("file", type=Path, metavar="FILE", help="Parquet or CSV")
            action.add_argument("--add", action="store_true", help="keep what was told before and is not in the file")
            action.add_argument(
                "--representative",
                action="store_true",
                help="the positions tell what leverage others use: let the server learn from them",
            )
        action.add_argument(
            "--producer", required=True, metavar="NAME", help="who tells; hard to guess, where others ask"
        )
        action.add_argument("--json", action="store_true", help="print JSON")
        add_server(action)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    if args.action == "list":
        held = with_client(args.server, lambda client: client.positions(args.producer))
        print(json.dumps(as_json(held), indent=2)) if args.json else show(held)
        return 0
    positions = read_file(args.file) if args.action == "set" else ()

    async def change(client: AsyncClient) -> Any:
        if args.action == "clear":
            return await client.clear_positions(args.producer)
        return await client.set_positions(
            positions, producer=args.producer, replace=not args.add, representative=args.representative
        )

    answer = with_client(args.server, change)
    if args.json:
        print(json.dumps(dataclasses.asdict(answer), indent=2))
    elif not answer.applied:
        print("nothing changed: a newer change had come")
    else:
        waiting = f", {answer.waiting} wait for a price of their market" if answer.waiting else ""
        print(f"{answer.live} positions in the map{waiting}")
    return 0


def read_file(path: Path) -> tuple[Position, ...]:
    """Read the newest snapshot of a file. Raises CommandError for one that cannot be used."""
    try:
        from forcedmove_server.engine.exact.file import read_positions
        from forcedmove_server.errors import ForcedMoveError
    except ModuleNotFoundError as error:
        raise missing("positions set", error) from None
    try:
        found = read_positions(path)
    except ForcedMoveError as error:
        raise CommandError(str(error), BAD_INPUT) from None
    positions = []
    for one in found:
        venue, _, symbol = one.key.market.partition(":")
        positions.append(
            Position(
                key=PositionKey(venue, symbol, "short" if one.key.side else "long", one.key.account),
                quantity=one.quantity,
                liquidation_price=one.liquidation_price_usd,
                notional_usd=one.notional_usd,
                leverage=one.leverage,
                entry_price=one.entry_price_usd,
                opened_at=None if one.opened_at_ns is None else np.datetime64(one.opened_at_ns, "ns"),
            )
        )
    return tuple(positions)


def as_json(held: HeldPositions) -> dict[str, Any]:
    """Return positions as plain values; times are ISO 8601."""
    plain = dataclasses.asdict(held)
    for one in plain["positions"]:
        opened_at = one["position"]["opened_at"]
        one["position"]["opened_at"] = None if opened_at is None else f"{np.datetime_as_string(opened_at, 's')}Z"
    return plain


def show(held: HeldPositions) -> None:
    """Print positions as a table."""
    if not held.sequence:
        print("nothing is known of this producer")
        return
    rows = table(
        "account",
        "market",
        "side",
        "quantity",
        "liquidation",
        "tier",
        "state",
        left=("account", "market", "side", "state"),
    )
    for cells in _rows(held):
        rows.add_row(*cells)
    output().print(rows)
    print(f"gone in {figures.age(held.expires_in_s)} unless the producer is heard of again")


def _rows(held: HeldPositions) -> Iterator[tuple[str, ...]]:
    for one in held.positions:
        key, level = one.position.key, one.position.liquidation_price
        yield (
            escape(key.account) or _NOTHING,
            escape(f"{key.venue}:{key.symbol}"),
            key.side,
            _NOTHING if one.quantity is None else f"{one.quantity:,.10g}",
            "never" if level is None else figures.quote(level),
            _NOTHING if one.tier_leverage is None else f"{one.tier_leverage:g}x",
            one.state,
        )
