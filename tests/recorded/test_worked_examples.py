"""Collected liquidation figures and real positions beside a development checkout, through the product's own faces."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from forcedmove_client.cli import main
from forcedmove_server.margin.equations import LONG, SHORT
from forcedmove_server.margin.multipliers import CROSS_WIDTH_SHARE
from forcedmove_server.margin.rules import rule_for
from tests.unit.margin_markets import market

SHARED = Path(__file__).parents[3] / "shared"
EXAMPLES = SHARED / "exchanges" / "worked_examples.csv"
POSITIONS = SHARED / "data" / "hl_positions_2026-02" / "positions.parquet"
pytestmark = pytest.mark.recorded


def test_every_comparable_row_within_its_tolerance(capsys: pytest.CaptureFixture[str]) -> None:
    """``forcedmove liqprice --batch`` on the collected figures, cross accounts and legacy formulas included."""
    if not EXAMPLES.exists():
        pytest.skip(f"{EXAMPLES} is not here: the collected figures stand beside development checkouts only")
    rows = list(csv.DictReader(EXAMPLES.read_text(encoding="utf-8").splitlines()))
    assert main(["liqprice", "--batch", str(EXAMPLES)]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == len(rows)
    compared = 0
    for row, answer in zip(rows, answers, strict=True):
        assert answer["row_id"] == row["row_id"]
        if row["reproduced"] != "yes":
            continue
        tolerance = max(float(row["tolerance"]), 1e-9)
        assert answer["liquidation_price"] == pytest.approx(float(row["expected_liq_price"]), rel=tolerance), row["id"]
        if row["expected_bankruptcy_price"]:
            expected = float(row["expected_bankruptcy_price"])
            assert answer["bankruptcy_price"] == pytest.approx(expected, rel=tolerance), row["id"]
        compared += 1
    assert compared >= 38


@pytest.fixture(scope="module")
def positions():  # type: ignore[no-untyped-def]
    pandas = pytest.importorskip("pandas")
    if not POSITIONS.exists():
        pytest.skip(f"{POSITIONS} is not here: recorded positions stand beside development checkouts only")
    table = pandas.read_parquet(POSITIONS)
    table["snapshot"] = table["ts"].rank(method="dense").astype(int)
    return table


@pytest.mark.parametrize(("coin", "leverage"), [("BTC", 40), ("ETH", 25), ("SOL", 20)])
def test_real_accounts_with_one_position(positions, coin: str, leverage: float) -> None:  # type: ignore[no-untyped-def]
    """Hyperliquid's own liquidationPx from what is visible of the account: half of them to 1 %.

    The rest depends on fields that are not recorded (margin added by hand, other collateral, hidden positions).
    """
    alone = positions.groupby(["snapshot", "address"])["coin"].transform("size") == 1
    mine = positions[alone & (positions["coin"] == coin) & positions["liq_px"].notna()]
    mine = mine[(mine["liq_px"] / mine["mark_px"] - 1).abs() < 1]
    side = np.where(mine["direction"] == "Long", LONG, SHORT)
    rule = rule_for(market("hyperliquid", coin, max_leverage=leverage))
    mark, size = mine["mark_px"].to_numpy(), mine["size"].to_numpy()
    price = rule.liquidation_price(side, mark, size, margin=mine["account_value"].to_numpy())
    error = np.abs(price / mine["liq_px"].to_numpy() - 1)
    assert len(mine) > 50
    assert np.mean(error < 0.01) > 0.45


def test_how_far_a_cross_level_moves_in_a_day(positions) -> None:  # type: ignore[no-untyped-def]
    """The measured constant: 90 % of unchanged positions keep their level within this share of its distance."""
    following = positions.assign(snapshot=positions["snapshot"] - 1)
    pairs = positions.merge(following, on=["address", "coin", "direction", "snapshot"], suffixes=("", "_next"))
    same = (pairs["size_next"] / pairs["size"] - 1).abs() < 1e-3
    same &= (pairs["entry_px_next"] / pairs["entry_px"] - 1).abs() < 1e-4
    pairs = pairs[same & pairs["liq_px"].notna() & pairs["liq_px_next"].notna()]
    distance = (pairs["mark_px"] - pairs["liq_px"]).abs()
    near = (distance / pairs["mark_px"] > 0.005) & (distance / pairs["mark_px"] < 1)
    moved = ((pairs["liq_px_next"] - pairs["liq_px"]).abs() / distance)[near]
    assert len(moved) > 2_000
    assert float(moved.quantile(0.9)) == pytest.approx(CROSS_WIDTH_SHARE, abs=0.01)
