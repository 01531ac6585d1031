"""A real server in front of a real engine, asked the same hostile things through the wire and at its handlers.

The second way leaves out sockets and HTTP/2, which are gRPC's, and keeps all that is ours: interceptor, parsing,
handlers, serialising. It is several times faster, which is what makes a million inputs a matter of minutes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import numpy as np
import psutil
import pytest

from forcedmove_client.ending import CORE_FAULT, Ending
from forcedmove_server.config import Config, EngineConfig, OverloadConfig, ScanConfig
from forcedmove_server.rpc import server as rpc_server
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.methods import METHODS
from forcedmove_server.rpc.server import RpcServer
from tests.integration.real_engine import fed_engine, served
from tests.integration.test_access import DESCRIBED
from tests.rpc_fuzz.good import GOOD
from tests.rpc_fuzz.inputs import Hostile

NAMES = sorted(DESCRIBED)
#: what no request may be answered with: a bug, whatever was asked
BUGS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNIMPLEMENTED)
_AT_ONCE = 16
_DEADLINE_S = 2.0
#: how long streams are read before they are left
_STREAMS_S = (0.0, 0.0, 0.001, 0.01)
_SAMPLES = 100

CONFIG = Config(
    engine=EngineConfig(backend="cpu", threads=1, max_markets=8, bins=256, tick_interval_ms=10),
    scan=ScanConfig(max_chains=200, max_paths=20_000, max_paths_per_chain=1_000),
)
#: nothing is shed, so that all inputs reach what they are meant for
LIMITS = Limits(
    heartbeat_s=0.05,
    scan=CONFIG.scan,
    answers_waiting=_AT_ONCE,
    resume_window_s=0.1,
    overload=OverloadConfig(60_000, 60_000, 60_000, 60_000, 100_000),
)


class Seen(NamedTuple):
    """What is left behind by a server that answered."""

    tasks: int
    threads: int
    files: int


def seen() -> Seen:
    """Count what could leak."""
    files = len(os.listdir("/proc/self/fd"))
    return Seen(len(asyncio.all_tasks()), threading.active_count(), files)


class Complaints(logging.Handler):
    """Log records that nobody's request may cause: errors, and anything with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what complains."""
        if record.levelno >= logging.ERROR or record.exc_info:
            self.found.append(self.format(record))


@asynccontextmanager
async def complaints() -> AsyncIterator[list[str]]:
    """Listen to the log, and to what asyncio has to say."""
    listener = Complaints()
    logging.getLogger().addHandler(listener)
    try:
        yield listener.found
    finally:
        logging.getLogger().removeHandler(listener)


@dataclass
class World:
    """A server with what it was made of."""

    server: RpcServer
    handlers: tuple[grpc.GenericRpcHandler, ...]
    interceptor: Any

    async def handler(self, name: str) -> Any:
        """Return what gRPC would call for a method, behind the interceptor."""
        details = _Details(name, ())

        async def found(details: Any) -> Any:
            return next(one for handler in self.handlers if (one := handler.service(details)) is not None)

        return await self.interceptor.intercept_service(found, details)


class _Details(NamedTuple):
    method: str
    invocation_metadata: tuple[tuple[str, str], ...]


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """A fresh one, drained at the end."""
    handlers: list[grpc.GenericRpcHandler] = []
    interceptors: list[Any] = []
    make = grpc.aio.server

    def listening(*args: Any, **options: Any) -> grpc.aio.Server:
        server = make(*args, **options)
        interceptors.extend(options["interceptors"])
        add = server.add_generic_rpc_handlers

        def added(ours: tuple[grpc.GenericRpcHandler, ...]) -> None:
            handlers.extend(ours)
            add(ours)

        server.add_generic_rpc_handlers = added
        return server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rpc_server.grpc.aio, "server", listening)
        async with fed_engine(CONFIG) as engine, served(engine, LIMITS) as server:
            yield World(server, tuple(handlers), interceptors[0])


