"""``forcedmove serve --source live`` as a whole: a venue's wire at one end, a client's map at the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from forcedmove_client import AsyncClient, UnavailableError, UnknownNameError
from tests.emulator.faults import Fault
from tests.live.feeding import traded_market
from tests.live.waiting import eventually

FORCEDMOVE = [sys.executable, "-m", "forcedmove_client.cli"]
CHANNELS = {"trades", "mark_prices", "open_interest", "liquidations", "depth"}


async def ran(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *FORCEDMOVE, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30.0)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_a_map_grows_out_of_a_live_feed_and_the_feed_s_health_is_told(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    async with traded_market() as market:
        config = market.config(tmp_path, '[engine]\nbackend = "reference"\n')
        command = ["serve", "--source", "live", "--config", str(config), "--port", "0", "--ready-file", str(ready)]
        process = await asyncio.create_subprocess_exec(*FORCEDMOVE, *command, stderr=asyncio.subprocess.PIPE)
        try:
            await eventually(lambda: ready.exists() or process.returncode is not None, "the server is ready", 60.0)
            assert process.returncode is None, (await process.communicate())[1]
            target = ready.read_text()
            async with AsyncClient(target) as client:
                frame = await _map_of(client, "BTC")
                assert frame.grid.sum() > 0
                assert frame.mark_price == pytest.approx(60_000.0, rel=0.01)
                feeds = await _feeds_when(client, lambda feed: feed.live == feed.wanted == 4)
                assert feeds.keys() == CHANNELS
                assert feeds["trades"].messages > 0
                assert feeds["trades"].lag_ms < 1_000.0
                assert feeds["trades"].gaps == 0
                market.server.befall("bybit", Fault.DROP)
                feeds = await _feeds_when(client, lambda feed: feed.reconnects and feed.live == feed.wanted)
                assert all(feed.gaps >= 4 for feed in feeds.values())
                assert "ConnectionLostError" in feeds["trades"].trouble
            status, out, err = await ran("venues", "--feeds", "--server", target)
            assert (status, err) == (0, "")
            assert "bybit" in out
            assert "open interest" in out
            status, out, _ = await ran("venues", "--json", "--server", target)
            (venue,) = json.loads(out)
            assert {feed["channel"] for feed in venue["feeds"]} == CHANNELS
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            _, errors = await asyncio.wait_for(process.communicate(), 20.0)
            assert time.monotonic() - began < 4.0
            assert process.returncode == 0
            assert b"Traceback" not in errors
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _map_of(client: AsyncClient, symbol: str) -> Any:
    """The first map of a symbol that holds positions."""
    end = time.monotonic() + 20.0
    while True:
        with contextlib.suppress(UnavailableError, UnknownNameError):
            frame = (await client.snapshot([symbol], price_range=0.0))[symbol]
            if frame.grid.any():
                return frame
        assert time.monotonic() < end, f"no map of {symbol}"
        await asyncio.sleep(0.05)


async def _feeds_when(client: AsyncClient, check: Any) -> dict[str, Any]:
    """The feeds of the only venue once ``check`` is true of all of them."""
    end = time.monotonic() + 10.0
    while True:
        (venue,) = [one for one in await client.venues() if one.venue == "bybit"]
        feeds = {feed.channel: feed for feed in venue.feeds}
        if feeds and all(map(check, feeds.values())):
            return feeds
        assert time.monotonic() < end, feeds
        await asyncio.sleep(0.05)
