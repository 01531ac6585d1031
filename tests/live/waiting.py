"""Waiting for what is about to be true, instead of sleeping for as long as it might take."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

PATIENCE_S = 5.0


async def eventually(check: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until ``check`` is true; fails after ``patience_s``."""
    end = time.monotonic() + patience_s
    while not check():
        assert time.monotonic() < end, f"not within {patience_s:g} s: {what}"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(job: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a job that never ends by itself; what it failed with meanwhile is raised, and no task may outlive it."""
    before = asyncio.all_tasks()
    task = asyncio.create_task(job)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 2.0)
    await asyncio.sleep(0)
    left = {one for one in asyncio.all_tasks() - before if not one.done()}
    left = {one for one in left if "_handle" not in repr(one) and "RequestHandler" not in repr(one)}
    assert not left, f"tasks are left behind: {left}"
