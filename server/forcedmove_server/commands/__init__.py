"""Commands of ``forcedmove`` that need the server; the client finds them through the entry points ``forcedmove.commands``.

Each module has ``HELP``, ``add_arguments(parser)`` and ``run(args) -> exit status``: 0 done, 1 failed, 2 bad input.
"""

from __future__ import annotations

import functools
import sys
from argparse import Namespace
from collections.abc import Callable

from forcedmove_server.errors import ForcedMoveError, InputError, UnknownNameError

Command = Callable[[Namespace], int]


def reports_errors(run: Command) -> Command:
    """Make a command tell the server's own errors in one line on stderr: status 2 for input, 1 for anything else."""

    @functools.wraps(run)
    def reported(args: Namespace) -> int:
        try:
            return run(args)
        except ForcedMoveError as error:
            sys.stderr.write(f"forcedmove: {error}\n")
            return 2 if isinstance(error, InputError | UnknownNameError) else 1

    return reported


def plain_number(value: float, digits: int = 10) -> str:
    """Return the shortest decimal form with at most ``digits`` significant digits: ``96040``, never ``96040.0`` or ``1e-05``."""
    text = f"{float(f'{value:.{digits}g}'):.16f}" if abs(value) < 1 else f"{float(f'{value:.{digits}g}'):f}"
    return text.rstrip("0").rstrip(".")
