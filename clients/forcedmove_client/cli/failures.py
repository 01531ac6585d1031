"""From what went wrong to one line on stderr and an exit status.

====  =======================================================
0     done
1     failed: no server, no answer, the server's own error
2     bad input: argparse's errors, unknown names, bad files
130   Ctrl-C; 143 and 129 for SIGTERM and a terminal that went away
====  =======================================================
"""

from __future__ import annotations

import errno
import sys

from forcedmove_client.errors import (
    ForcedMoveClientError,
    InvalidArgumentError,
    LimitExceededError,
    UnavailableError,
    UnknownNameError,
)

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class CommandError(Exception):
    """What a command cannot do, told in one line; ``status`` is the exit status."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


#: a disk that is full, over quota or broken
_OUTPUT_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})


class Terminated(SystemExit):
    """A signal that ends the program; like SystemExit it passes handlers of errors and runs every ``finally``."""


def tell(message: str) -> None:
    """Write one line to stderr."""
    print("forcedmove: " + " ".join(message.split()), file=sys.stderr)


def status_of(error: BaseException) -> int | None:
    """Tell an error in one line and return its exit status; None for one that is a bug."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, CommandError):
        tell(str(error))
        return error.status
    if isinstance(error, UnavailableError):
        tell(unreachable(str(error)))
        return FAILED
    if isinstance(error, ForcedMoveClientError):
        tell(str(error))
        bad = isinstance(error, InvalidArgumentError | UnknownNameError | LimitExceededError)
        return BAD_INPUT if bad else FAILED
    if any(isinstance(cause, BrokenPipeError) for cause in causes(error)):
        return FAILED  # whoever read our output has gone: nobody is left to tell
    if isinstance(error, OSError) and (error.filename is not None or error.errno in _OUTPUT_ERRORS):
        tell(f"{error.filename or 'output'}: {error.strerror}")
        return FAILED
    return None


def causes(error: BaseException) -> list[BaseException]:
    """Return the errors that a group holds, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for member in error.exceptions for cause in causes(member)]
    return [error]


def unreachable(message: str) -> str:
    """Shorten gRPC's account of a connection that was refused, and say what to do."""
    place, _, details = message.partition(": ")
    for reason in ("Connection refused", "Name or service not known", "No route to host", "Network is unreachable"):
        if reason.lower() in details.lower():
            return f"{place}: {reason.lower()}; is a server running there? (start one with: forcedmove serve)"
    if "Deadline Exceeded" in details:
        return f"{place}: no answer in time"
    if "DNS resolution failed" in details or "Domain name not found" in details:
        return f"{place}: host name not found"
    return message
