"""``forcedmove serve`` with gateways: starts engine process and gateways, keeps the gateways up, ends all in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from forcedmove_server.config import Config
from forcedmove_server.errors import InputError
from forcedmove_server.gateway.child import Child, Orders
from forcedmove_server.rpc.server import address_of

logger = logging.getLogger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 15.0
#: a gateway that has lived so long is started again without delay
_LIVED_S = 60.0
_GATEWAY_GRACE_S, _ENGINE_GRACE_S = 6.0, 60.0
_BAD_INPUT = 2
#: a socket's path has room for 108 bytes
_LONGEST_FOLDER = 90


class Supervisor:
    """Runs an engine process and gateways, both as ``python -m module``.

    A gateway that ends is started again, later each time; the others go on. The engine process is not: without it there
    is nothing to serve, so all ends with its exit status, and who started the supervisor may start it anew.
    """

    def __init__(self, module: str, config: Config, log_level: str, ready_file: Path | None = None) -> None:
        """``ready_file`` is written with ``host:port`` once there is a map and every gateway serves it."""
        self._module, self._config, self._log_level, self._ready_file = module, config, log_level, ready_file
        self._stopping = asyncio.Event()
        self._status = 0
        self._serving = [asyncio.Event() for _ in range(config.server.gateways)]

    async def run(self) -> int:
        """Run until SIGINT, SIGTERM or the engine's end; return the exit status. Raises InputError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, 0)
        server = self._config.server
        with reserved_port(server.host, server.port) as port, private_folder() as folder:
            self._orders = Orders(0, self._config, folder, port, self._log_level)
            engine = await Child.start("the engine process", self._module, self._orders)
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._run_engine(engine)), tasks.create_task(self._announce(engine))]
                try:
                    await self._run_gateways(engine)
                finally:
                    # readers were told; now nothing new comes in, and the tick in progress ends
                    await engine.end(_ENGINE_GRACE_S)
                    for task in running:
                        task.cancel()
        return self._status

    async def _run_engine(self, engine: Child) -> None:
        status = await engine.follow()
        if not self._stopping.is_set():
            logger.critical("the engine process ended with status %d: ending", status)
            self._stop(status if status > 0 else 1)

    async def _run_gateways(self, engine: Child) -> None:
        async with asyncio.TaskGroup() as tasks:
            keepers = [tasks.create_task(self._keep(number, engine)) for number in range(1, len(self._serving) + 1)]
            await self._stopping.wait()
            for keeper in keepers:
                keeper.cancel()

    async def _keep(self, number: int, engine: Child) -> None:
        """Keep one gateway running until cancelled."""
        await engine.listening.wait()
        loop, wait_s = asyncio.get_running_loop(), _FIRST_WAIT_S
        orders = Orders(number, self._config, self._orders.folder, self._orders.port, self._log_level)
        while True:
            began = loop.time()
            gateway = await Child.start(f"gateway {number}", self._module, orders)
            try:
                async with asyncio.TaskGroup() as tasks:
                    note = tasks.create_task(self._note_ready(gateway, self._serving[number - 1]))
                    status = await gateway.follow(self._config.server.gateway_stalled_after_s)
                    note.cancel()
            except asyncio.CancelledError:
                await gateway.end(_GATEWAY_GRACE_S)
                raise
            if status == _BAD_INPUT and not self._serving[number - 1].is_set():
                self._stop(status)  # what it was told cannot work, and does not get better by itself
                return
            if loop.time() - began > _LIVED_S:
                wait_s = _FIRST_WAIT_S
            delay_s = wait_s * random.uniform(0.5, 1.0)
            logger.error("gateway %d ended with status %d; again in %.2f s", number, status, delay_s)
            await asyncio.sleep(delay_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    @staticmethod
    async def _note_ready(gateway: Child, serving: asyncio.Event) -> None:
        await gateway.ready.wait()
        serving.set()

    async def _announce(self, engine: Child) -> None:
        for event in (engine.ready, *self._serving):
            await event.wait()
        address = address_of(self._config.server.host, self._orders.port)
        logger.info("serving on %s", address)
        if self._ready_file is not None:
            partial = self._ready_file.with_name(self._ready_file.name + ".part")
            partial.write_text(address)
            os.replace(partial, self._ready_file)

    def _stop(self, status: int) -> None:
        if not self._stopping.is_set():
            self._status = status
            self._stopping.set()


@contextlib.contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """Hold a port that nobody else has, and that processes of this user may listen on; 0 takes any free one.

    Raises InputError where somebody has it, or where the system does not share connections among processes.
    """
    if sys.platform != "linux":
        raise InputError("server.gateways", sys.platform, "only Linux shares a port's connections among processes")
    with contextlib.ExitStack() as stack:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            held = stack.enter_context(socket.socket(family, kind, protocol))
            # without sharing at first: a stranger's server that shares its port would go unnoticed
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(address)
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError as error:
            reason = f"cannot listen there: {error.strerror or error}"
            raise InputError("server.port", address_of(host, port), reason) from error
        yield held.getsockname()[1]


@contextlib.contextmanager
def private_folder() -> Iterator[str]:
    """Make a folder that only this user can enter, and remove it at the end. Raises InputError."""
    try:
        folder = tempfile.mkdtemp(prefix="forcedmove-")
    except OSError as error:
        reason = f"no folder for the engine's socket: {error.strerror or error}"
        raise InputError("TMPDIR", os.environ.get("TMPDIR"), reason) from error
    try:
        if len(folder) > _LONGEST_FOLDER:
            raise InputError("TMPDIR", folder, f"sockets need a path of at most {_LONGEST_FOLDER} characters")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
