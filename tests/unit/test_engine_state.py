"""Store, views, depth and maps: what is published adds up to what is alive."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.engine.depth import ImpactLaw, VisibleBook, depth_after_shock
from forcedmove_server.engine.frames import SIDES, SymbolMap, ViewSpec
from forcedmove_server.engine.maps import build_map, shock_chain, symbol_states
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.views import render_view, usd_per_lot
from forcedmove_server.errors import InputError, NotReadyError, UnknownNameError
from forcedmove_server.market.events import FEED_STATE, MARK_PRICE, Channel, EventBatch
from tests.unit.market_feed import ENGINE, START, S, fed_pipeline, fresh_totals, live_totals, minute


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return fed_pipeline()


def scattered(batch: EventBatch, seed: int) -> EventBatch:
    """The same minute with its trades spread over a tenth of the price, as in a crash: hundreds of entry buckets."""
    trades = np.repeat(batch.trades, 20)
    trades["price"] *= np.random.default_rng(seed).uniform(0.9, 1.1, len(trades))
    return dataclasses.replace(batch, trades=trades)


def test_incremental_totals_equal_a_full_rebuild_tick_by_tick() -> None:
    pipeline = fed_pipeline(2)
    for number in range(2, 8):
        pipeline.take(minute(number))
        pipeline.store.refresh(pipeline.now_s)
        kept = live_totals(pipeline), fresh_totals(pipeline)
        for market in range(4):
            pipeline.store.resident.replace(market, pipeline.store.resident.cohorts(market))
        pipeline.store.refresh(pipeline.now_s)
        np.testing.assert_array_equal(kept[0], live_totals(pipeline))
        np.testing.assert_array_equal(kept[1], fresh_totals(pipeline))


def test_totals_hold_everything_alive(pipeline: Pipeline) -> None:
    live, fresh = live_totals(pipeline), fresh_totals(pipeline)
    np.testing.assert_array_equal(live.sum(-1).astype(np.int64), pipeline.store.ledger.live[:4])
    fresh = fresh * pipeline.store.clock.gain
    assert np.all(fresh.sum(-1) < live.sum(-1))
    # a cohort's tiers are split after the weighting, so in one cell it may round up by a lot, no further
    assert np.all(fresh <= live + 2.0 * pipeline.store.used[:4, None, None])


def test_cohorts_merge_as_they_age_and_keep_every_lot() -> None:
    pipeline = fed_pipeline(50)
    used = pipeline.store.used.copy()
    pipeline.take(minute(60 * 24))
    assert np.all(pipeline.store.used[:4] < used[:4])
    pipeline.store.refresh(pipeline.now_s)
    ledger = pipeline.store.ledger
    np.testing.assert_array_equal(live_totals(pipeline).sum(-1).astype(np.int64), ledger.live[:4])
    np.testing.assert_array_equal(ledger.live[:, 0], ledger.live[:, 1])


def test_a_market_of_young_cohorts_far_apart_still_fits() -> None:
    pipeline = fed_pipeline(1)
    compacted = []
    compact = pipeline.store._compact
    pipeline.store._compact = lambda *arguments: compacted.append(arguments[0]) or compact(*arguments)  # type: ignore[func-returns-value, method-assign]
    for number in range(1, 25):
        pipeline.take(scattered(minute(number, move=0.05), number))
        assert np.all(pipeline.store.used <= 2048)
    assert set(compacted) == {0, 1, 2, 3}
    np.testing.assert_array_equal(pipeline.store.ledger.live[:4, 0], pipeline.store.ledger.live[:4, 1])


def test_recentring_moves_no_price_to_another_bin(pipeline: Pipeline) -> None:
    rows = pipeline.symbol_rows("BTC", pipeline.notional())
    now = pipeline.now_s
    before = render_view(pipeline.store, rows, ViewSpec())
    assert pipeline.store.centre(rows.markets.astype(np.int64), int(rows.mark_units * 1.2))
    pipeline.store.refresh(now)
    after = render_view(pipeline.store, rows, ViewSpec())
    moved = after.first_bin - before.first_bin
    assert moved > 0
    both = before.values[:, 1 + moved : -1], after.values[:, 1 : -1 - moved]
    # what lies beyond a window is not spread into it: as far as levels may be off it differs, nearer to the mark not
    edges = (after.first_bin, before.first_bin + before.bin_count)
    mark_bin = rows.mark_units >> PRICE_BITS
    low, high = (int(mark_bin + (edge - mark_bin) * 0.45) - after.first_bin for edge in edges)
    assert high - low > 150
    np.testing.assert_array_equal(*(cells[:, low:high] for cells in both))
    pipeline.store.centre(rows.markets.astype(np.int64), rows.mark_units)
    pipeline.store.refresh(now)


@pytest.mark.parametrize("weighting", ["live", "fresh"])
def test_views_add_up(pipeline: Pipeline, weighting: str) -> None:
    rows = pipeline.symbol_rows("BTC", pipeline.notional())

    def view(**changes: object) -> np.ndarray:
        spec = dataclasses.replace(ViewSpec(weighting=weighting), **changes)  # type: ignore[arg-type]
        return render_view(pipeline.store, rows, spec).values.astype(np.float64)

    whole = view()
    full = view(keep=("venue", "side", "leverage", "price"))
    assert full.shape == (2, 2, 13, 1026)
    # each tier's levels are spread and rounded by themselves, to a lot of about 100 dollars at most
    np.testing.assert_allclose(full.sum((0, 2)), whole, rtol=1e-5, atol=13 * 3 * 100)
    np.testing.assert_allclose(full.sum((0, 2, 3)), whole.sum(1), rtol=1e-5)
    np.testing.assert_allclose(view(keep=("venue", "price")).sum(0), whole.sum(0), rtol=1e-5)
    np.testing.assert_allclose(view(venues=("binance",)) + view(venues=("hyperliquid",)), whole, rtol=1e-5)
    parts = view(leverage_max=10.0) + view(leverage_min=15.0)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=13 * 3 * 100)
    np.testing.assert_allclose(view(sides=("short",))[0], whole[1], rtol=1e-6)
    cropped = view(price_range_fraction=0.05)
    assert cropped.shape[1] < 300
    np.testing.assert_allclose(cropped.sum(1), whole.sum(1), rtol=1e-5)


@pytest.mark.parametrize("weighting", ["live", "fresh"])
@pytest.mark.parametrize("keep", [("price",), ("side", "price"), ("venue", "leverage", "price")])
def test_cells_are_lots_in_dollars_rounded_to_a_cent(pipeline: Pipeline, weighting: str, keep: tuple[str, ...]) -> None:
    store, fresh = pipeline.store, weighting == "fresh"
    rows = pipeline.symbol_rows("BTC", pipeline.notional())
    lots = store.resident.leverage_grid(rows.markets, weighted=fresh) * (store.clock.gain if fresh else 1.0)
    first_bin = store.first_bin(0)
    exact = lots * usd_per_lot(rows.notional, np.arange(3), first_bin, store.bins)[:, None, None]
    exact = np.stack([exact[0] + exact[2], exact[1]])  # binance has two of the three
    exact = exact.sum(tuple(k for k, axis in enumerate(("venue", "side", "leverage")) if axis not in keep))
    spec = ViewSpec(weighting=weighting, keep=keep, price_range_fraction=0.05)  # type: ignore[arg-type]
    view = render_view(store, rows, spec)
    low = view.first_bin - first_bin
    high = low + view.bin_count
    inner = exact[..., low + 1 : high + 1]
    cropped = [exact[..., : low + 1].sum(-1, keepdims=True), inner, exact[..., high + 1 :].sum(-1, keepdims=True)]
    # at most 6 rows of a cell are rounded, 78 with their tiers; the outer cells are sums of cells, f32 has 24 bits
    rounded = 0.005 * 78
    if "leverage" not in keep:  # the sides were spread, the tiers here one by one: a lot each is up to 100 dollars
        rounded += 100 * 78
    np.testing.assert_allclose(view.values, np.concatenate(cropped, -1), rtol=2**-23, atol=rounded * 600)
    np.testing.assert_allclose(view.values[..., 1:-1], inner, rtol=2**-23, atol=rounded)


def test_live_notional_is_open_interest_at_the_levels(pipeline: Pipeline) -> None:
    """Linear notional divided by the bin's price is a quantity again: it must be the open interest."""
    rows = pipeline.symbol_rows("ETH", pipeline.notional())
    view = render_view(pipeline.store, rows, ViewSpec())
    price = (view.first_bin + np.arange(view.bin_count + 2) - 0.5) * view.bin_width_usd
    table = pipeline.inference.markets
    quantity = table.open_interest[3] * table.lot[3]
    np.testing.assert_allclose((view.values / price).sum(-1), [quantity, quantity], rtol=1e-6)


