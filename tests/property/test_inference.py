"""The OI-conserving lifecycle, on random markets: what every batch boundary, gap and shock must leave true."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Cohorts, Updates
from forcedmove_kernels.backend import select_backend
from forcedmove_server.config import EngineConfig, ModelConfig
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.errors import InstrumentError
from forcedmove_server.inference.lifecycle import PositionInference
from forcedmove_server.inference.markets import MarketTable
from forcedmove_server.inference.plausible import without_implausible
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import MARK_PRICE, OPEN_INTEREST, TRADE, EventBatch
from forcedmove_server.market.instruments import ContractType, Instrument, InstrumentRegistry

S = 10**9
START = 1_700_000_000 * S
ENGINE = EngineConfig(backend="reference", max_markets=4, max_cohorts_per_market=2048, bins=512)


def registry() -> InstrumentRegistry:
    return InstrumentRegistry(
        [
            Instrument("hyperliquid", "BTC", "BTC", "USDC", quantity_step=1e-3, max_leverage=40),
            Instrument("binance", "BTCUSDT", "BTC", "USDT", quantity_step=1e-3, max_leverage=125),
            Instrument(
                "binance",
                "BTCUSD_PERP",
                "BTC",
                "USD",
                contract_type=ContractType.INVERSE,
                contract_size=100,
                quantity_step=100,
                max_leverage=125,
            ),
        ]
    )


def random_market(seed: int, steps: int = 40) -> EventBatch:
    """Three markets of one symbol: marks every second, trades in bursts, open interest now and then, jumps."""
    rng = np.random.default_rng(seed)
    trades, marks, interest = [], [], []
    scale = np.array([1.0, 10.0, 2e5])
    oi = rng.uniform(50, 500, 3) * scale
    price = 97_500.0
    for step in range(steps):
        now = START + step * S
        price *= np.exp(rng.normal(0, 0.03 if rng.random() < 0.1 else 0.001))
        for market in range(3):
            marks.append((now, now, price * (1 + 1e-4 * market), market, 0))
            for _ in range(rng.integers(0, 6)):
                quantity = rng.exponential(3) * scale[market]
                trades.append((now + 1, now + 1, price * rng.uniform(0.9995, 1.0005), quantity, market, 1))
            if rng.random() < 0.3:
                oi[market] *= rng.choice([0, 0.5, 1, 1.1, 3], p=[0.03, 0.1, 0.6, 0.2, 0.07])
                if oi[market] == 0 and rng.random() < 0.5:
                    oi[market] = scale[market]
                interest.append((now + 2, now + 2, round(oi[market], 3), market, 0))
    return EventBatch(
        until_ns=START + steps * S,
        trades=np.array(trades, TRADE),
        mark_prices=np.array(marks, MARK_PRICE),
        open_interest=np.array(interest, OPEN_INTEREST),
    )


def split(batch: EventBatch, cuts: list[int]) -> Iterator[EventBatch]:
    """Cut a batch at event times (seconds from START)."""
    edges = [START, *(START + c * S for c in sorted(set(cuts))), batch.until_ns]
    for begin, end in pairwise(edges):
        rows = {
            kind: events[(events["time_ns"] >= begin) & (events["time_ns"] < end)]
            for kind, events in batch.by_kind().items()
        }
        yield EventBatch(until_ns=end, **rows)


def lots_by_time(batch: EventBatch, pipeline: Pipeline, market: int) -> NDArray[np.int64]:
    rows = batch.open_interest[batch.open_interest["market"] == market]
    lot = pipeline.inference.markets.lot[market]
    return np.rint(rows["quantity"] / lot).astype(np.int64) if lot else np.zeros(len(rows), np.int64)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_live_equals_open_interest_at_every_observation(seed: int) -> None:
    batch = random_market(seed)
    pipeline = Pipeline(registry(), ENGINE, ModelConfig())
    observed: dict[int, list[list[int]]] = {0: [], 1: [], 2: []}
    for update in pipeline.inference.step(batch):
        pipeline._apply(update)
        for market, lots in zip(update.market.tolist(), update.open_interest.tolist(), strict=True):
            assert pipeline.store.ledger.live[market].tolist() == lots
            observed[market].append(lots)
    for market, rows in observed.items():
        assert rows == [[lots, lots] for lots in lots_by_time(batch, pipeline, market).tolist()]
    ledger = pipeline.store.ledger
    np.testing.assert_array_equal(ledger.opened + ledger.overkill, ledger.live + ledger.closed + ledger.liquidated)
    pipeline.store.refresh(pipeline.now_s)
    markets = np.arange(len(ledger.live), dtype=np.int32)
    totals = pipeline.store.resident.totals(markets, weighted=False)
    np.testing.assert_array_equal(totals.sum(-1).astype(np.int64), ledger.live)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 39), max_size=8))
def test_batch_boundaries_do_not_matter(seed: int, cuts: list[int]) -> None:
    batch = random_market(seed)

    def updates(batches: Iterator[EventBatch]) -> dict[int, list[tuple[int, ...]]]:
        inference = PositionInference(registry(), ModelConfig(), select_backend("reference")[0], 4)
        seen: dict[int, list[tuple[int, ...]]] = {0: [], 1: [], 2: []}
        for part in batches:
            for update in inference.step(part):
                for k, market in enumerate(update.market.tolist()):
                    rows = slice(update.first_open[k], update.first_open[k + 1])
                    scalars = (update.low, update.high, update.price, *update.open_interest.T, update.opened_at)
                    opened = (*update.open_entry[rows].tolist(), *update.open_lots[rows].tolist())
                    seen[market].append((*(int(column[k]) for column in scalars), *opened))
        return seen

    assert updates(split(batch, cuts)) == updates(iter([batch]))


def assert_same_cohorts(expected: CohortStore, got: CohortStore) -> None:
    for market in range(len(expected.used)):
        records = (store.resident.cohorts(market) for store in (expected, got))
        for name, *arrays in zip(Cohorts._fields, *records, strict=True):
            np.testing.assert_array_equal(*arrays, f"{name} of market {market}")


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 39), max_size=8))
def test_the_whole_store_does_not_depend_on_batch_boundaries(seed: int, cuts: list[int]) -> None:
    batch = sparse_marks(random_market(seed))
    stores = []
    for batches in (iter([batch]), split(batch, [3600 * cut for cut in cuts])):
        pipeline = Pipeline(registry(), ENGINE, ModelConfig())
        for part in batches:
            pipeline.take(part)
        stores.append(pipeline.store)
    assert_same_cohorts(*stores)
    np.testing.assert_array_equal(stores[0].ledger.opened, stores[1].ledger.opened)
    np.testing.assert_array_equal(stores[0].ledger.liquidated, stores[1].ledger.liquidated)


def sparse_marks(batch: EventBatch) -> EventBatch:
    """The same market with a mark every quarter of a minute, so that trades show the path between them, over days."""
    kinds = {}
    for kind, rows in batch.by_kind().items():
        rows = rows.copy()
        rows["time_ns"] = START + (rows["time_ns"] - START) // S * (3600 * S) + (rows["time_ns"] - START) % S
        kinds[kind] = rows
    kinds["mark_prices"] = kinds["mark_prices"][::15]
    return EventBatch(until_ns=START + (batch.until_ns - START) * 3600, **kinds)


def opening_lots(update: Updates, k: int = 0) -> int:
    return int(update.open_lots[update.first_open[k] : update.first_open[k + 1]].sum())


def one_market(*interest: tuple[float, float], trades: list[tuple[float, float, float]] = []) -> list[Updates]:  # noqa: B006
    """Updates of one linear market at 100 000: (second, quantity) observations, (second, price, quantity) trades."""
    inference = PositionInference(registry(), ModelConfig(turnover=0.25), select_backend("reference")[0], 4)
    batch = EventBatch(
        until_ns=START + 10**6 * S,
        trades=np.array([(START + t * S, 0, p, q, 0, 1) for t, p, q in trades], TRADE),
        mark_prices=np.array([(START + t * S, 0, 100_000, 0, 0) for t, _ in interest], MARK_PRICE),
        open_interest=np.array([(START + t * S, 0, q, 0, 0) for t, q in interest], OPEN_INTEREST),
    )
    return list(inference.step(batch))


def test_opened_follows_the_lifecycle_equation() -> None:
    _, grown, shrunk = one_market((0, 10), (60, 12), (120, 9), trades=[(30, 100_000, 6), (90, 100_000, 5)])
    assert opening_lots(grown) == round((2 + 0.25 * (6 - 2)) * 1000)
    assert opening_lots(shrunk) == round((0 + 0.25 * (5 - 3)) * 1000)


def test_volume_below_the_change_in_open_interest_is_tolerated() -> None:
    _, grown = one_market((0, 10), (60, 15), trades=[(30, 100_000, 1)])
    assert opening_lots(grown) == 5000


def test_openings_follow_the_traded_prices() -> None:
    trades = [(30, 100_010.0, 3), (31, 100_510.0, 1)]
    _, grown = one_market((0, 10), (60, 14), trades=trades)
    lots = grown.open_lots[:-1]
    assert lots.tolist() == [3000, 1000]
    np.testing.assert_allclose(grown.open_entry[:-1] * 50 / 1024, [100_010, 100_510], atol=0.05)


def test_without_tape_openings_follow_the_price_path() -> None:
    _, grown = one_market((0, 10), (60, 14))
    assert opening_lots(grown) >= 4000


def test_contracts_fed_as_coins_are_refused() -> None:
    with pytest.raises(InstrumentError, match=r"open_interest = 500000000.*inverse market fed as linear"):
        one_market((0, 500_000_000))


def test_a_market_that_outgrows_its_lots_gets_coarser_ones() -> None:
    pipeline = Pipeline(registry(), ENGINE, ModelConfig())
    seconds = range(0, 300, 60)
    quantities = [60_000.0 * 10.0 ** (k // 2) for k in range(len(seconds))]
    batch = EventBatch(
        until_ns=START + 10**6 * S,
        mark_prices=np.array([(START + t * S, 0, 100_000, 0, 0) for t in seconds], MARK_PRICE),
        open_interest=np.array(
            [(START + t * S, 0, q, 0, 0) for t, q in zip(seconds, quantities, strict=True)], OPEN_INTEREST
        ),
    )
    for part in split(batch, [70, 190]):
        pipeline.take(part)
        live = pipeline.store.ledger.live[0] * pipeline.inference.markets.lot[0]
        last = part.open_interest["quantity"][-1]
        np.testing.assert_allclose(live, last, rtol=1e-9)
    assert pipeline.inference.markets.lot[0] == pytest.approx(0.01)
    ledger = pipeline.store.ledger
    np.testing.assert_array_equal(ledger.opened + ledger.overkill, ledger.live + ledger.closed + ledger.liquidated)
    pipeline.store.refresh(pipeline.now_s)
    markets = np.arange(len(ledger.live), dtype=np.int32)
    totals = pipeline.store.resident.totals(markets, weighted=False)
    np.testing.assert_array_equal(totals.sum(-1).astype(np.int64), ledger.live)


def spiked(kind: str, price: float, seed: int = 3) -> tuple[Pipeline, Pipeline]:
    """Two pipelines fed alike, the second with one wrong print in the middle."""
    batch = random_market(seed)
    rows = getattr(batch, kind)
    row = rows[len(rows) // 2 : len(rows) // 2 + 1].copy()
    row["price"] = price
    wrong = np.insert(rows, len(rows) // 2, row[0])
    pipelines = []
    for fed in (batch, dataclasses.replace(batch, **{kind: wrong})):
        pipeline = Pipeline(registry(), ENGINE, ModelConfig())
        pipeline.take(fed)
        pipelines.append(pipeline)
    return pipelines[0], pipelines[1]


@pytest.mark.parametrize("kind", ["trades", "mark_prices"])
@pytest.mark.parametrize("price", [1e-9, 1.0, 60_000.0, 150_000.0, 1e9, 1e18])
def test_one_wrong_print_changes_nothing(kind: str, price: float) -> None:
    clean, dirty = spiked(kind, price)
    assert_same_cohorts(clean.store, dirty.store)
    (noted,) = dirty.inference.defects.so_far()
    assert noted[0].startswith(f"{kind}.implausible_")
    assert noted[1] == 1
    assert repr(price) in noted[2] or "quantity" in noted[0]


def prints(*rows: tuple[float, float]) -> list[bool]:
    """Which of some (second, price) marks of one market are believed; BTC stands at 100 000 before."""
    table = MarketTable(registry(), 4)
    table.admit(0, 100_000.0, START)
    marks = np.array([(START + round(t * S), 0, p, 0, 0) for t, p in rows], MARK_PRICE)
    kept: list[float] = []
    for part in np.array_split(marks, 3):
        batch = without_implausible(EventBatch(START + 10**6 * S, mark_prices=part), table, Defects())
        kept += batch.mark_prices["time_ns"].tolist()
    return [t in kept for t in marks["time_ns"].tolist()]


@pytest.mark.parametrize(
    ("rows", "believed"),
    [
        ([(0, 1e6), (1, 1e5), (2, 1e5)], [False, True, True]),
        ([(0, 1e5), (1, 1.5e5), (1.02, 1.5e5), (2, 1e5)], [True, False, False, True]),
        ([(0, 1e5), (1, 6e4), (2, 6.01e4), (3, 5.9e4)], [True, False, True, True]),
        ([(0, 1e5), (1, 7e4), (2, 1e5), (3, 7e4), (4, 1e5), (5, 1e5)], [True, False, True, True, False, True]),
        ([(0, 1e5), (600, 1.3e5), (1200, 0.9e5)], [True, True, True]),
        ([(0, 1e5), (1, 1e3), (2000, 1e5), (4000, 1e3)], [True, False, True, False]),
    ],
)
def test_which_prints_are_believed(rows: list[tuple[float, float]], believed: list[bool]) -> None:
    assert prints(*rows) == believed


def test_a_real_jump_is_believed_with_the_next_print() -> None:
    inference = PositionInference(registry(), ModelConfig(), select_backend("reference")[0], 4)
    prices = [*[100_000.0] * 9, 60_000.0, 60_010.0, 59_990.0]
    marks = np.array([(START + k * S, 0, p, 0, 0) for k, p in enumerate(prices)], MARK_PRICE)
    interest = np.array([(START, 0, 10.0, 0, 0), (START + 19 * S, 0, 10.0, 0, 0)], OPEN_INTEREST)
    _, after = inference.step(EventBatch(START + 20 * S, mark_prices=marks, open_interest=interest))
    assert after.low[0] * 50 / 1024 == pytest.approx(59_990, abs=1)
    assert [row[:2] for row in inference.defects.so_far()] == [("mark_prices.implausible_price", 1)]


def test_an_absurd_trade_is_left_out() -> None:
    _, update = one_market((0, 10), (60, 10), trades=[(30, 100_000, 1e300), (31, 100_000, 2)])
    assert opening_lots(update) == round(0.25 * 2 * 1000)


@pytest.mark.parametrize("price", [0.0016, 1e18])
def test_a_price_in_another_unit_is_refused(price: float) -> None:
    inference = PositionInference(registry(), ModelConfig(), select_backend("reference")[0], 4)
    marks = np.array([(START, 0, price, 0, 0)], MARK_PRICE)
    with pytest.raises(InstrumentError, match=re.escape(f"price = {price!r}: is not a plausible price of BTC")):
        list(inference.step(EventBatch(START + S, mark_prices=marks)))


def test_open_interest_that_starts_at_zero_keeps_its_tape() -> None:
    _, grown = one_market((0, 0), (60, 10), trades=[(30, 98_012.0, 12)])
    np.testing.assert_allclose(grown.open_entry[:-1] * 50 / 1024, [98_012], atol=0.05)
    assert grown.open_lots[0] >= 10_000
