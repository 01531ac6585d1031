"""``forcedmove backtest``: how true the map was, on recorded or simulated markets, beside the maps that people use."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.account_reports import report_accounts
from forcedmove_server.commands.arguments import (
    add_config_argument,
    add_replay_arguments,
    add_simulation_arguments,
    chosen_source,
    read_base_config,
    utc_time,
)
from forcedmove_server.commands.progress import with_progress
from forcedmove_server.engine.backtest import Backtest
from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.known import PositionSnapshots
from forcedmove_server.scorecard.report.result import BacktestResult
from forcedmove_server.scorecard.report.write import check_report, write_report
from forcedmove_server.scorecard.resampling import Estimate
from forcedmove_server.sources.make import time_ns
from forcedmove_server.sources.simulate import SimulatedSource

HELP = "score the map on recorded or simulated markets, beside baselines"

_HOURS = 48.0
_VENUE = "hyperliquid"
_HOUR_NS = 3600 * 10**9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Freeze the map every five minutes and hold it against what happened in the next 5 minutes, 1, 4 and 24 hours: "
        "open interest released where levels were crossed, liquidations, known positions; beside the naive map that "
        "open-source heatmaps draw, the same with maintenance, and a prior that knows distance only. With --fit-until, "
        "leverage weights are learnt up to that time and frozen, and only what comes after it is reported."
    )
    parser.epilog = (
        "examples:\n"
        "  forcedmove backtest --input recordings/ --fit-until 2026-01-01 --report report.html\n"
        "  forcedmove backtest --seed 3 --hours 48 --report simulated.html\n"
        "  forcedmove backtest --accounts positions.parquet --venue hyperliquid"
    )
    add_replay_arguments(parser)
    add_simulation_arguments(parser)
    parser.add_argument("--hours", type=float, default=_HOURS, help="simulated hours (default: %(default)g)")
    parser.add_argument(
        "--fit-until", type=utc_time, metavar="UTC", help="end of the fit period (default: nothing is fitted)"
    )
    parser.add_argument(
        "--fit-hours", type=float, metavar="H", help="the same for a simulation: its first hours are the fit period"
    )
    parser.add_argument(
        "--positions", type=Path, metavar="FILE", help="known positions, .parquet or .csv; see docs/FORMATS.md"
    )
    parser.add_argument(
        "--accounts",
        type=Path,
        metavar="PATH",
        help="judge margin rules, prior and maps by known accounts instead: a file of positions with what the accounts "
        "are worth, or a folder with a ledger of fills, transfers and liquidations; see docs/FORMATS.md",
    )
    parser.add_argument("--venue", default=_VENUE, help="venue of --accounts (default: %(default)s)")
    parser.add_argument(
        "--max-leverage", type=float, metavar="L", help="greatest leverage of its markets then (default: the ladders')"
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a report: .html, .png or .json")
    add_config_argument(parser)


#: options whose name in the code is another
_SPELLED = {"start": "from"}


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Backtest, print the headline, write the report."""
    if args.accounts is not None:
        for name in ("input", "fit_until", "fit_hours", "positions", "report", "symbols", "start", "until"):
            if given := getattr(args, name, None):
                raise InputError(_SPELLED.get(name, name.replace("_", "-")), str(given), "does not go with --accounts")
        report_accounts(args.accounts, args.venue, args.max_leverage, read_base_config(args).model)
        return 0
    if args.max_leverage is not None:
        raise InputError("max-leverage", args.max_leverage, "goes with --accounts")
    if args.report is not None:
        check_report(args.report)
    positions = PositionSnapshots.read(args.positions) if args.positions is not None else None
    source = chosen_source(args)
    fit_until_ns = time_ns(args.fit_until)
    if args.fit_hours is not None:
        if not isinstance(source, SimulatedSource):
            raise InputError("fit-hours", args.fit_hours, "goes with a simulation; recorded markets have --fit-until")
        if not 0 < args.fit_hours < args.hours:
            raise InputError("fit-hours", args.fit_hours, f"must lie between 0 and {args.hours:g}, the hours simulated")
        fit_until_ns = source.config.epoch_ns + round(args.fit_hours * _HOUR_NS)
    title = f"{args.input}" if args.input is not None else f"simulated market, seed {args.seed}"
    backtest = Backtest(source, read_base_config(args), title, fit_until_ns, positions)
    for _ in with_progress(backtest, source, "backtest"):
        pass
    result = backtest.result()
    _print(result)
    if args.report is not None:
        write_report(result, args.report)
    return 0


def _print(result: BacktestResult) -> None:
    out = sys.stdout
    summary = result.summary
    out.write(f"{result.title}: {len(result.markets)} markets; {_split(result)}\n")
    out.write(f"{'horizon':<9}{'map':<20}{'OI released on crossing':<34}{'gain over naive':<34}bits per position\n")
    for score in summary.maps:
        bits = score.positions.bits_over_flat if score.positions is not None else None
        hours = score.horizon_ns / _HOUR_NS
        horizon = f"{hours:g} h" if hours >= 1 else f"{hours * 60:g} min"
        gain = score.released.rank_gain
        out.write(
            f"{horizon:<9}{score.map:<20}{_shown(score.released.rank):<34}{_shown(gain) if gain else '-':<34}"
            f"{_shown(bits) if bits else '-'}\n"
        )
    worst = summary.invariants.worst_interest_error
    out.write(f"worst |live - open interest| / open interest: {worst if worst is not None else 'not checked'}\n")
    if (steady := result.stability) is not None:
        out.write(
            f"map against itself an hour later: rank correlation {_shown(steady.rank)}, moved by "
            f"{_shown(steady.moved_bp)} bp; changed by {_shown(steady.change_over_flow)} of what was opened, closed "
            f"and liquidated; jumped {_shown(steady.jumps)}, at most by {steady.worst_unexplained:.2%} of open "
            f"interest ({steady.worst_market})\n"
        )
    for e in result.evidence:
        leaves = "not seen to follow the map"
        if e.released_share is not None:
            leaves = "of crossed longs {:.3f} leave, of shorts {:.3f}".format(*e.released_share)
        out.write(
            f"{e.venue}: learnt from {e.windows:,.0f} windows of open interest, worth {e.released:,.1f} effective "
            f"counts (reliability {e.reliability:.2f}, {leaves}), and {e.printed:,.1f} liquidations\n"
        )


def _split(result: BacktestResult) -> str:
    hours = (result.test[1] - result.test[0]) / _HOUR_NS
    if result.fit is None:
        return f"nothing fitted, {hours:,.1f} h tested"
    return f"fitted on {(result.fit[1] - result.fit[0]) / _HOUR_NS:,.1f} h, tested on the {hours:,.1f} h after it"


def _shown(estimate: Estimate) -> str:
    if estimate.value is None:
        return estimate.reason or "-"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.3f} (n {estimate.n:,})"
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}] n {estimate.n:,}"
