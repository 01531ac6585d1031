"""Arguments that several commands share, and the types that check them."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from typing import Any

from forcedmove_client.access import (
    CA_VARIABLE,
    CERTIFICATE_VARIABLE,
    KEY_VARIABLE,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
)
from forcedmove_client.aio import DEFAULT_TARGET

#: moves of the mark that servers follow, as fractions
_LEAST_MOVE, _MOST_MOVE = -0.95, 5.0
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class _IntoEnvironment(argparse.Action):
    """Puts a file's name where every client of this process looks for it."""

    def __init__(self, *, const: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.variable = const

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *_: Any) -> None:
        os.environ[self.variable] = values
        if self.variable == TOKEN_FILE_VARIABLE:
            os.environ.pop(TOKEN_VARIABLE, None)
        setattr(namespace, self.dest, values)


def target(text: str) -> str:
    """Read ``HOST:PORT``; ``[::1]:7878`` for IPv6."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example {DEFAULT_TARGET}")
    return text


def duration(text: str) -> float:
    """Read a time: ``30``, ``30s``, ``5m``, ``2h``; in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|m|min|h)?", text)
    seconds = float(match[1]) * _SECONDS[match[2] or "s"] if match else 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time above zero, for example 30, 90s, 5m or 2h")
    return seconds


def _fraction(text: str) -> float:
    """Read 0.05 or 5%; NaN where it is neither."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return math.nan


def move(text: str) -> float:
    """Read a move of the mark, written -0.02 or -2%, as far as servers follow one."""
    value = _fraction(text)
    if not _LEAST_MOVE <= value <= _MOST_MOVE:
        bounds = f"from {_LEAST_MOVE:.0%} to {_MOST_MOVE:.0%}"
        raise argparse.ArgumentTypeError(f"{text!r} is not a move of the mark such as -0.02 or -2%, {bounds}")
    return value


def share(low: float, high: float) -> Callable[[str], float]:
    """Return a type for fractions, written 0.05 or 5%, above ``low`` and at most ``high``."""

    def read(text: str) -> float:
        value = _fraction(text)
        if not low < value <= high:
            bounds = f"above {low:.0%} and at most {high:.0%}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a fraction such as 0.05 or 5%, {bounds}")
        return value

    return read


def positive(text: str) -> float:
    """Read a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a type for whole numbers from ``low`` to ``high``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,19}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return read


def describe(parser: argparse.ArgumentParser, text: str, *examples: str) -> None:
    """Set a command's description and its examples, with their line breaks."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = text
    parser.epilog = "\n  ".join(["examples:" if len(examples) > 1 else "example:", *examples])


def add_server(parser: argparse.ArgumentParser) -> None:
    """Declare which server to ask."""
    parser.add_argument(
        "--server",
        type=target,
        default=DEFAULT_TARGET,
        metavar="HOST:PORT",
        help="server to ask (default: %(default)s)",
    )
    access = parser.add_argument_group("access", "tokens are never arguments: other users see those")
    for option, variable, text in (
        ("--tls-ca", CA_VARIABLE, "authorities (PEM) to believe; switches TLS on"),
        ("--tls-cert", CERTIFICATE_VARIABLE, "this client's certificate (PEM)"),
        ("--tls-key", KEY_VARIABLE, "its private key (PEM)"),
        ("--token-file", TOKEN_FILE_VARIABLE, "file that holds a token"),
    ):
        access.add_argument(
            option, action=_IntoEnvironment, const=variable, metavar="FILE", help=f"{text} ({variable})"
        )


def add_view(parser: argparse.ArgumentParser) -> None:
    """Declare which part of a map to show, and which of the two maps."""
    parser.add_argument(
        "--weighting",
        choices=("live", "fresh"),
        default="live",
        help="live: all that is open; fresh: weighted by age (default: %(default)s)",
    )
