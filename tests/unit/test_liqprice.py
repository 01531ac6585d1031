"""``forcedmove liqprice``: the agreed flags, keys and batch columns."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from forcedmove_client.cli import main

COLUMNS = (
    "row_id", "id", "exchange", "contract_type", "margin_mode", "side", "entry", "qty_base", "leverage", "margin",
    "mmr", "maint_amount", "fee_rate_in_formula", "max_leverage", "expected_liq_price", "formula_id", "reproduced",
    "notes",
)  # fmt: skip
LONG = ("--side", "long", "--entry", "1")
KEYS = {"liquidation_price", "bankruptcy_price", "mmr", "maint_amount", "fee", "rule", "source", "confidence"}


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        status = main(["liqprice", *argv])
    except SystemExit as ended:
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def as_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    status, out, err = call(capsys, *argv, "--json")
    assert (status, err) == (0, ""), err
    found = json.loads(out)
    assert found.keys() >= KEYS
    return dict(found)


def test_a_venues_position(capsys: pytest.CaptureFixture[str]) -> None:
    position = ["--entry", "98000", "--leverage", "50", "--side", "long", "--venue", "binance"]
    found = as_json(capsys, *position)
    assert (found["bankruptcy_price"], found["mmr"], found["tier"], found["rule"]) == (96_040.0, 0.004, 1, "L1")
    assert found["liquidation_price"] == pytest.approx(98_000 * (1 - 1 / 50) / (1 - 0.004))
    assert "FAQ" in found["source"]
    larger = as_json(capsys, *position, "--symbol", "BTC", "--quantity", "40")
    assert (larger["tier"], larger["maint_amount"]) == (4, 12_000.0)
    assert larger["liquidation_price"] == pytest.approx((98_000 * 0.98 - 12_000 / 40) / (1 - 0.01), rel=1e-12)
    status, out, err = call(capsys, *position, "--quantity", "40")
    assert status == 0
    assert float(out) == pytest.approx(larger["liquidation_price"], rel=1e-9)
    for word in (
        "bankruptcy",
        "tier 4",
        "P = (E - s (M + C) / Q) / (1 - s m)",
        "Binance FAQ",
        "shipped table of 2026-09-29",
    ):
        assert word in err


def test_statements_replace_the_venues_table(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures of a real position and of a published example."""
    hyperliquid = as_json(
        capsys, "--venue", "hyperliquid", "--contract", "linear", "--side", "short", "--entry", "2642.8",
        "--quantity", "0.019", "--margin", "25.091876", "--mmr", "0.01", "--maint-amount", "0", "--fee", "0",
    )  # fmt: skip
    assert hyperliquid["liquidation_price"] == pytest.approx(3924.18322043, rel=1e-9)
    phemex = as_json(
        capsys, "--venue", "phemex", "--side", "long", "--entry", "0.4", "--quantity", "500", "--leverage", "5",
        "--mmr", "1%", "--fee", "0.06%",
    )  # fmt: skip
    assert phemex["liquidation_price"] == pytest.approx(0.3232, rel=2e-4)
    kraken = as_json(
        capsys, "--venue", "krakenfutures", "--contract", "inverse", "--side", "long", "--entry", "8000",
        "--quantity", "1000", "--margin", "0.01", "--mmr", "0.01",
    )  # fmt: skip
    assert kraken["liquidation_price"] == pytest.approx(7481, rel=1e-4)
    assert kraken["bankruptcy_price"] == pytest.approx(7407, rel=1e-4)
    legacy = as_json(
        capsys, "--venue", "bybit", "--side", "long", "--entry", "10000", "--quantity", "1", "--leverage", "50",
        "--mmr", "0.005", "--rule", "L4",
    )  # fmt: skip
    assert (legacy["liquidation_price"], legacy["rule"]) == (pytest.approx(9_850, rel=1e-12), "L4")