def test_view_errors_name_what_is_wrong(pipeline: Pipeline) -> None:
    rows = pipeline.symbol_rows("BTC", pipeline.notional())
    with pytest.raises(UnknownNameError, match="unknown venue 'bybit'; known: binance, hyperliquid"):
        render_view(pipeline.store, rows, ViewSpec(venues=("bybit",)))
    with pytest.raises(InputError, match=r"view\.leverage_max = 1\.5"):
        render_view(pipeline.store, rows, ViewSpec(leverage_min=1, leverage_max=1.5))


def test_map_of_a_symbol(pipeline: Pipeline) -> None:
    state = symbol_states(pipeline, ["BTC"], pipeline.notional())["BTC"]
    built = build_map(pipeline, state, 7)
    assert built.seq == 7
    assert built.mark_price_usd == pytest.approx(97_500, rel=0.01)
    assert [m.market for m in built.markets] == ["binance:BTCUSDT", "hyperliquid:BTC", "binance:BTCUSD_PERP"]
    assert all(m.live_long == m.live_short == m.open_interest for m in built.markets)
    assert built.coverage == 1.0
    assert {a.name for a in built.assumptions} >= {"turnover", "leverage_prior", "impact", "depth_withdrawal"}
    for cluster in built.clusters:
        assert sum(usd for _, usd in cluster.venues) == pytest.approx(cluster.notional_usd, rel=1e-9)
        assert (cluster.distance_fraction < 0) == (cluster.side == "long") or abs(cluster.distance_fraction) < 0.01


