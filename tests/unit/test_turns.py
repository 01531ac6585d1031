"""Turns tell how long one who asks now would wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from forcedmove_server.rpc.turns import Turns
from tests.integration.fake_engine import eventually


def taking(work: Callable[[], object]) -> Callable[[], Awaitable[Callable[[], object]]]:
    async def take() -> Callable[[], object]:
        return work

    return take


async def test_the_expected_wait_is_that_of_all_turns_ahead_and_who_leaves_takes_no_more() -> None:
    turns, go = Turns(1, 8), threading.Event()
    try:
        assert turns.expected_wait_s == 0
        await turns.answer(taking(lambda: None))
        await eventually(lambda: not turns.running)
        turn_s = turns._turn_s
        assert 0 < turn_s < 1
        asked = [asyncio.create_task(turns.answer(taking(lambda: go.wait(10)))) for _ in range(4)]
        await eventually(lambda: turns.waiting == 3)
        assert turns.expected_wait_s == pytest.approx(3 * turn_s)
        asked[3].cancel()
        await asyncio.wait(asked[3:])
        assert turns.expected_wait_s == pytest.approx(2 * turn_s)
        go.set()
        await asyncio.gather(*asked[:3])
        await eventually(lambda: not turns.running)
        assert turns.expected_wait_s == 0
        assert turns._turn_s != turn_s
    finally:
        go.set()
        turns.close()
