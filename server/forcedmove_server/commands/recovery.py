"""``forcedmove recovery``: what a server keeps for a restart, whether it is sound, and the way back where it is not."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import add_config_argument
from forcedmove_server.config import load_config
from forcedmove_server.engine.recovery.inspection import Report, inspect, repair
from forcedmove_server.errors import ConfigError, InputError

HELP = "verify or repair what a server keeps for a restart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Snapshots and log of the folder that recovery.path names, or PATH; docs/RECOVERY.md says what is in them."
    )
    parser.epilog = (
        "examples:\n"
        "  forcedmove recovery verify /var/lib/forcedmove/recovery   # exit status 1: a byte is not as it was written\n"
        "  forcedmove recovery repair /var/lib/forcedmove/recovery   # give up what is damaged, and say what that was"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    verify = actions.add_parser("verify", help="read everything and say what is sound", allow_abbrev=False)
    mend = actions.add_parser("repair", help="go back to the last record that is sound", allow_abbrev=False)
    for action in (verify, mend):
        action.add_argument("path", nargs="?", type=Path, metavar="PATH", help="default: recovery.path of the config")
        add_config_argument(action)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Do one of the two."""
    path = args.path or _configured(args)
    if not path.is_dir():
        raise InputError("path", str(path), "is not a folder")
    try:
        if args.action == "repair":
            sys.stdout.write(repair(path) + "\n")
            return 0
        report = inspect(path)
    except OSError as error:
        raise InputError("path", str(path), f"cannot be read: {error.strerror or error}") from error
    sys.stdout.write(as_text(report))
    return 0 if report.is_sound else 1


def as_text(report: Report) -> str:
    """Return a report in lines: one for each file, and the verdict."""
    lines = [
        f"{'DAMAGED' if one.problem else 'sound  '}  {one.name}: {one.holds}{'; ' + one.problem if one.problem else ''}"
        for one in report.findings
    ]
    return "\n".join([*lines, report.verdict]) + "\n"


def _configured(args: argparse.Namespace) -> Path:
    path = load_config(args.config).recovery.path
    if path is None:
        raise ConfigError("recovery.path", None, "is not set, and no PATH was given")
    return Path(path).expanduser()