def test_a_map_says_whose_trades_are_missing() -> None:
    pipeline = fed_pipeline(3)
    key = pipeline.registry[0].key
    for live, missing in ((1, 0), (0, 1), (1, 0)):
        told = np.array([(pipeline.now_ns, 0, int(Channel.TRADES), live, 0)], FEED_STATE)
        pipeline.take(EventBatch(until_ns=pipeline.now_ns + S, feed_states=told))
        state = symbol_states(pipeline, ["BTC"], pipeline.notional())["BTC"]
        said = [a.text for a in build_map(pipeline, state, 7).assumptions if a.name == "missing_trades"]
        assert [text.split(": volume")[0] for text in said] == [f"trades are missing from {key}"] * missing


def test_chain_of_a_shock_sells_what_it_crossed(pipeline: Pipeline) -> None:
    state = symbol_states(pipeline, ["BTC"], pipeline.notional())["BTC"]
    chain = shock_chain(pipeline, state, state.rows.mark_usd * 0.97)
    assert chain.side == SIDES[0]
    assert chain.terminal_price_usd <= chain.shock_price_usd + state.rows.bin_width_usd
    fired = state.profile[0, state.cell(chain.terminal_price_usd) : state.cell(state.rows.mark_usd) + 1].sum() / 100
    assert chain.total_usd == pytest.approx(fired)
    assert sum(level.notional_usd for level in chain.levels) == pytest.approx(chain.total_usd)
    with pytest.raises(InputError, match="price_usd = 1000"):
        shock_chain(pipeline, state, 1000)


