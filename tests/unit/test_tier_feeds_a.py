"""Public tier tables of the first eight venues: units, order and defects of the answers, and what is refused."""

from __future__ import annotations

import json
from copy import deepcopy
from functools import partial
from typing import Any

import pytest

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds import bitget, bybit, gate, htx, krakenfutures, kucoinfutures, mexc, okx
from forcedmove_server.margin.feeds.feed import Call, ListedMarket
from forcedmove_server.margin.ladders import ByLeverage, Form, Tiers
from forcedmove_server.margin.tiers import TierMeasure

FEEDS = {m.FEED.venue: m.FEED for m in (bybit, okx, bitget, gate, kucoinfutures, mexc, htx, krakenfutures)}
Row = tuple[float, float, float]
SIZE = TierMeasure.QUANTITY


def listed(unified: str, native_id: str, contract_size: float = 1.0) -> ListedMarket:
    base, quote = unified.partition(":")[0].split("/")
    return ListedMarket(unified, native_id, base, quote == "USD" and not unified.endswith(":USD"), contract_size)


FOO, BAR = "FOO/USDT:USDT", "BAR/USD:BAR"
#: the linear market, then the inverse one, then others; OKX's third is no swap and is not asked for
MARKETS = {
    "bybit": [listed(FOO, "FOOUSDT"), listed(BAR, "BARUSD")],
    "okx": [listed(FOO, "FOO-USDT-SWAP", 0.5), listed(BAR, "BAR-USD-SWAP", 100.0), listed(FOO + "-9", "FOO-USDT-9")],
    "bitget": [listed(FOO, "FOOUSDT"), listed(BAR, "BARUSD"), listed("FOO/USDC:USDC", "FOOPERP")],
    "gate": [listed(FOO, "FOO_USDT", 0.25), listed("BTC/USD:BTC", "BTC_USD")],
    "kucoinfutures": [listed(FOO, "FOOUSDTM", 0.25), listed(BAR, "BARUSDM", 10.0)],
    "mexc": [listed(FOO, "FOO_USDT", 0.25), listed(BAR, "BAR_USD", 100.0)],
    "htx": [listed(FOO, "FOO-USDT", 0.5), listed(BAR, "BAR-USD", 100.0)],
    "krakenfutures": [listed("FOO/USD:USD", "PF_FOOUSD"), listed(BAR, "PI_BARUSD", 2.0)],
}


def texts(names: str, *rows: str) -> list[dict[str, str]]:
    """Rows whose fields are texts, as most venues print numbers; ``-`` stands for nothing."""
    return [dict(zip(names.split(), row.split(), strict=True)) for row in rows]


# Per venue one answer in the documented format, with as many defects as a real one may have: rows out of order (as
# text and as numbers), rows that repeat, leverage below 1, percent instead of fractions, other markets.
BYBIT_ROWS = texts(
    "id symbol riskLimitValue maintenanceMargin initialMargin maxLeverage mmDeduction",
    "903 FOOUSDT   30000 0.6  1   0.80  3900",
    "901 FOOUSDT   9000  0.2  0.4 2.50  300",
    "902 FOOUSDT   2000  0.05 0.1 10.00 0",
    "1   BARUSD    75    2.5  5   20.00 0",
    "2   BARUSD    150   50   80  1.25  35.625",
    "3   OTHERUSDT -     -    -   -     -",
)
OKX_ROWS = texts(
    "instFamily instId tier minSz maxSz mmr imr maxLever",
    "FOO-USDT - 2 300.1  5000  0.02 0.048 20.5",
    "FOO-USDT - 1 0      300   0.01 0.025 40",
    "FOO-USDT - 3 5000.1 70000 0.5  1.01  0.99",
    "FOO-USDT - 3 5000.1 70000 0.5  1.01  0.99",
    "BAR-USD  - 1 0      20    0.01 0.025 40",
    "BAR-USD  - 2 21     90    0.02 0.05  20",
)
BITGET_ROWS = texts(
    "symbol level startUnit endUnit leverage keepMarginRate",
    "FOOUSDT 2 8000 16000 4  0.1",
    "FOOUSDT 1 0    8000  30 0.015",
    "BARUSD  1 0    12    25 0.02",
)
GATE_ROWS = texts(
    "risk_limit maintenance_rate leverage_max deduction", "900 0.03 12.5  6", "600 0.02 20.01 0", "40 0.01 50 0"
)
KUCOIN_ROWS = texts(
    "symbol level minRiskLimit maxRiskLimit maxLeverage maintainMargin",
    "FOOUSDTM 2 5000 20000 4  0.125",
    "FOOUSDTM 1 0    5000  20 0.025",
    "BARUSDM  1 0    700   10 0.05",
    "BARUSDM  2 700  900   5  0.1",
)
# What CUSTOM leaves in the fields of INCREASE is one tier as wide as the last of its own.
MEXC = """{"success": true, "code": 0, "data": [
    {"symbol": "FOO_USDT", "riskLimitMode": "CUSTOM", "riskLimitType": "BY_VOLUME", "riskBaseVol": 9000,
     "riskIncrVol": 0, "riskIncrMmr": 0, "riskIncrImr": 0, "riskLevelLimit": 1, "maintenanceMarginRate": 0.002,
     "initialMarginRate": 0.004, "riskLimitCustom": [
        {"maxVol": 9000, "mmr": 0.02, "maxLeverage": 25}, {"maxVol": 800, "mmr": 0.002, "maxLeverage": 250}]},
    {"symbol": "BAR_USD", "riskLimitMode": "INCREASE", "riskLimitType": "BY_VOLUME", "riskBaseVol": 10,
     "riskIncrVol": 30, "riskIncrMmr": 0.25, "riskIncrImr": 0.25, "riskLevelLimit": 3,
     "maintenanceMarginRate": 0.125, "initialMarginRate": 0.5},
    {"symbol": "OTHER_USDT"}]}"""
