"""Tier tables of eight venues, and four that are only imported: units, order, clamps, and answers gone wrong."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds import backpack as backpack_feed
from forcedmove_server.margin.feeds import bingx as bingx_feed
from forcedmove_server.margin.feeds import bitfinex, cryptocom, dydx, hyperliquid, lighter, paradex, phemex, xt
from forcedmove_server.margin.feeds.binance_family import ASTER_FEED, BINANCE_FEED
from forcedmove_server.margin.feeds.feed import Markets
from forcedmove_server.margin.ladders import Form, Root, Tiers
from forcedmove_server.margin.tiers import TierMeasure
from tests.unit.margin_markets import markets_of

_MODULES = (hyperliquid, bitfinex, phemex, lighter, dydx, xt, paradex, backpack_feed, bingx_feed, cryptocom)
FEEDS = {feed.venue: feed for feed in (*(module.FEED for module in _MODULES), BINANCE_FEED, ASTER_FEED)}


MARKETS = {
    "hyperliquid": markets_of({"0": "A/C:C", "1": "B/C:C", "2": "GONE/C:C", "kD": "KD/C:C", "4": "NOT-OF-A-DEX/C:C"}),
    "bitfinex": markets_of({"tAF0:USTF0": "A/UST:UST", "tBF0:USTF0": "B/UST:UST", "tZF0:USTF0": "Z/UST:UST"}),
    "phemex": markets_of(
        {"AUSD": "A/USD:A", "OLDUSD": "OLD/USD:OLD", "LUSD": "L/USD:USD", "NUSD": "N/USD:USD"}
        | {f"{base}USDT": f"{base}/USDT:USDT" for base in "BCD"},
        contract_size=10.0,
    ),
    "lighter": markets_of({"3": "A/USDC:USDC", "4": "Z/USDC:USDC"}),
    "dydx": markets_of({"A-USD": "A/USDC:USDC", "B-USD": "B/USDC:USDC"}),
    "xt": markets_of({"a_usdt": "A/USDT:USDT", "n_usdt": "N/USDT:USDT"}),
    "paradex": markets_of({"A-USD-PERP": "A/USD:USDC", "B-USD-PERP": "B/USD:USDC", "A-USD-9-C": "A/USD:USDC-9-C"}),
    "backpack": markets_of({"A_USDC": "A/USDC", "A_USDC_PERP": "A/USDC:USDC"}),
    "binance": markets_of({"AUSDT": "A/USDT:USDT", "AUSD_PERP": "A/USD:A"}, contract_size=10.0),
    "aster": markets_of({"AUSDT": "A/USDT:USDT"}),
    "bingx": markets_of({"A-USDT": "A/USDT:USDT", "A-USD": "A/USD:A"}),
    "cryptocom": markets_of({f"{base}USD-PERP": f"{base}/USD:USD" for base in "ABCD"} | {"A-9": "A/USD:USD-300101"}),
}

# Numbers come as numbers or as text: ccxt quotes those of JSON objects.
ANSWERS: dict[str, Any] = {
    venue: json.loads(text)
    for venue, text in {
        "hyperliquid": """{"universe": [
            {"name": "A", "maxLeverage": 30, "marginTableId": 70}, {"name": "B", "marginTableId": "8"},
            {"name": "GONE", "marginTableId": 5, "isDelisted": true}, {"name": "kD", "marginTableId": 3},
            {"name": "dex:E", "marginTableId": 3}, {"name": "UNLISTED", "marginTableId": 999}],
            "marginTables": [[70, {"description": "", "marginTiers": [
                {"lowerBound": "9000.0", "maxLeverage": 10}, {"lowerBound": "0.0", "maxLeverage": "25"}]}]]}""",
        "bitfinex": """[[["AF0:USTF0", [null, null, null, "0.1", "9", null, null, null, 0.02, 0.01]],
            ["BF0:USTF0", [null, null, null, "0.1", "9", null, null, null, 1.5, 0.4]],
            ["ZF0:USTF0", [null, null, null, "0.1", "9", null, null, null, 0, 0]],
            ["UNLISTEDF0:USTF0", [null, null, null, null, null, null, null, null, null, null]]]]""",
        "phemex": """{"code": 0, "msg": "OK", "data": {"riskLimits": [
            {"symbol": "AUSD", "riskLimits": [
                {"limit": "3000000", "initialMarginEr": 4000000, "maintenanceMargin": "2.0%",
                 "maintenanceMarginEr": 2000000},
                {"limit": 1000000, "initialMarginEr": 2000000, "maintenanceMarginEr": "1000000"}]},
            {"symbol": "OLDUSD", "riskLimits": [
                {"limit": 70, "initialMarginEr": 2000000, "maintenanceMarginEr": 1000000},
                {"limit": 90, "initialMarginEr": 2500000, "maintenanceMarginEr": 1500000}]}, {"symbol": "LUSD",
            "riskLimits": [{"limit": 400000, "initialMarginEr": 5000000, "maintenanceMarginEr": 1000000}]},
            {"symbol": "NUSD", "riskLimits": []}],
            "perpProductsV2": [{"symbol": "BUSDT", "leverageMargin": "4"}, {"symbol": "CUSDT"},
                               {"symbol": "DUSDT", "leverageMargin": 77}],
            "leverageMargins": [{"index_id": 4, "items": [
                {"notionalValueRv": 80000, "maxLeverage": 0.5, "maintenanceMarginRateRr": "0.5"},
                {"notionalValueRv": "9000", "maxLeverage": 40, "maintenanceMarginRateRr": "0.0125"},
                {"notionalValueRv": "9000", "maxLeverage": 30, "maintenanceMarginRateRr": "0.02"},
                {"notionalValueRv": 0, "maxLeverage": 90, "maintenanceMarginRateRr": "0.001"}]}],
            "riskLimitsV2": [
                {"symbol": "BUSDT", "riskLimits": [{"limit": 1, "initialMarginRr": "1", "maintenanceMarginRr": 0.9}]},
                {"symbol": "CUSDT", "riskLimits": [{"limit": 600, "initialMarginRr": 0.08, "maintenanceMarginRr": 0.04},
                    {"limit": 300, "initialMarginRr": "0.04", "maintenanceMarginRr": "0.02"},
                    {"limit": 900, "initialMarginRr": "1", "maintenanceMarginRr": "1"}]},
                {"symbol": "DUSDT", "riskLimits": [{"limit": 3, "initialMarginRr": 0.04, "maintenanceMarginRr": 0.02}]}
                ]}}""",
        "lighter": """{"code": "200", "order_book_details": [
            {"market_id": "3", "min_initial_margin_fraction": 800, "maintenance_margin_fraction": "480"},
            {"market_id": 4, "min_initial_margin_fraction": 0, "maintenance_margin_fraction": 0},
            {"market_id": 12345}]}""",
        "dydx": """{"markets": {"A-USD": {"initialMarginFraction": "0.04", "maintenanceMarginFraction": "0.024"},
            "B-USD": {"initialMarginFraction": "1.25", "maintenanceMarginFraction": "0.2"}, "UNLISTED-USD": {}}}""",
        "xt": """{"returnCode": 0, "error": null, "result": [
            {"symbol": "a_usdt", "leverageBrackets": [
                {"maxNominalValue": "100000", "maintMarginRate": "0.05", "maxLeverage": "10"},
                {"maxNominalValue": "9000", "maintMarginRate": "0.01", "maxLeverage": "50"},
                {"maxNominalValue": "500000", "maintMarginRate": "0.5", "maxLeverage": "0"}]},
            {"symbol": "n_usdt", "leverageBrackets": []}, {"symbol": "unlisted_usdt", "leverageBrackets": [{}]}]}""",
        "paradex": """{"results": [
            {"symbol": "A-USD-PERP", "asset_kind": "PERP", "delta1_cross_margin_params":
                {"imf_base": "0.05", "imf_factor": "0.0002", "imf_shift": "3000", "mmf_factor": "0.6"}},
            {"symbol": "B-USD-PERP", "delta1_cross_margin_params":
                {"imf_base": "0.1", "imf_factor": "0", "imf_shift": "0", "mmf_factor": "0.5"}},
            {"symbol": "A-USD-9-C", "asset_kind": "PERP_OPTION", "option_cross_margin_params": {}}]}""",
        "backpack": """[{"symbol": "A_USDC", "imfFunction": null, "mmfFunction": null}, {"symbol": "A_USDC_PERP",
            "imfFunction": {"type": "sqrt", "base": "0.04", "factor": "0.0003"},
            "mmfFunction": {"type": "sqrt", "base": "0.025", "factor": 0.0002}}]""",
        "binance": """[{"symbol": "AUSDT", "brackets": [
            {"initialLeverage": 20, "notionalFloor": 7000, "maintMarginRatio": 0.02, "cum": 70.0},
            {"initialLeverage": 50, "notionalFloor": 0, "maintMarginRatio": 0.01, "cum": 0.0},
            {"initialLeverage": "0", "notionalFloor": "80000", "maintMarginRatio": "0.5", "cum": "38470"}]},
            {"symbol": "AUSD_PERP", "brackets": [
            {"initialLeverage": 50, "qtyFloor": 0, "maintMarginRatio": 0.01},
            {"initialLeverage": 20, "qtyFloor": 3.5, "maintMarginRatio": 0.02},
            {"initialLeverage": 20, "qtyFloor": 3.5, "maintMarginRatio": 0.025}]},
            {"symbol": "UNLISTEDUSDT", "brackets": [{}]}]""",
        "bingx": """{"code": 0, "data": [
            {"symbol": "A-USDT", "minPositionVal": "5000", "maintMarginRatio": "0.006600", "maintAmount": "16.5"},
            {"symbol": "A-USDT", "minPositionVal": "0", "maintMarginRatio": "0.003300", "maintAmount": "0"},
            {"symbol": "A-USDT", "minPositionVal": "90000", "maintMarginRatio": "0.7", "maintAmount": "62422.5"},
            {"symbol": "A-USD", "minPositionVal": "0", "maintMarginRatio": "0.02"}, {"symbol": "UNLISTED-USDT"}]}""",
        "cryptocom": """{"code": "0", "result": {"default_max_product_leverage_for_perps": "20.0",
            "default_unit_margin_rate": "0.04", "default_umr_multiplier_for_perps": "1.0", "base_currency_config": [
            {"instrument_name": "A", "max_product_leverage_for_perps": "50.0", "unit_margin_rate": "0.006"},
            {"instrument_name": "B", "umr_multiplier_for_perps": "2.0"},
            {"instrument_name": "C", "max_product_leverage_for_perps": "1.0"},
            {"instrument_name": "UNLISTED", "unit_margin_rate": null}]}}""",
        "aster": """{"code": "000000", "message": null, "data": {"brackets": [{"symbol": "AUSDT", "riskBrackets": [
            {"bracketNotionalFloor": 3.5, "bracketMaintenanceMarginRate": 0.025, "maxOpenPosLeverage": 20},
            {"bracketNotionalFloor": 0, "bracketMaintenanceMarginRate": 0.010000000000000000208,
             "maxOpenPosLeverage": 50}]}]}}""",
    }.items()
}


def jumps(*rows: tuple[float, float, float]) -> Tiers:
    return Tiers([*rows], cumulative=False)


def slices(*rows: tuple[float, float, float]) -> Tiers:
    return Tiers([*rows], cumulative=True)


QUANTITY = TierMeasure.QUANTITY
EXPECTED: dict[str, dict[str, Form]] = {
    "hyperliquid": {
        "A/C:C": slices((0.0, 0.02, 25.0), (9000.0, 0.05, 10.0)),
        "B/C:C": slices((0.0, 0.0625, 8.0)),
        "KD/C:C": slices((0.0, 0.5 / 3.0, 3.0)),
    },
    "bitfinex": {"A/UST:UST": jumps((0.0, 0.01, 50.0)), "B/UST:UST": jumps((0.0, 0.4, 1.0))},
    "phemex": {
        "A/USD:A": Tiers([(0.0, 0.01, 50.0), (1e7, 0.02, 25.0)], False, QUANTITY),
        "OLD/USD:OLD": jumps((0.0, 0.01, 50.0), (70.0, 0.015, 40.0)),
        "L/USD:USD": jumps((0.0, 0.01, 20.0)),
        "B/USDT:USDT": slices((0.0, 0.0125, 40.0), (9000.0, 0.5, 1.0)),
        "C/USDT:USDT": slices((0.0, 0.02, 25.0), (300.0, 0.04, 12.5)),
        "D/USDT:USDT": slices((0.0, 0.02, 25.0)),
    },
    "lighter": {"A/USDC:USDC": jumps((0.0, 0.048, 12.5))},
    "dydx": {"A/USDC:USDC": jumps((0.0, 0.024, 25.0)), "B/USDC:USDC": jumps((0.0, 0.2, 1.0))},
    "xt": {"A/USDT:USDT": jumps((0.0, 0.01, 50.0), (9000.0, 0.05, 10.0), (100000.0, 0.5, 1.0))},
    "paradex": {
        "A/USD:USDC": Root((0.05, 0.0002, 3000.0, 0.6), (0.05, 0.0002, 3000.0, 1.0)),
        "B/USD:USDC": Root((0.1, 0.0, 0.0, 0.5), (0.1, 0.0, 0.0, 1.0)),
    },
    "backpack": {"A/USDC:USDC": Root((0.025, 0.0002, 0.0, 1.0), (0.04, 0.0003, 0.0, 1.0))},
    "binance": {
        "A/USDT:USDT": slices((0.0, 0.01, 50.0), (7000.0, 0.02, 20.0), (80000.0, 0.5, 1.0)),
        "A/USD:A": slices((0.0, 0.01, 50.0), (3.5, 0.025, 20.0)),
    },
    "aster": {"A/USDT:USDT": slices((0.0, 0.01, 50.0), (3.5, 0.025, 20.0))},
    "bingx": {
        "A/USDT:USDT": slices((0.0, 0.0033, 150.0), (5000.0, 0.0066, 75.0), (90000.0, 0.7, 1.0)),
        "A/USD:A": Tiers([(0.0, 0.02, 25.0)], True, QUANTITY),
    },
    "cryptocom": {
        "A/USD:USD": Root((0.02, 0.006, 0.0, 0.5), (0.02, 0.006, 0.0, 1.0), QUANTITY),
        "B/USD:USD": Root((0.05, 0.08, 0.0, 0.5), (0.05, 0.08, 0.0, 1.0), QUANTITY),
    },
}


def parse(venue: str, answer: Any, markets: Markets | None = None) -> dict[str, Form]:
    found = [*FEEDS[venue].parse(answer, MARKETS[venue] if markets is None else markets)]
    assert len({ladder.unified for ladder in found}) == len(found)
    return {ladder.unified: ladder.maintenance for ladder in found}


@pytest.mark.parametrize("venue", FEEDS)
def test_ladders(venue: str) -> None:
    found = parse(venue, ANSWERS[venue])
    assert found == EXPECTED[venue]
    for form in found.values():
        form.build()


def test_binance_and_aster_answer_in_the_same_forms() -> None:
    signed, web = ANSWERS["binance"], ANSWERS["aster"]
    assert parse("aster", signed) == parse("binance", signed[0]) == {"A/USDT:USDT": EXPECTED["binance"]["A/USDT:USDT"]}
    coins = {**web["data"]["brackets"][0], "symbol": "AUSD_PERP"}
    assert parse("binance", {**web, "data": {"brackets": [coins]}}) == {"A/USD:A": EXPECTED["binance"]["A/USD:A"]}


def test_xt_brackets_come_in_three_wrappings() -> None:
    entry = ANSWERS["xt"]["result"][0]
    flat = [{**bracket, "symbol": "a_usdt"} for bracket in entry["leverageBrackets"]]
    assert parse("xt", {"returnCode": "0", "result": entry}) == EXPECTED["xt"]
    assert parse("xt", {"returnCode": "0", "result": flat}) == EXPECTED["xt"]


def test_phemex_answers_of_2021_have_only_the_first_risk_limits() -> None:
    old = {"code": 0, "data": {"riskLimits": ANSWERS["phemex"]["data"]["riskLimits"]}}
    assert set(parse("phemex", old)) == {"A/USD:A", "OLD/USD:OLD", "L/USD:USD"}


def test_bingx_greatest_leverages_are_whole_and_bounded() -> None:
    for rate, leverage in (("0.0033", 150.0), ("0.0001", 150.0), ("0.02", 25.0), ("0.1666", 3.0), ("0.6", 1.0)):
        answer = {"code": 0, "data": [{"symbol": "A-USDT", "minPositionVal": "0", "maintMarginRatio": rate}]}
        assert parse("bingx", answer) == {"A/USDT:USDT": slices((0.0, float(rate), leverage))}


def test_what_the_calls_ask_for() -> None:
    assert [*FEEDS["hyperliquid"].calls([])] == [("publicPostInfo", {"type": "meta"})]
    both = markets_of({"a": "A/USDT:USDT", "b": "B/USD:B"})
    method = "public{}GetFutureMarketV1PublicLeverageBracketList"
    assert [*FEEDS["xt"].calls([both["a"]])] == [(method.format("Linear"), {})]
    assert [*FEEDS["xt"].calls([both["b"]])] == [(method.format("Inverse"), {})]
    assert len([*FEEDS["xt"].calls([both["a"], both["b"], both["a"]])]) == 2


GONE = object()
#: paths in the answers above without which there is no ladder; an error names the last key
NEEDED = {
    "hyperliquid": """universe universe/0/name universe/0/marginTableId marginTables marginTables/0/1/marginTiers
        marginTables/0/1/marginTiers/0/lowerBound marginTables/0/1/marginTiers/0/maxLeverage""",
    "phemex": """code data/riskLimits data/riskLimits/0/symbol data/riskLimits/0/riskLimits
        data/riskLimits/0/riskLimits/0/maintenanceMarginEr data/riskLimits/0/riskLimits/0/initialMarginEr
        data/riskLimits/0/riskLimits/0/limit data/riskLimitsV2/1/riskLimits/0/maintenanceMarginRr
        data/riskLimitsV2/1/riskLimits/0/initialMarginRr data/riskLimitsV2/1/riskLimits/0/limit
        data/leverageMargins/0/index_id data/leverageMargins/0/items data/leverageMargins/0/items/0/notionalValueRv
        data/leverageMargins/0/items/0/maxLeverage data/leverageMargins/0/items/0/maintenanceMarginRateRr""",
    "lighter": """code order_book_details order_book_details/0/market_id
        order_book_details/0/min_initial_margin_fraction order_book_details/0/maintenance_margin_fraction""",
    "dydx": "markets/A-USD/initialMarginFraction markets/A-USD/maintenanceMarginFraction",
    "xt": """returnCode result/0/symbol result/0/leverageBrackets/0/maxNominalValue
        result/0/leverageBrackets/0/maintMarginRate result/0/leverageBrackets/0/maxLeverage""",
    "paradex": """results results/0/symbol results/0/delta1_cross_margin_params/imf_base
        results/0/delta1_cross_margin_params/imf_factor results/0/delta1_cross_margin_params/imf_shift
        results/0/delta1_cross_margin_params/mmf_factor""",
    "backpack": """1/symbol 1/mmfFunction 1/imfFunction 1/imfFunction/base 1/imfFunction/factor
        1/mmfFunction/base 1/mmfFunction/factor""",
    "binance": """0/symbol 0/brackets 0/brackets/0/notionalFloor 1/brackets/0/qtyFloor 0/brackets/0/maintMarginRatio
        0/brackets/0/initialLeverage""",
    "aster": """code data/brackets data/brackets/0/riskBrackets data/brackets/0/riskBrackets/0/bracketNotionalFloor
        data/brackets/0/riskBrackets/0/bracketMaintenanceMarginRate
        data/brackets/0/riskBrackets/0/maxOpenPosLeverage""",
    "bingx": "code data data/0/symbol data/0/minPositionVal data/0/maintMarginRatio",
    "cryptocom": "code result/base_currency_config result/base_currency_config/0/instrument_name",
}
#: venue, path in its answer, what stands there instead, field that the error names
SPOILT: list[tuple[str, str, Any, str]] = [
    ("hyperliquid", "universe/0", "A", "name"),
    ("hyperliquid", "universe/0/marginTableId", 71, "marginTableId"),
    ("hyperliquid", "marginTables/0", {"70": {}}, "marginTables"),
    ("hyperliquid", "marginTables/0/0", "x", "id"),
    ("bitfinex", "", ["error", 10020, "key: invalid"], "content"),
    ("bitfinex", "0/0/1/9", GONE, "pair"),
    ("bitfinex", "0/0/1/8", None, "initial_margin"),
    ("bitfinex", "0/0/1/9", "1%", "minimum_margin"),
    ("phemex", "", {"code": 10500, "msg": "busy", "data": None}, "code"),
    ("phemex", "data/riskLimitsV2", {}, "data.riskLimitsV2"),
    ("phemex", "data/perpProductsV2/0/leverageMargin", "a", "leverageMargin"),
    ("lighter", "", {"code": 20001, "message": "invalid param"}, "code"),
    ("dydx", "", [], "markets"),
    ("dydx", "markets/A-USD", None, "initialMarginFraction"),
    ("xt", "", {"returnCode": 1, "error": {"code": "x"}, "result": []}, "returnCode"),
    ("xt", "result", GONE, "result"),
    ("xt", "result/0/leverageBrackets", GONE, "maxNominalValue"),
    ("paradex", "", {"error": "NOT_FOUND", "message": "x"}, "results"),
    ("paradex", "results/0/delta1_cross_margin_params", GONE, "imf_base"),
    ("backpack", "", {"code": "INVALID", "message": "x"}, "content"),
    ("backpack", "1/imfFunction/type", "linear", "imfFunction"),
    ("binance", "", {"code": -2015, "msg": "Invalid API-key"}, "code"),
    ("bingx", "code", 100001, "code"),
    ("cryptocom", "", {"code": 10003, "message": "IP_ILLEGAL"}, "code"),
    ("cryptocom", "result/default_unit_margin_rate", GONE, "unit_margin_rate"),
]
_PATHS = [(venue, path) for venue, paths in NEEDED.items() for path in paths.split()]
SPOILT += [(venue, path, value, path.rpartition("/")[2]) for venue, path in _PATHS for value in (GONE, {})]


def spoil(answer: Any, path: str, value: Any) -> Any:
    """A copy of an answer with what lies under a path replaced or removed."""
    spoilt: Any = {"": copy.deepcopy(answer)}
    place = spoilt
    *above, last = ("", *(int(key) if key.isdigit() else key for key in path.split("/") if key))
    for key in above:
        place = place[key]
    place[last] = value
    if value is GONE:
        del place[last]
    return spoilt[""]


@pytest.mark.parametrize(("venue", "path", "value", "field"), SPOILT)
def test_bad_answers_name_the_field(venue: str, path: str, value: Any, field: str) -> None:
    with pytest.raises(FileFormatError) as raised:
        parse(venue, spoil(ANSWERS[venue], path, value))
    assert field in (raised.value.field, raised.value.field.rpartition(".")[2])
    assert raised.value.place