def test_levels_crossed_between_observations_die_at_once() -> None:
    pipeline = fed_pipeline(3)
    long_before, short_before = pipeline.store.ledger.live[0].tolist()
    crash = np.array([(START + 500 * S, 0, PRICE, 0, 0) for PRICE in (97_000.0, 88_000.0)], MARK_PRICE)
    pipeline.take(EventBatch(until_ns=START + 501 * S, mark_prices=crash))
    pipeline.sweep()
    long_after, short_after = pipeline.store.ledger.live[0].tolist()
    assert long_after < 0.95 * long_before
    assert short_after == short_before
    pipeline.sweep()
    assert pipeline.store.ledger.live[0].tolist() == [long_after, short_after]


def test_a_symbol_without_open_interest_is_not_ready(pipeline: Pipeline) -> None:
    fresh = Pipeline(pipeline.registry, ENGINE, pipeline.model)
    fresh.take(EventBatch(until_ns=1, mark_prices=minute(0).mark_prices))
    with pytest.raises(NotReadyError, match="BTC"):
        fresh.symbol_rows("BTC", fresh.notional())


LAW = ImpactLaw(sigma_day=0.03, volume_day_usd=1e9, y=1.0, withdrawal_fraction=1e9)


def test_depth_follows_the_book_then_the_square_root_law() -> None:
    visible = np.zeros((2, 1002))
    visible[0, 480:500] = 1e6
    usd = depth_after_shock(VisibleBook.of_one(visible), 1000.0, 1000.0, 0, 500, 1.0, LAW) / 100
    np.testing.assert_allclose(usd[480:500], 1e6, rtol=1e-6)
    # beyond the visible edge the cumulative law holds: Q(x) - Q(edge) = V ((x / sigma)^2 - (edge / sigma)^2)
    edge, x = (1000 - 979) / 1000, (1000 - 879) / 1000
    assert usd[380:480].sum() == pytest.approx(1e9 * ((x / 0.03) ** 2 - (edge / 0.03) ** 2), rel=1e-6)
    withdrawing = dataclasses.replace(LAW, withdrawal_fraction=0.043)
    withdrawn = depth_after_shock(VisibleBook.of_one(visible), 1000.0, 1000.0, 0, 500, 1.0, withdrawing) / 100
    assert withdrawn[401] / usd[401] == pytest.approx(np.exp(-0.099 / 0.043), rel=1e-3)


def test_an_order_far_out_does_not_say_that_nothing_rests_before_it() -> None:
    visible = np.zeros((2, 1002))
    visible[0, 480:500] = 1e6
    before = depth_after_shock(VisibleBook.of_one(visible), 1000.0, 1000.0, 0, 500, 1.0, LAW)
    for cell in (0, 1, 200):
        far = visible.copy()
        far[0, cell] = 1e4
        after = depth_after_shock(VisibleBook.of_one(far), 1000.0, 1000.0, 0, 500, 1.0, LAW)
        assert (after >= before).all()
        assert after[cell] - before[cell] == pytest.approx(1e6, rel=1e-6)


def test_the_law_fills_what_belongs_to_markets_whose_book_has_ended() -> None:
    near, far, none = np.zeros((3, 2, 1002))
    near[0, 490:500] = near[1, 502:512] = 1e6
    far[0, 400:500] = far[1, 502:602] = 1e5
    unseen = VisibleBook.pooled([near, far, none], np.array([3e9, 1e9, 5e9])).unseen
    for side in (0, 1):
        out = unseen[side, ::-1] if side == 0 else unseen[side]
        begin = 502
        assert (out[begin : begin + 10] == 0).all(), "both books tell"
        assert out[begin + 10 : begin + 98] == pytest.approx(np.full(88, 0.75)), "the larger market's book has ended"
        assert (out[begin + 100 :] == 1).all()
    assert (VisibleBook.pooled([none], np.ones(1)).unseen == 1).all()
    assert (VisibleBook.pooled([near, far], np.zeros(2)).unseen[1, 520] == 0.5).all(), "nobody knows whose is more"


