"""A process and the one that started it: what it is given, what it says, and that it never outlives the other.

A child reads its orders from standard input, which stays open as long as its parent lives: its end is the parent's. It
says one word per line on what was its standard output. Orders are pickled: they come from the parent, by a pipe that
nobody else has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from forcedmove_server.config import Config

logger = logging.getLogger(__name__)

_LENGTH = struct.Struct("!I")
#: how long a child that lost its parent may take to end in order
_ORPHAN_GRACE_S = 30.0
#: how long a process may take from its start to its first word
_START_S = 120.0

LISTENING, READY, ALIVE = "listening", "ready", "alive"


@dataclass(frozen=True, slots=True)
class Orders:
    """What a child is to be: gateway ``number``, or the engine process where that is 0.

    ``folder`` is the private one with the engine's socket, ``port`` the public one.
    """

    number: int
    config: Config
    folder: str
    port: int
    log_level: str

    @property
    def socket_address(self) -> str:
        """Where the engine process listens, as gRPC writes it."""
        return f"unix:{self.folder}/engine.sock"


@dataclass(frozen=True, slots=True)
class Inside:
    """The engine process' place behind gateways: where it listens for them, and what tells the supervisor a word."""

    address: str
    tell: Callable[[str], None]


# --- in the child ----------------------------------------------------------------------------------------------------


def begin() -> tuple[Orders, Callable[[str], None]]:
    """Return a child's orders and what tells its parent a word; from now on it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all processes; the parent ends them in order
    words = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whoever prints does not speak to the parent
    # not through sys.stdin, whose lock the thread below would hold when the process ends
    parent = sys.stdin.fileno()
    (length,) = _LENGTH.unpack(_read(parent, _LENGTH.size))
    orders = pickle.loads(_read(parent, length))
    assert isinstance(orders, Orders)
    threading.Thread(target=_end_with_parent, args=(parent,), name="parent", daemon=True).start()

    def tell(word: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # the parent is gone, which the thread above sees to
            os.write(words, f"{word}\n".encode())

    return orders, tell


def _read(file: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        piece = os.read(file, length - len(found))
        if not piece:
            raise EOFError("the supervisor is gone")
        found += piece
    return found


def _end_with_parent(parent: int) -> None:
    os.read(parent, 1)  # nothing comes any more: it returns when the parent's end is closed
    logger.error("the supervisor is gone: ending too")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_ORPHAN_GRACE_S)
    os._exit(1)


# --- in the parent ---------------------------------------------------------------------------------------------------


class Child:
    """A process that was started with orders. Made by ``start``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        #: set when it listens, and when it serves maps
        self.listening, self.ready = asyncio.Event(), asyncio.Event()
        self._process = process

    @classmethod
    async def start(cls, name: str, module: str, orders: Orders) -> Child:
        """Start ``python -m module``."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        pickled = pickle.dumps(orders)
        process.stdin.write(_LENGTH.pack(len(pickled)) + pickled)
        with contextlib.suppress(ConnectionError):  # it has ended already, which its exit status tells
            await process.stdin.drain()
        logger.info("%s is process %d", name, process.pid)
        return cls(name, process)

    async def follow(self, silent_s: float | None = None) -> int:
        """Listen until it ends, and return its exit status; one that is silent for longer is killed."""
        assert self._process.stdout is not None
        allowed_s = None if silent_s is None else _START_S
        while True:
            try:
                async with asyncio.timeout(allowed_s):
                    line = await self._process.stdout.readline()
            except TimeoutError:
                logger.error("%s (process %d) has been silent for %g s and is killed", self.name, self.pid, allowed_s)
                self._signal(signal.SIGKILL)
                allowed_s = None
                continue
            word = line.decode("ascii").strip()
            if word == LISTENING:
                self.listening.set()
            elif word == READY:
                self.ready.set()
            elif not line:
                return await self._process.wait()
            allowed_s = silent_s

    async def end(self, grace_s: float) -> None:
        """Ask it to end, and kill it when it has not after ``grace_s``."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self._process.wait()
        except TimeoutError:
            logger.error("%s (process %d) did not end in %g s and is killed", self.name, self.pid, grace_s)
            self._signal(signal.SIGKILL)
            await self._process.wait()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
