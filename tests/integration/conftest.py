"""A scripted engine, a real server in front of it, and a client of that."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from forcedmove_client import AsyncClient
from forcedmove_server.rpc.server import RpcServer
from tests.integration.fake_engine import FakeEngine, serving


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def server(engine: FakeEngine) -> AsyncIterator[RpcServer]:
    async with serving(engine) as server:
        engine.step()
        yield server


@pytest.fixture
async def client(server: RpcServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(f"127.0.0.1:{server.port}") as client:
        yield client
