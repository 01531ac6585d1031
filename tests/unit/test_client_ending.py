"""How a call ended is what the server said, whenever that comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from forcedmove_client import ending
from forcedmove_client.ending import CORE_FAULT, Ending

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED, "slow consumer"
FAULT = grpc.StatusCode.INTERNAL, CORE_FAULT


class Call:
    """A call whose status is replaced, as grpc.aio does it: callbacks run with every one."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        self._status = code, details
        for callback in self._callbacks:
            callback(self)

    async def code(self) -> grpc.StatusCode:
        return self._status[0]

    async def details(self) -> str:
        return self._status[1]

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(("told", self._status[1]))


def error_of(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


@pytest.mark.parametrize("order", [(EXHAUSTED, FAULT), (FAULT, EXHAUSTED), (EXHAUSTED, FAULT, FAULT)])
async def test_the_server_s_word_is_found_before_or_behind_a_fault(order: Any) -> None:
    call = Call()
    watched = Ending(call)
    call.end(*order[0])
    found = asyncio.create_task(watched.of(error_of(*FAULT)))
    await asyncio.sleep(0)
    for status in order[1:]:
        call.end(*status)
    error = await found
    assert (error.code(), error.details()) == EXHAUSTED
    assert dict(error.trailing_metadata()) == {"told": "slow consumer"}


async def test_other_errors_are_as_they_are_and_a_server_without_a_word_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call = Call()
    watched = Ending(call)
    other, fault = error_of(grpc.StatusCode.UNAVAILABLE, "gone"), error_of(*FAULT)
    assert await watched.of(other) is other
    monkeypatch.setattr(ending, "_LAST_WORD_S", 0.01)
    call.end(*FAULT)
    assert await watched.of(fault) is fault