HTX = """{"status": "ok", "data": [
    {"symbol": "FOO", "contract_code": "FOO-USDT", "margin_mode": "isolated", "list": [
        {"lever_rate": 20, "ladders": [
            {"min_size": 1000, "max_size": null, "adjust_factor": 0.35},
            {"min_size": 0, "max_size": 999, "adjust_factor": 0.25}]},
        {"lever_rate": 5, "ladders": [{"min_size": 0, "max_size": null, "adjust_factor": 0.1}]}]},
    {"symbol": "FOO", "contract_code": "FOO-USDT", "margin_mode": "cross", "list": "not read"},
    {"symbol": "BAR", "contract_code": "BAR-USD", "list": [{"lever_rate": 10, "ladders": [
        {"min_size": 0, "max_size": 49, "adjust_factor": 0.2}, {"min_size": 50, "max_size": 99, "adjust_factor": 0.3}
    ]}]}]}"""
KRAKEN = """{"result": "success", "instruments": [
    {"symbol": "in_foousd", "type": "spot index", "tradeable": false},
    {"symbol": "PF_FOOUSD", "type": "flexible_futures", "marginLevels": [
        {"numNonContractUnits": 4000, "initialMargin": 0.25, "maintenanceMargin": 0.125},
        {"numNonContractUnits": 4000, "initialMargin": 0.1, "maintenanceMargin": 0.05},
        {"numNonContractUnits": "0E-20", "initialMargin": "0.05", "maintenanceMargin": "0.025"}],
     "retailMarginLevels": [{"numNonContractUnits": 0, "initialMargin": 0.5, "maintenanceMargin": 0.25}]},
    {"symbol": "PI_BARUSD", "type": "futures_inverse", "marginLevels": [
        {"contracts": 0, "initialMargin": 0.02, "maintenanceMargin": 0.01},
        {"contracts": 700, "initialMargin": 0.04, "maintenanceMargin": 0.02}]}]}"""
ANSWERS: dict[str, Any] = {
    "bybit": {"retCode": 0, "retMsg": "OK", "result": {"list": BYBIT_ROWS, "nextPageCursor": ""}},
    "okx": {"code": "0", "msg": "", "data": OKX_ROWS},
    "bitget": {"code": "00000", "msg": "success", "data": BITGET_ROWS},
    "gate": [
        {"contract": name, **row} for name, row in zip(("FOO_USDT", "FOO_USDT", "BTC_USD"), GATE_ROWS, strict=True)
    ],
    "kucoinfutures": {"code": "200000", "data": KUCOIN_ROWS},
    "mexc": json.loads(MEXC),
    "htx": json.loads(HTX),
    "krakenfutures": json.loads(KRAKEN),
}


def flat(*rows: Row, cumulative: bool = False, measure: TierMeasure = TierMeasure.VALUE) -> Tiers:
    return Tiers(list(rows), cumulative, measure)


