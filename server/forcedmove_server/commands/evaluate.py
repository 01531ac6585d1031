"""``forcedmove evaluate``: how near the inferred map comes to the true one on a simulated market."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import add_config_argument, add_simulation_arguments, read_base_config
from forcedmove_server.commands.progress import with_progress
from forcedmove_server.engine.evaluation import WEIGHTS, Evaluation
from forcedmove_server.errors import InputError
from forcedmove_server.sources.make import bounded_simulation

HELP = "compare the inferred map with the true one on a simulated market"

_NAMES = {"prior": "default prior", "true": "true leverage weights"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Run the simulated market through the model and compare its map with the true positions every hour, in the "
        "bins within 20 % of the mark: rank correlation, Wasserstein-1 distance in basis points, overlap of the top "
        "decile of bins, and the share of true notional in the map's top decile. Once with the default leverage prior "
        "and once with the true leverage weights."
    )
    parser.epilog = "example:\n  forcedmove evaluate --seed 7 --hours 24"
    parser.add_argument("--hours", type=float, default=24.0, help="simulated hours (default: %(default)s)")
    parser.add_argument("--skip-hours", type=int, default=6, help="hours not scored at first (default: %(default)s)")
    parser.add_argument("--symbols", nargs="+", default=[], metavar="S", help="symbols to simulate")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every score here")
    add_simulation_arguments(parser)
    add_config_argument(parser)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Evaluate and print the means."""
    if not 0 <= args.skip_hours < args.hours:
        raise InputError("skip-hours", args.skip_hours, f"must lie in 0..{args.hours:g}, the hours simulated")
    source = bounded_simulation(args.seed, tuple(args.symbols), args.hours)
    evaluation = Evaluation(source, read_base_config(args), args.skip_hours + 1)
    for _ in with_progress(evaluation, source, "evaluate"):
        pass
    means = evaluation.means()
    hours = len({score.at_ns for score in evaluation.scores})
    out = sys.stdout
    out.write(
        f"seed {args.seed}, {hours} hourly maps of {', '.join(evaluation.registry.symbols())}, both sides; means\n"
    )
    out.write(
        f"{'leverage weights':<24}{'Spearman':>10}{'W1, bp':>10}{'top decile overlap':>20}{'mass in top decile':>20}\n"
    )
    for weights in WEIGHTS:
        m = means[weights]
        out.write(
            f"{_NAMES[weights]:<24}{m['spearman']:>10.3f}{m['wasserstein_bp']:>10.0f}{m['top_decile_overlap']:>20.3f}"
            f"{m['top_decile_share']:>20.3f}\n"
        )
    if args.json is not None:
        try:
            args.json.write_text(json.dumps({"seed": args.seed, "means": means, "scores": evaluation.rows()}) + "\n")
        except OSError as error:
            raise InputError("json", str(args.json), f"cannot be written: {error.strerror}") from error
    return 0
