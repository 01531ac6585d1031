"""Credible bands from the engine to the client, and bands held against what was liquidated."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forcedmove_client import AsyncClient, InvalidArgumentError, LimitExceededError
from forcedmove_server.config import CalibrationConfig, Config, EngineConfig
from forcedmove_server.engine.engine import Engine
from forcedmove_server.engine.forecasts import MAPS, Forecasts
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.pipeline import configured_pipeline
from forcedmove_server.market.events import FEED_STATE, STREAM_GAP, Channel, EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.rpc.server import serve
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.scorecard.summary import Where
from forcedmove_server.sources.make import bounded_simulation
from tests.integration.fake_engine import FakeEngine, eventually, serving
from tests.unit.market_feed import ENGINE, minute, two_venue_registry

CONFIG = Config(engine=EngineConfig(backend="cpu", threads=1, max_markets=8))
FAST = Config(engine=EngineConfig(threads=1, tick_interval_ms=20, max_markets=8, bins=ENGINE.bins))


async def test_a_snapshot_carries_the_band_that_was_asked_for(engine: FakeEngine, client: AsyncClient) -> None:
    frame = (await client.snapshot("BTC", band_level=0.5, keep=("venue", "side", "price"), price_range=0))["BTC"]
    assert frame.band is not None
    assert frame.band.level == 0.5
    np.testing.assert_array_equal(frame.band.low, frame.grid * np.float32(0.5))
    np.testing.assert_array_equal(frame.band.high, frame.grid * np.float32(1.5))
    assert not frame.band.low.flags.writeable
    table = frame.to_pandas()
    assert list(table.columns)[-3:] == ["notional_usd", "notional_low_usd", "notional_high_usd"]
    assert (table["notional_high_usd"] == 1.5 * table["notional_usd"]).all()
    assert (await client.snapshot("BTC"))["BTC"].band is None
    first = asyncio.create_task(anext(client.subscribe("BTC")))
    await eventually(lambda: engine.watched)
    engine.step()
    assert (await first).band is None


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (1.0, r"band_level = 1\.0: must lie between 0\.01 and 0\.999"),
        (-0.1, r"band_level = -0\.1: must lie between"),
        (0.001, r"band_level = 0\.001: must lie between"),
        (float("nan"), r"band_level = nan: must be a finite number"),
        (float("-inf"), r"band_level = -inf: must be a finite number"),
    ],
)
async def test_wrong_levels_are_refused(client: AsyncClient, level: float, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        await client.snapshot("BTC", band_level=level)


async def test_a_fresh_map_has_no_band(client: AsyncClient) -> None:
    with pytest.raises(InvalidArgumentError, match=r"band_level = 0\.9: no band is known of a map weighted by fresh"):
        await client.snapshot("BTC", band_level=0.9, weighting="fresh")
    assert (await client.snapshot("BTC", weighting="fresh"))["BTC"].weighting == "fresh"


async def test_a_band_counts_in_the_size_of_a_frame() -> None:
    engine = FakeEngine(("BTC",), bins=200_000)
    async with serving(engine) as server, AsyncClient(f"127.0.0.1:{server.port}") as client:
        engine.step()
        assert (await client.snapshot("BTC", price_range=0))["BTC"].grid.shape == (2, 200_002)
        with pytest.raises(LimitExceededError, match=r"4800048 bytes with its band; an answer holds .* narrow"):
            await client.snapshot("BTC", price_range=0, band_level=0.9)


async def test_the_engines_own_band_holds_its_map() -> None:
    engine = Engine(FAST, two_venue_registry())
    engine.start()
    server = await serve(engine, port=0)
    try:
        for number in range(5):
            assert engine.put(minute(number))
        await eventually(lambda: engine.pipeline.events["open_interest"] == 20, 60)
        seen = engine.ticks  # the window has moved for the last time one whole tick from now
        await eventually(lambda: engine.ticks > seen + 1)
        async with AsyncClient(f"127.0.0.1:{server.port}") as client:
            for keep in (("side", "price"), ("venue", "leverage", "price")):
                frame = (await client.snapshot("BTC", band_level=0.9, keep=keep))["BTC"]
                band = frame.band
                assert band is not None
                assert (band.low <= frame.grid).all()
                assert (frame.grid <= band.high).all()
                assert (band.high > band.low)[frame.grid > 100].all()
                assert not band.high[frame.grid == 0].any()
            wide = (await client.snapshot("BTC", band_level=0.99, keep=keep))["BTC"].band
            assert wide is not None
            assert (wide.high >= band.high).all()
            assert "credible_band" in {assumption.name for assumption in frame.assumptions}
    finally:
        await server.drain(grace_s=0.2)
        engine.stop()
    assert engine.failure is None


def learnt(
    tmp_path: Path, hours: float = 3.0, told: Callable[[EventBatch], EventBatch] = lambda batch: batch
) -> tuple[Learner, Forecasts]:
    """A learner that has followed a simulated BTC; ``told`` makes of every batch what collectors tell."""
    pipeline = configured_pipeline(InstrumentRegistry(), CONFIG)
    learner = Learner(pipeline, CalibrationConfig(state=str(tmp_path / "weights.npz"), every_s=600))
    forecasts = Forecasts(pipeline, Scorecard(maps=MAPS), learner)
    for batch in bounded_simulation(3, ("BTC",), hours).batches(pipeline.registry):
        forecasts.take(told(batch))
    return learner, forecasts


def with_gap(batch: EventBatch) -> EventBatch:
    """Every market lost liquidations in this batch."""
    at = batch.until_ns - 1
    return replace(batch, gaps=np.array([(at, at, market, Channel.LIQUIDATIONS) for market in range(5)], STREAM_GAP))


def with_feeds(batch: EventBatch, live: int) -> EventBatch:
    """What collectors tell of the feeds of liquidations."""
    rows = [(batch.until_ns - 1, market, Channel.LIQUIDATIONS, live, 0) for market in range(5)]
    return replace(batch, feed_states=np.array(rows, FEED_STATE))


def test_bands_are_held_against_liquidations_and_their_width_is_kept(tmp_path: Path) -> None:
    learner, forecasts = learnt(tmp_path)
    summary = forecasts.scorecard.summary()
    assert summary.coverage.bins > 50
    assert summary.coverage.share is not None
    assert summary.coverage.share > 0.5
    assert summary.invariants.worst_flow_error == 0.0
    for venue, published in (("bybit", True), ("binance", False), ("okx", False), ("hyperliquid", False)):
        assert (forecasts.scorecard.summary(Where(venue=venue)).coverage.bins > 0) == published, "complete feeds alone"
        assert (learner.calibration.phi(venue) != 1.0) == published
    registry = forecasts.pipeline.registry
    markets = np.arange(len(registry))
    found = learner.certainty(markets)
    learner.save()
    pipeline = configured_pipeline(registry, CONFIG)
    again = Learner(pipeline, CalibrationConfig(state=str(tmp_path / "weights.npz")))
    assert again.calibration.phi("bybit") == learner.calibration.phi("bybit")
    rows = np.array([learner.calibration.row(one.key) for one in registry])
    assert (learner.calibration.printed_sizes(rows)[0] > 0).tolist() == [one.venue != "hyperliquid" for one in registry]
    table = forecasts.pipeline.inference.markets
    usd = found.typical * table.lot[markets] * np.where(table.inverse[markets], 1, table.price[markets] / 1024)
    usd *= np.where(table.inverse[markets], 1, table.bin_width[markets])
    assert (usd > 2 * CONFIG.model.typical_position_usd).all(), "also where nothing is printed: as others of the symbol"


@pytest.mark.parametrize("lost", ["gap", "down"])
def test_what_a_lost_feed_did_not_tell_is_not_held_against_a_band(tmp_path: Path, lost: str) -> None:
    learner, forecasts = learnt(tmp_path, 1.0, with_gap if lost == "gap" else lambda batch: with_feeds(batch, 0))
    assert forecasts.scorecard.summary().coverage.bins == 0
    assert learner.calibration.phi("bybit") == 1.0
    rows = np.array([learner.calibration.row(one.key) for one in forecasts.pipeline.registry])
    counts = learner.calibration.counts(rows)
    assert not counts.printed.any()
    assert not counts.expected.any(), "and nothing was to be expected"


def test_a_feed_that_was_down_counts_again_when_it_is_back(tmp_path: Path) -> None:
    """Down, told once, while several windows begin and end; then back."""
    begin_ns = bounded_simulation(3, ("BTC",), 1.0).config.epoch_ns
    counted: list[int] = []

    def told(batch: EventBatch) -> EventBatch:
        passed_s = (batch.until_ns - begin_ns) // 10**9
        if passed_s == 60:
            return with_feeds(batch, 0)
        return with_feeds(batch, 1) if passed_s == 2400 else batch

    learner, forecasts = learnt(tmp_path, 1.5, told)
    rows = np.array([learner.calibration.row("bybit:BTCUSDT")])
    counted = [forecasts.scorecard.summary().coverage.bins, int(learner.calibration.counts(rows).expected.sum() > 0)]
    whole_learner, whole = learnt(tmp_path, 1.5)
    assert 0 < counted[0] < whole.scorecard.summary().coverage.bins
    assert counted[1]
    assert learner.calibration.printed_sizes(rows)[0] < whole_learner.calibration.printed_sizes(rows)[0]
