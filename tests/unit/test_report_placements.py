"""What a report keeps while windows are scored: deciles that add up, examples chosen by what happened."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_server.scorecard.frozen import Axis, Outcome
from forcedmove_server.scorecard.placement import Placed, TouchedSide
from forcedmove_server.scorecard.report.placements import ReportPlacements
from forcedmove_server.scorecard.resampling import Resampling
from forcedmove_server.scorecard.tables import MarketName

HOUR = 3600 * 10**9
MAPS = ("ours", "naive", "distance")
AXIS = Axis.of(1_005.0, 10.0, 60, 81)


def placed(
    side: int = 0,
    touched: int = 20,
    market: int = 0,
    source: str = "positions",
    horizon_ns: int = HOUR,
    seed: int = 0,
    scale: float = 1.0,
) -> Placed:
    rng = np.random.default_rng(seed)
    profiles = rng.gamma(0.5, 1.0, (3, AXIS.length(side)))
    usd = scale * profiles[0, :touched, None] * np.array([[1.0, 2.0]])
    outcome = Outcome(market, 7 * HOUR, horizon_ns, 1_005.0, 900.0, 1_100.0)
    view = TouchedSide(AXIS, side, profiles, touched, 1_005.0)
    return Placed(market, outcome, view, source, np.array([3, 9]), np.ones_like(usd), usd)


def names(number: int) -> MarketName:
    return MarketName("venue", f"M{number}", f"S{number}")


def test_deciles_have_every_map_and_know_who_held_what() -> None:
    keeper = ReportPlacements(MAPS, "naive", HOUR)
    for seed in range(5):
        keeper(placed(seed=seed))
    found = {one.map: one for one in keeper.deciles(Resampling(resamples=20, least_blocks=2))}
    assert set(found) == set(MAPS)
    for one in found.values():
        assert sum(share.value or 0.0 for share in one.shares) == pytest.approx(1.0)
        assert (one.shares[0].n, one.shares[0].blocks) == (5 * 2 * 20, 2)
    # what happened is what ours said, so its densest tenth has most of it
    top = {name: one.shares[-1].value or 0.0 for name, one in found.items()}
    assert top["ours"] > 0.3 > top["naive"]


@pytest.mark.parametrize("side", [0, 1])
def test_an_example_is_the_window_in_ascending_prices(side: int) -> None:
    keeper = ReportPlacements(MAPS, "naive", HOUR)
    one = placed(side)
    keeper(one)
    (found,) = keeper.examples(names)
    assert (found.venue, found.symbol, found.side, found.realised_from) == ("venue", "S0", side, "positions")
    assert (found.begin_ns, found.end_ns) == (7 * HOUR, 8 * HOUR)
    assert len(found.edges_usd) == 21
    mark_bin = (1_000.0, 1_010.0)
    assert (found.edges_usd[-2:] if side == 0 else found.edges_usd[:2]) == mark_bin
    outward = slice(None, None, -1) if side == 0 else slice(None)
    assert found.predicted[outward] == pytest.approx(one.view.profiles[0, :20] * 1_005)
    assert found.naive is not None
    assert found.naive[outward] == pytest.approx(one.view.profiles[1, :20] * 1_005)
    assert found.realised[outward] == pytest.approx(one.usd.sum(axis=1))


def test_the_window_with_most_of_a_market_is_kept_and_liquidations_come_first() -> None:
    keeper = ReportPlacements(MAPS, "naive", HOUR)
    keeper(placed(seed=1))
    keeper(placed(seed=2, scale=9.0))
    keeper(placed(seed=3, source="liquidations", market=1))
    keeper(placed(seed=4, touched=9, scale=1e6))
    keeper(placed(seed=5, horizon_ns=4 * HOUR, scale=1e6))
    found = keeper.examples(names)
    assert [(one.symbol, one.realised_from) for one in found] == [("S1", "liquidations"), ("S0", "positions")]
    assert sum(found[1].realised) == pytest.approx(float(placed(seed=2, scale=9.0).usd.sum()))
    for market in range(20):
        keeper(placed(seed=market, market=market))
    assert len([one for one in keeper.examples(names) if one.realised_from == "positions"]) == 4
