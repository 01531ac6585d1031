"""A real process that is killed: a few times here; ``make kill`` does it two hundred times."""

from __future__ import annotations

from pathlib import Path

from tests.recovery.kill import run


async def test_nothing_acknowledged_is_lost_and_nothing_is_done_twice(tmp_path: Path) -> None:
    result = await run(tmp_path, kills=5, seed=7)
    assert result.kills == 5
    assert result.is_good, result.text() + "\n" + (tmp_path / "server.log").read_text()[-5_000:]
