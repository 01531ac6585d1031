"""Files of known accounts, and maps that are drawn from half of them and judged by the other half."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from forcedmove_client.cli import main
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.accounts.levels import compare_levels, recomputed_levels
from forcedmove_server.engine.accounts.map_study import AccountStudy, study
from forcedmove_server.engine.accounts.maps import (
    CALIBRATED,
    DISTANCE,
    MAPS,
    NAIVE,
    NARROW,
    OTHERS,
    PRIOR,
    REACH,
    AccountMaps,
)
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.errors import FileFormatError
from forcedmove_server.inference.leverage_prior import LeveragePrior, prior_for, tier_shares
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.scorecard.accounts import AccountPositions
from forcedmove_server.scorecard.resampling import Resampling

HEADER = "time,account,market,side,quantity,entry_price_usd,mark_usd,liquidation_price_usd,equity_usd,leverage\n"
RESAMPLING = Resampling(resamples=50)
MARK = 100_000.0


def instrument_of(market: str) -> Instrument:
    return Instrument("hyperliquid", market, market, "USDC", max_leverage=40.0)


def rule_of(market: str) -> MarginRule:
    return rule_for(instrument_of(market))


def accounts(seed: int = 0, count: int = 1_500, prior: LeveragePrior | None = None) -> AccountPositions:
    """Isolated positions whose leverages are drawn from tiers of ``prior``, each at one of the tier's own levels."""
    rng = np.random.default_rng(seed)
    weights = tier_shares(prior or prior_for("hyperliquid"), LEVERAGES, 40.0)
    side = rng.integers(0, 2, 8 * count)
    entry = MARK * np.exp(0.03 * rng.standard_normal(len(side)))
    leverage = rng.choice(LEVERAGES, len(side), p=weights)
    level = np.where(side == 0, rule_of("BTC").liquidation_price(0, entry, 0.1, leverage), 0.0)
    level = np.where(side == 1, rule_of("BTC").liquidation_price(1, entry, 0.1, leverage), level)
    open_ = np.flatnonzero(np.where(side == 0, level < MARK, level > MARK))[:count]
    n = len(open_)
    return AccountPositions(
        snapshot=np.zeros(n, np.int64),
        time_ns=np.full(n, 10**18),
        account=np.arange(n),
        half=np.arange(n) % 2,
        market=np.full(n, "BTC"),
        side=side[open_].astype(np.int64),
        quantity=rng.uniform(0.05, 0.15, n),
        entry_usd=entry[open_],
        mark_usd=np.full(n, MARK),
        level_usd=level[open_],
        equity_usd=np.full(n, 1e4),
        leverage=leverage[open_],
    )


def figures(found: AccountStudy, market: str = "all") -> dict[str, object]:
    return {one.map: one for one in found.figures if one.market == market}


@pytest.fixture(scope="module")
def judged() -> AccountStudy:
    return study(AccountMaps(accounts(), instrument_of), RESAMPLING)


def test_a_file_is_read_as_it_is_documented(tmp_path: Path) -> None:
    file = tmp_path / "accounts.csv"
    file.write_text(
        HEADER
        + "2026-03-02T00:00:00Z,b,ETH,Short,1,2000,2100,,5000,\n"
        + "2026-03-01T00:05:00Z,b,ETH,short,-2,2000,2000,3000,5000,3\n"
        + "2026-03-01T00:00:00Z,a,BTC,long,0.1,60000,61000,0,9000,10\n"
    )
    known = AccountPositions.read(file)
    assert known.snapshot.tolist() == [0, 0, 1]
    assert known.market.tolist() == ["BTC", "ETH", "ETH"]
    assert known.side.tolist() == [0, 1, 1]
    assert known.quantity.tolist() == [0.1, 2.0, 1.0]
    assert np.isnan(known.level_usd).tolist() == [True, False, True]
    assert known.account[1] == known.account[2] != known.account[0]
    assert known.notional_usd == pytest.approx([6_100, 4_000, 2_100])
    one = known.chosen(known.account == known.account[0])
    assert one.equity_usd.tolist() == [9_000.0]
    for line, said in (
        ("x,x\n", "cannot be read|has no column"),
        (HEADER + "2026-03-01,a,BTC,up,1,1,1,1,1,1\n", "long or"),
    ):
        file.write_text(line)
        with pytest.raises(FileFormatError, match=said):
            AccountPositions.read(file)
    file.write_text(HEADER + "2026-03-01T00:00:00Z,a,BTC,long,0,60000,61000,1,1,1\n")
    with pytest.raises(FileFormatError, match="must be positive"):
        AccountPositions.read(file)


def test_levels_of_isolated_and_cross_positions_are_told_apart() -> None:
    known = accounts(count=200)
    cross, isolated = recomputed_levels(known, rule_of)
    assert isolated == pytest.approx(known.level_usd, rel=1e-9)
    assert np.mean(np.abs(cross / known.level_usd - 1) < 1e-3) < 0.1
    alone = replace(known, level_usd=np.where(cross > 0, cross, np.nan))
    (btc, every) = compare_levels(alone, rule_of, ["BTC"])
    assert btc.cross == btc.cross_alone == btc.either == (1.0, 1.0, 1.0)
    assert (btc.positions, btc.alone) == (every.positions, every.alone)


