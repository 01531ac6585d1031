"""``forcedmove tiers``: the maintenance tables of the venues: show, update, import."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from forcedmove_server.commands import plain_number, reports_errors
from forcedmove_server.commands.arguments import add_config_argument, read_base_config
from forcedmove_server.engine.rules import ladder_book, ladder_folder
from forcedmove_server.errors import ForcedMoveError, InputError, UnknownNameError
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.feeds import FEEDS
from forcedmove_server.margin.fetch import Fetched, fetch_ladders
from forcedmove_server.margin.imports import merged, read_import
from forcedmove_server.margin.ladder_book import Found, LadderBook, shipped_book
from forcedmove_server.margin.ladders import LadderFile, form_of, read_ladders, write_ladders
from forcedmove_server.margin.names import market_named
from forcedmove_server.margin.tiers import TierMeasure, TierTable
from forcedmove_server.margin.venue import Venue
from forcedmove_server.margin.venues import VENUES, venue_named

HELP = "show, update or import the venues' maintenance tables"

#: a table is as wide as this where there is no terminal
_WIDE = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Maintenance tables: what is shipped, and above it what was fetched or imported here."
    parser.epilog = (
        "examples:\n"
        "  forcedmove tiers show                               where every table comes from, and how old it is\n"
        "  forcedmove tiers show --venue binance --symbol BTC  one ladder\n"
        "  forcedmove tiers update                             fetch what is public\n"
        "  forcedmove tiers update --venue okx --symbols BTC ETH\n"
        "  forcedmove tiers import brackets.json --venue binance --as-of 2026-11-01"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="list tables, a venue's markets, or one ladder")
    show.add_argument("--venue", metavar="NAME", help="list the markets of one venue")
    show.add_argument("--symbol", metavar="S", help="show one ladder: BTC, BTCUSDT or BTC/USDT:USDT")
    show.add_argument("--json", action="store_true", help="print JSON")
    update = actions.add_parser("update", help="fetch public tables through ccxt")
    update.add_argument("--venue", nargs="+", metavar="NAME", default=[], help="default: all that are public")
    update.add_argument("--symbols", nargs="+", metavar="S", default=[], help="BTC or BTC/USDT:USDT; default: all")
    read = actions.add_parser("import", help="read a saved table: our form, ccxt's tiers, or a venue's own answer")
    read.add_argument("file", type=Path, metavar="FILE", help="JSON file; see docs/FORMATS.md")
    read.add_argument("--venue", metavar="NAME", required=True, help="whose table it is")
    read.add_argument("--as-of", type=date.fromisoformat, metavar="DATE", help="its date (default: today)")
    for action in (show, update, read):
        add_config_argument(action)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Do the chosen action."""
    actions = {"show": _show, "update": _update, "import": _import}
    return actions[args.action](args)


def _show(args: argparse.Namespace) -> int:
    config = read_base_config(args)
    book, after_days = ladder_book(config.margin), config.margin.tiers_stale_after_days
    if args.symbol is not None and args.venue is None:
        raise InputError("--symbol", args.symbol, "needs --venue", "command line")
    if args.venue is None:
        _print(args.json, [_venue_row(book, venue, after_days) for venue in VENUES])
        return 0
    venue = _venue(args.venue)
    if args.symbol is None:
        _print(args.json, [_market_row(name, found, after_days) for name, found in book.markets(venue.name)])
        return 0
    instrument = market_named(venue, args.symbol, None, book)
    found = book.find(venue.name, instrument)
    if found is None:
        raise UnknownNameError("symbol", args.symbol, [])
    _show_ladder(args.json, instrument.unified, found, after_days)
    return 0


def _update(args: argparse.Namespace) -> int:
    """Fetch venue by venue; one that cannot be reached keeps its table and is reported. Status 1 when none was."""
    config = read_base_config(args)
    folder = ladder_folder(config.margin)
    names = [_venue(name).name for name in args.venue] or [venue.name for venue in VENUES if venue.tiers_public]
    failed = 0
    for name in names:
        feed = FEEDS.get(name)
        try:
            if feed is None:
                raise InputError("--venue", name, "publishes no tier table that a program could read", "command line")
            with _bar(name) as progress:
                task = progress.add_task(name, total=None)
                fetched = fetch_ladders(
                    feed,
                    datetime.now(UTC).date(),
                    args.symbols,
                    lambda done, total, task=task, progress=progress: progress.update(  # type: ignore[misc]
                        task, completed=done, total=total
                    ),
                )
            _store(fetched, folder)
        except ForcedMoveError as error:
            failed += 1
            sys.stderr.write(f"forcedmove: {name}: table not renewed: {error}\n")
    return 1 if failed == len(names) else 0


