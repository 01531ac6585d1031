"""Which tiers are the tail of a prior, and what the calibration makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.errors import InputError
from forcedmove_server.inference.calibration import Calibration, Prints, Window
from forcedmove_server.inference.leverage_prior import prior_for, tail_membership, tier_shares

TIERS = len(LEVERAGES)


@pytest.mark.parametrize(("venue", "highest", "half"), [("binance", 125.0, 25.0), ("hyperliquid", 50.0, 10.0)])
def test_membership_is_the_tails_share_of_each_tiers_weight(venue: str, highest: float, half: float) -> None:
    prior = prior_for(venue)
    found, shares = tail_membership(prior, LEVERAGES, highest), tier_shares(prior, LEVERAGES, highest)
    assert ((found >= 0) & (found <= 1)).all()
    rising = found[LEVERAGES >= 5]
    assert (np.diff(rising) > -1e-9).all()
    assert found[LEVERAGES <= 5].max() < 0.1
    assert found[2 * half <= LEVERAGES].min() > 0.9
    # all of the tail, but for what lies above the highest leverage offered
    assert (found * shares).sum() == pytest.approx(prior.tail_share, abs=0.02)


def learnt(tail: np.ndarray | None) -> np.ndarray:
    """Weights over the prior where 100x is touched much and liquidated little, and 10x never touched."""
    prior = np.tile(tier_shares(prior_for("binance"), LEVERAGES, 125.0), (2, 1))
    calibration = Calibration(LEVERAGES)
    row = calibration.new_market("m", "binance", prior, True, tail)
    exposure = np.zeros((1, 2, TIERS))
    exposure[0, :, LEVERAGES == 100] = 4.0
    likelihood = np.zeros((1, TIERS))
    likelihood[0, LEVERAGES == 100] = 1.0
    for k in range(60):
        prints = Prints(np.array([row]), np.array([k % 2]), np.array([1.0]), likelihood)
        calibration.observe(
            Window(
                until_ns=(k + 1) * 3600 * 10**9,
                market=np.array([row]),
                exposure=exposure,
                weights=calibration.weights(np.array([row])),
                prints=prints,
            )
        )
    found: np.ndarray = calibration.weights(np.array([row]))[0] / prior
    return found


def test_a_tail_gains_and_loses_as_a_whole_and_leaves_what_is_not_its_own() -> None:
    ratio = learnt(tail_membership(prior_for("binance"), LEVERAGES, 125.0))
    at = {int(leverage): ratio[0, k] for k, leverage in enumerate(LEVERAGES)}
    assert at[100] < 0.8
    assert at[75] < 0.9  # never touched, but of the same tail
    assert at[10] == pytest.approx(at[2], rel=0.05)  # never touched either, and not of it
    # the usual tail begins at 5x, and takes 10x along
    usual = learnt(None)
    assert usual[0, LEVERAGES == 10] < 0.95 * usual[0, LEVERAGES == 2]


def test_memberships_are_shares() -> None:
    calibration = Calibration(LEVERAGES)
    prior = np.full((2, TIERS), 1 / TIERS)
    for bad in (np.zeros(3), np.full(TIERS, 1.5), np.full(TIERS, np.nan)):
        with pytest.raises(InputError, match="tail"):
            calibration.new_market("m", "v", prior, True, bad)