def test_cross(capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(
        capsys, "--venue", "binance", "--side", "long", "--entry", "1456.84", "--quantity", "3683.979",
        "--mode", "cross", "--balance", "1535443.01", "--mmr", "10%", "--maint-amount", "135365",
        "--other", "BTC: qty 109.488 entry 32481.98 mark 31967.27 mmr 2.5% cum 16300",
    )  # fmt: skip
    assert found["liquidation_price"] == pytest.approx(1153.26, rel=1e-5)
    alone = ["--venue", "htx", "--side", "long", "--entry", "50000", "--quantity", "1", "--mode", "cross"]
    balance = as_json(capsys, *alone, "--balance", "5000")
    assert as_json(capsys, *alone, "--margin", "5000")["liquidation_price"] == balance["liquidation_price"]
    # Beside a balance the leverage is the setting: it chooses HTX's rate, and has a limit.
    setting = as_json(capsys, *alone, "--balance", "5000", "--leverage", "125")
    assert setting["mmr"] == pytest.approx(0.65 / 125)
    assert balance["mmr"] == pytest.approx(0.0125)
    assert call(capsys, *alone, "--balance", "5000", "--leverage", "201")[0] == 2


def test_never(capsys: pytest.CaptureFixture[str]) -> None:
    never = ["--entry", "100", "--leverage", "1", "--side", "short", "--mmr", "0", "--contract", "inverse"]
    assert call(capsys, *never) == (0, "never\n", "")
    found = as_json(capsys, *never)
    assert (found["liquidation_price"], found["status"]) == (None, "never")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--entry", "1", "--leverage", "5"], "--side = None: is needed"),
        (["--side", "long", "--leverage", "5"], "--entry = None: is needed"),
        ([*LONG, "--mmr", "0"], "--leverage = None: give --leverage, --margin"),
        ([*LONG, "--leverage", "5", "--margin", "2"], "not allowed with"),
        ([*LONG, "--mode", "cross"], "--balance = None"),
        ([*LONG, "--mode", "cross", "--balance", "5", "--margin", "2"], "--margin = 2.0: a cross position"),
        ([*LONG, "--balance", "5"], "--balance = 5.0: belongs to --mode cross"),
        ([*LONG, "--leverage", "900", "--venue", "binance"], "leverage = 900.0"),
        ([*LONG, "--leverage", "5", "--venue", "binance", "--quantity", "0"], "quantity = 0.0"),
        ([*LONG, "--leverage", "5", "--venue", "binance", "--symbol", "NOPE"], "'NOPE'"),
        (
            [*LONG, "--leverage", "5", "--venue", "bybit", "--symbol", "BTCUSD", "--contract", "linear"],
            "BTCUSD is an inverse contract",
        ),
        (
            [*LONG, "--quantity", "1", "--mode", "cross", "--balance", "5", "--mmr", "0", "--other", "qty 1 entry 2"],
            "--other mark = None",
        ),
        (["--batch", "none.csv"], "No such file"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], argv: list[str], told: str) -> None:
    status, out, err = call(capsys, *argv)
    assert (status, out) == (2, "")
    assert told in err.splitlines()[-1]


def batch(capsys: pytest.CaptureFixture[str], path: Path, *rows: dict[str, object]) -> tuple[int, list[Any], str]:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    status, out, err = call(capsys, "--batch", str(path))
    return status, [json.loads(line) for line in out.splitlines()], err


ROW: dict[str, object] = {
    "row_id": "A1", "exchange": "gate", "contract_type": "linear USDT", "margin_mode": "isolated", "side": "short",
    "entry": 10, "qty_base": 1, "leverage": 5, "margin": 2.0, "mmr": 0.01, "maint_amount": 0,
    "fee_rate_in_formula": 0.0006, "formula_id": "L2", "reproduced": "yes",
}  # fmt: skip