@pytest.mark.parametrize(("side", "shock"), [(0, 900.0), (1, 1100.0)])
def test_forced_selling_moves_the_price_from_the_shock_by_the_law(side: int, shock: float) -> None:
    depth = depth_after_shock(VisibleBook.of_one(np.zeros((2, 1002))), 1000.0, shock, side, 500, 1.0, LAW) / 100
    start = int(shock) - 499
    absorbed = depth[start - 30 : start].sum() if side == 0 else depth[start : start + 30].sum()
    assert absorbed == pytest.approx(1e9 * (0.030 / 0.03) ** 2, rel=1e-6)


def test_the_freshness_step_and_half_life_are_what_is_configured() -> None:
    pipeline = fed_pipeline(2, freshness_half_life_hours=1.0, freshness_step_s=30)
    store = pipeline.store
    store.refresh(pipeline.now_s)
    before = fresh_totals(pipeline).sum() * store.clock.gain
    assert not store.refresh(pipeline.now_s - pipeline.now_s % 30 + 29).any()
    assert store.refresh(pipeline.now_s - pipeline.now_s % 30 + 30)[:4].all()
    store.refresh(pipeline.now_s + 3600)
    assert fresh_totals(pipeline).sum() * store.clock.gain / before == pytest.approx(0.5, rel=0.02)


def test_rows_are_left_alone_while_they_only_grow_older() -> None:
    pipeline = fed_pipeline(2, freshness_half_life_hours=2.0)
    store = pipeline.store
    kept, gain = fresh_totals(pipeline), store.clock.gain
    for seconds, left in ((1800, 0.5**0.25), (7000, 0.5 ** (7000 / 7200)), (4 * 7200, 0.5**4)):
        assert store.refresh(pipeline.now_s + seconds)[:4].all()
        totals = fresh_totals(pipeline)
        assert np.array_equal(totals, kept) == (seconds < 7200)
        assert totals.sum() * store.clock.gain / (kept.sum() * gain) == pytest.approx(left, rel=0.01)


def test_a_stale_market_is_left_out_of_the_map_until_its_feeds_are_back() -> None:
    pipeline = fed_pipeline(2)

    def btc() -> tuple[np.ndarray, SymbolMap]:
        pipeline.store.refresh(pipeline.now_s)
        state = symbol_states(pipeline, ["BTC"], pipeline.notional())["BTC"]
        view = render_view(pipeline.store, state.rows, ViewSpec(keep=("venue", "price")))
        return view.values.astype(np.float64).sum(1), build_map(pipeline, state, 1)

    by_venue, before = btc()
    assert np.all(by_venue > 1e6)
    assert before.coverage == 1
    later = minute(2 + 2 * pipeline.model.stale_after_s // 60)
    kinds = {kind: rows[rows["market"] != 1] for kind, rows in later.by_kind().items()}  # hyperliquid says nothing
    pipeline.take(EventBatch(later.until_ns, **kinds))
    by_venue, greyed = btc()
    assert by_venue[0] > 1e6
    assert by_venue[1] == 0
    assert [market.fresh for market in greyed.markets] == [True, False, True]
    assert 0.5 < greyed.coverage < 1
    assert not any("hyperliquid" in venue for cluster in greyed.clusters for venue, _ in cluster.venues)
    (told,) = [one for one in greyed.assumptions if one.name == "stale_feeds"]
    assert "hyperliquid:BTC" in told.text
    pipeline.take(minute(3 + 2 * pipeline.model.stale_after_s // 60))
    by_venue, back = btc()
    assert by_venue[1] > 1e6
    assert back.coverage == 1


def test_where_every_market_is_stale_the_last_map_stays() -> None:
    pipeline = fed_pipeline(2)
    pipeline.take(EventBatch(pipeline.now_ns + 10 * pipeline.model.stale_after_s * S))
    assert pipeline.left_out("BTC") == []
    state = symbol_states(pipeline, ["BTC"], pipeline.notional())["BTC"]
    assert build_map(pipeline, state, 1).coverage == 0
