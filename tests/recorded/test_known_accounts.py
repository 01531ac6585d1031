"""Real accounts beside a development checkout: their liquidation prices, our maps of them, and a full ledger of 2023.

Bounds are loose; the figures themselves are printed (``-rP``) and stand in docs/MODEL.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forcedmove_client.cli import main
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.accounts.ledger_study import judge_ledger
from forcedmove_server.engine.accounts.levels import compare_levels, recomputed_levels
from forcedmove_server.engine.accounts.map_study import AccountStudy, MapFigures, study
from forcedmove_server.engine.accounts.maps import CALIBRATED, DISTANCE, NAIVE, NAIVE_MAINTENANCE, PRIOR, AccountMaps
from forcedmove_server.inference.leverage_prior import LeveragePrior
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.scorecard.accounts import AccountPositions
from forcedmove_server.scorecard.ledger import Ledger

RECORDED = Path(__file__).parents[3] / "shared" / "data"
POSITIONS = RECORDED / "hl_positions_2026-02" / "positions.parquet"
LEDGER = RECORDED / "hl_2023_full_ledger"
pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded accounts lie only beside a development checkout"),
]


def instrument_of(coin: str) -> Instrument:
    """A market whose ladder decides its greatest leverage."""
    return Instrument("hyperliquid", coin, coin, "USDC", max_leverage=1_000.0)


def rule_of(coin: str) -> MarginRule:
    return rule_for(instrument_of(coin))


@pytest.fixture(scope="module")
def known() -> AccountPositions:
    return AccountPositions.read(POSITIONS)


@pytest.fixture(scope="module")
def studies(known: AccountPositions) -> tuple[AccountStudy, AccountStudy]:
    """Drawn from either half, judged by the other."""
    first, second = (study(AccountMaps(known, instrument_of, half)) for half in (0, 1))
    return first, second


def of_map(found: AccountStudy, name: str, market: str = "all") -> MapFigures:
    return next(one for one in found.figures if (one.map, one.market) == (name, market))


def value(figures: MapFigures, name: str) -> float:
    found = getattr(figures, name).value
    assert isinstance(found, float)
    return found


def test_what_the_venue_says_is_never_liquidated_has_no_price_by_our_rule_either(known: AccountPositions) -> None:
    cross, _ = recomputed_levels(known, rule_of)
    none, never = np.isnan(known.level_usd), (cross <= 0) | ~np.isfinite(cross)
    assert none.sum() > 10_000
    assert never[none].mean() > 0.999
    assert never[~none].mean() < 0.05
    btc = compare_levels(known, rule_of, ["BTC"])[0]
    assert btc.cross_alone[1] > 0.65


def test_the_law_of_distance_of_real_positions_is_ours_and_not_the_naive_maps(
    studies: tuple[AccountStudy, AccountStudy], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["backtest", "--accounts", str(POSITIONS)]) == 0
    print(capsys.readouterr().out)
    for found in studies:
        assert found.accounts > 500
        for name in (PRIOR, CALIBRATED):
            ours = of_map(found, name)
            assert value(ours, "total_variation") < 0.12
            assert value(ours, "wasserstein_bp") < 150
            for other in (NAIVE, NAIVE_MAINTENANCE):
                naive = of_map(found, other)
                # intervals apart, not only values
                assert ours.total_variation.high < naive.total_variation.low  # type: ignore[operator]
                assert ours.wasserstein_bp.high < naive.wasserstein_bp.low  # type: ignore[operator]


def test_levels_that_are_spread_cost_no_bits_and_sharp_ones_do(studies: tuple[AccountStudy, AccountStudy]) -> None:
    """No map knows more of real levels than distance tells, but only the naive ones claim to."""
    for found in studies:
        assert value(of_map(found, PRIOR), "bits") > -0.05
        assert value(of_map(found, CALIBRATED), "bits") > -0.05
        assert value(of_map(found, NAIVE), "bits") < -2
        assert abs(value(of_map(found, DISTANCE), "bits")) < 0.03


def test_a_wider_law_of_leverage_is_no_better(
    known: AccountPositions, studies: tuple[AccountStudy, AccountStudy]
) -> None:
    """Accounts that count the same have a wide law, much of it above 10x; by notional it is further off."""
    wide = LeveragePrior(tail_share=0.0, bulk_median=3.0, bulk_log_sd=1.8)
    for half, found in enumerate(studies):
        other = of_map(study(AccountMaps(known, instrument_of, half, prior=wide), most_markets=0), PRIOR)
        ours = of_map(found, PRIOR)
        print(
            f"half {1 - half}: default {ours.total_variation}, {ours.bits}; wide {other.total_variation}, {other.bits}"
        )
        assert value(ours, "total_variation") < value(other, "total_variation")


def test_how_far_levels_have_to_be_spread(known: AccountPositions) -> None:
    """Bits of the default prior's map by ``level_width``; docs/MODEL.md has both halves and all widths."""
    bits = {}
    for width in (0.0, 0.25, 0.5):
        model = ModelConfig(level_width=width)
        bits[width] = of_map(study(AccountMaps(known, instrument_of, 0, model), most_markets=0), PRIOR)
    assert value(bits[0.0], "bits") < -1
    assert value(bits[0.25], "bits") > value(bits[0.0], "bits") + 1
    assert abs(value(bits[0.5], "bits")) < 0.03


def test_liquidations_of_a_full_ledger_follow_from_its_fills(capsys: pytest.CaptureFixture[str]) -> None:
    """Maintenance is taken to be 1 % of notional, half the initial margin at 50x: no equity told lies above it."""
    assert main(["backtest", "--accounts", str(LEDGER), "--max-leverage", "50"]) == 0
    print(capsys.readouterr().out)
    found = judge_ledger(
        Ledger.read(LEDGER), lambda coin: rule_for(Instrument("hyperliquid", coin, coin, "USDC", max_leverage=50.0))
    )
    assert (found.accounts, len(found.liquidations)) == (287, 62)
    every, complete = found.priced(complete=False), found.priced()
    assert (len(every), len(complete)) == (49, 41)
    rule = np.array([one.rule_error_bp for one in every])
    # given the equity told, no account was liquidated before our price, and none long after it
    assert rule.min() >= 0
    assert rule.max() < 100
    assert np.median(rule) < 10
    # from fills and transfers alone
    assert found.within(25) >= 18
    assert found.within(100) >= 24
    false = [one for one in found.alarms if one.complete and one.outcome == "recovered" and one.lasting]
    assert len({one.account for one in false}) <= 15
