"""What is known and what is inferred add up to the open interest, to the lot, and inference never learns of it.

Whatever is told, crossed, observed and cleared in whatever order, a market's own cohorts are those of an engine that
was never told of anything; what readers see of them is a share that follows from the present alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forcedmove_kernels.arrays import Cohorts, Updates
from forcedmove_kernels.backend import Backend, BackendChoice
from forcedmove_kernels.errors import BackendUnavailableError
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_kernels.thinning import thinned
from forcedmove_server.config import EngineConfig, ExactConfig, ModelConfig
from forcedmove_server.engine import pipeline
from forcedmove_server.engine.exact.positions import ExactPositions
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.views import render_view
from forcedmove_server.errors import InputError
from forcedmove_server.market.events import MARK_PRICE, OPEN_INTEREST, TRADE, EventBatch
from forcedmove_server.market.instruments import ContractType, Instrument, InstrumentRegistry
from forcedmove_server.market.positions import ExactPosition, PositionChange, PositionKey, PositionState
from tests.parity.backends import CASES

S = 10**9
START = 1_700_000_000 * S
MARKETS = ("binance:BTCUSDT", "binance:BTCUSD_PERP")
SCALE = (1.0, 1e5)  # base units and USD


def random_steps(seed: int, count: int = 40) -> list[tuple[Any, ...]]:
    """Moves, observations, ticks, and what two producers tell."""
    rng = np.random.default_rng(seed)
    taken: list[tuple[Any, ...]] = []
    for _ in range(count):
        kind = rng.choice(["price", "interest", "set", "clear", "tick"], p=[0.3, 0.2, 0.3, 0.05, 0.15])
        name = str(rng.choice(["a", "b"]))
        if kind == "price":
            taken.append(("price", rng.normal(0, 0.03)))
        elif kind == "interest":
            taken.append(("interest", int(rng.integers(2)), rng.choice([0.0, 0.3, 0.9, 1.0, 1.2, 3.0])))
        elif kind == "set":
            keys = [(market, side) for market in (0, 1) for side in (0, 1) if rng.random() < 0.5]
            sizes = rng.choice([0.0004, 1.0, 12.0, 90.0], len(keys), p=[0.1, 0.4, 0.4, 0.1])
            levels = [None if rng.random() < 0.1 else rng.exponential(0.02) + 0.001 for _ in keys]
            rows = [
                (*key, size, level, rng.choice([1.0, 7.0, 60.0]))
                for key, size, level in zip(keys, sizes, levels, strict=True)
            ]
            taken.append(("set", name, bool(rng.random() < 0.5), rows))
        else:
            taken.append(("clear", name) if kind == "clear" else ("tick",))
    return taken


class Market:
    """One feed and its exact positions, on one backend; ``do`` a step and hold everything against what must be true."""

    def __init__(self, backend: Backend | None = None, untold: Market | None = None) -> None:
        """Without a backend the one that numba compiles; ``untold`` sees the same and is never told of positions."""
        self.untold: Market | None = None
        registry = InstrumentRegistry(
            [
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
        engine = EngineConfig(backend="cpu", threads=1, max_markets=2, max_cohorts_per_market=2048, bins=512)
        with pytest.MonkeyPatch.context() as patch:
            if backend is not None:
                chosen = BackendChoice("cpu", type(backend).__name__, "")
                patch.setattr(pipeline, "chosen_backend", lambda _: (backend, chosen))
            self.pipeline = Pipeline(registry, engine, ModelConfig(), exact_markets=2)
        self.exact = ExactPositions(self.pipeline, ExactConfig(), clock=lambda: 0.0)
        self.price, self.now, self.sequence = 100_000.0, START, 0
        self.interest = [120.0, 1.2e7]
        self.seen: list[Updates] = []
        self.pipeline.observers.append(self.seen.append)
        for market in (0, 1):
            self.feed(market)
        self.untold = untold

    def feed(self, market: int | None = None) -> None:
        if self.untold is not None:
            self.untold.price, self.untold.interest = self.price, list(self.interest)
            self.untold.feed(market)
        self.now += 60 * S
        marks = [(self.now, 0, self.price, m, 0) for m in (0, 1)]
        trades = [(self.now, 0, self.price, 20.0 * SCALE[m], m, 1) for m in (0, 1)]
        interest = [] if market is None else [(self.now + 1, 0, self.interest[market], market, 0)]
        self.pipeline.take(
            EventBatch(
                until_ns=self.now + 2,
                trades=np.array(trades, TRADE),
                mark_prices=np.array(marks, MARK_PRICE),
                open_interest=np.array(interest, OPEN_INTEREST),
            )
        )

    def sweep(self) -> None:
        for one in (self, self.untold):
            if one is not None:
                one.pipeline.sweep()
                one.exact.refresh()

    def whole(self) -> np.ndarray:
        return self.pipeline.exact.whole((0, 1)) - self.pipeline.exact.excess((0, 1))

    def do(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("price", move):
                self.price = float(np.clip(self.price * np.exp(move), 20_000, 400_000))
                self.feed()
            case ("interest", market, factor):
                self.interest[market] = round(self.interest[market] * factor, 3) or 5.0 * SCALE[market]
                self.feed(market)
                quantity = round(self.interest[market] / float(self.pipeline.inference.markets.lot[market]))
                assert self.whole()[market].tolist() == [quantity, quantity]
            case ("tick",):
                self.sweep()
            case ("set", name, replace, rows):
                positions = tuple(self.position(*row) for row in rows)
                self.change(PositionChange(name, self.next(), positions, replace=replace))
            case ("clear", name):
                self.change(PositionChange(name, self.next(), replace=True))
        self.check()

    def next(self) -> int:
        self.sequence += 1
        return self.sequence

    def position(self, market: int, side: int, size: float, away: float | None, leverage: float) -> ExactPosition:
        level = None if away is None else self.price * (1 - away if side == 0 else 1 + away)
        return ExactPosition(
            PositionKey("", MARKETS[market], side),
            quantity=size * SCALE[market],
            liquidation_price_usd=level,
            leverage=leverage,
        )

    def change(self, change: PositionChange) -> None:
        """A change that is refused changes nothing."""
        self.sweep()
        held = {name: self.exact.held(name).positions for name in ("a", "b")}
        self.seen.clear()
        try:
            assert self.exact.change(change).applied
        except InputError:
            assert {name: self.exact.held(name).positions for name in ("a", "b")} == held
        assert not self.seen, "a change is no observation"

    def check(self) -> None:
        store, table = self.pipeline.store, self.pipeline.inference.markets
        ledger, rows = store.ledger, self.pipeline.exact.by_market
        np.testing.assert_array_equal(ledger.opened + ledger.overkill, ledger.live + ledger.closed + ledger.liquidated)
        assert (ledger.live >= 0).all()
        for market, row in rows.items():
            assert ledger.live[row.index].tolist() == row.live.tolist()
            # what was crossed is gone: the extremes not yet swept are those of the open interval
            assert all(row.trigger[row.side == 0] < table.high[market])
            assert all(row.trigger[row.side == 1] > table.low[market])
            rest = [max(row.interest - int(known), 0) for known in row.live + row.crossed]
            shown = [
                lots * kept // max(row.interest, 1)
                for lots, kept in zip(ledger.live[market].tolist(), rest, strict=True)
            ]
            assert store.remainders.lots(market).tolist() == shown
        assert (self.whole() <= table.open_interest[:2, None]).all()
        for one in (self, self.untold):  # ages are weighed from when a store was first read
            if one is not None:
                one.pipeline.store.refresh(self.pipeline.now_s)
        every = np.arange(store.rows, dtype=np.int32)
        totals = store.resident.totals(every, weighted=False)
        np.testing.assert_array_equal(totals.sum(-1).astype(np.int64), ledger.live)
        for row in rows.values():
            expected = np.zeros_like(totals[row.index])
            cell = np.clip((row.trigger >> PRICE_BITS) - store.first_bin(row.index) + 1, 0, store.bins + 1)
            np.add.at(expected, (row.side, cell), row.lots.astype(np.uint64))
            np.testing.assert_array_equal(totals[row.index], expected)
        self.check_inference()

    def check_inference(self) -> None:
        store = self.pipeline.store
        for market in (0, 1):
            own = store.resident.cohorts(market)
            if self.untold is not None:
                never = self.untold.pipeline.store
                same(own, never.resident.cohorts(market), f"market {market}")
                for column in ("opened", "closed", "liquidated", "overkill", "live"):
                    assert (getattr(store.ledger, column)[market] == getattr(never.ledger, column)[market]).all()
            shown = store.remainders.shown(market)
            assert (shown == market) == (market not in self.pipeline.exact.by_market)
            lots = store.remainders.lots(market).astype(np.uint64)
            same(store.resident.cohorts(shown), thinned(own, lots), f"what is shown of market {market}")


def same(got: Cohorts, expected: Cohorts, what: str) -> None:
    for name, *arrays in zip(Cohorts._fields, got, expected, strict=True):
        np.testing.assert_array_equal(*arrays, f"{name}: {what}")


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_known_and_inferred_are_the_open_interest(seed: int) -> None:
    market = Market(untold=Market())
    for step in random_steps(seed):
        market.do(step)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_once_all_is_cleared_the_map_is_that_of_who_was_never_told(seed: int) -> None:
    never = Market()
    market = Market(untold=never)
    for step in [*random_steps(seed), ("clear", "a"), ("clear", "b"), ("interest", 0, 1.1), ("interest", 1, 0.9)]:
        market.do(step)
    market.do(("tick",))
    assert not market.pipeline.exact.by_market
    for rendering in (live_map, fresh_map):
        np.testing.assert_array_equal(rendering(market), rendering(never))


@settings(max_examples=15)
@given(st.integers(0, 10**6))
@example(271)  # tiers die that hold no lot
def test_told_again_after_a_restart_the_map_is_what_it_was(seed: int) -> None:
    """A server that sees the same events again and is then told of what is held shows what the other one does."""
    restarted = Market()
    market = Market(untold=restarted)
    for step in [*random_steps(seed), ("interest", 0, 1.1), ("interest", 1, 0.9), ("tick",)]:
        market.do(step)
    for name in ("a", "b"):
        alive = [one.position for one in market.exact.held(name).positions if one.state is PositionState.LIVE]
        restarted.exact.change(PositionChange(name, 1, tuple(alive), replace=True))
    restarted.check()
    np.testing.assert_array_equal(live_map(restarted), live_map(market))


@settings(max_examples=25)
@given(st.integers(0, 1), st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=6))
def test_who_is_crossed_and_told_again_is_not_missing_twice(side: int, rounds: list[tuple[bool, bool, bool]]) -> None:
    """Told, crossed, told again: by other rules than those of the engine, a position that is there takes nothing away.

    Whoever is never told sees how much of the inferred lots was crossed.
    """
    never = Market()
    market, lots = Market(untold=never), round(20 / 1e-3)
    price, booked = market.price, market.pipeline.exact.crossed_quantity[0]
    told = (0, side, 20.0, 0.05, 7.0)
    market.do(("set", "a", True, [told]))
    for cleared, renewed_otherwise, observed in rounds:
        for to in (price * (0.93 if side == 0 else 1.07), price):
            market.do(("price", np.log(to / market.price)))
            market.do(("tick",))
        before = int(market.whole()[0, side])
        if cleared:
            market.do(("clear", "a"))
            assert int(market.whole()[0, side]) == before, "its place stays empty"
        market.do(("set", "a", not renewed_otherwise, [told]))
        after = int(market.whole()[0, side])
        inferred = int(never.whole()[0, side])
        interest = round(market.interest[0] / 1e-3)
        assert before <= after <= interest
        assert abs(after - (lots + inferred * (interest - lots) // interest)) <= 1
        if observed:
            market.do(("interest", 0, 1.0))
            assert int(market.whole()[0, side]) == interest
    assert market.pipeline.exact.crossed_quantity[0] == booked, "nothing left, so nothing is taken from the evidence"


def live_map(market: Market, weighting: str = "live") -> np.ndarray:
    market.pipeline.store.refresh(market.pipeline.now_s)
    market.pipeline.centre("BTC")
    market.pipeline.store.refresh(market.pipeline.now_s)
    rows = market.pipeline.symbol_rows("BTC", market.pipeline.notional())
    spec = ViewSpec(keep=("venue", "side", "leverage", "price"), weighting=weighting)
    return render_view(market.pipeline.store, rows, spec).values


def fresh_map(market: Market) -> np.ndarray:
    return live_map(market, "fresh")


def test_the_steps_try_what_they_should() -> None:
    market, crossed, exceeded = Market(), 0, 0
    for seed in range(5):
        for step in random_steps(seed):
            market.do(step)
            crossed += sum(
                one.state is PositionState.CROSSED for name in ("a", "b") for one in market.exact.held(name).positions
            )
            exceeded += bool(market.pipeline.exact.excess((0, 1)).any())
    assert crossed > 20
    assert exceeded > 5
    assert market.pipeline.exact.crossed_quantity.all()


@pytest.mark.parametrize("name", ["cpu-1", "host-1"])
@settings(max_examples=4)
@given(st.integers(0, 10**6))
def test_backends_agree_on_exact_positions(name: str, seed: int) -> None:
    try:
        backend = CASES[name]()
    except BackendUnavailableError as missing:
        pytest.skip(str(missing))
    markets = [Market(CASES["reference"]()), Market(backend)]
    for step in random_steps(seed):
        for market in markets:
            market.do(step)
    for row in range(markets[0].pipeline.store.rows):
        same(*(market.pipeline.store.resident.cohorts(row) for market in markets), f"row {row}")
