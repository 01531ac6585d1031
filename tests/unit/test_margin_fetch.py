"""Fetching public tables: through ccxt's own client against a server on loopback, and what goes wrong on the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import ccxt
import pytest

from forcedmove_client.cli import main
from forcedmove_server.errors import FileFormatError, InputError, NotReadyError
from forcedmove_server.margin import fetch
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.feeds import FEEDS
from forcedmove_server.margin.fetch import fetch_ladders
from forcedmove_server.margin.imports import read_import
from forcedmove_server.margin.ladders import Ladder, LadderFile, Tiers, read_ladders, write_ladders
from forcedmove_server.margin.provenance import Origin
from forcedmove_server.margin.tiers import TierMeasure
from forcedmove_server.margin.venues import VENUES

TODAY = date(2026, 11, 25)
Answer = Callable[[str, dict[str, str]], tuple[int, Any]]


@pytest.fixture
def venue_server() -> Iterator[Callable[[Answer], str]]:
    """Start a server on loopback that answers every GET by a function of path and query; returns its address."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                status, body = answer(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def okx_instrument(base: str, size: str) -> dict[str, str]:
    """A swap as OKX lists it, the fields that ccxt reads."""
    return {
        "instType": "SWAP", "instId": f"{base}-USDT-SWAP", "instFamily": f"{base}-USDT", "uly": f"{base}-USDT",
        "baseCcy": "", "quoteCcy": "", "settleCcy": "USDT", "ctVal": size, "ctMult": "1", "ctValCcy": base,
        "ctType": "linear", "state": "live", "tickSz": "0.1", "lotSz": "1", "minSz": "1", "lever": "100", "alias": "",
        "category": "1", "expTime": "", "listTime": "1611916828000", "optType": "", "stk": "",
    }  # fmt: skip


def okx_answer(path: str, query: dict[str, str]) -> tuple[int, Any]:
    if path.endswith("/public/instruments"):
        rows = [okx_instrument("AAA", "0.01"), okx_instrument("BBB", "10"), okx_instrument("CCC", "1")]
        return 200, {"code": "0", "msg": "", "data": rows if query.get("instType") == "SWAP" else []}
    if path.endswith("/public/position-tiers"):
        family = query["instFamily"]
        if family == "CCC-USDT":
            return 200, {"code": "51000", "msg": "Parameter instFamily error", "data": []}
        tier = {"instFamily": family, "instId": "", "minSz": "0", "imr": "0.02", "optMgnFactor": "0", "uly": ""}
        first, second = (
            {"maxSz": "500", "mmr": "0.01", "maxLever": "50"},
            {"maxSz": "900", "mmr": "0.02", "maxLever": "20"},
        )
        return 200, {"code": "0", "msg": "", "data": [tier | second | {"tier": "2"}, tier | first | {"tier": "1"}]}
    return 404, {"code": "404", "msg": path}


def okx_client(address: str) -> Any:
    client = ccxt.okx({"enableRateLimit": False, "timeout": 5_000, "options": {"fetchMarkets": {"types": ["swap"]}}})
    client.urls["api"] = {"rest": address}
    return client


def test_okx_over_ccxts_own_client(venue_server: Callable[[Answer], str]) -> None:
    """Contracts become coins by the size in the instrument list; a market that is refused is reported, not fatal."""
    steps: list[tuple[int, int]] = []
    client = okx_client(venue_server(okx_answer))
    fetched = fetch_ladders(FEEDS["okx"], TODAY, (), lambda done, total: steps.append((done, total)), [client])
    ladders = {market: ladder.maintenance for ladder in fetched.file.ladders for market in ladder.markets}
    assert ladders == {
        "AAA/USDT:USDT": Tiers([(0.0, 0.01, 50.0), (5.0, 0.02, 20.0)], measure=TierMeasure.QUANTITY),
        "BBB/USDT:USDT": Tiers([(0.0, 0.01, 50.0), (5_000.0, 0.02, 20.0)], measure=TierMeasure.QUANTITY),
    }
    assert (fetched.file.venue, fetched.file.as_of, fetched.file.origin) == ("okx", TODAY, Origin.FETCHED)
    assert len(fetched.problems) == 1
    assert "instFamily error" in next(iter(fetched.problems.values()))
    assert steps == [(1, 3), (2, 3), (3, 3)]


