"""Single keys from a terminal, without waiting for Enter; the terminal is put back whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator

try:
    import termios
    import tty
except ImportError:  # a system without POSIX terminals: the screen works, keys do not
    termios = None  # type: ignore[assignment]

#: what terminals send, and what it is called here
_NAMES = {
    "\x1b[C": "right", "\x1bOC": "right", "\x1b[D": "left", "\x1bOD": "left",
    "\x1b[A": "up", "\x1bOA": "up", "\x1b[B": "down", "\x1bOB": "down",
    "\t": "right", "\x1b[Z": "left", "=": "+", "_": "-", "\x03": "q",
}  # fmt: skip


def split_keys(text: str) -> list[str]:
    """Return the keys in what a terminal sent; escape sequences that mean nothing here are dropped."""
    keys = []
    while text:
        name = next((sequence for sequence in _NAMES if text.startswith(sequence)), None)
        if name is not None:
            keys.append(_NAMES[name])
            text = text[len(name) :]
        elif text[0] == "\x1b":
            end = 2 if text[1:2] not in ("[", "O") else 3
            while text[1:2] == "[" and end < len(text) and not text[end - 1].isalpha() and text[end - 1] != "~":
                end += 1
            text = text[end:]
        else:
            keys.append(text[0].lower())
            text = text[1:]
    return keys


@contextlib.contextmanager
def pressed_keys(handle: Callable[[str], None]) -> Iterator[None]:
    """Call ``handle`` on the running loop for every key pressed inside the block. Without a terminal: never."""
    if termios is None or not sys.stdin.isatty():
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    loop = asyncio.get_running_loop()

    def read() -> None:
        text = os.read(terminal, 256)
        if not text:  # the terminal is gone
            loop.remove_reader(terminal)
        for key in split_keys(text.decode("utf-8", "ignore")):
            handle(key)

    try:
        tty.setcbreak(terminal)
        loop.add_reader(terminal, read)
        yield
    finally:
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
