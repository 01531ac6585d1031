"""Commands of ``forcedmove`` that need the server; entry points of the group ``forcedmove.commands`` name them.

Each module has ``HELP``, ``add_arguments(parser)`` and ``run(args) -> exit status``: 0 done, 1 failed, 2 bad input.
"""

from __future__ import annotations

import functools
import math
import sys
from argparse import Namespace
from collections.abc import Callable
from decimal import Decimal

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


def fraction(text: str) -> float:
    """Read ``-2%`` or ``-0.02``, for argparse."""
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def plain_number(value: float) -> str:
    """Return a number without exponent or trailing zeros: ten significant digits, at least two decimals: ``96040``."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    decimals = max(2, 9 - math.floor(math.log10(abs(value))))
    text = format(Decimal(repr(round(value, decimals))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