def test_only_the_symbols_that_are_asked_for(venue_server: Callable[[Answer], str]) -> None:
    address = venue_server(okx_answer)
    for name in ("aaa", "AAA/USDT:USDT"):
        fetched = fetch_ladders(FEEDS["okx"], TODAY, [name], exchanges=[okx_client(address)])
        assert [ladder.markets for ladder in fetched.file.ladders] == [["AAA/USDT:USDT"]]
    with pytest.raises(InputError, match="symbols"):
        fetch_ladders(FEEDS["okx"], TODAY, ["ZZZ"], exchanges=[okx_client(address)])


def test_a_venue_that_is_down_or_gone(venue_server: Callable[[Answer], str]) -> None:
    with pytest.raises(NotReadyError, match="okx: "):
        fetch_ladders(FEEDS["okx"], TODAY, (), exchanges=[okx_client(venue_server(lambda path, query: (503, {})))])
    with pytest.raises(NotReadyError, match="okx: "):
        fetch_ladders(FEEDS["okx"], TODAY, (), exchanges=[okx_client("http://127.0.0.1:9")])


def test_venues_without_a_public_table() -> None:
    for name in ("binance", "aster", "bingx", "cryptocom"):
        with pytest.raises(InputError, match="tiers import"):
            fetch_ladders(FEEDS[name], TODAY, exchanges=[])


def test_sixteen_venues_can_be_fetched() -> None:
    public = {venue.name for venue in VENUES if venue.tiers_public}
    assert len(public) == 16
    assert public <= FEEDS.keys()
    assert all(hasattr(ccxt, exchange) for name in public for exchange in FEEDS[name].exchanges)


class FakeGate:
    """A ccxt client whose answers are made here: Gate's do not name the contract they are of."""

    id = "gate"

    def load_markets(self) -> dict[str, Any]:
        def listed(base: str, **more: Any) -> dict[str, Any]:
            return {
                "id": f"{base}_USDT", "symbol": f"{base}/USDT:USDT", "base": base, "quote": "USDT", "swap": True,
                "active": True, "inverse": False, "contractSize": 0.1,
            } | more  # fmt: skip

        markets = [
            listed("AAA"), listed("BBB"), listed("OLD", active=False), listed("SPOT", swap=False),
            listed("EUR", quote="EUR"), listed("BAD"),
        ]  # fmt: skip
        return {market["symbol"]: market for market in markets}

    def publicFuturesGetSettleRiskLimitTiers(self, params: dict[str, str]) -> Any:
        if params["contract"] == "BAD_USDT":
            return [{"tier": 1, "risk_limit": "many", "maintenance_rate": "0.01", "leverage_max": "50"}]
        rate = {"AAA_USDT": "0.004", "BBB_USDT": "1.4"}[params["contract"]]
        return [{"tier": 1, "risk_limit": "1000", "maintenance_rate": rate, "leverage_max": "100", "deduction": "0"}]


def test_answers_that_cannot_be_used_are_reported_by_market() -> None:
    fetched = fetch_ladders(FEEDS["gate"], TODAY, exchanges=[FakeGate()])
    assert [ladder.markets for ladder in fetched.file.ladders] == [["AAA/USDT:USDT"]]
    assert fetched.problems.keys() == {"BBB/USDT:USDT", "BAD/USDT:USDT"}
    assert "risk_limit = 'many'" in fetched.problems["BAD/USDT:USDT"]


def config(tmp_path: Path) -> list[str]:
    path = tmp_path / "c.toml"
    path.write_text(f"[margin]\ntiers_dir = {str(tmp_path / 'tiers')!r}\n")
    return ["--config", str(path)]


