"""The recorded markets through the model: conserved to the lot at every observation of open interest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forcedmove_kernels.arrays import Outcome, Updates
from forcedmove_server.config import Config, ReplaySourceConfig
from forcedmove_server.engine.export import full_map
from forcedmove_server.engine.offline import OfflineRun
from forcedmove_server.sources.make import make_source

RECORDED = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded markets lie only beside a development checkout"),
]


def replayed(folder: str, **window: object) -> tuple[OfflineRun, int]:
    """Run a folder through the model, checking every observation; return the run and how many there were."""
    config = ReplaySourceConfig(name="recorded", kind="replay", path=str(RECORDED / folder), **window)  # type: ignore[arg-type]
    run = OfflineRun(make_source(config).source, Config())
    observations = 0
    apply = run.pipeline.store.apply

    def checked(updates: Updates) -> Outcome:
        nonlocal observations
        outcome = apply(updates)
        np.testing.assert_array_equal(outcome.live, updates.open_interest)
        observations += len(updates.market)
        return outcome

    run.pipeline.store.apply = checked  # type: ignore[method-assign]
    run.finish()
    return run, observations


def test_tape_of_seven_coins_is_conserved_at_every_observation() -> None:
    run, observations = replayed("hl_2026-06")
    assert run.pipeline.events["trades"] == 3_085_226
    assert observations == run.pipeline.events["open_interest"] == 51_394
    ledger = run.pipeline.store.ledger
    np.testing.assert_array_equal(ledger.opened + ledger.overkill, ledger.live + ledger.closed + ledger.liquidated)
    table = full_map(run.pipeline).to_pandas()
    for market in range(7):
        instrument = run.pipeline.registry[market]
        rows = table[table["symbol"] == instrument.symbol]
        quantity = (rows["notional_usd"] / ((rows["price_low"] + rows["price_high"]) / 2)).groupby(rows["side"]).sum()
        interest = run.pipeline.inference.markets.open_interest[market] * run.pipeline.inference.markets.lot[market]
        np.testing.assert_allclose(quantity.to_numpy(), interest, rtol=1e-9)


def test_open_interest_bars_are_conserved_at_every_observation() -> None:
    run, observations = replayed("binance_oi_funding")
    assert observations == 7 * 16_127
    assert np.all(run.pipeline.store.ledger.live[:7, 0] == run.pipeline.store.ledger.live[:7, 1])
