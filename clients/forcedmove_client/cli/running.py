"""One way from a command to asyncio: connected, cancelled by signals, cleaned up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rich.console import Console

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.failures import Terminated

Result = TypeVar("Result")

_QUIET_S = 1.0
#: a full map of many symbols takes a busy server a while
_TIMEOUT_S = 30.0


def with_client(target: str, work: Callable[[AsyncClient], Awaitable[Result]]) -> Result:
    """Run ``work`` with a client of ``target``. Raises what it raises; Terminated when a signal ended it."""

    async def connected() -> Result:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        received: list[int] = []

        def end(number: int) -> None:
            received.append(number)
            task.cancel()

        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        for number in before:
            loop.add_signal_handler(number, end, number)
        try:
            async with AsyncClient(target, timeout_s=_TIMEOUT_S) as client:
                return await work(client)
        except asyncio.CancelledError:
            if received:
                raise Terminated(128 + received[0]) from None
            raise
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    return asyncio.run(connected())


async def with_spinner(work: Awaitable[Result], doing: str) -> Result:
    """Await ``work``; a terminal sees what is being waited for once that takes over a second."""
    console = Console(stderr=True)
    waiting = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait([waiting], timeout=_QUIET_S)
        if not done and console.is_terminal:
            with console.status(f"{doing} …"):
                return await waiting
        return await waiting
    finally:
        waiting.cancel()