def test_update_show_and_use(
    venue_server: Callable[[Answer], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command from end to end: fetched, merged above what was there, shown, and used by liqprice."""
    address, where = venue_server(okx_answer), config(tmp_path)
    monkeypatch.setattr(fetch, "_exchange", lambda name: okx_client(address))
    old = LadderFile("okx", date(2026, 1, 1), Confidence.DOC, "s", [Ladder(["OLD"], Tiers([(0.0, 0.1, 5.0)]))])
    path = tmp_path / "tiers" / "okx.json"
    write_ladders(old, path)
    assert main(["tiers", "update", "--venue", "okx", *where]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("okx: 2 markets, 2 ladders as of ")
    assert "left out" in captured.err
    assert {market for ladder in read_ladders(path).ladders for market in ladder.markets} == {
        "AAA/USDT:USDT", "BBB/USDT:USDT", "OLD",
    }  # fmt: skip
    assert main(["tiers", "show", "--venue", "okx", "--symbol", "AAA", "--json", *where]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["origin"], shown["stale"], shown["measure"], len(shown["tiers"])) == ("fetched", False, "quantity", 2)
    position = ["--side", "long", "--entry", "100", "--leverage", "10", "--quantity", "6", "--json"]
    asked = ["liqprice", "--venue", "okx", "--symbol", "AAA", *position, "--tiers-dir", str(tmp_path / "tiers")]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["mmr"], found["tier"], found["tiers_stale"]) == (0.02, 2, False)
    assert "fetched table" in found["tiers"]


def test_update_when_a_venue_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fetch, "_exchange", lambda name: okx_client("http://127.0.0.1:9"))
    assert main(["tiers", "update", "--venue", "okx", *config(tmp_path)]) == 1
    assert "okx: table not renewed: okx: " in capsys.readouterr().err
    assert main(["tiers", "update", "--venue", "deribit", *config(tmp_path)]) == 1
    assert "publishes no tier table" in capsys.readouterr().err
    assert main(["tiers", "update", "--venue", "mtgox", *config(tmp_path)]) == 2
    assert not (tmp_path / "tiers").exists()


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tiers", "show", "--json"]) == 0
    rows = {row["venue"]: row for row in json.loads(capsys.readouterr().out)}
    assert len(rows) == 22
    assert rows["binance"]["markets"] > 900
    assert rows["deribit"]["old"] == rows["deribit"]["markets"]
    assert rows["bybit"]["stand-ins"] > 0
    assert main(["tiers", "show", "--venue", "deribit", "--symbol", "BTC"]) == 0
    assert "5e-05" in capsys.readouterr().out
    assert main(["tiers", "show", "--venue", "gate"]) == 0
    assert "BTC/USDT:USDT" in capsys.readouterr().out
    assert main(["tiers", "show", "--venue", "binance", "--symbol", "BTC"]) == 0
    out = capsys.readouterr().out
    assert "300000" in out
    assert "shipped table of 2026-09-29" in out
    for venue, word in (("deribit", "line"), ("backpack", "root"), ("htx", "by_leverage")):
        assert main(["tiers", "show", "--venue", venue, "--symbol", "BTC", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["maintenance"]["type"] == word
    assert main(["tiers", "show", "--symbol", "BTC"]) == 2
    assert main(["tiers", "show", "--venue", "okx", "--symbol", "NOSUCH"]) == 2


BRACKET = {"bracket": 1, "initialLeverage": 75, "notionalCap": 10_000, "notionalFloor": 0, "maintMarginRatio": 0.01}
SIGNED = [{"symbol": "AAAUSDT", "brackets": [BRACKET | {"cum": 0.0}]}]
UNIFIED = {
    "AAA/USDT:USDT": [
        {"tier": 1, "minNotional": 0.0, "maxNotional": 10.0, "maintenanceMarginRate": 0.01, "maxLeverage": 75.0},
        {"tier": 2, "minNotional": 10.0, "maxNotional": 90.0, "maintenanceMarginRate": 0.02, "maxLeverage": 25.0},
    ],
    "BAD/USDT:USDT": [
        {"tier": 1, "minNotional": 5.0, "maxNotional": 10.0, "maintenanceMarginRate": 0.01, "maxLeverage": 75.0}
    ],
}
RISK = {
    "code": 0,
    "result": {
        "default_unit_margin_rate": "0.05", "default_max_product_leverage_for_perps": "20.0",
        "default_umr_multiplier_for_perps": "1.0",
        "base_currency_config": [
            {"instrument_name": "AAA", "unit_margin_rate": "0.002", "max_product_leverage_for_perps": "25.0"}
        ],
    },
}  # fmt: skip


def saved(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "saved.json"
    path.write_text(json.dumps(content))
    return path


def test_import_of_what_somebody_saved(tmp_path: Path) -> None:
    """The signed answer of Binance, ccxt's structure as freqtrade ships it, a call ccxt does not know, our own form."""
    signed = read_import("binance", saved(tmp_path, SIGNED), None, TODAY)
    assert signed.file.ladders == [Ladder(["AAA/USDT:USDT"], Tiers([(0.0, 0.01, 75.0)], cumulative=True))]
    assert (signed.file.origin, signed.file.as_of) == (Origin.IMPORTED, TODAY)
    unified = read_import("binance", saved(tmp_path, UNIFIED), None, TODAY)
    rows = [(0.0, 0.01, 75.0), (10.0, 0.02, 25.0)]
    assert unified.file.ladders == [Ladder(["AAA/USDT:USDT"], Tiers(rows, cumulative=True))]
    assert unified.problems.keys() == {"BAD/USDT:USDT"}
    risk = read_import("cryptocom", saved(tmp_path, RISK), None, TODAY)
    assert [ladder.markets for ladder in risk.file.ladders] == [["AAA/USD:USD"]]
    path = tmp_path / "own.json"
    write_ladders(signed.file, path)
    assert read_import("binance", path, None, TODAY).file == signed.file


def test_imports_leave_futures_with_a_date_out_and_say_so(tmp_path: Path) -> None:
    """In all three forms; they have ladders of their own, which would never be asked for."""
    raw = read_import("binance", saved(tmp_path, [*SIGNED, SIGNED[0] | {"symbol": "AAAUSDT_260327"}]), None, TODAY)
    assert [ladder.markets for ladder in raw.file.ladders] == [["AAA/USDT:USDT"]]
    assert raw.problems.keys() == {"AAAUSDT_260327"}
    tiers = UNIFIED["AAA/USDT:USDT"]
    unified = read_import(
        "binance", saved(tmp_path, {"AAA/USDT:USDT": tiers, "AAA/USDT:USDT-260327": tiers}), None, TODAY
    )
    assert [ladder.markets for ladder in unified.file.ladders] == [["AAA/USDT:USDT"]]
    assert "has a date" in unified.problems["AAA/USDT:USDT-260327"]
    path = tmp_path / "own.json"
    form = Tiers([(0.0, 0.1, 5.0)])
    ladders = [Ladder(["AAA/USDT:USDT", "BTC-USD-260327"], form), Ladder(["BTC-USDT-260327"], form)]
    write_ladders(LadderFile("okx", TODAY, Confidence.DOC, "s", ladders), path)
    own = read_import("okx", path, None, TODAY)
    assert own.file.ladders == [Ladder(["AAA/USDT:USDT"], form)]
    assert own.problems.keys() == {"BTC-USD-260327", "BTC-USDT-260327"}
    write_ladders(LadderFile("okx", TODAY, Confidence.DOC, "s", ladders[1:]), path)
    with pytest.raises(FileFormatError, match=r"BTC-USDT-260327.*has a date"):
        read_import("okx", path, None, TODAY)


@pytest.mark.parametrize(
    ("venue", "content", "told"),
    [
        ("binance", [], "no market in it"),
        ("binance", {"code": -2014, "msg": "API-key format invalid."}, "code"),
        ("binance", [{"symbol": "AAAUSDT", "brackets": [{"notionalFloor": "x"}]}], "notionalFloor"),
        ("okx", UNIFIED, "only binance, aster"),
        ("deribit", {"a": 1}, "has no readable table"),
    ],
)
def test_imports_that_cannot_be(tmp_path: Path, venue: str, content: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_import(venue, saved(tmp_path, content), None, TODAY)


def test_import_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, where = saved(tmp_path, SIGNED), config(tmp_path)
    assert main(["tiers", "import", str(path), "--venue", "binance", "--as-of", "2026-11-01", *where]) == 0
    assert "binance: 1 markets, 1 ladders as of 2026-11-01" in capsys.readouterr().out
    assert main(["tiers", "show", "--venue", "binance", "--symbol", "AAA", *where]) == 0
    assert "imported table of 2026-11-01" in capsys.readouterr().out
    assert main(["tiers", "import", str(path), "--venue", "okx", *where]) == 2
    assert main(["tiers", "import", str(path), "--venue", "binance", "--as-of", "2999-01-01", *where]) == 2
    assert "later than today" in capsys.readouterr().err
    old = saved(tmp_path, {"BTC/USDT:USDT": UNIFIED["AAA/USDT:USDT"]})
    assert main(["tiers", "import", str(old), "--venue", "binance", "--as-of", "2024-10-24", *where]) == 0
    assert "older than the shipped tables of 1 of its markets" in capsys.readouterr().err
    assert main(["tiers", "show", "--json", *where]) == 0
    row = next(row for row in json.loads(capsys.readouterr().out) if row["venue"] == "binance")
    assert (row["origin"], row["oldest"], row["old"] > 0) == ("imported, shipped", "2024-10-24", True)
    (tmp_path / "not.json").write_text("no")
    with pytest.raises(FileFormatError, match="is not JSON"):
        read_import("binance", tmp_path / "not.json", None, TODAY)
    other = tmp_path / "other.json"
    write_ladders(LadderFile("okx", TODAY, Confidence.DOC, "s", [Ladder(["A"], Tiers([(0.0, 0.1, 5.0)]))]), other)
    with pytest.raises(InputError, match="has the ladders of okx"):
        read_import("binance", other, None, TODAY)