sliced = partial(flat, cumulative=True)

#: what these answers say of the two markets; floors that are written as products are contracts times contract size
EXPECTED: dict[str, tuple[Form, Form]] = {
    "bybit": (sliced((0, 0.05, 10), (2000, 0.2, 2.5), (9000, 0.6, 1)), sliced((0, 0.025, 20), (75, 0.5, 1.25))),
    "okx": (
        flat((0, 0.01, 40), (300 * 0.5, 0.02, 20.5), (5000 * 0.5, 0.5, 1), measure=SIZE),
        flat((0, 0.01, 40), (20 * 100, 0.02, 20), measure=SIZE),
    ),
    "bitget": (sliced((0, 0.015, 30), (8000, 0.1, 4)), sliced((0, 0.02, 25))),
    "gate": (sliced((0, 0.02, 20.01), (600, 0.03, 12.5)), sliced((0, 0.01, 50))),
    "kucoinfutures": (flat((0, 0.025, 20), (5000, 0.125, 4)), flat((0, 0.05, 10), (700 * 10, 0.1, 5), measure=SIZE)),
    "mexc": (
        flat((0, 0.002, 250), (800 * 0.25, 0.02, 25), measure=SIZE),
        flat((0, 0.125, 2), (10 * 100, 0.375, 1 / 0.75), (40 * 100, 0.625, 1), measure=SIZE),
    ),
    "htx": (
        ByLeverage({20: [(0, 0.25), (999 * 0.5, 0.35)], 5: [(0, 0.1)]}),
        ByLeverage({10: [(0, 0.2), (49 * 100, 0.3)]}),
    ),
    "krakenfutures": (
        sliced((0, 0.025, 20), (4000, 0.125, 4)),
        sliced((0, 0.01, 50), (700 * 2, 0.02, 25), measure=SIZE),
    ),
}

#: venue, method, parameters of each call
CALLS = """
    bybit          publicGetV5MarketRiskLimit  category=linear,symbol=FOOUSDT  category=inverse,symbol=BARUSD
    okx            publicGetPublicPositionTiers  instType=SWAP,tdMode=isolated,instFamily=FOO-USDT
    okx            publicGetPublicPositionTiers  instType=SWAP,tdMode=isolated,instFamily=BAR-USD
    bitget         publicMixGetV2MixMarketQueryPositionLever  symbol=FOOUSDT,productType=USDT-FUTURES
    bitget         publicMixGetV2MixMarketQueryPositionLever  symbol=BARUSD,productType=COIN-FUTURES
    bitget         publicMixGetV2MixMarketQueryPositionLever  symbol=FOOPERP,productType=USDC-FUTURES
    gate           publicFuturesGetSettleRiskLimitTiers  settle=usdt,contract=FOO_USDT  settle=btc,contract=BTC_USD
    kucoinfutures  futuresPublicGetContractsRiskLimitSymbol  symbol=FOOUSDTM  symbol=BARUSDM
    mexc           contractPublicGetDetail  {}
    htx            contractPublicGetLinearSwapApiV1SwapAdjustfactor  contract_code=FOO-USDT
    htx            contractPublicGetSwapApiV1SwapAdjustfactor  contract_code=BAR-USD
    krakenfutures  publicGetInstruments  {}
"""


def read(venue: str, answer: Any, markets: list[ListedMarket] | None = None) -> dict[str, Any]:
    return dict(FEEDS[venue].parse(answer, {market.native_id: market for market in markets or MARKETS[venue]}))


def read_first(venue: str, answer: Any) -> Any:
    """The ladder of the venue's linear market, which is the only one that is meant."""
    (form,) = read(venue, answer, MARKETS[venue][:1]).values()
    return form


@pytest.mark.parametrize("venue", FEEDS)
def test_answers_become_ladders(venue: str) -> None:
    found = read(venue, ANSWERS[venue])
    assert found == dict(zip([market.unified for market in MARKETS[venue]], EXPECTED[venue], strict=False))
    assert all(form.build().max_leverage >= 1 for form in found.values())
    assert read_first(venue, ANSWERS[venue]) == EXPECTED[venue][0]  # other markets are left out


