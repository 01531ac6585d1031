"""``forcedmove evaluate``: how near inferred maps come to the true one on simulated markets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import add_config_argument, read_base_config
from forcedmove_server.config import SimulateSourceConfig, SimulationRegime
from forcedmove_server.engine.cascade import alarm_curve, crash_study
from forcedmove_server.engine.cascade.alarm_study import HOURS as ALARM_HOURS
from forcedmove_server.engine.cascade.alarm_study import AlarmPlan, run_alarms
from forcedmove_server.engine.cascade.crash_study import CrashPlan, run_crashes
from forcedmove_server.engine.study import StudyPlan, run_study
from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.report.study_wording import coverage_line, distance_lines, mean_lines
from forcedmove_server.scorecard.report.write import check_report, check_writable, write_report, write_whole
from forcedmove_server.scorecard.study.result import StudyResult
from forcedmove_server.scorecard.study.summary import StudySummary, summarise
from forcedmove_server.sources.simulate.regime_profiles import REGIMES

HELP = "compare inferred maps with the true one on simulated markets"

_ALL = "all"
_MOST_SEEDS = 1_000
_HOURS = 24.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Run simulated markets through the model and compare its maps with the true positions every hour, in the bins "
        "within 20 % of the mark: rank correlation, Wasserstein-1 distance in basis points, overlap of the top decile "
        "of bins, share of true notional in the map's top decile, bits per position over the map made flat. Ours with "
        "the default leverage prior, with weights calibrated online and with the true weights, beside the naive map, "
        "the same with maintenance, and a prior that knows distance only; how far weights are from the true ones; and "
        "how often credible bands hold the truth. Intervals are 95 % bootstraps over seeds."
    )
    parser.epilog = (
        "examples:\n"
        "  forcedmove evaluate --seed 7 --hours 24\n"
        "  forcedmove evaluate --seeds 101-110 --regimes all --symbols BTC ETH --jobs 2 --report study.html\n"
        "  forcedmove evaluate --cascades --seeds 201-234 --regimes crash --jobs 2 --json crashes.json"
    )
    parser.add_argument("--hours", type=float, help=f"simulated hours (default: {_HOURS:g})")
    parser.add_argument("--skip-hours", type=int, default=6, help="hours not scored at first (default: %(default)s)")
    parser.add_argument("--symbols", nargs="+", default=[], metavar="S", help="symbols to simulate")
    parser.add_argument(
        "--seeds", "--seed", type=seeds, default=(SimulateSourceConfig().seed,), metavar="N",
        help="seeds: 7, or 101-110, or 1,3,5-9 (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--regimes", "--regime", nargs="+", choices=[*REGIMES, _ALL], default=[SimulateSourceConfig().regime],
        metavar="NAME", help=f"weather of the market: {', '.join(REGIMES)}, or all of them (default: mixed)",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a report: .html, .png or .json")
    parser.add_argument(
        "--cascades", action="store_true",
        help="hold forecasts of scheduled crashes (regimes crash and squeeze) against what happened instead",
    )  # fmt: skip
    parser.add_argument(
        "--alarms", action="store_true",
        help="hold alarms of the map, and of scores that know none, against the cascades that came, minute by minute "
        "(default: 8 hours of each seed, the first not scored)",
    )  # fmt: skip
    parser.add_argument(
        "--crash", type=int, default=3, metavar="N", help="which crash of the regime, with --cascades (default: 3)"
    )
    parser.add_argument(
        "--duration", type=float, metavar="SECONDS",
        help="with --cascades: time that the shock is said to take; 0: at once (default: mean of the regime's crashes)",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every score here")
    add_config_argument(parser)


def seeds(text: str) -> tuple[int, ...]:
    """Read a list of seeds and ranges of seeds, both ends included."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low = int(first)
        high = int(last) if dash else low
        if not 0 <= low <= high < 1 << 63:
            raise argparse.ArgumentTypeError(f"{part!r}: seeds must ascend, within 0..2^63 - 1")
        if high - low >= _MOST_SEEDS or len(found) > _MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{part!r} is not a range of at most {_MOST_SEEDS} seeds")
        found += range(low, high + 1)
    return tuple(found)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Run the study, print its means, write what was asked for."""
    regimes = list(REGIMES) if _ALL in args.regimes else args.regimes
    if args.cascades and args.alarms:
        raise InputError("alarms", True, "one study at a time: --cascades or --alarms")
    if args.cascades:
        return _cascades(args, regimes)
    if args.alarms:
        return _alarms(args, regimes)
    hours = _HOURS if args.hours is None else args.hours
    plan = StudyPlan(args.seeds, tuple(regimes), tuple(args.symbols), hours, args.skip_hours, args.jobs)
    if args.report is not None:
        check_report(args.report)
    if args.json is not None:
        check_writable("json", args.json)
    with _progress() as told:
        study = run_study(plan, read_base_config(args), told)
    _print(study, summarise(study))
    if args.report is not None:
        write_report(study, args.report)
    if args.json is not None:
        write_whole("json", args.json, study.to_json().encode())
    return 0


def _cascades(args: argparse.Namespace, regimes: list[SimulationRegime]) -> int:
    """Run the study of crashes, print its summary, write every crash where that was asked for."""
    if args.report is not None:
        raise InputError("report", str(args.report), "crashes are told in words, and in JSON with --json")
    plan = CrashPlan(args.seeds, tuple(regimes), tuple(args.symbols), args.crash, args.jobs, args.duration)
    if args.json is not None:
        check_writable("json", args.json)
    with _progress() as told:
        crashes = run_crashes(plan, read_base_config(args), told)
    found = crash_study.summarise(crashes)
    for line in crash_study.lines(found):
        sys.stdout.write(f"{line}\n")
    if args.json is not None:
        write_whole("json", args.json, crash_study.to_json(crashes, found).encode())
    return 0


def _alarms(args: argparse.Namespace, regimes: list[SimulationRegime]) -> int:
    """Run the study of alarms, print its curves, write them where that was asked for."""
    if args.report is not None:
        raise InputError("report", str(args.report), "alarms are told in words, and in JSON with --json")
    plan = AlarmPlan(args.seeds, tuple(regimes), tuple(args.symbols), ALARM_HOURS if args.hours is None else args.hours)
    if args.json is not None:
        check_writable("json", args.json)
    with _progress() as told:
        watched = run_alarms(plan, read_base_config(args), told)
    points = alarm_curve.curve(watched)
    for line in alarm_curve.lines(watched, points):
        sys.stdout.write(f"{line}\n")
    if args.json is not None:
        write_whole("json", args.json, alarm_curve.to_json(points).encode())
    return 0


def _print(study: StudyResult, summary: StudySummary) -> None:
    out = sys.stdout
    maps = int(study.hours) - study.skip_hours
    out.write(f"{study.title}; {maps} hourly maps of {', '.join(study.symbols)}, both sides; means\n")
    for line in (*mean_lines(summary), "", *distance_lines(summary), coverage_line(summary, study.level)):
        out.write(f"{line}\n")


@contextmanager
def _progress() -> Iterator[Callable[[float], None]]:
    """Show a bar on stderr, on a terminal alone; gives what is told the share that is done."""
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        TextColumn("evaluate"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("evaluate", total=1.0)
        yield lambda done: progress.update(task, completed=done)
