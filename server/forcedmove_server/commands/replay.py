"""``forcedmove replay``: recorded markets through the model, as fast as they can be read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import (
    add_config_argument,
    add_replay_arguments,
    read_base_config,
    replay_config,
)
from forcedmove_server.commands.progress import with_progress
from forcedmove_server.engine.export import full_map, write_map
from forcedmove_server.engine.offline import OfflineRun
from forcedmove_server.errors import InputError
from forcedmove_server.sources.make import make_source

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
    parser.add_argument("--dump", type=Path, metavar="FILE", help="write the map here: .parquet or .csv")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the run's summary here: JSON")


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Replay, then write."""
    if args.dump is not None and args.dump.suffix not in (".parquet", ".csv"):
        raise InputError("dump", str(args.dump), "must end in .parquet or .csv")
    offline = OfflineRun(make_source(replay_config(args)).source, read_base_config(args))
    for _ in with_progress(offline, offline.source, "replay"):
        pass
    summary = offline.summary()
    if args.dump is not None:
        write_map(full_map(offline.pipeline), args.dump)
    if args.summary is not None:
        try:
            args.summary.write_text(json.dumps(summary, indent=1) + "\n")
        except OSError as error:
            raise InputError("summary", str(args.summary), f"cannot be written: {error.strerror}") from error
    _print(summary)
    return 0


def _print(summary: dict[str, object]) -> None:
    out = sys.stdout
    markets = summary["markets"]
    assert isinstance(markets, dict)
    events, seconds, rate = (summary[key] for key in ("events_total", "wall_seconds", "events_per_second"))
    out.write(f"{events:,} events, {seconds:.1f} s, {rate:,.0f} per second\n")
    for name, defects in (("defects", summary["defects"]), ("stage seconds", summary["stage_seconds"])):
        assert isinstance(defects, dict)
        shown = ", ".join(f"{kind} {n:.2f}" if isinstance(n, float) else f"{kind} {n:,}" for kind, n in defects.items())
        out.write(f"{name}: {shown or 'none'}\n")
    header = (
        "market",
        "open interest",
        "live long",
        "live short",
        "opened L",
        "closed L",
        "liq. L",
        "liq. S",
        "overkill L",
    )
    out.write("{:<24}{:>16}{:>16}{:>16}{:>14}{:>14}{:>12}{:>12}{:>12}\n".format(*header))
    for key, m in markets.items():
        out.write(
            f"{key:<24}{m['open_interest']:>16,.3f}{m['live']['long']:>16,.3f}{m['live']['short']:>16,.3f}"
            f"{m['opened']['long']:>14,.0f}{m['closed']['long']:>14,.0f}{m['liquidated']['long']:>12,.0f}"
            f"{m['liquidated']['short']:>12,.0f}{m['overkill']['long']:>12,.0f}\n"
        )
