"""Bands of views: what they hold, what makes them wide, and how markets add up in them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from forcedmove_server.config import CalibrationConfig, Config, EngineConfig
from forcedmove_server.engine.bands import Certainty, Uncertainty, check_band, uncertainty_of
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.pipeline import Pipeline, configured_pipeline
from forcedmove_server.engine.views import plan_view
from forcedmove_server.errors import InputError
from forcedmove_server.inference.comparison import true_map
from forcedmove_server.market.events import Records
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry
from forcedmove_server.scorecard.measures.coverage import coverage, coverage_sums
from forcedmove_server.sources.simulate import SimulatedSource, SimulationConfig
from tests.unit.market_feed import fed_pipeline

SPECS = [
    ViewSpec(),
    ViewSpec(keep=("price",)),
    ViewSpec(keep=("venue", "side", "leverage", "price"), price_range_fraction=0.1),
    ViewSpec(venues=("binance",), leverage_min=10, leverage_max=50, sides=("short",)),
    ViewSpec(keep=("leverage", "price"), leverage_min=5, price_range_fraction=0.03),
]


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return fed_pipeline(20)


def certainty_of(pipeline: Pipeline, shape: float = 30.0, usd: float = 20_000.0, symbol: str = "BTC") -> Certainty:
    """The same for every market of a symbol."""
    markets = np.array(pipeline.mapped_markets(symbol))
    table = pipeline.inference.markets
    unit = np.where(table.inverse[markets], 1.0, table.price[markets] * table.bin_width[markets] / 1024)
    weights = pipeline.store.weights(markets)
    nothing = np.zeros(len(markets))
    return Certainty(
        weights,
        shape=np.full(weights.shape, shape),
        typical=usd / unit / table.lot[markets],
        phi=nothing + 1,
        opened=nothing,
        common=np.zeros(weights.shape),
        stood=nothing,
        displacement=nothing,
    )


def taken(pipeline: Pipeline, spec: ViewSpec, certainty: Certainty, symbol: str = "BTC") -> Uncertainty:
    planned = plan_view(pipeline.store, pipeline.symbol_rows(symbol, pipeline.notional()), spec)
    view = planned.filled(pipeline.store.resident.render(planned.asked))
    mapped = pipeline.mapped_markets(symbol)
    own = [mapped.index(market) for market in planned.asked.markets.tolist()]
    parts = (getattr(certainty, field.name)[own] for field in dataclasses.fields(certainty))
    return uncertainty_of(pipeline.store, planned, view, Certainty(*parts))


@pytest.mark.parametrize("spec", SPECS)
def test_a_band_has_the_views_cells_and_holds_their_values(pipeline: Pipeline, spec: ViewSpec) -> None:
    uncertain = taken(pipeline, spec, certainty_of(pipeline))
    values, band = uncertain.view.values, uncertain.band(0.9)
    assert band.level == 0.9
    for bound in (band.low, band.high):
        assert bound.shape == values.shape
        assert bound.dtype == np.float32
    assert (band.low <= values).all()
    assert (values <= band.high).all()
    held = values > 0
    assert held.any()
    assert (band.low < band.high)[values > 10].all()
    assert not band.low[~held].any()
    assert not band.high[~held].any(), "where the map has nothing the band has no width"
    wider = uncertain.band(0.99)
    assert (wider.high[held] >= band.high[held]).all()
    assert (wider.low <= band.low).all()


def test_less_evidence_and_larger_positions_make_it_wider(pipeline: Pipeline) -> None:
    def width(certainty: Certainty) -> float:
        uncertain = taken(pipeline, ViewSpec(price_range_fraction=0.2), certainty)
        band, inner = uncertain.band(0.9), uncertain.view.values[:, 1:-1] > 0
        return float((band.high - band.low)[:, 1:-1][inner].sum())

    known = certainty_of(pipeline, shape=3000.0)
    assert width(certainty_of(pipeline, shape=5.0)) > 1.1 * width(known)
    assert width(certainty_of(pipeline, shape=3000.0, usd=200_000.0)) > 1.1 * width(known)
    assert width(dataclasses.replace(known, phi=known.phi * 4)) > 1.1 * width(known)
    sure = dataclasses.replace(certainty_of(pipeline, shape=1e18), typical=np.zeros(3))
    assert width(sure) < 1e-3 * width(known), "exact positions have a value, no band"


def test_weights_of_one_venue_vary_as_one_and_those_of_others_do_not(pipeline: Pipeline) -> None:
    """Against draws: a Gamma factor per venue, side and tier, applied to all markets of the venue."""
    certainty = dataclasses.replace(certainty_of(pipeline, shape=100.0), typical=np.zeros(3))
    spec = ViewSpec(keep=("price",), price_range_fraction=0.1)
    uncertain = taken(pipeline, spec, certainty)
    markets = pipeline.mapped_markets("BTC")
    venues = [pipeline.registry[market].venue for market in markets]
    assert sorted(venues) == ["binance", "binance", "hyperliquid"]
    asked = uncertain.planned.asked
    cells = (uncertain.lots * uncertain.usd[:, None, None])[..., asked.low + 1 : asked.high + 1]
    rng = np.random.default_rng(4)
    weights, draws = certainty.weights, np.zeros((4000, cells.shape[-1]))
    for venue in set(venues):
        factors = rng.gamma(100.0, 1 / 100.0, (len(draws), 2, weights.shape[2]))
        for k in (k for k, own in enumerate(venues) if own == venue):
            drawn = weights[k] * factors
            ratio = drawn / drawn.sum(2, keepdims=True) / np.where(weights[k] > 0, weights[k], 1.0)
            draws += np.einsum("dst,stb->db", ratio, cells[k])
    band, values = uncertain.band(0.9), uncertain.view.values[1:-1]
    large = values > np.quantile(values, 0.5)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    found = (band.high - band.low)[1:-1][large]
    assert found == pytest.approx((high - low)[large], rel=0.25)
    assert np.median(found / (high - low)[large]) == pytest.approx(1.0, abs=0.03)

    def spread(**wanted: object) -> float:
        own = taken(pipeline, dataclasses.replace(spec, **wanted), certainty)  # type: ignore[arg-type]
        one = own.band(0.9)
        return float((one.high - one.low)[1:-1][large].sum())

    alone = [spread(venues=(venue,)) for venue in ("binance", "hyperliquid")]
    assert max(alone) < spread() < 0.97 * sum(alone), "independent venues: less than the sum of their widths"


def test_what_opens_can_widen_what_prints_say_and_not_narrow_it(pipeline: Pipeline) -> None:
    printed = certainty_of(pipeline)
    assert np.array_equal(printed.quantity, printed.typical)
    small = dataclasses.replace(printed, opened=printed.typical / 10)
    assert np.array_equal(small.quantity, printed.typical)
    large = dataclasses.replace(printed, opened=printed.typical * 9, phi=printed.phi * 4)
    assert large.quantity == pytest.approx(printed.typical * 9)
    asked = ViewSpec(price_range_fraction=0.2)
    same = taken(pipeline, asked, dataclasses.replace(printed, typical=printed.typical * 9)).band(0.9)
    assert np.array_equal(taken(pipeline, asked, large).band(0.9).high, same.high)


def test_an_error_of_the_prior_is_one_for_all_venues_and_sides(pipeline: Pipeline) -> None:
    """Against draws: one log-normal factor per tier, applied to every market alike."""
    sure = dataclasses.replace(certainty_of(pipeline, shape=1e18), typical=np.zeros(3))
    certainty = dataclasses.replace(sure, common=np.full(sure.common.shape, 0.1))
    spec = ViewSpec(keep=("price",), price_range_fraction=0.1)
    uncertain = taken(pipeline, spec, certainty)
    asked = uncertain.planned.asked
    cells = (uncertain.lots * uncertain.usd[:, None, None])[..., asked.low + 1 : asked.high + 1]
    rng = np.random.default_rng(5)
    weights, draws = certainty.weights, np.zeros((4000, cells.shape[-1]))
    factors = np.exp(0.1 * rng.standard_normal((len(draws), 1, weights.shape[2])))
    for k in range(len(weights)):
        drawn = weights[k] * factors
        ratio = drawn / drawn.sum(2, keepdims=True) / np.where(weights[k] > 0, weights[k], 1.0)
        draws += np.einsum("dst,stb->db", ratio, cells[k])
    band, values = uncertain.band(0.9), uncertain.view.values[1:-1]
    large = values > np.quantile(values, 0.5)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    found = (band.high - band.low)[1:-1][large]
    assert np.median(found / (high - low)[large]) == pytest.approx(1.0, abs=0.05)

    def width(**wanted: object) -> np.ndarray:
        one = taken(pipeline, dataclasses.replace(spec, **wanted), certainty).band(0.9)  # type: ignore[arg-type]
        return (one.high - one.low)[1:-1].astype(np.float64)

    together, apart = width(), sum(width(venues=(venue,)) for venue in ("binance", "hyperliquid"))
    assert together[large].sum() > 0.9 * np.sum(apart[large]), "what is off at all venues does not cancel"


def test_entries_that_nobody_saw_may_all_be_off_the_same_way(pipeline: Pipeline) -> None:
    sure = dataclasses.replace(certainty_of(pipeline, shape=1e18), typical=np.zeros(3))
    spec = ViewSpec(keep=("price",), price_range_fraction=0.1)
    values = taken(pipeline, spec, sure).view.values.astype(np.float64)

    def width(stood: float, bins: float) -> np.ndarray:
        known = dataclasses.replace(sure, stood=np.full(3, stood), displacement=np.full(3, bins))
        band = taken(pipeline, spec, known).band(0.6827)
        return (band.high - band.low).astype(np.float64) / 2

    assert max(width(0.0, 20.0).max(), width(1.0, 0.0).max()) < 1e-5 * values.max(), "but for rounding"
    moved = np.abs(values[41:-1] - values[1:-41]) / 2  # of bins 21 .. from the view's ends
    found = width(1.0, 20.0)[21:-21]
    share = moved / np.maximum(values[21:-21], 1.0)
    small = (share > 1e-3) & (share < 0.1)
    assert small.sum() > 50
    assert found[small] == pytest.approx(moved[small], rel=0.1), "one standard deviation is a shift by that much"
    half = width(0.5, 20.0)[21:-21]
    assert half[small] == pytest.approx(found[small] / 2, rel=0.1), "the rest has entries that were seen"


def test_a_map_weighted_by_freshness_has_no_band(pipeline: Pipeline) -> None:
    check_band(0.9, ViewSpec())
    with pytest.raises(InputError, match=r"band_level = 0\.9: no band is known of a map weighted by freshness"):
        check_band(0.9, ViewSpec(weighting="fresh"))
    with pytest.raises(InputError, match=r"level = 1\.5: must lie between 0\.01 and 0\.999"):
        taken(pipeline, ViewSpec(), certainty_of(pipeline)).band(1.5)


def test_without_evidence_the_priors_give_the_width(pipeline: Pipeline) -> None:
    learner = Learner(pipeline, CalibrationConfig(enabled=False))
    markets = np.array(pipeline.mapped_markets("BTC"))
    found = learner.certainty(markets)
    weights = pipeline.store.weights(markets)
    assert (found.shape > 0).all()
    likely, unlikely = weights > 0.1, (weights > 0) & (weights < 0.02)
    assert found.shape[likely].min() > 20, "a prior is sure of what it holds much of"
    assert found.shape[unlikely].max() < 5
    assert found.typical == pytest.approx(certainty_of(pipeline).typical)
    assert found.opened == pytest.approx(found.typical)
    assert found.phi.tolist() == [1.0, 1.0, 1.0]
    off = learner.calibration.settings.prior_log_sd
    assert (found.common == off).all(), "nothing is learnt: the prior may be as far off as priors are"
    assert found.stood.tolist() == [1.0, 1.0, 1.0]
    table = pipeline.inference.markets
    mark_bin = table.price[markets] / 1024
    assert found.displacement == pytest.approx(pipeline.model.initial_entry_spread * mark_bin)
    assert np.array_equal(found.weights, pipeline.store.weights(markets))


def simulated(seed: int, hours: float = 24.0) -> tuple[Pipeline, Records]:
    """A simulated market seen with the weights that its traders really draw from, and the positions behind it."""
    market = SimulationConfig(seed=seed, symbols=("BTC",), warmup_hours=hours, duration_hours=hours)
    source = SimulatedSource(market)
    shares = {key: np.stack([np.array(weights)] * 2) for key, weights in market.true_leverage_weights.items()}
    engine = EngineConfig(backend="cpu", threads=1, max_markets=8)
    registry = InstrumentRegistry()
    pipeline = Pipeline(registry, engine, Config().model, shares)
    for batch in source.batches(registry):
        pipeline.take(batch)
    markets = np.array(pipeline.mapped_markets("BTC"))
    pipeline.store.centre(markets, int(pipeline.inference.markets.price[markets[0]]))
    pipeline.store.refresh(pipeline.now_s)
    return pipeline, source.truth()


def test_with_true_weights_nine_in_ten_bins_of_the_true_map_lie_inside() -> None:
    """Within a fifth of the mark: further away levels depend on entries that nobody saw."""
    pipeline, truth = simulated(seed=11)
    markets = np.array(pipeline.mapped_markets("BTC"))
    certainty = certainty_of(pipeline, shape=1e6)
    sizes = []
    for market in markets.tolist():
        quantity = truth["quantity"][truth["market"] == market]
        sizes.append((quantity**2).sum() / quantity.sum() / pipeline.inference.markets.lot[market])
    spec = ViewSpec(price_range_fraction=0.2)

    def share(typical: np.ndarray) -> float:
        uncertain = taken(pipeline, spec, dataclasses.replace(certainty, typical=typical))
        band, view = uncertain.band(0.9), uncertain.view
        inverse = np.array([one.contract_type is ContractType.INVERSE for one in pipeline.registry])
        true = true_map(truth, inverse, view.bin_width_usd, view.first_bin, view.bin_count, markets)
        bins = view.first_bin + np.arange(view.bin_count)
        mark = pipeline.symbol_rows("BTC", pipeline.notional()).mark_usd / view.bin_width_usd
        ahead = np.stack([bins < mark - 1, bins > mark])
        found = coverage(coverage_sums(band.low[:, 1:-1], band.high[:, 1:-1], true, ahead)).share
        assert found is not None
        return found

    assert 0.8 <= share(np.array(sizes)) <= 0.97
    assert share(np.array(sizes) / 1000) < 0.5, "the sizes of positions are what makes it so"


def test_rows_of_exact_positions_are_certain() -> None:
    config = Config(engine=EngineConfig(backend="cpu", threads=1, max_markets=8))
    pipeline = configured_pipeline(InstrumentRegistry(), config, exact_markets=2)
    found = Learner(pipeline, CalibrationConfig()).certainty(np.array([8, 9]))
    assert not found.quantity.any()
    assert not found.common.any()
    assert not found.stood.any()
    assert (found.shape > 1e12).all()
