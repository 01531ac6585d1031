"""Turns tell how long one who asks now would wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from forcedmove_server.rpc.turns import Turns


def taking(work: Callable[[], None]) -> Callable[[], Awaitable[Callable[[], None]]]:
    async def take() -> Callable[[], None]:
        return work

    return take


async def test_the_expected_wait_is_that_of_all_turns_ahead_and_who_leaves_takes_no_more() -> None:
    turns, go = Turns(1, 8), threading.Event()
    try:
        assert turns.expected_wait_s == 0
        await turns.answer(taking(lambda: None))
        await asyncio.sleep(0)
        turn_s = turns._turn_s
        assert 0 < turn_s < 1
        asked = [asyncio.create_task(turns.answer(taking(lambda: None if go.wait(10) else None))) for _ in range(4)]
        while turns.waiting < 3:
            await asyncio.sleep(0)
        assert turns.expected_wait_s == pytest.approx(4 * turn_s)  # the one that runs counts whole
        asked[3].cancel()
        await asyncio.wait(asked[3:])
        assert turns.expected_wait_s == pytest.approx(3 * turn_s)
        go.set()
        await asyncio.gather(*asked[:3])
        while turns.running:
            await asyncio.sleep(0)
        assert turns.expected_wait_s == 0
        assert turns._turn_s != turn_s
    finally:
        go.set()
        turns.close()
