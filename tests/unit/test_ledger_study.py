"""Ledgers of accounts: files as they are documented, and liquidations that follow from the fills or do not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from forcedmove_client.cli import main
from forcedmove_server.engine.accounts.ledger_study import LedgerStudy, judge_ledger
from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.scorecard.ledger import Fill, Ledger, LedgerLiquidation, Transfer

TRANSFERS = """time,account,usd
2026-01-01T00:00:00Z,a,100
2026-01-01T00:00:00Z,b,1000
"""
#: ``a`` holds 2 ETH at 1000 with 100 USD: at 50x maintenance is 1 %, so it is liquidated at 1900 / 2 / 0.99 = 959.596
FILLS = """time,account,market,side,price_usd,quantity
2026-01-01T01:00:00Z,a,ETH,buy,1000,2
2026-01-01T01:00:00Z,b,ETH,sell,1000,1
2026-01-01T05:00:00Z,b,ETH,sell,959,1
2026-01-01T05:00:10Z,a,ETH,sell,950,2
"""
LIQUIDATIONS = """time,account,notional_usd,equity_usd,margin
2026-01-01T05:00:10Z,a,1918,18,Cross
"""
PRICE = 1_900 / 2 / 0.99


def rule(market: str) -> MarginRule:
    return rule_for(Instrument("hyperliquid", market, market, "USDC", max_leverage=50.0))


def written(folder: Path, **replaced: str) -> Path:
    for name, content in {"fills": FILLS, "transfers": TRANSFERS, "liquidations": LIQUIDATIONS, **replaced}.items():
        (folder / f"{name}.csv").write_text(content)
    return folder


def studied(events: Sequence[Transfer | Fill | LedgerLiquidation]) -> LedgerStudy:
    return judge_ledger(Ledger(tuple(events)), rule)


def test_a_liquidation_is_foretold_by_the_fills(tmp_path: Path) -> None:
    found = judge_ledger(Ledger.read(written(tmp_path)), rule)
    assert (found.accounts, found.incomplete) == (2, 0)
    (one,) = found.liquidations
    assert (one.market, one.positions, one.complete, one.alarmed) == ("ETH", 1, True, True)
    assert one.mark_usd == pytest.approx(959.0)
    assert one.predicted_usd == pytest.approx(PRICE)
    assert one.price_error_bp == pytest.approx((PRICE / 959 - 1) * 1e4)
    assert one.rule_error_bp == pytest.approx(one.price_error_bp)
    assert one.equity_error_bp == pytest.approx(0.0, abs=1e-9)
    assert one.told.time_ns - (one.known_since_ns or 0) == (4 * 3600 + 10) * 10**9
    assert (found.within(7), found.within(6)) == (1, 0)
    # alarmed by the fill of somebody else ten seconds before, and ended by the liquidation
    (alarm,) = found.alarms
    assert (alarm.account, alarm.outcome, alarm.end_ns - alarm.begin_ns) == ("a", "liquidated", 10 * 10**9)
    assert not alarm.lasting


def test_money_that_is_not_in_the_ledger_shows_as_an_error_of_price_but_not_of_the_rule(tmp_path: Path) -> None:
    known = LIQUIDATIONS.replace("1918,18", "1860,18.5")
    (one,) = judge_ledger(Ledger.read(written(tmp_path, liquidations=known)), rule).liquidations
    assert one.price_error_bp is not None
    assert one.price_error_bp > 300
    assert one.rule_error_bp == pytest.approx(0.5, abs=1)
    assert one.equity_error_bp == pytest.approx(-(18.5 + 40) / 1860 * 1e4)


def test_a_position_that_nobody_could_have_afforded_marks_the_account(tmp_path: Path) -> None:
    poor = TRANSFERS.replace("a,100", "a,10")
    found = judge_ledger(Ledger.read(written(tmp_path, transfers=poor)), rule)
    assert found.incomplete == 1
    assert found.priced() == []
    assert len(found.priced(complete=False)) == 1


def test_an_alarm_that_passes_is_counted_as_false() -> None:
    second = 10**9
    found = studied(
        [
            Transfer(0, "a", 100.0),
            Fill(second, "a", "ETH", 2.0, 1_000.0),
            Fill(2 * second, "b", "ETH", -1.0, 955.0),
            Fill(100 * second, "b", "ETH", -1.0, 990.0),
            Fill(86_401 * second, "a", "ETH", -2.0, 1_000.0),
        ]
    )
    (alarm,) = [one for one in found.alarms if one.account == "a"]
    assert (alarm.outcome, alarm.lasting) == ("recovered", True)
    assert alarm.notional_usd == pytest.approx(1_910)
    assert found.exposed_days > 1.0


def test_isolated_and_several_positions_are_not_priced(tmp_path: Path) -> None:
    isolated = LIQUIDATIONS.replace("Cross", "Isolated")
    found = judge_ledger(Ledger.read(written(tmp_path, liquidations=isolated)), rule)
    assert (len(found.liquidations), found.priced()) == (1, [])
    two = FILLS + "2026-01-01T01:00:01Z,a,SOL,buy,20,1\n"
    (one,) = judge_ledger(Ledger.read(written(tmp_path, fills=two)), rule).liquidations
    assert (one.positions, one.price_error_bp) == (2, None)


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"fills": FILLS.replace("buy", "hold")}, "must be one of buy"),
        ({"fills": FILLS.replace("959", "-959")}, "must be positive"),
        ({"fills": FILLS.replace(",quantity", ",amount")}, "has no column quantity"),
        ({"transfers": TRANSFERS.replace("1000", "much")}, "must be numbers"),
        ({"liquidations": LIQUIDATIONS.replace("Cross", "both")}, "must be one of cross"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, replaced: dict[str, str], said: str) -> None:
    with pytest.raises(FileFormatError, match=said):
        Ledger.read(written(tmp_path, **replaced))


def test_a_folder_without_a_file_of_each_kind_is_refused(tmp_path: Path) -> None:
    (written(tmp_path) / "transfers.csv").unlink()
    with pytest.raises(FileFormatError, match="has no transfers"):
        Ledger.read(tmp_path)


def test_the_command_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backtest", "--accounts", str(written(tmp_path)), "--max-leverage", "50"]) == 0
    out = capsys.readouterr().out
    assert "2 accounts" in out
    assert "1 within 10" in out
    assert "complete accounts: 1 times then liquidated" in out
    assert main(["backtest", "--accounts", str(tmp_path), "--venue", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main(["backtest", "--accounts", str(tmp_path), "--report", "r.html"]) == 2
    assert "does not go with --accounts" in capsys.readouterr().err
    assert main(["backtest", "--max-leverage", "50"]) == 2