@pytest.mark.parametrize("venue", FEEDS)
def test_calls_are_made_for_the_given_markets_only(venue: str) -> None:
    lines = [line.split() for line in CALLS.strip().splitlines() if line.split()[0] == venue]
    calls = [
        Call(method, {} if params == "{}" else dict(item.split("=") for item in params.split(",")))
        for _, method, *each in lines
        for params in each
    ]
    assert list(FEEDS[venue].calls(MARKETS[venue])) == calls
    assert list(FEEDS[venue].calls([])) == []


#: an error answer of each venue, and the field that tells
ERRORS = {
    "bybit": ({"retCode": 10001, "retMsg": "params error", "result": {}}, "retCode"),
    "okx": ({"code": "51000", "msg": "Parameter instFamily error", "data": []}, "code"),
    "bitget": ({"code": "40034", "msg": "Parameter does not exist", "data": None}, "code"),
    "gate": ({"label": "CONTRACT_NOT_FOUND", "message": "no such contract"}, "label"),
    "kucoinfutures": ({"code": "100001", "msg": "symbol not exists", "data": []}, "code"),
    "mexc": ({"success": False, "code": 1001, "message": "contract does not exist"}, "code"),
    "htx": ({"status": "error", "err_code": 1332, "err_msg": "contract does not exist"}, "status"),
    "krakenfutures": ({"result": "error", "error": "apiLimitExceeded"}, "result"),
}


@pytest.mark.parametrize("venue", FEEDS)
def test_an_error_answer_is_refused(venue: str) -> None:
    answer, field = ERRORS[venue]
    with pytest.raises(FileFormatError) as caught:
        read(venue, answer)
    assert caught.value.field == field


@pytest.mark.parametrize("answer", [None, "<html>", 7, {}], ids=["null", "text", "number", "empty"])
@pytest.mark.parametrize("venue", FEEDS)
def test_an_answer_of_another_shape_is_refused(venue: str, answer: Any) -> None:
    with pytest.raises(FileFormatError):
        read(venue, answer)


#: where an answer has its rows
TABLES = dict.fromkeys(FEEDS, "data") | {"bybit": "result.list", "gate": ".", "krakenfutures": "instruments"}
#: per venue the way to one row, and the fields it cannot do without
FIELDS = """
    bybit          result.list.0              symbol riskLimitValue maintenanceMargin initialMargin maxLeverage
    okx            data.0                     instFamily maxSz mmr maxLever
    bitget         data.0                     symbol endUnit keepMarginRate leverage
    gate           0                          contract risk_limit maintenance_rate leverage_max
    kucoinfutures  data.0                     symbol maxRiskLimit maintainMargin maxLeverage
    mexc           data.0                     symbol riskLimitCustom
    mexc           data.0.riskLimitCustom.1   maxVol mmr maxLeverage
    mexc  data.1  riskBaseVol riskIncrVol riskIncrMmr riskIncrImr riskLevelLimit maintenanceMarginRate initialMarginRate
    htx            data.0                     contract_code list
    htx            data.0.list.0              lever_rate ladders
    htx            data.0.list.0.ladders.1    min_size max_size adjust_factor
    krakenfutures  instruments.1              symbol marginLevels
    krakenfutures  instruments.1.marginLevels.0  numNonContractUnits initialMargin maintenanceMargin
    krakenfutures  instruments.2.marginLevels.1  contracts
"""
CASES = [(*line.split()[:2], name) for line in FIELDS.strip().splitlines() for name in line.split()[2:]]


def at(answer: Any, path: str) -> Any:
    for key in path.split("."):
        answer = answer if not key else answer[int(key) if key.isdigit() else key]
    return answer


@pytest.mark.parametrize(("venue", "path", "name"), CASES, ids=[f"{case[0]}-{case[2]}" for case in CASES])
def test_a_missing_field_is_named(venue: str, path: str, name: str) -> None:
    answer = deepcopy(ANSWERS[venue])
    row = at(answer, path)
    del row[name]
    with pytest.raises(FileFormatError, match=rf"\b{name} = "):
        read(venue, answer)
    if name not in ("symbol", "instFamily", "contract", "contract_code"):
        row[name] = "of another type"
        with pytest.raises(FileFormatError, match=rf"\b{name} = "):
            read(venue, answer)


