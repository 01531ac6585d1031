"""A summary on the wire: nothing of it is lost, every measure is documented, and too many rows are refused."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from forcedmove.v1 import model_pb2, scorecard_pb2
from forcedmove_client.scorecard import MarketScore, Scorecard, scorecard_of
from forcedmove_server.errors import InputError, LimitError, UnknownNameError
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from forcedmove_server.rpc.figures import MEASURES, figures_of
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import where_of
from forcedmove_server.rpc.scorecard import response_of
from forcedmove_server.scorecard.scorecard import Scorecard as ServerScorecard
from forcedmove_server.scorecard.summary import Where
from tests.unit.scorecard_sample import HOUR_NS, full_summary, market_row, young_summary

PROTO = Path(__file__).parents[2] / "proto/forcedmove/v1/scorecard.proto"


def received(message: scorecard_pb2.GetScorecardResponse) -> Scorecard:
    return scorecard_of(scorecard_pb2.GetScorecardResponse.FromString(message.SerializeToString()))


def numbers(value: Any) -> Iterator[float]:
    """Every number inside dataclasses, protobuf messages and sequences."""
    if isinstance(value, Message):
        for _, item in value.ListFields():
            yield from numbers(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from numbers(getattr(value, field.name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)
    elif not isinstance(value, str) and hasattr(value, "__iter__"):
        for item in value:
            yield from numbers(item)


def sent(number: float) -> float:
    """What a number of a summary becomes: horizons are told in seconds, effective sizes rounded down."""
    if number >= HOUR_NS:
        return number / 1e9
    return float(math.floor(number)) if number > 100_000 else number


def test_no_number_of_a_summary_is_lost() -> None:
    summary = full_summary()
    card = received(response_of(summary, (), Limits()))
    told = {round(number, 9) for number in numbers(card)}
    invariants = dataclasses.replace(summary.invariants, worst_at_ns=None)
    parts = [summary.headline, summary.maps, summary.reach, summary.cascades, summary.coverage, invariants]
    made = list(numbers(parts))
    assert len(set(made)) > 500
    assert {round(sent(number), 9) for number in made} <= told
    assert card.invariants.worst_market == "binance:BTCUSDT"
    assert str(card.invariants.worst_time) == "2026-01-01T01:00:00.000000000"
    assert str(card.end_time) == "2026-04-01T00:00:00.000000000"
    assert [(some.reason, some.count) for some in card.unscored] == [("no map at the start", 3), ("price stale", 12)]
    assert card.headline.bits_from == "positions"


def test_every_measure_is_sent_documented_and_has_a_unit() -> None:
    figures = figures_of(full_summary())
    assert {figure.measure for figure in figures} == set(MEASURES)
    keys = Counter((f.map, f.measure, f.horizon_s, f.HasField("horizon_s")) for f in figures)
    assert max(keys.values()) == 1
    names = {number: name for name, number in scorecard_pb2.Unit.items()}
    comment = re.findall(r"^//   (\S+) +(?:(\w+(?: \w+)?)(?:  |$))", PROTO.read_text(), re.MULTILINE)
    documented = {}
    for measure, unit in comment:
        kinds = ("positions", "liquidations", "sampled") if measure.startswith("X.") else ("",)
        for kind in kinds:
            documented[measure.replace("X.", f"{kind}.")] = unit
    assert documented == {
        measure: names[unit].removeprefix("UNIT_").replace("_", " ").lower().replace("usd", "USD")
        for measure, unit in MEASURES.items()
    }


def test_estimates_keep_their_intervals_levels_and_reasons() -> None:
    card = received(response_of(full_summary(), (), Limits()))
    summary = full_summary()
    assert (card.headline.map, card.headline.baseline, card.headline.horizon_s) == ("ours", "naive", 3600.0)
    for found, made in (
        (card.headline.bits, summary.headline.bits),
        (card.headline.gain, summary.headline.gain),
        (card.figure("released.rank", "naive", 14_400.0), summary.maps[4].released.rank),
    ):
        assert found is not None
        assert made is not None
        assert (found.value, found.low, found.high, found.n, found.blocks) == (
            made.value, made.low, made.high, made.n, made.blocks,
        )  # fmt: skip
        assert (found.level, found.reason) == (0.95, "")
    share = card.figure("positions.capture_share", "ours", 3600.0)
    assert share is not None
    assert (share.low is not None, share.high, share.level) == (True, None, 0.95)
    chance = card.figure("positions.capture_uniform", "ours", 3600.0)
    assert chance is not None
    assert chance.level is None

    young = received(response_of(young_summary(), (), Limits()))
    assert young.headline.bits_from == "liquidations"
    assert (young.headline.released.value, young.headline.released.n) == (None, 12)
    assert young.headline.released.reason == "12 moves, 50 needed"
    assert young.figure("released.rank_gain", "naive", 3600.0) is None  # the baseline has none over itself
    assert young.figure("positions.usd", "ours", 3600.0) is None  # not observed: not sent
    brier = young.figure("reach.brier", "", 3600.0)
    assert brier is not None
    assert (brier.value, brier.n) == (None, 0)
    assert brier.reason.startswith("no forecast has come due")


def test_a_level_of_its_own_is_told() -> None:
    summary = full_summary()
    summary = dataclasses.replace(summary, rules=dataclasses.replace(summary.rules, level=0.8))
    card = received(response_of(summary, (), Limits()))
    assert card.headline.bits.level == card.rules.level == 0.8
    share = card.figure("positions.capture_share", "ours", 3600.0)
    assert share is not None
    assert share.level == 0.95  # Wilson's bound does not follow the rules


def test_every_rule_is_told() -> None:
    summary = full_summary()
    rules = dataclasses.asdict(summary.rules)
    seconds = dataclasses.asdict(received(response_of(summary, (), Limits())).rules)
    assert seconds.pop("horizons_s") == tuple(horizon / 1e9 for horizon in rules.pop("horizons_ns"))
    assert seconds == {
        f"{name[:-3]}_s" if name.endswith("_ns") else name: value / 1e9 if name.endswith("_ns") else value
        for name, value in rules.items()
    }


def test_a_scorecard_that_nothing_was_fed_into() -> None:
    card = received(response_of(ServerScorecard().summary(), (), Limits()))
    assert (card.begin_time, card.end_time, card.venue, card.symbol, card.side, card.rows) == (None,) * 5 + ((),)
    assert (card.headline.bits.value, card.headline.released.value, card.headline.released.n) == (None, None, 0)
    assert card.headline.bits.reason
    assert (card.invariants.checks, card.invariants.worst_time) == (0, None)
    assert {f.horizon_s for f in card.figures if f.map} == {300.0, 3600.0, 14_400.0, 86_400.0}
    assert not any(f.estimate.value for f in card.figures)


ROWS = [
    market_row(venue, symbol, side, map_name)
    for venue in ("binance", "okx")
    for symbol in ("BTC", "ETH")
    for side in (0, 1)
    for map_name in ("ours", "naive")
]


@pytest.mark.parametrize(
    ("where", "count"),
    [
        (Where(), 16),
        (Where("okx"), 8),
        (Where("okx", "ETH"), 4),
        (Where(symbol="BTC", side=0), 4),
        (Where("okx", "ETH", 1), 2),
    ],
)
def test_rows_are_those_of_the_part(where: Where, count: int) -> None:
    card = received(response_of(full_summary(where), ROWS, Limits()))
    assert len(card.rows) == count
    assert (card.venue, card.symbol) == (where.venue, where.symbol)
    assert card.side == (None if where.side is None else ("long", "short")[where.side])
    for row in card.rows:
        assert where.venue in (None, row.venue)
        assert where.symbol in (None, row.symbol)
        assert card.side in (None, row.side)


def test_a_row_keeps_what_was_not_observed() -> None:
    (row,) = received(response_of(full_summary(), [market_row(side=1)], Limits())).rows
    assert row == MarketScore(
        "binance", "BTC", "short", 3600.0, "ours", 31, 0.012, 0.0034, 5, 0.25, 7, -0.125, None, 0.875
    )


def test_more_rows_than_an_answer_holds_are_refused() -> None:
    alone = response_of(full_summary(), (), Limits()).ByteSize()
    whole = response_of(full_summary(), ROWS, Limits()).ByteSize()
    fits = response_of(full_summary(), ROWS, Limits(max_answer_bytes=whole + 3 * len(ROWS)))
    assert len(fits.rows) == 16
    with pytest.raises(LimitError, match=r"more than \d+ rows do not fit .* name a venue, a symbol or a side"):
        response_of(full_summary(), ROWS, Limits(max_answer_bytes=whole - 1))
    assert response_of(full_summary(), (), Limits(max_answer_bytes=alone)).ByteSize() == alone


REGISTRY = InstrumentRegistry(
    [
        Instrument("okx", "BTC-USDT-SWAP", "BTC", "USDT"),
        Instrument("binance", "BTCUSDT", "BTC", "USDT"),
        Instrument("binance", "ETHUSDT", "ETH", "USDT"),
    ]
)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ({}, Where()),
        ({"venue": " Binance"}, Where("binance")),
        ({"symbol": "btc/usdt:usdt"}, Where(symbol="BTC")),
        ({"symbol": "binance:ETHUSDT", "side": model_pb2.SIDE_SHORT}, Where(symbol="ETH", side=1)),
        ({"venue": "okx", "symbol": "BTC", "side": model_pb2.SIDE_LONG}, Where("okx", "BTC", 0)),
    ],
)
def test_names_are_made_canonical(asked: dict[str, Any], meant: Where) -> None:
    assert where_of(scorecard_pb2.GetScorecardRequest(**asked), REGISTRY) == meant


@pytest.mark.parametrize(
    ("asked", "error", "told"),
    [
        ({"venue": "mtgox"}, UnknownNameError, "venue 'mtgox'; known: binance, okx"),
        ({"symbol": "DOGE"}, UnknownNameError, "symbol 'DOGE'; known: BTC, ETH"),
        ({"venue": "okx", "symbol": "ETH"}, UnknownNameError, "venue 'okx'; known: binance$"),
        ({"symbol": " "}, InputError, "symbol = ' ': must not be empty"),
        ({"side": 9}, InputError, r"side = 9: must be one of long \(1\), short \(2\)"),
    ],
)
def test_names_that_are_not_there(asked: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        where_of(scorecard_pb2.GetScorecardRequest(**asked), REGISTRY)
