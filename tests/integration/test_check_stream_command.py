"""``forcedmove check-stream`` against a server that keeps what it promises, and against one that does not."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import pytest

from forcedmove_client.cli import check_stream
from forcedmove_server.engine.frames import RenderedView, SymbolMap, ViewSpec
from forcedmove_server.rpc.subscriber import Subscriber, Taken
from tests.integration.fake_engine import FakeEngine, serving


async def check(engine: FakeEngine) -> int:
    async with serving(engine) as server:
        engine.step()
        engine.run(0.02)
        return await check_stream.check(f"127.0.0.1:{server.port}", [], 3.0, 0)


async def test_a_server_that_keeps_its_promises(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert await check(engine) == 0
    told = capsys.readouterr().out
    assert "0 differ" in told
    rows = [line.split() for line in told.splitlines() if line.startswith(("every frame", "the newest"))]
    assert len(rows) == 4
    assert {row[-1] for row in rows} == {"0"}
    assert int(rows[-1][-5]) > 0  # who pauses skips


async def test_a_server_that_skips_in_silence(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Subscriber, "_counted", lambda _, frames, skipped: Taken(frames, 0))
    assert await check(engine) == 1
    assert "were skipped and not told" in capsys.readouterr().out


async def test_a_server_whose_copies_differ(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = engine.view

    def render(symbol: str, spec: ViewSpec) -> Future[tuple[SymbolMap, RenderedView]]:
        def work() -> tuple[SymbolMap, RenderedView]:
            view = exact(symbol, spec)
            return engine._map(symbol), replace(view, values=view.values + 1)

        return engine._submit(work)

    monkeypatch.setattr(engine, "render", render)
    assert await check(engine) == 1
    assert "snapshot: " in capsys.readouterr().out
