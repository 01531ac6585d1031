"""``forcedmove record``: any source into our own Parquet layout (docs/FORMATS.md)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import add_replay_arguments, add_simulation_arguments, chosen_source
from forcedmove_server.commands.progress import with_progress
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.record import Recorder

HELP = "write a source's events as Parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Record the simulated market, or convert recorded files, to the Parquet layout."
    parser.epilog = (
        "examples:\n"
        "  forcedmove record --hours 6 --seed 7 --output simulated/\n"
        "  forcedmove record --input tardis/ --format tardis --output recorded/"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="new or empty folder")
    parser.add_argument("--hours", type=float, default=6.0, help="simulated hours (default: %(default)s)")
    add_simulation_arguments(parser)
    add_replay_arguments(parser)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Record to the end of the source."""
    source = chosen_source(args)
    registry = InstrumentRegistry()
    events = 0
    with Recorder(args.output, registry) as recorder:
        for batch in with_progress(source.batches(registry), source, "record"):
            recorder.write(batch)
            events += len(batch)
    defects = ", ".join(f"{kind} {n:,}" for kind, n in sorted(source.defects.counts.items()))
    sys.stdout.write(f"{events:,} events of {len(registry)} markets in {args.output}; defects: {defects or 'none'}\n")
    return 0
