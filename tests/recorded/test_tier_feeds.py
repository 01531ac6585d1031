"""Answers of the venues that were collected beside a development checkout, as ladders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forcedmove_server.margin.feeds import FEEDS
from forcedmove_server.margin.feeds.feed import ListedMarket, Markets
from forcedmove_server.margin.ladders import Form, Tiers
from forcedmove_server.margin.tiers import TierMeasure
from tests.unit.margin_markets import markets_of

FIXTURES = Path(__file__).parents[3] / "shared" / "exchanges" / "fixtures"
pytestmark = [
    pytest.mark.recorded,
    pytest.mark.skipif(not FIXTURES.is_dir(), reason="the collected payloads are not beside this checkout"),
]


def recorded(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text(encoding="utf-8"))


def printed(venue: str, method: str, index: int = 0) -> Any:
    """An answer that ccxt's source prints as an example."""
    samples = recorded(f"{venue}/ccxt_samples.json")
    return [sample["payload"] for sample in samples if sample["method"] == f"rest {method}"][index]


def parse(venue: str, answer: Any, markets: Markets) -> dict[str, Form]:
    return {ladder.unified: ladder.maintenance for ladder in FEEDS[venue].parse(answer, markets)}


@pytest.mark.parametrize(
    ("venue", "method", "native_id", "rate", "leverage"),
    [
        ("bybit", "fetch_derivatives_market_leverage_tiers", "BTCUSD", 0.005, 100.0),
        ("bitget", "fetch_market_leverage_tiers", "BTCUSDT", 0.004, 125.0),
        ("gate", "fetch_market_leverage_tiers", "BTC_USDT", 0.004, 125.0),
        ("kucoinfutures", "fetch_market_leverage_tiers", "ETHUSDTM", 0.005, 100.0),
        ("mexc", "fetch_leverage_tiers", "BTC_USDT", 0.004, 125.0),
        ("htx", "fetch_leverage_tiers", "MANA-USDT", 0.7 / 75, 75.0),
        ("krakenfutures", "fetch_leverage_tiers", "fi_ethusd_180928", 0.01, 50.0),
    ],
)
def test_documented_answers(venue: str, method: str, native_id: str, rate: float, leverage: float) -> None:
    unified = "BAR/USD:BAR" if venue == "krakenfutures" else "FOO/USDT:USDT"
    ladder = parse(venue, printed(venue, method), markets_of({native_id: unified}))[unified].build()
    assert ladder.max_leverage == pytest.approx(leverage)
    assert ladder.terms(1.0, leverage)[0] == pytest.approx(rate)


def test_answers_of_okx_about_spot_margin_hold_no_ladder() -> None:
    markets = markets_of({"FOO-USDT-SWAP": "FOO/USDT:USDT"})
    assert parse("okx", recorded("okx/nautilus/http_get_position_tiers.json"), markets) == {}


def test_recorded_deductions_of_gate_are_those_that_accumulate() -> None:
    rows = recorded("gate/gocryptotrader/risk_limit_table.json")["GET"][0]["data"]
    (form,) = parse("gate", rows, markets_of({"FOO_USDT": "FOO/USDT:USDT"}, 0.25)).values()
    assert isinstance(form, Tiers)
    assert form.build().amounts == pytest.approx([float(row["deduction"]) for row in rows])


@pytest.mark.parametrize("name", ["nautilus/http_futures_instruments.json", "cryptofeed/KRAKEN_FUTURES.0.json"])
def test_recorded_instruments_of_kraken(name: str) -> None:
    answer = recorded(f"krakenfutures/{name}")
    answer = answer[0]["msg"] if isinstance(answer, list) else answer
    rows = [(row["symbol"], row["type"]) for row in answer["instruments"] if "marginLevels" in row]
    markets = {symbol: ListedMarket(symbol, symbol, "X", kind == "futures_inverse", 1.0) for symbol, kind in rows}
    forms = [form for form in parse("krakenfutures", answer, markets).values() if isinstance(form, Tiers)]
    ladders = [form.build() for form in forms]
    assert [(each.cumulative, each.measure is TierMeasure.QUANTITY) for each in ladders] == [
        (True, each.inverse) for each in markets.values()
    ]


