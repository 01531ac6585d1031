"""Armed at 14:31, the cascade at 14:32: a scripted market through a real engine and a real server to a real client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import numpy as np
import pytest

from examples import armed_cascade as example
from forcedmove_server.market.events import EventBatch

FOUR = {"binance", "bybit", "okx", "deribit"}


def clock(time: np.datetime64) -> str:
    return str(np.datetime_as_string(time, "ms"))[11:]


async def test_it_is_armed_a_minute_before_the_cascade_and_the_scorecard_says_so() -> None:
    events, card = await example.play()
    assert [(event.type, clock(event.time)) for event in events if event.type in ("armed", "triggered")] == [
        ("armed", "14:31:00.000"),
        ("triggered", "14:32:00.000"),
    ]
    armed, resolved = events[0], events[-1]
    assert {event.arm for event in events} == {armed.seq}
    assert {event.cluster_id for event in events} == {armed.cluster_id}
    assert (armed.price_low, armed.price_high) == (96_800.0, 96_850.0)
    assert set(armed.venues) == set(armed.chain_venues) == FOUR
    assert armed.venues == dict.fromkeys(armed.venues, 6e6)
    assert sum(armed.leverages.values()) == pytest.approx(24e6, rel=1e-6)
    assert armed.chain.depth == 6
    assert [level.notional_usd for level in armed.chain.levels] == list(example.LEVELS.values())
    assert armed.chain.total_usd == 162e6
    assert armed.chain.terminal_price == 94_800.0
    assert armed.total_p95_usd is not None
    assert armed.total_p95_usd > armed.chain.total_usd
    assert armed.distance == pytest.approx(96_850 / 98_800 - 1)
    assert armed.mean_age_s == pytest.approx(180, abs=600)  # positions were told at 14:28; ages count in ten minutes
    assert sorted(armed.touch) == [300.0, 3_600.0, 86_400.0]
    assert 0 < armed.touch[300.0] < armed.touch[3_600.0] < armed.touch[86_400.0] < 1
    outcome = resolved.outcome
    assert resolved.type == "resolved"
    assert outcome is not None
    assert outcome.cascade
    assert clock(outcome.began_at) == "14:32:00.000"
    assert outcome.lead_time_s == 60.0
    assert (outcome.floor_price, clock(outcome.floor_at)) == (94_800.0, "14:32:05.000")
    assert outcome.levels == 6
    assert outcome.total_usd == outcome.liquidated_usd == pytest.approx(162e6)
    figures = {figure.measure: figure.estimate.value for figure in card.figures}
    assert figures["cascades.lead_time"] == 60.0
    assert (figures["cascades.hits"], figures["cascades.missed"]) == (1, 0)
    assert figures["cascades.false_alarms_per_day"] == 0
    assert figures["cascades.depth_error"] == figures["cascades.floor_error"] == 0


async def test_a_fall_that_began_before_the_chain_was_armed_did_not_follow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark falls by 1.7 % to where the chain is armed ten seconds later, and on to its levels within the minute."""
    script = example.script

    def falling() -> Iterator[tuple[datetime, EventBatch]]:
        for at, events in script():
            if at < example.NEAR:
                events.mark_prices["price"] = 100_500.0
            yield at, events

    monkeypatch.setattr(example, "CASCADE", example.ARMED + timedelta(seconds=20))
    monkeypatch.setattr(example, "script", falling)
    events, card = await example.play()
    armed, resolved = (next(event for event in events if event.type == kind) for kind in ("armed", "resolved"))
    outcome = resolved.outcome
    assert outcome is not None
    assert (clock(armed.time), clock(outcome.began_at)) == ("14:31:00.000", "14:30:50.000")
    assert (outcome.cascade, outcome.lead_time_s) == (False, None)
    assert resolved.reason == "the cascade was already under way"
    assert outcome.total_usd == pytest.approx(162e6)
    figures = {figure.measure: figure.estimate.value for figure in card.figures}
    assert (figures["cascades.hits"], figures["cascades.missed"]) == (0, 1)
