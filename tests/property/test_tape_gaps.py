"""Trades that are missing: their time counts once, is turned over at the rate it should, and nothing else changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.arrays import Updates
from forcedmove_kernels.backend import select_backend
from forcedmove_server.config import ModelConfig
from forcedmove_server.inference.coverage import TapeCoverage
from forcedmove_server.inference.lifecycle import PositionInference
from forcedmove_server.inference.openings import with_path
from forcedmove_server.inference.tape_rate import TapeRate
from forcedmove_server.market.events import (
    FEED_STATE,
    MARK_PRICE,
    OPEN_INTEREST,
    STREAM_GAP,
    TRADE,
    Channel,
    EventBatch,
    Records,
)
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry

S = 10**9
START = 1_700_000_000 * S
DAY = 86_400
#: one side's open interest, BTC, and what is traded every second
OI, TRADED = 1_000.0, 0.05
TAPE_PER_OI_DAY = TRADED * DAY / OI
ASSUMED = ModelConfig(tape_memory_hours=0)


def taped(
    seconds: int, *, without: tuple[tuple[float, float], ...] = (), every: int = 1, oi_every: int = 30
) -> EventBatch:
    """One market that stands still: a trade ``every`` seconds but in the spans ``without``, open interest unchanged."""
    at = np.arange(0, seconds, every)
    missing = np.zeros(len(at), bool)
    for begin, end in without:
        missing |= (at > begin) & (at < end)
    trades = [(START + t * S, 0, 100_000.0, TRADED * every, 0, 1) for t in at[~missing].tolist()]
    interest = [(START + t * S, 0, OI, 0, 0) for t in range(0, seconds + 1, oi_every)]
    return EventBatch(
        until_ns=START + (seconds + 1) * S,
        trades=np.array(trades, TRADE),
        mark_prices=np.array([(START + t * S, 0, 100_000.0, 0, 0) for t in range(seconds)], MARK_PRICE),
        open_interest=np.array(interest, OPEN_INTEREST),
    )


def gaps(*rows: tuple[float, float], channel: Channel = Channel.TRADES) -> Records:
    """Spans that are told when they end, in seconds."""
    told = sorted((START + round(end * S), START + round(begin * S), 0, int(channel)) for begin, end in rows)
    return np.array(told, STREAM_GAP)


def states(*rows: tuple[float, int]) -> Records:
    return np.array([(START + round(t * S), 0, int(Channel.TRADES), live, 0) for t, live in rows], FEED_STATE)


def cut(batch: EventBatch, cuts: list[float]) -> Iterator[EventBatch]:
    edges = [START, *sorted({START + round(c * S) for c in cuts}), batch.until_ns]
    for begin, end in pairwise(edges):
        kinds = {k: r[(r["time_ns"] >= begin) & (r["time_ns"] < end)] for k, r in batch.by_kind().items()}
        yield EventBatch(until_ns=end, **kinds)


def updates(batches: Iterator[EventBatch], model: ModelConfig) -> list[Updates]:
    registry = InstrumentRegistry([Instrument("binance", "BTCUSDT", "BTC", "USDT", quantity_step=1e-3)])
    inference = PositionInference(registry, model, select_backend("reference")[0], 2)
    return [update for batch in batches for update in inference.step(batch)]


def opened(found: list[Updates]) -> list[int]:
    """Lots of 0.001 BTC opened by each observation after the first."""
    return [int(update.open_lots.sum()) for update in found[1:]]


def same(one: list[Updates], other: list[Updates]) -> bool:
    return len(one) == len(other) and all(
        np.array_equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def missing_s(batch: EventBatch, cuts: list[float] = [], chance: float = 1e-6) -> list[float]:  # noqa: B006
    """Missing seconds that each observation tells of a market which traded before."""
    coverage, told, first = TapeCoverage(2, chance), [], True
    for part in cut(batch, cuts):
        anew = np.zeros(len(part.open_interest), bool)
        anew[:1] = first
        first &= not len(anew)
        told += (coverage.take(part, np.ones(len(anew), bool), anew) / S).tolist()
    return told


SPANS = st.lists(st.tuples(st.integers(1, 1150), st.integers(1, 200)), min_size=1, max_size=5)
CUTS = st.lists(st.integers(1, 1199).map(lambda t: t + 0.5), max_size=6)


@settings(max_examples=40)
@given(SPANS, CUTS)
def test_missing_time_is_the_union_of_what_is_told(spans: list[tuple[int, int]], cuts: list[float]) -> None:
    told = [(begin, min(begin + length, 1199)) for begin, length in spans]
    batch = dataclasses.replace(taped(1200), gaps=gaps(*told))
    seconds = set().union(*(range(begin, end) for begin, end in told))
    assert sum(missing_s(batch, cuts)) == len(seconds)
    assert missing_s(batch, cuts) == missing_s(batch)


@settings(max_examples=30)
@given(st.integers(600, 2390), st.integers(62, 2 * DAY), CUTS)
def test_a_trade_of_the_future_invents_no_missing_time(at: int, ahead: int, cuts: list[float]) -> None:
    """It is stamped ``ahead`` seconds past the batch it comes in, which ends at ``at``."""
    batch, coverage, told = taped(2400), TapeCoverage(2, 1e-6), []
    for k, part in enumerate(cut(batch, [*cuts, at + 0.5])):
        if part.until_ns == START + round((at + 0.5) * S):
            wrong = part.trades[-1:].copy()
            wrong["time_ns"] = part.mark_prices["time_ns"][-1] + ahead * S
            part = dataclasses.replace(part, trades=np.concatenate((part.trades, wrong)))
        anew = np.zeros(len(part.open_interest), bool)
        anew[:1] = k == 0
        told += coverage.take(part, np.ones(len(anew), bool), anew).tolist()
    assert not any(told)
    assert coverage.lost([0], START + 2400 * S) == []
    assert coverage.lost([0], START + 3600 * S) == [0], "a silence is still seen"


@settings(max_examples=25)
@given(st.integers(61, 900), st.integers(61, 290), st.integers(5, 60), st.floats(0, 500), st.floats(0, 0.5))
def test_a_gap_turns_over_the_assumed_volume_of_its_length(
    begin: int, length: int, oi_every: int, assumed: float, turnover: float
) -> None:
    model = dataclasses.replace(ASSUMED, assumed_volume_per_oi_day=assumed, turnover=turnover)
    whole = taped(1260, oi_every=oi_every)
    broken = dataclasses.replace(
        taped(1260, without=((begin - 1, begin + length),), oi_every=oi_every), gaps=gaps((begin - 1, begin + length))
    )
    without_turnover = opened(updates(iter([broken]), dataclasses.replace(model, assumed_volume_per_oi_day=0)))
    more = np.subtract(opened(updates(iter([broken]), model)), without_turnover)
    # every observation floors its lots once
    expected = turnover * assumed * OI * 1000 * (length + 1) / DAY
    assert more.min() >= 0
    assert abs(more.sum() - expected) <= len(more)
    assert sum(opened(updates(iter([whole]), model))) >= sum(without_turnover)


@settings(max_examples=15)
@given(SPANS, CUTS, st.sampled_from([0.0, 2.0]))
def test_batch_boundaries_do_not_matter_to_what_is_missing(
    spans: list[tuple[int, int]], cuts: list[float], memory: float
) -> None:
    silent = tuple((float(begin), float(begin + length)) for begin, length in spans)
    batch = dataclasses.replace(
        taped(1200, without=silent),
        gaps=gaps(*((b, min(e, 1199)) for b, e in silent[:2])),
        feed_states=states((400, 0), (520, 1)) if len(spans) % 2 else states(),
    )
    model = dataclasses.replace(ASSUMED, tape_memory_hours=memory)
    assert same(updates(cut(batch, cuts), model), updates(iter([batch]), model))


@pytest.mark.parametrize("every", [1, 20])
@pytest.mark.parametrize("told", [True, False])
def test_a_whole_tape_is_all_there_is(every: int, told: bool) -> None:
    """Neither what is assumed nor what is improbable changes a lot where nothing is missing."""
    batch = taped(7200, every=every)
    if told:
        batch = dataclasses.replace(batch, feed_states=states((0, 1)), gaps=gaps((30, 900), channel=Channel.DEPTH))
    usual = updates(iter([batch]), ModelConfig())
    assert sum(opened(usual)) == pytest.approx(0.5 * TAPE_PER_OI_DAY * OI * 1000 * 7200 / DAY, rel=0.01)
    for other in (
        dataclasses.replace(ASSUMED, assumed_volume_per_oi_day=700),
        ModelConfig(assumed_volume_per_oi_day=0),
    ):
        assert same(usual, updates(iter([batch]), other))


def test_time_before_a_market_ever_trades_is_counted_once() -> None:
    batch = dataclasses.replace(
        taped(1200, without=((-1, 600),)), gaps=gaps((0, 700)), feed_states=states((0, 0), (700, 1))
    )
    found = opened(updates(iter([batch]), dataclasses.replace(ASSUMED, turnover=0.5)))
    assumed = 0.5 * 12 * OI * 1000 * 30 / DAY
    # up to the trade at 600 s all of it, and from 600 to 700 s what was told
    np.testing.assert_allclose(found[:19], assumed, atol=1)
    tape = 0.5 * TRADED * 1000 * 30
    np.testing.assert_allclose(found[20:23], assumed + tape, atol=1)
    np.testing.assert_allclose(found[25:-1], tape, atol=1)


def test_a_lost_feed_is_missing_at_once_and_until_it_is_fed() -> None:
    batch = taped(1200, without=((400, 1000),))
    told = dataclasses.replace(
        batch, feed_states=states((0, 1), (410, 0), (1000, 1)), gaps=gaps((400, 410), (400, 1000))
    )
    missing = missing_s(told)
    assert missing[:14] == [0] * 14
    assert missing[14:33] == [20, *[30] * 18]
    assert missing[33:] == [30, 10, *[0] * 6][: len(missing) - 33]


def test_a_recorder_started_anew_missed_what_came_since_the_last_trade() -> None:
    silent = taped(7200, without=((4000, 5000),))
    for fed, missing in ((4999.5, 999.5), (5000, 1000), (5000.4, 1000), (5090, 0)):
        told = missing_s(dataclasses.replace(silent, feed_states=states((0, 1), (fed, 1))))
        assert sum(told) == missing, fed
        assert told[167] == missing, "by the first observation after it"


def test_a_feed_that_is_told_to_live_may_be_silent() -> None:
    batch = dataclasses.replace(taped(7200, without=((4000, 6000),)), feed_states=states((0, 1)))
    assert sum(missing_s(batch)) == 0


def test_silence_is_missing_where_it_cannot_be_chance() -> None:
    missing = missing_s(taped(7200, without=((4000, 4500),)))
    assert sum(missing) == 500
    assert missing[134] == 0, "20 s"
    assert missing[135] == 0, "50 s"
    assert missing[136] == 80, "all of it, once it is known"


@pytest.mark.parametrize(("silence", "counts"), [(500, False), (575, False), (640, True)])
def test_a_thin_market_may_be_silent_for_longer(silence: int, counts: bool) -> None:
    """One second in 45 has a trade: a silence of 45 x 13.8 = 621 s has a chance of 1e-6."""
    batch = taped(14_400, without=((9000, 9000 + silence),), every=45)
    assert (sum(missing_s(batch)) > 0) is counts
    assert sum(missing_s(batch, chance=1e-9)) == 0


def test_a_bunch_of_trades_is_one_event() -> None:
    batch = taped(14_400, without=((9000, 9500),), every=45)
    bunches = dataclasses.replace(batch, trades=np.repeat(batch.trades, 40))
    assert sum(missing_s(bunches)) == 0


@pytest.mark.parametrize("memory", [0.5, 24.0])
def test_a_market_trades_on_as_it_did(memory: float) -> None:
    whole, broken = taped(7200), taped(7200, without=((4000, 4900),))
    model = ModelConfig(tape_memory_hours=memory, assumed_volume_per_oi_day=300)
    expected = sum(opened(updates(iter([whole]), model)))
    assert sum(opened(updates(iter([broken]), model))) == pytest.approx(expected, rel=2e-3)
    cold = dataclasses.replace(taped(1200, without=((300, 600),)), gaps=gaps((300, 600)))
    assert sum(opened(updates(iter([cold]), model))) > 2 * sum(opened(updates(iter([taped(1200)]), model)))


def test_what_is_missing_lies_along_the_price_path() -> None:
    first, path_first = np.array([100, 50]), np.array([98, 50])
    volume = np.array([[0, 30, 0], [10, 0, 0]], np.uint64)
    path = np.array([[1, 2, 1, 0, 0], [1, 1, 1, 1, 0]], np.uint64) << np.uint64(20)
    begins, both, turnover = with_path(
        first, volume, volume * np.uint64(7), path_first, path, path * np.uint64(512), np.array([40, 8], np.uint64)
    )
    assert begins.tolist() == [98, 50]
    assert both.tolist() == [[10, 20, 10, 30, 0], [12, 2, 2, 2, 0]]
    assert turnover.tolist() == [[5120, 10_240, 5120, 210, 0], [1094, 1024, 1024, 1024, 0]]


def test_what_opened_in_a_hole_lies_where_the_price_went() -> None:
    """Trades at 100 000 for five seconds, then none that are known while the price falls to 98 000."""
    batch = taped(121, without=((65, 121),), oi_every=60)
    fallen = batch.mark_prices.copy()
    fallen["price"][66:] = np.linspace(100_000, 98_000, len(fallen) - 66)
    told = dataclasses.replace(batch, mark_prices=fallen, gaps=gaps((65, 120)))
    *_, partly = updates(iter([told]), dataclasses.replace(ASSUMED, assumed_volume_per_oi_day=50))
    entry, lots = partly.open_entry * 50 / 1024, partly.open_lots
    low = lots[entry < 99_500].sum() / lots.sum()
    assumed = 50 * OI * 55 / DAY
    assert low == pytest.approx(0.75 * assumed / (assumed + 5 * TRADED), rel=0.1)


def test_a_rate_forgets_covered_time_that_was_none() -> None:
    """Twenty minutes at 4 a day, five of them without trades; the next observation knows that these were a hole."""
    rate = TapeRate(1, ModelConfig(tape_memory_hours=8760, assumed_volume_per_oi_day=300))
    n, day = 41, 30 / DAY
    volume = np.where(np.arange(n) < 30, 4 * day, 0.0)
    covered = np.full(n, day)
    covered[40] = -10 * day
    found = rate.follow(np.zeros(n, np.int64), np.arange(n), volume, np.ones(n), np.full(n, day), covered)
    assert found[19] == 300, "less than ten minutes"
    np.testing.assert_allclose(found[[21, 30, 39, 40]], [4, 4, 4 * 30 / 39, 4], rtol=1e-4)