def _import(args: argparse.Namespace) -> int:
    config = read_base_config(args)
    today = datetime.now(UTC).date()
    if args.as_of is not None and args.as_of > today:
        raise InputError("--as-of", args.as_of.isoformat(), f"is later than today, {today}", "command line")
    fetched = read_import(_venue(args.venue).name, args.file, args.as_of, today)
    older = _older_than_shipped(fetched.file)
    if older:
        reason = f"older than the shipped tables of {older} of its markets, over which it goes all the same"
        sys.stderr.write(f"forcedmove: {fetched.file.venue}: the table is {reason}\n")
    _store(fetched, ladder_folder(config.margin))
    return 0


def _older_than_shipped(file: LadderFile) -> int:
    shipped = {market: found.provenance.as_of for market, found in shipped_book().markets(file.venue)}
    return sum(
        (ladder.as_of or file.as_of) < date_shipped
        for ladder in file.ladders
        for market in ladder.markets
        if (date_shipped := shipped.get(market)) is not None
    )


def _store(fetched: Fetched, folder: Path) -> None:
    """Merge into the venue's file, and say what came of it."""
    file = fetched.file
    markets = sum(len(ladder.markets) for ladder in file.ladders)
    for place, reason in fetched.problems.items():
        sys.stderr.write(f"forcedmove: {file.venue}: {place} left out: {reason}\n")
    if not markets:
        raise InputError("venue", file.venue, "gave no ladder that can be used")
    path = folder / f"{file.venue}.json"
    write_ladders(merged(read_ladders(path) if path.exists() else None, file), path)
    sys.stdout.write(f"{file.venue}: {markets} markets, {len(file.ladders)} ladders as of {file.as_of}: {path}\n")


def _venue(name: str) -> Venue:
    venue = venue_named(name.lower())
    if venue is None:
        raise UnknownNameError("venue", name, [known.name for known in VENUES])
    return venue


def _venue_row(book: LadderBook, venue: Venue, after_days: int) -> dict[str, Any]:
    today = datetime.now(UTC).date()
    tables = [found.provenance for _, found in book.markets(venue.name)]
    dates = sorted(table.as_of for table in tables if table.as_of is not None)
    return {
        "venue": venue.name,
        "markets": len(tables),
        "origin": ", ".join(sorted({str(table.origin) for table in tables})),
        "oldest": dates[0].isoformat() if dates else "",
        "newest": dates[-1].isoformat() if dates else "",
        "old": sum(table.stale(today, after_days) for table in tables),
        "stand-ins": sum(table.confidence is Confidence.ASSUMED for table in tables),
        "public": venue.tiers_public,
        "tiers": venue.tiers.value,
    }


def _market_row(name: str, found: Found, after_days: int) -> dict[str, Any]:
    provenance = found.provenance
    return {
        "market": name,
        "max_leverage": round(found.maintenance.max_leverage, 2),
        "first_rate": float(found.maintenance.terms(0.0, found.maintenance.max_leverage)[0]),
        "origin": str(provenance.origin),
        "as_of": "" if provenance.as_of is None else provenance.as_of.isoformat(),
        "stale": provenance.stale(datetime.now(UTC).date(), after_days),
        "confidence": str(provenance.confidence),
        "source": provenance.source,
    }


def _show_ladder(as_json: bool, market: str, found: Found, after_days: int) -> None:
    about = _market_row(market, found, after_days)
    maintenance = found.maintenance
    if not isinstance(maintenance, TierTable):
        form = msgspec.to_builtins(form_of(maintenance))
        if as_json:
            sys.stdout.write(json.dumps({**about, "maintenance": form}, indent=2) + "\n")
        else:
            _print(False, [{**about, **{name: str(value) for name, value in form.items()}}])
        return
    unit = "value" if maintenance.measure is TierMeasure.VALUE else "quantity"
    rows = [
        {f"{unit} from": tier.floor, "rate": tier.rate, "amount": tier.amount, "max_leverage": tier.max_leverage}
        for tier in maintenance.tiers
    ]
    if as_json:
        sys.stdout.write(json.dumps({**about, "measure": unit, "tiers": rows}, indent=2) + "\n")
        return
    _print(False, rows)
    words = found.provenance.describe(datetime.now(UTC).date(), after_days)
    sys.stdout.write(f"{market}: {words}; {found.provenance.source} [{found.provenance.confidence}]\n")


def _print(as_json: bool, rows: Iterable[dict[str, Any]]) -> None:
    listed = list(rows)
    if as_json:
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in listed[0] if listed else ():
        numeric = isinstance(listed[0][name], int | float) and not isinstance(listed[0][name], bool)
        table.add_column(name, justify="right" if numeric else "left")
    for row in listed:
        table.add_row(*(_cell(value) for value in row.values()))
    console = Console(highlight=False)
    (console if console.is_terminal else Console(highlight=False, width=_WIDE)).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return plain_number(float(value)) if isinstance(value, int | float) else str(value)


def _bar(label: str) -> Progress:
    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(file=sys.stderr), transient=True)