def test_a_cross_account_shares_its_equity() -> None:
    known = accounts(count=2)
    both = replace(
        known,
        account=np.zeros(2, np.int64),
        side=np.array([0, 1]),
        quantity=np.array([1.0, 0.5]),
        equity_usd=np.full(2, 20_000.0),
    )
    cross, _ = recomputed_levels(both, rule_of)
    rule = rule_of("BTC")
    other = float(rule.requirement(0.5, MARK))
    assert cross[0] == pytest.approx(float(rule.liquidation_price(0, MARK, 1.0, margin=20_000.0 - other)))


def test_the_prior_that_made_the_positions_is_found_and_the_naive_map_is_not(judged: AccountStudy) -> None:
    found = figures(judged)
    assert set(found) == set(MAPS)
    assert judged.accounts == judged.judged == 750
    ours, naive, others = found[PRIOR], found[NAIVE], found[OTHERS]
    assert ours.total_variation.value < 0.1 < 0.3 < naive.total_variation.value  # type: ignore[attr-defined]
    assert ours.wasserstein_bp.value < 150 < naive.wasserstein_bp.value  # type: ignore[attr-defined]
    assert others.total_variation.value < 0.1  # type: ignore[attr-defined]
    assert ours.bits.value > naive.bits.value + 0.25  # type: ignore[attr-defined]
    assert found[DISTANCE].bits_over_prior.value == 0.0  # type: ignore[attr-defined]
    assert ours.within == pytest.approx(judged.real_within, abs=0.08)  # type: ignore[attr-defined]


def test_tiers_of_the_positions_are_those_that_were_drawn(judged: AccountStudy) -> None:
    tiers = judged.tiers[0]
    assert sum(tiers.real) == pytest.approx(1.0)
    assert (tiers.never, tiers.past_entry) == (0.0, 0.0)
    for name in (PRIOR, CALIBRATED):
        assert sum(tiers.laws[name]) == pytest.approx(1.0)
        # what survived has less leverage than what was opened
        assert tiers.total_variation[name].value < 0.15  # type: ignore[operator]


def test_weights_are_learnt_from_the_drawing_half_alone() -> None:
    bold = LeveragePrior(tail_share=0.9, bulk_median=3.0, tail_median=20.0, tail_log_sd=0.3)
    known = accounts(prior=bold)
    found = study(AccountMaps(known, instrument_of), RESAMPLING).tiers[0].total_variation
    assert found[CALIBRATED].value < 0.75 * found[PRIOR].value  # type: ignore[operator]
    other = replace(known, level_usd=np.where(known.half == 1, known.level_usd * 0.5, known.level_usd))
    maps, same = AccountMaps(known, instrument_of), AccountMaps(other, instrument_of)
    for one, two in zip(maps.maps(), same.maps(), strict=True):
        np.testing.assert_array_equal(one.weights[CALIBRATED], two.weights[CALIBRATED])
        np.testing.assert_array_equal(one.profiles, two.profiles)


def test_what_is_never_liquidated_counts_as_the_lowest_tier_and_what_is_past_its_entry_as_none() -> None:
    known = accounts(count=4)
    changed = replace(
        known,
        side=np.zeros(4, np.int64),
        entry_usd=np.full(4, MARK),
        level_usd=np.array([np.nan, MARK * 1.01, MARK * 0.97, MARK * 0.5]),
    )
    maps = AccountMaps(changed, instrument_of, least_accounts=1)
    assert maps.tiers_of("BTC", np.arange(4)).tolist()[:2] == [-1, -2]
    third, fourth = maps.tiers_of("BTC", np.arange(4)).tolist()[2:]
    assert LEVERAGES[third] == 25
    assert fourth == 0


def test_spreading_levels_keeps_their_mass_and_is_what_the_model_says() -> None:
    known = accounts(count=400)
    none = AccountMaps(known, instrument_of, model=replace(ModelConfig(), level_width=0.0)).maps()
    some = AccountMaps(known, instrument_of, model=replace(ModelConfig(), level_width=0.25)).maps()
    prior, narrow = MAPS.index(PRIOR), MAPS.index(NARROW)
    for one, two in zip(none, some, strict=True):
        np.testing.assert_array_equal(one.profiles[prior], one.profiles[narrow])
        np.testing.assert_array_equal(one.profiles[narrow], two.profiles[narrow])
        assert two.profiles[prior].sum() == pytest.approx(two.profiles[narrow].sum(), abs=0.08)
        assert np.abs(np.diff(two.profiles[prior])).sum() < 0.5 * np.abs(np.diff(two.profiles[narrow])).sum()
        assert np.abs(one.axis.prices(one.side) / one.axis.mark_usd - 1).max() <= REACH + 1e-3


def test_the_command_judges_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known, file = accounts(count=300), tmp_path / "accounts.csv"
    rows = [
        f"2026-03-01T00:00:00Z,{known.account[k]},BTC,{('long', 'short')[known.side[k]]},{known.quantity[k]},"
        f"{known.entry_usd[k]},{MARK},{known.level_usd[k]},10000,{known.leverage[k]:g}"
        for k in range(len(known.side))
    ]
    file.write_text(HEADER + "\n".join(rows) + "\n")
    assert main(["backtest", "--accounts", str(file)]) == 0
    out = capsys.readouterr().out
    assert "300 positions of 300 accounts in 1 snapshots" in out
    assert out.count("maps from the entries of half") == 2
    file.write_text(HEADER + "\n".join(rows[:20]) + "\n")
    assert main(["backtest", "--accounts", str(file)]) == 2
    assert "enough accounts" in capsys.readouterr().err
