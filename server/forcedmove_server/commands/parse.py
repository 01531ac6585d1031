"""``forcedmove parse``: a venue's raw messages as normalised events, one JSON object per line."""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from forcedmove_server.collectors.fields import unpacked
from forcedmove_server.collectors.offline import DescribedListings, OfflineParser
from forcedmove_server.collectors.venues import venue_class
from forcedmove_server.commands import reports_errors
from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.instruments import ContractType

HELP = "print a venue's raw messages as normalised events"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Read raw websocket messages or REST answers of one venue and print one event per line as JSON: kind\n"
        "(trade, mark, open_interest, liquidation, book, gap), symbol, market, side, price, quantity_base,\n"
        "notional_usd, ts_ms. The side of a liquidation is that of the position. What could not be used is told on\n"
        "standard error."
    )
    parser.epilog = (
        "examples:\n"
        "  forcedmove parse --venue bybit messages.jsonl\n"
        "  forcedmove parse --venue mexc --contract-size PEPE_USDT=10000000 - < messages.jsonl"
    )
    parser.add_argument("file", metavar="FILE", help="one message per line, or one JSON document; - is standard input")
    parser.add_argument("--venue", required=True, metavar="V", help="whose messages they are")
    parser.add_argument(
        "--market-type",
        choices=[str(kind) for kind in ContractType],
        help="kind of contract where an id leaves it open",
    )
    parser.add_argument(
        "--contract-size",
        action="append",
        default=[],
        type=_contract_size,
        metavar="ID=SIZE",
        help="coins (linear) or USD (inverse) in one contract of a market, where it is not known and messages do not "
        "state coins too; may be repeated",
    )


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Print the events; status 1 when no message could be read."""
    venue = venue_class(args.venue)
    kind = ContractType(args.market_type) if args.market_type else None
    parser = OfflineParser(venue, DescribedListings(venue, kind, dict(args.contract_size)))
    for row in parser.rows(_content(args.file)):
        sys.stdout.write(json.dumps(row) + "\n")
    told = ", ".join(f"{count:,} {what}" for what, count in parser.counts.items())
    sys.stderr.write(f"{told or 'no messages'}\n")
    for what, sample in parser.samples.items():
        if what == "malformed":
            sys.stderr.write(f"first malformed message: {sample}\n")
    return 1 if parser.counts["messages"] and parser.counts["malformed"] >= parser.counts["messages"] else 0


def _content(name: str) -> bytes:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise FileFormatError("file", name, error.strerror or str(error)) from None
    try:
        return unpacked(content)
    except ValueError as error:
        raise FileFormatError("file", name, str(error)) from None


def _contract_size(text: str) -> tuple[str, float]:
    """Read ``ID=SIZE``, for argparse."""
    native_id, _, number = text.rpartition("=")
    size = float(number)
    if not native_id or not (math.isfinite(size) and size > 0):
        raise ValueError(text)
    return native_id, size
