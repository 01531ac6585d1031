"""What a client sees of a journal: what is acknowledged outlasts a crash, and a full disk says so everywhere."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from forcedmove_client import AsyncClient, Health, Position, PositionKey, UnavailableError
from forcedmove_server.app import tell_writable
from forcedmove_server.engine.engine import Engine
from forcedmove_server.engine.recovery import journal as journal_module
from forcedmove_server.engine.recovery import log
from forcedmove_server.engine.recovery.resume import resume
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.rpc import positions
from forcedmove_server.rpc.server import serve
from forcedmove_server.rpc.server_status import EngineFigures
from tests.integration.fake_engine import eventually
from tests.recovery.script import config_at, copied
from tests.unit.market_feed import minute, two_venue_registry

TOLD = [Position(PositionKey("binance", "BTCUSDT", "long", "a"), quantity=7.0, liquidation_price=80_000.0)]


@asynccontextmanager
async def server(folder: Path, minutes: int) -> AsyncIterator[tuple[Engine, AsyncClient]]:
    """A server that keeps what it knows in ``folder``; it is fed only where it begins anew."""
    config = config_at(folder)
    config = replace(config, engine=replace(config.engine, tick_interval_ms=20))
    engine = Engine(config, two_venue_registry() if minutes else InstrumentRegistry())
    journal, _ = resume(config, engine.core, engine.fail)
    engine.keep(journal)
    engine.start()
    for number in range(minutes):
        engine.put(minute(number), "feed")
    await eventually(lambda: engine._latest is not None and "BTC" in engine._latest.maps, 60)
    running = await serve(engine, port=0, figures=EngineFigures(journal=engine.journal_status))
    writable = asyncio.create_task(tell_writable(engine, running))
    try:
        async with AsyncClient(f"127.0.0.1:{running.port}") as client:
            yield engine, client
    finally:
        writable.cancel()
        await running.drain(grace_s=0.2)
        await asyncio.to_thread(engine.stop)
    assert engine.failure is None


async def test_positions_sequences_and_maps_outlast_a_crash(tmp_path: Path) -> None:
    async with server(tmp_path / "kept", minutes=3) as (engine, client):
        answer = await client.set_positions(TOLD, producer="desk", sequence=5)
        assert answer.applied
        shown = (await client.snapshot("BTC"))["BTC"]
        engine._journal.settle()  # type: ignore[union-attr]
        crash = await asyncio.to_thread(copied, tmp_path / "kept", tmp_path / "crash")
    async with server(crash, minutes=0) as (engine, client):
        held = await client.positions("desk")
        assert (held.sequence, [one.position.quantity for one in held.positions]) == (5, [7.0])
        again = (await client.snapshot("BTC"))["BTC"]
        assert again.grid.tobytes() == shown.grid.tobytes()
        assert (again.seq, again.markets) == (shown.seq, shown.markets)
        assert again.epoch != shown.epoch
        repeated = await client.set_positions(TOLD, producer="desk", sequence=5)
        assert (repeated.applied, repeated.live) == (False, 1)


async def test_a_full_disk_is_told_everywhere_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def is_health(client: AsyncClient, wanted: Health) -> None:
        async with asyncio.timeout(20):
            while await client.health(positions.SERVICE) is not wanted:  # noqa: ASYNC110  a state of the server
                await asyncio.sleep(0.01)

    monkeypatch.setattr(journal_module, "_RETRY_S", 0.05)
    monkeypatch.setattr("forcedmove_server.app._WRITABLE_LOOK_S", 0.01)
    async with server(tmp_path / "kept", minutes=3) as (_, client):
        await is_health(client, Health.SERVING)
        status = (await client.server_status()).journal
        assert status is not None
        assert status.problem == ""
        with monkeypatch.context() as patched:
            patched.setattr(log.os, "pwrite", full)
            patched.setattr(log, "create", full)
            with pytest.raises(UnavailableError, match="send it again"):
                await client.set_positions(TOLD, producer="desk", sequence=1)
            status = (await client.server_status()).journal
            assert status is not None
            assert "No space left" in status.problem
            assert status.failures > 0
            await is_health(client, Health.NOT_SERVING)
            assert await client.health() is Health.SERVING
            assert (await client.snapshot("BTC"))["BTC"].grid.any()
        await is_health(client, Health.SERVING)
        answer = await client.set_positions(TOLD, producer="desk", sequence=2)
        assert (answer.applied, answer.live) == (True, 1)