@pytest.mark.parametrize("venue", FEEDS)
def test_rows_that_are_no_objects_are_refused(venue: str) -> None:
    answer = deepcopy(ANSWERS[venue])
    at(answer, TABLES[venue]).append(["an array"])
    with pytest.raises(FileFormatError):
        read(venue, answer)
    if venue != "gate":
        above, _, name = TABLES[venue].rpartition(".")
        at(answer, above)[name] = "a text"
        with pytest.raises(FileFormatError, match=rf"\b{name} = "):
            read(venue, answer)


def test_gate_rows_without_a_name_belong_to_the_one_market() -> None:
    assert read_first("gate", GATE_ROWS[:2]) == EXPECTED["gate"][0]
    with pytest.raises(FileFormatError, match=r"contract = None.*2 markets"):
        read("gate", GATE_ROWS)


def test_printed_deductions_are_those_that_accumulate() -> None:
    assert read_first("gate", ANSWERS["gate"]).build().amounts == pytest.approx([0.0, 6.0])
    assert read_first("bybit", ANSWERS["bybit"]).build().amounts == pytest.approx([0.0, 300.0, 3900.0])
    first_empty = [{**row, "mmDeduction": ""} if row["mmDeduction"] == "0" else row for row in BYBIT_ROWS]
    assert read_first("bybit", {"retCode": 0, "result": {"list": first_empty}}) == EXPECTED["bybit"][0]


@pytest.mark.parametrize(("venue", "field"), [("gate", "deduction"), ("bybit", "mmDeduction")])
def test_other_deductions_than_those_are_refused(venue: str, field: str) -> None:
    """The table may be misread: better no ladder than a wrong one."""
    rows = GATE_ROWS[:2] if venue == "gate" else BYBIT_ROWS[:3]
    spoilt = [{**row, field: "77"} if float(row[field]) > 0 else row for row in rows]
    answer = spoilt if venue == "gate" else {"retCode": 0, "result": {"list": spoilt}}
    with pytest.raises(FileFormatError, match=f"{field} = 77.0: but the rates accumulate to"):
        read_first(venue, answer)


def test_mexc_variants() -> None:
    def read_changed(**fields: Any) -> Any:
        contract = {**ANSWERS["mexc"]["data"][0], **fields}
        return read_first("mexc", {"success": True, "code": 0, "data": contract})  # what a call for a symbol answers

    assert read_changed() == EXPECTED["mexc"][0]
    assert read_changed(riskLimitType="BY_VALUE") == flat((0, 0.002, 250), (800, 0.02, 25))
    # lists of before the mode existed; five steps of no width are one tier
    assert read_changed(riskLimitMode=None, riskLevelLimit=5) == flat((0, 0.002, 250), measure=SIZE)


@pytest.mark.parametrize("empty", [{}, {"marginLevels": []}, {"marginLevels": None}], ids=["none", "empty", "null"])
def test_kraken_schedules_stand_in_for_levels(empty: dict[str, Any]) -> None:
    def level(floor: float, initial: float) -> dict[str, float]:
        return {"numNonContractUnits": floor, "initialMargin": initial, "maintenanceMargin": initial / 2}

    def read_with(schedules: Any) -> Any:
        instrument = {"symbol": "PF_FOOUSD", "marginSchedules": schedules, **empty}
        return read_first("krakenfutures", {"result": "success", "instruments": [instrument]})

    europa = {"europa": {"retail": [level(0, 0.5)], "professional": [level(0, 0.25)]}}
    offshore = {"dlt": {"professional": [level(300, 0.5), level(0, 0.125)]}}
    assert read_with(europa | offshore) == sliced((0, 0.0625, 8), (300, 0.25, 2))
    assert read_with(europa) == sliced((0, 0.25, 2))


@pytest.mark.parametrize(
    ("venue", "path", "name", "value"),
    [
        ("mexc", "data.0", "riskLimitCustom", []),
        ("mexc", "data.1", "initialMarginRate", 0),
        ("htx", "data.0", "list", []),
        ("htx", "data.0.list.0", "ladders", []),
        ("krakenfutures", "instruments.1", "marginLevels", []),
        ("krakenfutures", "instruments.1.marginLevels.0", "initialMargin", 0),
    ],
)
def test_a_market_without_a_ladder_is_named(venue: str, path: str, name: str, value: Any) -> None:
    answer = deepcopy(ANSWERS[venue])
    at(answer, path)[name] = value
    with pytest.raises(FileFormatError, match=rf"(FOO.USDT|BAR_USD|PF_FOOUSD): {name} = "):
        read(venue, answer)
