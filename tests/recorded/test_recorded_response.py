"""What recovers of impact on a recorded tape of six days: bounds on the figures of docs/MODEL.md, "Impact"."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from forcedmove_server.config import ModelConfig, ReplaySourceConfig
from forcedmove_server.engine.cascade.response import Grid, bursts, fit_recovery, on_grid, propagator
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.make import make_source

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "hl_2026-06"
pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded markets lie only beside a development checkout"),
]
#: whose tape is dense enough for a price every ten seconds
DENSE = ("BTC", "ETH", "SOL")


@pytest.fixture(scope="module")
def grids() -> dict[str, Grid]:
    config = ReplaySourceConfig(
        name="recorded",
        kind="replay",
        path=str(RECORDED / "trades"),
        start=datetime(2026, 6, 11, tzinfo=UTC),
        end=datetime(2026, 6, 18, tzinfo=UTC),
    )
    registry = InstrumentRegistry()
    trades = np.concatenate([batch.trades for batch in make_source(config).source.batches(registry)])
    return {
        instrument.symbol: on_grid(trades[trades["market"] == market]) for market, instrument in enumerate(registry)
    }


def test_a_part_of_the_impact_recovers_within_minutes_and_the_rest_stays(grids: dict[str, Grid]) -> None:
    found = {symbol: fit_recovery(propagator(grids[symbol]).kept()) for symbol in DENSE}
    for symbol, (stays, recovery_s) in found.items():
        assert 0.4 < stays < 0.85, (symbol, stays)
        assert 20 < recovery_s < 300, (symbol, recovery_s)
    assert np.mean([stays for stays, _ in found.values()]) == pytest.approx(
        ModelConfig().impact_permanent_share, abs=0.1
    )
    assert np.mean([time_s for _, time_s in found.values()]) == pytest.approx(ModelConfig().impact_recovery_s, rel=0.5)


def test_bursts_are_not_given_back_measurably_since_flow_goes_on(grids: dict[str, Grid]) -> None:
    """An hour of bursts shares its weather: intervals over hours are wide, and none excludes that all of it stays."""
    rng = np.random.default_rng(1)
    for symbol in DENSE:
        found = bursts(grids[symbol], (60, 300, 1800))
        assert len(found.at_once) > 300
        hours, of = np.unique(found.hour, return_inverse=True)
        drawn = [
            found.response(np.bincount(rng.integers(0, len(hours), len(hours)), minlength=len(hours))[of].astype(float))
            for _ in range(200)
        ]
        high = np.quantile(drawn, 0.975, axis=0)
        assert (high > 1.0).all(), (symbol, high)
