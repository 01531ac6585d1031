"""``forcedmove record``: any source into our own Parquet layout (docs/FORMATS.md)."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import (
    add_config_argument,
    add_live_arguments,
    add_replay_arguments,
    add_simulation_arguments,
    chosen_source,
    live_config,
    read_base_config,
)
from forcedmove_server.commands.progress import with_progress
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.make import make_source
from forcedmove_server.sources.record import Recorder
from forcedmove_server.sources.source import Source

HELP = "write a source's events as Parquet"

_SIMULATED_HOURS = 6.0
#: an hour of live events that a crash would lose is too much
_LIVE_PART_NS = 60 * 10**9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Record the simulated market or the live feeds, or convert recorded files, to Parquet."
    parser.epilog = (
        "examples:\n"
        "  forcedmove record --hours 6 --seed 7 --output simulated/\n"
        "  forcedmove record --source live --symbols BTC ETH --output recorded/\n"
        "  forcedmove record --input tardis/ --format tardis --output recorded/"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new or empty folder")
    parser.add_argument("--source", choices=("simulate", "replay", "live"), help="default: simulate, or --input")
    parser.add_argument(
        "--hours",
        type=float,
        help=f"simulated hours (default: {_SIMULATED_HOURS:g}), or live ones (default: until interrupted)",
    )
    add_config_argument(parser)
    add_simulation_arguments(parser)
    add_replay_arguments(parser, live=True)
    add_live_arguments(parser)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Record to the end of the source."""
    live = args.source == "live"
    source = _source(args, live)
    registry = InstrumentRegistry()
    events = 0
    recorder = Recorder(args.output, registry, part_span_ns=_LIVE_PART_NS) if live else Recorder(args.output, registry)
    with recorder:
        batches = source.batches(registry)
        for batch in with_progress(_until_told(batches, args.hours) if live else batches, source, "record"):
            recorder.write(batch)
            events += len(batch)
    defects = ", ".join(f"{kind} {n:,}" for kind, n in sorted(source.defects.counts.items()))
    sys.stdout.write(f"{events:,} events of {len(registry)} markets in {args.output}; defects: {defects or 'none'}\n")
    return 0


def _source(args: argparse.Namespace, live: bool) -> Source:
    if live:
        if args.input is not None:
            raise InputError("input", args.input, "goes with --source replay")
        config = read_base_config(args)
        return make_source(live_config(args, config), config.engine.max_markets).source
    if args.venues:
        raise InputError("venues", args.venues, "goes with --source live")
    if args.source == "replay" and args.input is None:
        raise InputError("input", None, "a replay needs --input")
    if args.source == "simulate" and args.input is not None:
        raise InputError("input", args.input, "goes with --source replay")
    args.hours = _SIMULATED_HOURS if args.hours is None else args.hours
    return chosen_source(args)


def _until_told(batches: Iterator[EventBatch], hours: float | None) -> Iterator[EventBatch]:
    """Pass batches through for so many hours, or until an interrupt or SIGTERM; a second one ends at once.

    A signal is looked at between batches: it may come in the midst of writing one.
    """
    if hours is not None and not hours > 0:
        raise InputError("hours", hours, "must be a positive number")
    end = time.monotonic() + hours * 3600 if hours is not None else None
    told = False

    def tell(number: int, _: FrameType | None) -> None:
        nonlocal told
        told = True
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for batch in batches:
            yield batch
            if told or (end is not None and time.monotonic() >= end):
                return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