def samples() -> Iterator[tuple[str, Any, dict[str, str], dict[str, int]]]:
    """(venue, answer, unified symbols by id, number of tiers by symbol; 0 for a function)."""
    ids = {"BTCUSD": "BTC/USD:BTC", "BTCUSDT": "BTC/USDT:USDT", "ETHUSD": "ETH/USD:USD"}
    yield "phemex", printed("phemex", "fetch_leverage_tiers"), ids, {"BTC/USD:BTC": 3}
    yield "phemex", printed("phemex", "fetch_markets"), ids, {"BTC/USD:BTC": 3, "BTC/USDT:USDT": 3}
    answer = recorded("phemex/cryptofeed/PHEMEX.0.json")[0]["msg"]
    yield "phemex", answer, ids, {"BTC/USD:BTC": 10, "ETH/USD:USD": 10}
    for answer in (printed("lighter", "fetch_markets"), recorded("lighter/nautilus/http_order_book_details.json")):
        yield "lighter", answer, {"0": "ETH/USDC:USDC"}, {"ETH/USDC:USDC": 1}
    ids = {f"{base}-USD": f"{base}/USDC:USDC" for base in ("BTC", "ETH", "SOL")}
    yield "dydx", recorded("dydx/nautilus/http_get_perpetual_markets.json"), ids, dict.fromkeys(ids.values(), 1)
    ids = {"rad_usdt": "RAD/USDT:USDT", "btc_usdt": "BTC/USDT:USDT"}
    yield "xt", printed("xt", "fetch_leverage_tiers"), ids, {"RAD/USDT:USDT": 1}
    yield "xt", printed("xt", "fetch_market_leverage_tiers"), ids, {"BTC/USDT:USDT": 1}
    ids = {"BODEN-USD-PERP": "BODEN/USD:USDC", "SOL_USDC_PERP": "SOL/USDC:USDC", "SOL_USDC": "SOL/USDC"}
    yield "paradex", printed("paradex", "fetch_markets"), ids, {"BODEN/USD:USDC": 0}
    yield "backpack", printed("backpack", "parse_market"), ids, {"SOL/USDC:USDC": 0}
    ids = {"SUSHIUSDT": "SUSHI/USDT:USDT", "XRPUSD_210326": "XRP/USD:XRP-210326"}
    for index, unified in enumerate(ids.values()):
        yield "binance", printed("binance", "fetch_leverage_tiers", index), ids, {unified: 1}
    yield "bingx", printed("bingx", "fetch_market_leverage_tiers"), {"ETH-USDT": "E/USDT:USDT"}, {"E/USDT:USDT": 1}


def test_recorded_and_printed_answers() -> None:
    for venue, answer, ids, expected in samples():
        found = parse(venue, answer, markets_of(ids))
        assert {name: len(getattr(form, "rows", ())) for name, form in found.items()} == expected, venue
        for form in found.values():
            form.build()


def test_deductions_that_binance_prints_are_the_accumulated_ones() -> None:
    """ccxt's table keeps each bracket of the signed answer as "info"."""
    table = recorded("binance/leverage_tiers_usdm_2024-10-24.json")
    answer = [{"symbol": name, "brackets": [row["info"] for row in rows][::-1]} for name, rows in table.items()]
    found = parse("binance", answer, markets_of({name: name for name in table}))
    assert set(found) == set(table)
    for name, form in found.items():
        assert isinstance(form, Tiers)
        deductions = [float(row["info"]["cum"]) for row in table[name]]
        np.testing.assert_allclose(form.build().amounts, deductions, rtol=1e-6, atol=1e-6, err_msg=name)