class _Left(Exception):
    """A call that its handler ended with a status."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        self.code, self.text = code, text
        super().__init__(code, text)


class FakeContext:
    """A call's context as handlers use it; the serializer of the method sees what is written."""

    def __init__(self, serialise: Callable[[Any], bytes]) -> None:
        self._serialise, self._end = serialise, asyncio.get_running_loop().time() + _DEADLINE_S
        #: are called when the call has ended
        self.callbacks: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Have something called at the end."""
        self.callbacks.append(callback)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """End the call."""
        assert isinstance(details, str)
        assert all(isinstance(value, bytes) and len(value) < 8_000 for _, value in trailing_metadata)
        raise grpc.aio.AbortError from _Left(code, details)

    async def write(self, message: Any) -> None:
        """Take a message in."""
        assert isinstance(self._serialise(message), bytes)
        await asyncio.sleep(0)

    def time_remaining(self) -> float:
        """Return what is left of the deadline."""
        return self._end - asyncio.get_running_loop().time()

    def cancelled(self) -> bool:
        """Nobody cancels without the task being cancelled too."""
        return False

    def peer(self) -> str:
        """Return a name for the log."""
        return "fuzz"


async def at_handler(world: World, name: str, payloads: list[bytes], stay_s: float) -> grpc.StatusCode:
    """Answer one call as gRPC would, without the wire. Whatever a handler raises by mistake comes out."""
    handler, method = await world.handler(name), DESCRIBED[name]
    parse, serialise = handler.request_deserializer, handler.response_serializer or bytes
    context = FakeContext(serialise)

    async def requests() -> AsyncIterator[Any]:
        for payload in payloads:
            yield parse(payload)
            await asyncio.sleep(0)
        if stay_s:
            await asyncio.Event().wait()  # a reader that only listens from now on

    behaviour = getattr(
        handler, f"{('unary', 'stream')[method.client_streaming]}_{('unary', 'stream')[method.server_streaming]}"
    )
    request = requests() if method.client_streaming else parse(payloads[0])
    answering = asyncio.ensure_future(behaviour(request, context))
    timeout_s = stay_s if METHODS[name].holds == "stream" else 60.0
    try:
        answer = await asyncio.wait_for(answering, timeout_s)
    except grpc.aio.AbortError as error:
        cause = error.__cause__
        assert isinstance(cause, _Left)
        return cause.code
    except TimeoutError:
        assert METHODS[name].holds == "stream", f"{name} took a minute"
        return grpc.StatusCode.CANCELLED
    finally:
        for callback in context.callbacks:
            callback(context)
    if not method.server_streaming:
        assert isinstance(serialise(answer), bytes)
    return grpc.StatusCode.OK


async def through_wire(
    channel: grpc.aio.Channel, name: str, payloads: list[bytes], stay_s: float
) -> tuple[grpc.StatusCode, str]:
    """Make one call with bytes; streams are left after a while, in the middle of whatever happens."""
    method = DESCRIBED[name]
    kinds = ("unary", "stream")
    make = getattr(channel, f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}")(name)
    if not method.client_streaming and not method.server_streaming:
        call = make(payloads[0], timeout=_DEADLINE_S)
        with suppress(grpc.aio.AioRpcError):
            await call
        return await call.code(), await call.details() or ""
    call = make(timeout=_DEADLINE_S) if method.client_streaming else make(payloads[0], timeout=_DEADLINE_S)

    async def talk() -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            if method.client_streaming:
                for payload in payloads:
                    await call.write(payload)
            while await call.read() is not grpc.aio.EOF:
                pass

    ending = Ending(call)
    with suppress(TimeoutError):
        await asyncio.wait_for(talk(), stay_s if METHODS[name].holds == "stream" else None)
    call.cancel()
    ended = grpc.aio.AioRpcError(await call.code(), grpc.aio.Metadata(), grpc.aio.Metadata(), await call.details())
    ended = await ending.of(ended)
    return ended.code(), ended.details() or ""


class Report:
    """What came of a run."""

    def __init__(self) -> None:
        self.codes: Counter[tuple[str, str]] = Counter()
        self.bugs: list[str] = []
        #: inputs and bytes of memory
        self.memory: list[tuple[int, int]] = []

    @property
    def inputs(self) -> int:
        """Requests sent."""
        return self.codes.total()

    def growth_per_million(self) -> float:
        """Return the slope of memory over inputs, after the first third, in MiB per million inputs."""
        tail = np.array(self.memory[len(self.memory) // 3 :], dtype=float)
        return float(np.polyfit(tail[:, 0], tail[:, 1], 1)[0]) * 1e6 / 2**20 if len(tail) > 2 else 0.0


async def fuzz(world: World, inputs: int, seed: int, *, wire: bool) -> Report:
    """Ask so many things, some at a time; every streamed request counts as one."""
    report, process, left = Report(), psutil.Process(), iter(range(inputs))
    hostile, draw = Hostile(seed, LIMITS.max_request_bytes), random.Random(seed)
    every = max(inputs // _SAMPLES, 1)
    # more than this the wire must refuse, and gRPC does before anything of ours runs
    giant = bytes(LIMITS.max_request_bytes + 1)

    async def asker(channel: grpc.aio.Channel | None) -> None:
        for number in left:
            name = draw.choice(NAMES)
            kind = DESCRIBED[name].input_type
            good = GOOD[name.rpartition("/")[2]]
            payloads = [hostile.request(kind, good)]
            while DESCRIBED[name].client_streaming and draw.random() < 0.6:
                payloads.append(hostile.request(kind, good))
                next(left, None)
            if channel is not None and draw.random() < 0.002:
                payloads[0] = giant
            stay_s = draw.choice(_STREAMS_S)
            try:
                if channel is None:
                    code, text = await at_handler(world, name, payloads, stay_s), ""
                else:
                    code, text = await through_wire(channel, name, payloads, stay_s)
            except Exception as error:  # noqa: BLE001  the point of it all
                code, text = grpc.StatusCode.INTERNAL, repr(error)
            report.codes[name.rpartition("/")[2], code.name] += len(payloads)
            # what grpc.aio says of a write to a call that has ended; where the server fails, its log complains
            is_own = channel is not None and text in ("", CORE_FAULT)
            if code in BUGS and not is_own:
                report.bugs.append(f"{name} {code.name} {text}: {[payload[:300] for payload in payloads]}")
            if number % every == 0:
                report.memory.append((number, process.memory_info().rss))

    async def channels() -> AsyncIterator[grpc.aio.Channel | None]:
        if not wire:
            yield None
            return
        async with grpc.aio.insecure_channel(f"127.0.0.1:{world.server.port}") as channel:
            yield channel

    async for channel in channels():
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_ONCE):
                tasks.create_task(asker(channel))
    gc.collect()
    return report
