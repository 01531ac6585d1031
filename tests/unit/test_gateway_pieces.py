"""Pieces of the way from the engine to a gateway: margins, backlogs, errors and totals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from forcedmove_server import errors
from forcedmove_server.engine.frames import MarginInfo, SymbolMap, Tick, TierMultiplier, ViewSpec
from forcedmove_server.engine.stages import StageHistogram
from forcedmove_server.errors import (
    ForcedMoveError,
    InputError,
    LimitError,
    NotReadyError,
    QuotaError,
    ServerFailedError,
    UnfitMapError,
    UnknownNameError,
)
from forcedmove_server.gateway import wire
from forcedmove_server.gateway.feed import BACKLOG, _Follower
from forcedmove_server.gateway.totals import GatewayMetrics, GatewayTotals
from forcedmove_server.gateway.wire import Report
from tests.integration.fake_engine import FakeEngine


def bare_map(seq: int, margin: MarginInfo | None = None) -> SymbolMap:
    engine = FakeEngine()
    engine.step()
    newest = engine.latest().maps["BTC"]
    engine.close()
    markets = newest.markets if margin is None else (replace(newest.markets[0], margin=margin),)
    return replace(newest, seq=seq, markets=markets)


def test_margins_travel_when_they_are_new_and_once() -> None:
    follower, multiplier = _Follower(), TierMultiplier(10.0, (0.9, 1.1), (0.1, 0.2), (0.01, 0.02))
    first = replace(bare_map(1).markets[0].margin, multipliers=(multiplier,))
    assert follower.new_margins([bare_map(1, first)]) == {"binance:BTCUSDT": first}
    assert follower.new_margins([bare_map(2, first)]) == {}
    newer = replace(first, tiers="another table")
    newest = bare_map(3, newer)
    margins = follower.new_margins([newest])
    assert margins == {"binance:BTCUSDT": newer}
    message = wire.decode_map(wire.encode(wire.map_message(newest)))
    assert wire.map_of(message, margins) == newest


def test_a_backlog_keeps_ticks_whole_up_to_its_bound() -> None:
    follower = _Follower()
    view: Any = object()
    ticks = [
        Tick(1, number, 0, 0, {"BTC": bare}, frozenset({f"S{number}"}), {(f"S{number}", ViewSpec()): view})
        for bare in [bare_map(1)]
        for number in range(BACKLOG + 1)
    ]
    assert [follower.add(tick) for tick in ticks[:BACKLOG]] == [0] * BACKLOG
    assert list(follower.ticks) == ticks[:BACKLOG]
    assert follower.add(ticks[BACKLOG]) == BACKLOG
    (merged,) = follower.ticks
    assert merged.number == BACKLOG
    assert merged.changed == {f"S{number}" for number in range(BACKLOG + 1)}
    assert len(merged.views) == BACKLOG + 1


@pytest.mark.parametrize(
    "error",
    [
        InputError("view.leverage_min", float("inf"), "selects nothing"),
        UnknownNameError("venue", "mtgox", ["binance"], "look elsewhere"),
        NotReadyError("no map yet"),
        UnfitMapError("BTC", "notional", 1e300, "too much"),
        QuotaError("too many", "QUOTA_STREAMS", 3.0),
        LimitError("too large"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive_as_they_were(error: ForcedMoveError) -> None:
    answer = wire.decode_rendered(wire.encode(wire.Rendered(wire.refusal_of(error))))
    assert answer.refusal is not None
    found = wire.error_of(answer.refusal)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


@pytest.mark.parametrize("kind", ["SystemExit", "Any", "annotations", "nothing"])
def test_only_errors_of_the_tree_are_made(kind: str) -> None:
    found = wire.error_of(wire.Refusal(kind, "words", {}))
    assert type(found) is ServerFailedError
    assert errors.ForcedMoveError in type(found).__mro__


def test_totals_never_fall_when_a_gateway_ends() -> None:
    totals = GatewayTotals()
    histogram = StageHistogram("encode", (1, *[0] * 14), 0.5, 0.5)
    first, second = totals.joined(1), totals.joined(2)
    for place in (first, second):
        totals.report(place, Report(3, 2, 5, 10, 1_000, 20, 1, 1 << 20, (histogram,)))
    assert (totals.streams, totals.subscribers, totals.views) == (6, 4, 10)
    assert totals.traffic.sent_bytes == 2_000
    again = totals.joined(1)  # before the end of the one before is noticed
    totals.left(first)
    assert (totals.streams, totals.traffic.sent_bytes, totals.traffic.conflated) == (3, 2_000, 2)
    totals.report(again, Report(1, 1, 1, 1, 5, 1, 0, 1 << 20, (histogram,)))
    assert totals.traffic.sent_bytes == 2_005
    (encode,) = totals.encoding_times.read()
    assert (encode.count, encode.sum_s) == (3, 1.5)
    assert totals.publish_times.read() == ()
    assert totals.by_gateway()[1].sent_bytes == 1_005
    found = {
        (sample.name, sample.labels.get("gateway")): sample.value
        for family in GatewayMetrics(totals).collect()
        for sample in family.samples
    }
    assert found["forcedmove_gateway_streams", "1"] == 1
    assert found["forcedmove_gateway_starts_total", "1"] == 2
    assert found["forcedmove_gateway_sent_bytes_total", "2"] == 1_000
