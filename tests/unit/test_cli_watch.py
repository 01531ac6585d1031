"""``forcedmove watch`` in one process, and the pictures that it and snapshots draw."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.unit.cli_server import FakeClient, call
from tests.unit.terminal_sample import sample_frame


@pytest.mark.usefixtures("fake_server")
def test_pictures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for axis in ("", "venue", "leverage"):
        path = tmp_path / f"map{axis}.png"
        assert call(capsys, "snapshot", "BTC", "--png", str(path), *(["--by", axis] if axis else []))[0] == 0
        assert path.read_bytes()[:4] == b"\x89PNG"
    path = tmp_path / "h.png"
    status, out, err = call(capsys, "watch", "--duration", "0.3", "--every", "0.1", "--png-history", str(path))
    assert (status, err) == (0, "")
    assert "BTC  mark 97,100.0" in out
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_history_keeps_absolute_bins_and_thins_itself_out(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = pytest.importorskip("forcedmove_client.picture")
    monkeypatch.setattr(picture, "_MOST_COLUMNS", 8)
    history = picture.History()
    for seq in range(40):
        history.add(sample_frame(("side", "price"), seq=seq))
        history.add(sample_frame(("side", "price"), seq=seq))
    assert 4 <= len(history) <= 8
    edges, heat = history.grid(93_900.0, 94_200.0)
    assert edges.tolist() == [93_900.0 + 50 * k for k in range(7)]
    assert heat[2].tolist() == [40e6] * len(history)


async def test_drawn_view_takes_the_whole_screen_and_gives_it_back() -> None:
    from rich.console import Console

    from forcedmove_client.terminal.live import WatchOptions, watch

    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=120, height=36, color_system="truecolor", _environ={})
    seen: list[int] = []
    options = WatchOptions((), duration_s=0.4)
    await watch(FakeClient("h:2"), options, console, lambda frame: seen.append(frame.seq))  # type: ignore[arg-type]
    drawn = output.getvalue()
    assert seen == list(range(1, 11))
    assert drawn.count("\x1b[?1049h") == drawn.count("\x1b[?1049l") == 1
    assert drawn.endswith("\x1b[?25h\x1b[?1049l")
    assert "97,100.0" in drawn