def test_batch(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line per row, in order; words around numbers, formulas by name, other legs in the notes."""
    legacy = ROW | {
        "exchange": "bybit", "side": "long", "entry": 10_000, "leverage": 50, "margin": 200, "mmr": 0.005,
        "fee_rate_in_formula": 0, "formula_id": "L4 (legacy, MM on entry value)",
    }  # fmt: skip
    inverse = ROW | {
        "exchange": "krakenfutures", "contract_type": "inverse PI_XBTUSD", "side": "long", "entry": 8_000,
        "qty_base": "1000 USD contracts", "leverage": "", "margin": 0.01, "fee_rate_in_formula": "cancels",
        "formula_id": "I1",
    }  # fmt: skip
    cross = ROW | {
        "exchange": "binance", "margin_mode": "cross", "side": "long", "entry": 1456.84, "qty_base": 3683.979,
        "leverage": "", "margin": 1_535_443.01, "mmr": 0.1, "maint_amount": 135_365, "fee_rate_in_formula": 0,
        "formula_id": "L1-cross",
        "notes": "other leg BTC: qty 109.488 entry 32481.98 mark 31967.27 mmr 2.5% cum 16300",
    }  # fmt: skip
    by_table = ROW | {"exchange": "binance", "mmr": "", "maint_amount": "", "fee_rate_in_formula": "", "formula_id": ""}
    by_table |= {"entry": 98_000, "leverage": 20, "margin": "", "side": "long"}
    status, lines, err = batch(capsys, tmp_path / "b.csv", ROW, legacy, inverse, cross, by_table)
    assert (status, err) == (0, "")
    assert [line["rule"] for line in lines] == ["L2", "L4", "I1", "L1", "L1"]
    expected = [11.87413417771621, 9_850, 7481.48148, 1153.25646, 98_000 * 0.95 / 0.996]
    assert [line["liquidation_price"] for line in lines] == pytest.approx(expected, rel=1e-8)
    assert all(line["row_id"] == "A1" and line.keys() >= KEYS for line in lines)


def test_batch_with_rows_that_are_no_positions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """They get a line that says why; only those that should have had an answer count as failures."""
    marked = {"row_id": "A2", "exchange": "gate", "reproduced": "n/a"}
    broken = ROW | {"row_id": "A3", "entry": "ten"}
    under_water = ROW | {"row_id": "A4", "margin": 0.01}
    status, lines, err = batch(capsys, tmp_path / "b.csv", ROW, marked, broken, under_water)
    assert status == 2
    assert "2 of 4 rows have no answer" in err
    assert [line["row_id"] for line in lines] == ["A1", "A2", "A3", "A4"]
    assert [line.get("error", {}).get("field") for line in lines] == [None, "side", "entry", "margin"]
    assert lines[2]["error"] == {
        "line": 4,
        "field": "entry",
        "value": "ten",
        "reason": "entry = 'ten': is not a number",
    }
    assert batch(capsys, tmp_path / "b.csv", ROW, marked)[0] == 0


CROSS: dict[str, object] = ROW | {
    "exchange": "binance", "margin_mode": "cross", "side": "long", "entry": 100, "qty_base": 1, "leverage": "",
    "margin": 50, "mmr": 0.01, "fee_rate_in_formula": 0, "formula_id": "L1-cross",
}  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "price"),
    [
        ({"margin_mode": "Cross margin"}, (100 - 50) / 0.99),
        ({"margin_mode": "cross (account)", "notes": ""}, (100 - 50) / 0.99),
        ({"notes": "other leg A: qty 2 entry 10 mark 9 mmr 1% cum 0"}, (100 - 50 + 2 + 0.18) / 0.99),
        ({"notes": "other leg A: short qty 2 entry 10 mark 9 mmr 1%"}, (100 - 50 - 2 + 0.18) / 0.99),
        ({"notes": "other leg A: qty 2 entry 10 mark 9 mmr 1% side short."}, (100 - 50 - 2 + 0.18) / 0.99),
        ({"notes": "other legs: A qty 2 entry 10 mark 9 mmr 1%; B qty 1 entry 5 mark 8"}, (100 - 50 - 0.82) / 0.99),
        ({"notes": "other leg A short: qty 2 entry 10 mark 9 mmr 1%"}, (100 - 50 - 2 + 0.18) / 0.99),
        ({"notes": "other leg short A: qty 2 entry 10 mark 9 mmr 1%; a remark"}, (100 - 50 - 2 + 0.18) / 0.99),
        ({"notes": "other leg A: qty 2 short entry 10 mark 9 mmr 1% linear"}, (100 - 50 - 2 + 0.18) / 0.99),
        ({"notes": "other leg A inverse: qty 20 entry 10 mark 8; B: qty 1 entry 5 mark 8"}, (100 - 52.5) / 0.99),
        ({"notes": "OTHER LEG A: QTY 2 ENTRY 10 MARK 9 MMR 1%"}, (100 - 50 + 2 + 0.18) / 0.99),
        ({"notes": "second position A: qty: 2 entry=10 mark = 9 mmr: 1 %"}, (100 - 50 + 2 + 0.18) / 0.99),
        ({"notes": "2nd leg 1000PEPE sell: qty 2 entry 10 mark 9 mmr 1% at 10x"}, (100 - 50 - 2 + 0.18) / 0.99),
        ({"notes": "Other legs: A qty 2 entry 10 mark 9; other leg B: qty 1 entry 5 mark 8"}, (100 - 50 - 1) / 0.99),
        ({"notes": "liquidated at mark 45 of 2024; entry by three trades"}, (100 - 50) / 0.99),
        ({"notes": "no other legs; margin of other positions is not counted"}, (100 - 50) / 0.99),
        ({"qty_base": "100 contracts x 0.01 BTC"}, (100 - 50) / 0.99),
        ({"entry": "1,100.5", "margin": 1_050.5}, 50 / 0.99),
        ({"fee_rate_in_formula": "taker 0.0006", "formula_id": ""}, 50 / (1 - 0.0106)),
        ({"fee_rate_in_formula": "cancels"}, 50 / 0.99),
        ({"formula_id": "legacy L4"}, 51.0),
        ({"formula_id": "(legacy) l4"}, 51.0),
    ],
)  # fmt: skip
def test_cells_as_people_write_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cells: dict[str, object], price: float
) -> None:
    status, (line,), _ = batch(capsys, tmp_path / "b.csv", CROSS | cells)
    assert (status, line["liquidation_price"]) == (0, pytest.approx(price, rel=1e-9))


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        ({"entry": "10.000,5"}, "entry"),
        ({"entry": "1,3"}, "entry"),
        ({"mmr": "0.004-0.005"}, "mmr"),
        ({"entry": "1e400"}, "entry"),
        ({"qty_base": "100 x 100"}, "qty_base"),
        ({"margin_mode": "hedged"}, "margin_mode"),
        ({"formula_id": "L12"}, "formula_id"),
        ({"formula_id": "L5"}, "formula_id"),
        ({"contract_type": "spot"}, "contract_type"),
        ({"notes": "other leg A: qty 2 entry 10 mark nine"}, "notes: other leg mark"),
        ({"notes": "other leg A: 2 coins"}, "notes: other leg qty"),
        ({"notes": "other leg A: qty 2 entry 10 mark 9 mark 8"}, "notes: other leg"),
        ({"notes": "other leg A: qty 2 entry 10 mark 9, B: qty 1 entry 2 mark 3"}, "notes: other leg"),
        ({"notes": "other leg A: qty 2 entry 10 mark 9 long or short"}, "notes: other leg"),
        ({"notes": "other leg A: buy qty 2 entry 10 mark 9 short"}, "notes: other leg"),
        ({"notes": "other leg A: qty 2 entry 10 mark 9 mm 2.5%"}, "notes: other leg"),
        ({"notes": "other leg A: qty 2 entry 10 mark 9 maint 16300"}, "notes: other leg"),
        ({"notes": "other leg A: qty 2 entry 10 mark 9; B: 3 entry 10 mark 9"}, "notes: other leg"),
        ({"notes": "other leg A: qty 2 entry 10 mark 9; B: entry 10 mark 9"}, "notes: other leg qty"),
        ({"notes": "the other one, A: qty 2 entry 10 mark 9"}, "notes"),
        ({"notes": "Other positions: qty 2, entry 10"}, "notes: other leg mark"),
    ],
)
def test_cells_that_could_be_misread_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cells: dict[str, object], field: str
) -> None:
    status, (line,), _ = batch(capsys, tmp_path / "b.csv", CROSS | cells)
    assert status == 2
    assert (line["liquidation_price"], line["error"]["field"]) == (None, field)


def test_headers_may_be_written_loosely_and_flags_of_one_position_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "b.csv"
    path.write_text("Exchange, Side,ENTRY,leverage,mmr\nokx,long,100,10,0.01\n")
    status, out, _ = call(capsys, "--batch", str(path))
    assert (status, json.loads(out)["rule"]) == (0, "L2")
    status, out, err = call(capsys, "--batch", str(path), "--venue", "okx")
    assert (status, out) == (2, "")
    assert "--venue = 'okx': is of a single position" in err


def test_batch_files_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, content, told in (
        ("empty.csv", b"", "need 'side'"),
        ("columns.csv", b"a,b\n1,2\n", "need 'side'"),
        ("rows.csv", b"side,entry\n", "has no rows"),
        ("binary.csv", b"\xff\xfe\x00\x01", "is not a CSV file"),
    ):
        (tmp_path / name).write_bytes(content)
        status, out, err = call(capsys, "--batch", str(tmp_path / name))
        assert (status, out) == (2, ""), name
        assert told in err
        assert name in err
