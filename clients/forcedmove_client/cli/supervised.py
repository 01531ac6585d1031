"""``python -m forcedmove_client.cli.supervised ARGS``: a command that ends when its parent does, even by SIGKILL."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from forcedmove_client.cli import main

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask Linux to send SIGTERM when the parent dies; elsewhere the parent's own care has to do."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
