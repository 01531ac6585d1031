"""How long callers wait, found out by waiting: a question that takes no time is put into every queue, over and over."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc

from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import ForcedMoveError
from forcedmove_server.rpc.admission import WINDOW_S, Admission, Gate
from forcedmove_server.rpc.call_spans import UNTRACED
from forcedmove_server.rpc.hub import Hub

logger = logging.getLogger(__name__)

#: between two questions, while nobody waits for anything, and while nobody even calls: asking takes time that streams
#: could use
_EVERY_S, _QUIETLY_EVERY_S, _IDLY_EVERY_S = 0.02, 0.2, 1.0
#: a wait that nobody would notice
_QUIET_S = 0.005
_HEALTH = "/grpc.health.v1.Health/Check"


class QueueProbes:
    """Tells an Admission how long every queue is, from ``run`` on.

    Calls wait in gRPC's core before this process sees them, where nothing but another call tells how long. So the
    server calls itself, over a socket in a folder that only its own user may enter.
    """

    def __init__(self, admission: Admission, engine: EngineService | None, hub: Hub) -> None:
        """``engine`` None: it is in another process, which asks it."""
        self.admission, self._engine, self._hub = admission, engine, hub
        self._temporary = tempfile.TemporaryDirectory(prefix="forcedmove-")
        self.folder = Path(self._temporary.name)
        self._address = f"unix:{self.folder / 'own'}"
        self._since: dict[Gate, float] = {}
        self._calls_come = asyncio.Event()

    def listen(self, server: grpc.aio.Server) -> None:
        """Have a server that has not started yet listen to its own calls."""
        server.add_insecure_port(self._address)

    async def run(self) -> None:
        """Probe until cancelled."""
        gates = self.admission.gates
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(self._address))
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_HEALTH)
            tasks.create_task(self._ask(gates["calls"], lambda: call(b"", metadata=UNTRACED)))
            if (engine := self._engine) is not None:
                tasks.create_task(self._ask(gates["engine"], lambda: asyncio.wrap_future(engine.at_tick(_nothing))))
            tasks.create_task(self._ask(gates["snapshots"], lambda: self._hub.off_loop(_nothing, None)))
            clock = asyncio.get_running_loop().time
            began = clock()
            while True:
                await asyncio.sleep(WINDOW_S)
                now = clock()
                so_far = {gate.name: now - since for gate, since in self._since.items()}
                if self.admission.is_idle:
                    self._calls_come.clear()
                else:
                    self._calls_come.set()
                self.admission.end_window(now - began, so_far)
                began = now

    def close(self) -> None:
        """Remove the socket."""
        self._temporary.cleanup()

    async def _ask(self, gate: Gate, ask: Callable[[], Awaitable[object]]) -> None:
        clock, told = asyncio.get_running_loop().time, False
        while True:
            self._since[gate] = begin = clock()
            try:
                await ask()
            except ForcedMoveError:
                pass  # there is no map yet, or the engine has stopped: nobody waits for it
            except grpc.aio.AioRpcError as error:
                if not told:
                    logger.warning("this server does not answer itself, so nothing is shed: %s", error.details())
                told = True
            else:
                told = False
                gate.saw(clock() - begin)
            is_quiet = not self.admission.in_flight and clock() - begin < _QUIET_S
            del self._since[gate]
            if self._calls_come.is_set():
                await asyncio.sleep(_QUIETLY_EVERY_S if is_quiet else _EVERY_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLY_EVERY_S):
                    await self._calls_come.wait()


def _nothing(_: object) -> None:
    """Take no time."""
