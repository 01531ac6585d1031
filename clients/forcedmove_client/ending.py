"""How a call ended, in the server's words, also where it ended while something was written to it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import grpc

T = TypeVar("T")

#: what grpc.aio puts in place of the status of a call that has ended, when a write to it fails
CORE_FAULT = "Internal error from Core"
#: how long the server's word may come behind that, before the connection counts as lost
_LAST_WORD_S = 0.5


class Ending:
    """Watches one call from its beginning. The server's status may come before the write fails, or after."""

    def __init__(self, call: Any) -> None:
        self._told: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        details = _at_once(call.details())
        if details != CORE_FAULT and not self._told.done():
            metadata = _at_once(call.initial_metadata()), _at_once(call.trailing_metadata())
            self._told.set_result(grpc.aio.AioRpcError(_at_once(call.code()), *metadata, details))

    async def of(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """Return what the server said, where ``error`` is in place of it."""
        if error.details() != CORE_FAULT:
            return error
        try:
            return await asyncio.wait_for(asyncio.shield(self._told), _LAST_WORD_S)
        except TimeoutError:
            return error


def _at_once(answer: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine has that need not wait: a call's that is done."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waits")
