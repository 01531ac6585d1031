"""``forcedmove scan`` and ``forcedmove whatif``: what they ask of a server, and how they show the answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from forcedmove_client import Chain, Level, Liquidation, Outlook, ScanEstimate, ScanResult, Touch, WhatIf, WhatIfRow
from forcedmove_client.cli import main, running
from forcedmove_client.cli import whatif as whatif_command
from tests.unit.scan_sample import sample_scan

TOUCHES = (Touch(3_600.0, 0.01, 0.02), Touch(86_400.0, 0.1, 0.25))
OWN = Outlook(90_000.0, -0.1, -0.08, TOUCHES)
CHAIN = Chain(
    side="long",
    start_price=100_000.0,
    shock_price=92_000.0,
    levels=(Level(91_900.0, 5e6, ("okx", "binance"), 5e6, 89_950.0),),
    total_usd=5e6,
    terminal_price=89_950.0,
    amplification=1.26,
    beyond_window=False,
)
LIQUIDATION = Liquidation(
    "liquidatable", 90_000.0, 89_000.0, 0.01, 0.0, 2, 0.0, 1.0, "L1", "E", "a page", "DOC", "mark", "a table", False,
    (), "at once", 0.0,
)  # fmt: skip
ANSWER = WhatIf(
    liquidation=LIQUIDATION,
    symbol="BTC",
    epoch=1,
    seq=2,
    mark_price=100_000.0,
    volatility_day=0.03,
    volatility_measured=False,
    outlook=OWN,
    nearest=CHAIN,
    shock=CHAIN,
    shock_reaches=True,
    by_leverage=(WhatIfRow(10.0, OWN, ""), WhatIfRow(500.0, None, "leverage = 500.0: must be at most 125")),
    by_added_margin=(WhatIfRow(1_000.0, Outlook(None, None, None, TOUCHES), ""),),
    assumptions=(),
)


class FakeClient:
    """Remembers what it was asked."""

    calls: list[tuple[str, Any, dict[str, Any]]]
    scanned: ScanResult
    answer: WhatIf

    def __init__(self, target: str, **_: Any) -> None:
        self.target = target

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def scan(self, *args: Any, **options: Any) -> ScanResult:
        self.calls.append(("scan", args, options))
        return self.scanned

    async def estimate_scan(self, *args: Any, **options: Any) -> ScanEstimate:
        self.calls.append(("estimate", args, options))
        return ScanEstimate(500, 32_000, 6_400_000, 3 << 20, 4.2)

    async def what_if(self, **options: Any) -> WhatIf:
        self.calls.append(("whatif", (), options))
        return self.answer


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, dict[str, Any]]]:
    made: list[tuple[str, Any, dict[str, Any]]] = []
    monkeypatch.setattr(FakeClient, "calls", made, raising=False)
    monkeypatch.setattr(FakeClient, "scanned", sample_scan(4, (-0.02, -0.01, 0.01)), raising=False)
    monkeypatch.setattr(FakeClient, "answer", ANSWER, raising=False)
    monkeypatch.setattr(running, "AsyncClient", FakeClient)
    return made


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        status = main(argv)
    except SystemExit as ended:  # argparse
        status = int(ended.code or 0)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_scan_is_asked_for_as_it_was_typed(capsys: pytest.CaptureFixture[str], calls: list[Any]) -> None:
    status, out, _ = call(
        capsys, "scan", "BTC", "ETH", "--shocks", "-1%,-2%,0.05", "--paths", "50", "--seed", "7", "--sort", "loss",
        "--top", "5", "--venues", "okx", "--min-notional", "1e6", "--max-distance", "3%", "--horizon", "4h",
        "--timeout", "9s",
    )  # fmt: skip
    assert status == 0
    ((_, (shocks, symbols), options),) = calls
    assert shocks == (-0.01, -0.02, 0.05)
    assert symbols == ["BTC", "ETH"]
    assert options == {
        "paths": 50, "seed": 7, "venues": ["okx"], "min_notional_usd": 1e6, "max_distance": 0.03, "sort": "loss",
        "top": 5, "horizon_s": 14_400.0, "timeout_s": 9.0,
    }  # fmt: skip
    lines = out.splitlines()
    assert lines[0].split()[:3] == ["symbol", "mark", "tips"]
    assert "−2.0%" in lines[0]
    assert len([line for line in lines if "COIN" in line or "BTC" in line]) == 4
    assert "no depth" in out
    assert "6 symbols (2 filtered, 1 missing) by loss" in out


def test_many_shocks_are_no_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeClient, "scanned", sample_scan(2, tuple(np.linspace(-0.1, -0.01, 9).tolist())))
    _, out, _ = call(capsys, "scan")
    assert "under each shock" not in out


def test_a_scan_as_json_and_parquet(capsys: pytest.CaptureFixture[str], tmp_path: Path, calls: list[Any]) -> None:
    _, out, _ = call(capsys, "scan", "--format", "json")
    plain = json.loads(out)
    assert [one["symbol"] for one in plain["symbols"]] == [one["symbol"] for one in plain["ranking"]]
    first = plain["symbols"][0]
    assert first["fragility"][-1] is None  # no depth
    assert len(first["terminal_price"]) == 3
    assert first["event_time"].endswith("Z")
    status, out, _ = call(capsys, "scan", "--format", "json", "--output", str(tmp_path / "s.json"))
    assert (status, out) == (0, "")
    assert json.loads((tmp_path / "s.json").read_text()) == plain
    call(capsys, "scan")
    assert [options["top"] for _, _, options in calls] == [0, 0, 20]
    pq = pytest.importorskip("pyarrow.parquet")
    assert call(capsys, "scan", "--format", "parquet", "--output", str(tmp_path / "s.parquet"))[0] == 0
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.num_rows == 12
    assert table["shock"].to_pylist()[:3] == [-0.02, -0.01, 0.01]


def test_the_estimate_alone(capsys: pytest.CaptureFixture[str], calls: list[Any]) -> None:
    _, out, _ = call(capsys, "scan", "--estimate", "--paths", "200")
    assert "500 symbols, 32,000 chains, 6,400,000 paths: about 4.2 s and 3 MiB" in out
    _, out, _ = call(capsys, "scan", "--estimate", "--format", "json")
    assert json.loads(out)["chains"] == 32_000
    assert [name for name, _, _ in calls] == ["estimate", "estimate"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("--shocks", "-1%,x"), "'x' is not a move of the mark"),
        (("--shocks", "-1%,501%"), "'501%' is not a move of the mark such as -0.02 or -2%, from -95% to 500%"),
        (("--shocks", "0"), "other than 0"),
        (("--shocks", ","), "other than 0"),
        (("--format", "parquet"), "--output is missing"),
        (("--output", "x"), "--output is for"),
        (("--top", "0"), "whole number"),
    ],
)
def test_bad_scans(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], told: str) -> None:
    status, _, err = call(capsys, "scan", *argv)
    assert status == 2
    assert told in err


@pytest.mark.parametrize("colour", ["amplification", "move"])
def test_the_market_as_a_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, calls: list[Any], monkeypatch: pytest.MonkeyPatch, colour: str
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "market.png"
    status, out, _ = call(capsys, "scan", "--plot", str(path), "--colour", colour)
    assert (status, out) == (0, "")
    assert len(calls[0][1][0]) == 32  # both sides, evenly
    small = path.read_bytes()
    assert small.startswith(b"\x89PNG")
    monkeypatch.setattr(FakeClient, "scanned", sample_scan(300, (-0.02, 0.01)))
    assert call(capsys, "scan", "--plot", str(path), "--colour", colour)[0] == 0
    assert path.read_bytes() != small
    monkeypatch.setattr(FakeClient, "scanned", sample_scan(0, (-0.02,)))
    status, _, err = call(capsys, "scan", "--plot", str(path))
    assert status == 1
    assert "no symbol" in err


POSITION = ("BTC", "--venue", "binance", "--side", "long", "--quantity", "40", "--entry", "98000", "--leverage", "25")


def test_whatif_asks_and_tells(capsys: pytest.CaptureFixture[str], calls: list[Any], tmp_path: Path) -> None:
    book = tmp_path / "book.csv"
    book.write_text("side,price,quantity\nbid,96000,12\nask,99000,3.5\n")
    status, out, _ = call(
        capsys,
        "whatif",
        *POSITION,
        "--shock",
        "-2%",
        "--horizons",
        "1h",
        "24h",
        "--add-margin",
        "1000",
        "--book",
        str(book),
    )
    assert status == 0
    ((_, _, options),) = calls
    assert options["bids"] == ((96_000.0, 12.0),)
    assert options["asks"] == ((99_000.0, 3.5),)
    assert (options["move"], options["leverage"], options["quantity"]) == (-0.02, 25.0, 40.0)
    assert options["horizons_s"] == [3_600.0, 86_400.0]
    for text in (
        "volatility 3.0% a day (not measured yet)",
        "liquidated at 90,000 (−10.00%)",
        "a shock of −8.00% cascades there",
        "25.0% with cascades",
        "the smallest shock that gets there",
        "the shock that was asked for reaches it",
        "not possible",
        "must be at most 125",
        "never",
    ):
        assert text in out, text


def test_whatif_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "whatif", *POSITION, "--json")
    assert json.loads(out)["outlook"]["shock"] == -0.08


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (Outlook(None, None, None, TOUCHES), "no price liquidates"),
        (Outlook(101_000.0, 0.0, 0.0, TOUCHES), "the mark has crossed it"),
        (Outlook(30_000.0, -0.7, None, TOUCHES), "outside the map's window"),
        (Outlook(90_000.0, -0.1, -0.1, TOUCHES), "no smaller shock cascades there"),
    ],
)
def test_whatif_in_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, own: Outlook, told: str
) -> None:
    monkeypatch.setattr(FakeClient, "answer", dataclasses.replace(ANSWER, outlook=own, nearest=None, shock=None))
    assert told in call(capsys, "whatif", *POSITION)[1]


@pytest.mark.parametrize("text", ["side,price,quantity\n", "side,price\nbid,1\n", "side,price,quantity\nbuy,1,1\n", ""])
def test_books_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "book.csv"
    path.write_text(text)
    with pytest.raises(Exception, match=r"book\.csv"):
        whatif_command.read_book(path)


def test_whatif_needs_something_to_lose(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(capsys, "whatif", *POSITION[:-2])
    assert status == 2
    assert "--leverage, --margin or --balance" in err
