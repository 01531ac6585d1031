"""``forcedmove replay``: recorded markets through the model, as fast as they can be read."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import (
    add_at_argument,
    add_config_argument,
    add_replay_arguments,
    read_base_config,
    replay_config,
)
from forcedmove_server.commands.progress import with_progress
from forcedmove_server.engine.export import full_map, write_map
from forcedmove_server.engine.offline import OfflineRun
from forcedmove_server.errors import InputError
from forcedmove_server.sources.make import replay_source, time_ns

HELP = "run recorded markets through the model and write the map at the end"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Replay recorded files. --dump writes the full map at the end, long format: symbol, venue, side (who would be "
        "liquidated), leverage, price_low, price_high, notional_usd, at."
    )
    parser.epilog = "example:\n  forcedmove replay --input recordings/ --dump map.parquet --summary summary.json"
    add_replay_arguments(parser, required=True)
    add_config_argument(parser)
    add_at_argument(parser, "stop behind this event time: the map is that of this moment")
    parser.add_argument("--dump", type=Path, metavar="FILE", help="write the map here: .parquet or .csv")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the run's summary here: JSON")


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Replay, then write."""
    if args.dump is not None and args.dump.suffix not in (".parquet", ".csv"):
        raise InputError("dump", str(args.dump), "must end in .parquet or .csv")
    at = args.at
    if at is not None:
        if args.until is not None:
            raise InputError("at", args.at.isoformat(), "means the same as --until: give one of them")
        args.until = at + timedelta(microseconds=1)  # what happened at that moment belongs to it
        args.at = None
    source = replay_source(replay_config(args))
    offline = OfflineRun(source, read_base_config(args))
    for _ in with_progress(offline, offline.source, "replay"):
        pass
    summary = offline.summary()
    if not any(market["cohorts"] for market in summary["markets"].values()):
        reason = f"gives no map: no market has both a price and an open interest; {_found(summary)}"
        raise InputError("input", args.input, reason)
    if args.dump is not None:
        write_map(full_map(offline.pipeline), args.dump)
    if args.summary is not None:
        try:
            args.summary.write_text(json.dumps(summary, indent=1) + "\n")
        except OSError as error:
            raise InputError("summary", str(args.summary), f"cannot be written: {error.strerror}") from error
    _print(summary)
    newest_ns = offline.pipeline.newest_event_ns
    if at is not None and source.ran_out and newest_ns < (time_ns(at) or 0):
        end = np.datetime64(newest_ns, "ns").astype("datetime64[ms]")
        sys.stderr.write(
            f"forcedmove: the recording ends at {end}Z, before --at {at.isoformat()}: the map is of its end\n"
        )
    return 0


def _found(summary: dict[str, Any]) -> str:
    """Say what a run without a map did read, and what was wrong with the rest."""
    events = ", ".join(f"{kind} {n:,}" for kind, n in summary["events"].items())
    samples = summary["defect_samples"]
    defects = ", ".join(
        f"{kind} {n:,}" + (f" (first: {samples[kind]})" if kind in samples else "")
        for kind, n in summary["defects"].items()
    )
    return f"read: {events or 'nothing'}; defects: {defects or 'none'}"


def _print(summary: dict[str, Any]) -> None:
    out, seconds = sys.stdout, summary["wall_seconds"]
    events = ", ".join(f"{kind} {n:,}" for kind, n in summary["events"].items())
    trades = summary["events"].get("trades", 0)
    rate = f", {trades / seconds:,.0f} trades/s" if trades and seconds else ""
    out.write(f"read in {seconds:.1f} s: {events}{rate}\n")
    stages = ", ".join(f"{stage} {spent:.2f}" for stage, spent in summary["stage_seconds"].items())
    defects = ", ".join(f"{kind} {n:,}" for kind, n in summary["defects"].items())
    out.write(f"stage seconds: {stages}\ndefects: {defects or 'none'}\n")
    header = ("market", "open interest", "live long", "live short", "liq. long", "short", "overkill long", "short")
    rows = [
        (
            key,
            *(f"{quantity:,.3f}" for quantity in (m["open_interest"], m["live"]["long"], m["live"]["short"])),
            *(f"{m[what][side]:,.0f}" for what in ("liquidated", "overkill") for side in ("long", "short")),
        )
        for key, m in summary["markets"].items()
    ]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = (f"{cell:{'>' if k else '<'}{widths[k]}}" for k, cell in enumerate(row))
        out.write("  ".join(cells).rstrip() + "\n")
