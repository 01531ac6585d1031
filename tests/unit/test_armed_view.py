"""Armed chains beside the map: what stands, as a panel and as text."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from forcedmove_client.events import Event, event_of
from forcedmove_client.terminal.armed import ArmedChains, armed_text
from forcedmove_client.terminal.plain import plain_text
from forcedmove_client.terminal.screen import ViewState, draw
from forcedmove_server.engine.clusters.events import EventKind
from forcedmove_server.rpc.events import event_message
from tests.unit.event_samples import OUTCOME, event
from tests.unit.terminal_sample import sample_frame


def told(seq: int, kind: EventKind = EventKind.ARMED, epoch: int = 1, **other: object) -> Event:
    """An event as a client gets it."""
    return event_of(event_message(event(seq, epoch, kind, **other)))  # type: ignore[arg-type]


def drawn(state: ViewState, height: int = 60) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=150, height=height, color_system="truecolor")
    rows = console.render_lines(draw(state, console, 0.3), console.options.update(height=height), pad=True)
    assert len(rows) == height
    return "\n".join("".join(segment.text for segment in row) for row in rows)


def test_what_stands_is_the_newest_of_each_side() -> None:
    armed = ArmedChains()
    armed.take(told(1))
    armed.take(told(2, EventKind.ESCALATED))
    armed.take(told(3, side="short"))
    assert [(e.seq, e.side) for e in armed.of("BTC")] == [(2, "long"), (3, "short")]
    assert armed.of("ETH") == []
    armed.take(told(4, EventKind.TRIGGERED))
    assert [e.type for e in armed.of("BTC")] == ["triggered", "armed"]
    armed.take(told(5, EventKind.RESOLVED, outcome=OUTCOME))
    armed.take(told(6, EventKind.DISARMED, side="short"))
    assert armed.of("BTC") == []


def test_a_restart_of_the_server_forgets_what_stood() -> None:
    armed = ArmedChains()
    armed.take(told(1))
    armed.take(told(1, epoch=2, symbol="ETH"))
    assert armed.of("BTC") == []
    assert len(armed.of("ETH")) == 1


def test_the_screen_has_a_panel_only_while_something_is_armed() -> None:
    state = ViewState(["BTC"], "BTC")
    state.take(sample_frame(), 0.0)
    assert "armed" not in drawn(state)
    state.armed.take(told(1))
    text = drawn(state)
    assert "● armed" in text
    (line,) = (line for line in text.splitlines() if "▼ armed" in line)
    for part in ("96,850", "−0.68%", "3 lv", "$63.0M"):  # the distance is that from the frame's mark
        assert part in line
    state.armed.take(told(2, EventKind.TRIGGERED))
    assert "▼ triggered" in drawn(state)
    for height in (20, 24, 30, 40):
        drawn(state, height)


@pytest.mark.parametrize("kind", [EventKind.ARMED, EventKind.TRIGGERED])
def test_plain_text_has_a_line(kind: EventKind) -> None:
    frame = sample_frame()
    one = told(1, kind, touch=((3_600.0, 0.25),))
    line = (
        f"{kind}: longs from 96,850 (−0.68%), 3 levels, $63.0M on 4 venues, ends at 95,600; touched within an hour "
        "with 25%"
    )
    assert armed_text(frame, one) == line
    assert line in plain_text(frame, armed=[one]).splitlines()
    untouched = replace(one, touch={})
    assert armed_text(frame, untouched).endswith("ends at 95,600")
