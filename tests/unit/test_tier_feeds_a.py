"""Public tier tables of the first eight venues: units, order and defects of the answers, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds import bitget, bybit, gate, htx, krakenfutures, kucoinfutures, mexc, okx
from forcedmove_server.margin.feeds.feed import Call, ListedMarket
from forcedmove_server.margin.ladders import ByLeverage, Form, Tiers
from forcedmove_server.margin.tiers import TierMeasure, TierTable

FEEDS = {m.FEED.venue: m.FEED for m in (bybit, okx, bitget, gate, kucoinfutures, mexc, htx, krakenfutures)}
FIXTURES = Path(__file__).parents[3] / "shared" / "exchanges" / "fixtures"
QUANTITY = TierMeasure.QUANTITY


def listed(unified: str, native_id: str, contract_size: float = 1.0) -> ListedMarket:
    base, quote = unified.partition(":")[0].split("/")
    return ListedMarket(unified, native_id, base, quote == "USD" and not unified.endswith(":USD"), contract_size)


FOO, BAR = "FOO/USDT:USDT", "BAR/USD:BAR"
#: the linear market, then the inverse one
MARKETS = {
    "bybit": [listed(FOO, "FOOUSDT"), listed(BAR, "BARUSD")],
    "okx": [listed(FOO, "FOO-USDT-SWAP", 0.5), listed(BAR, "BAR-USD-SWAP", 100.0)],
    "bitget": [listed(FOO, "FOOUSDT"), listed(BAR, "BARUSD"), listed("FOO/USDC:USDC", "FOOPERP")],
    "gate": [listed(FOO, "FOO_USDT", 0.25), listed("BTC/USD:BTC", "BTC_USD")],
    "kucoinfutures": [listed(FOO, "FOOUSDTM", 0.25), listed(BAR, "BARUSDM", 10.0)],
    "mexc": [listed(FOO, "FOO_USDT", 0.25), listed(BAR, "BAR_USD", 100.0)],
    "htx": [listed(FOO, "FOO-USDT", 0.5), listed(BAR, "BAR-USD", 100.0)],
    "krakenfutures": [listed("FOO/USD:USD", "PF_FOOUSD"), listed(BAR, "PI_BARUSD", 2.0)],
}


def texts(names: str, *rows: str) -> list[dict[str, str]]:
    """Rows whose fields are texts, as most venues print numbers; ``-`` is an empty one."""
    return [
        dict(zip(names.split(), ("" if text == "-" else text for text in row.split()), strict=True)) for row in rows
    ]


# Per venue one answer in the documented format, with as many defects as a real one may have: rows out of order (as
# text and as numbers), rows that repeat, leverage below 1, percent instead of fractions, other markets.
BYBIT_ROWS = texts(
    "id symbol riskLimitValue maintenanceMargin initialMargin maxLeverage mmDeduction",
    "903 FOOUSDT   30000 0.6  1   0.80  3900",
    "901 FOOUSDT   9000  0.2  0.4 2.50  300",
    "902 FOOUSDT   2000  0.05 0.1 10.00 -",
    "1   BARUSD    75    2.5  5   20.00 -",
    "2   BARUSD    150   50   80  1.25  -",
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
KUCOIN = """{"code": "200000", "data": [
    {"symbol": "FOOUSDTM", "minRiskLimit": 5000, "maxRiskLimit": 20000, "maxLeverage": 4, "maintainMargin": 0.125},
    {"symbol": "FOOUSDTM", "minRiskLimit": 0, "maxRiskLimit": 5000, "maxLeverage": 20, "maintainMargin": 0.025},
    {"symbol": "BARUSDM", "minRiskLimit": 0, "maxRiskLimit": 700, "maxLeverage": 10, "maintainMargin": 0.05},
    {"symbol": "BARUSDM", "minRiskLimit": 700, "maxRiskLimit": 900, "maxLeverage": 5, "maintainMargin": 0.1}]}"""
# What CUSTOM leaves in the fields of INCREASE is one tier as wide as the last of its own.
MEXC = """{"success": true, "code": 0, "data": [
    {"symbol": "FOO_USDT", "riskLimitMode": "CUSTOM", "riskLimitType": "BY_VOLUME", "riskBaseVol": 9000,
     "riskIncrVol": 0, "riskIncrMmr": 0, "riskIncrImr": 0, "riskLevelLimit": 1, "maintenanceMarginRate": 0.002,
     "initialMarginRate": 0.004, "riskLimitCustom": [
        {"level": 2, "maxVol": 9000, "mmr": 0.02, "imr": 0.04, "maxLeverage": 25},
        {"level": 1, "maxVol": 800, "mmr": 0.002, "imr": 0.004, "maxLeverage": 250}]},
    {"symbol": "BAR_USD", "riskLimitMode": "INCREASE", "riskLimitType": "BY_VOLUME", "riskBaseVol": 10,
     "riskIncrVol": 30, "riskIncrMmr": 0.25, "riskIncrImr": 0.25, "riskLevelLimit": 3,
     "maintenanceMarginRate": 0.125, "initialMarginRate": 0.5},
    {"symbol": "OTHER_USDT"}]}"""
HTX = """{"status": "ok", "data": [
    {"symbol": "FOO", "contract_code": "FOO-USDT", "margin_mode": "isolated", "list": [
        {"lever_rate": 20, "ladders": [
            {"ladder": 1, "min_size": 1000, "max_size": null, "adjust_factor": 0.35},
            {"ladder": 0, "min_size": 0, "max_size": 999, "adjust_factor": 0.25}]},
        {"lever_rate": 5, "ladders": [{"ladder": 0, "min_size": 0, "max_size": null, "adjust_factor": 0.1}]}]},
    {"symbol": "FOO", "contract_code": "FOO-USDT", "margin_mode": "cross", "list": "not read"},
    {"symbol": "BAR", "contract_code": "BAR-USD", "list": [{"lever_rate": 10, "ladders": [
        {"ladder": 0, "min_size": 0, "max_size": 49, "adjust_factor": 0.2},
        {"ladder": 1, "min_size": 50, "max_size": 99, "adjust_factor": 0.3}]}]}]}"""
KRAKEN = """{"result": "success", "instruments": [
    {"symbol": "in_foousd", "type": "spot index", "tradeable": false},
    {"symbol": "PF_FOOUSD", "type": "flexible_futures", "marginLevels": [
        {"numNonContractUnits": 4000, "initialMargin": 0.25, "maintenanceMargin": 0.125},
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
    "kucoinfutures": json.loads(KUCOIN),
    "mexc": json.loads(MEXC),
    "htx": json.loads(HTX),
    "krakenfutures": json.loads(KRAKEN),
}

#: what these answers say of the two markets; floors that are written as products are contracts times contract size
EXPECTED: dict[str, tuple[Form, Form]] = {
    "bybit": (
        Tiers([(0.0, 0.05, 10.0), (2000.0, 0.2, 2.5), (9000.0, 0.6, 1.0)], cumulative=True),
        Tiers([(0.0, 0.025, 20.0), (75.0, 0.5, 1.25)], cumulative=True),
    ),
    "okx": (
        Tiers([(0.0, 0.01, 40.0), (300 * 0.5, 0.02, 20.5), (5000 * 0.5, 0.5, 1.0)], measure=QUANTITY),
        Tiers([(0.0, 0.01, 40.0), (20 * 100.0, 0.02, 20.0)], measure=QUANTITY),
    ),
    "bitget": (
        Tiers([(0.0, 0.015, 30.0), (8000.0, 0.1, 4.0)], cumulative=True),
        Tiers([(0.0, 0.02, 25.0)], cumulative=True),
    ),
    "gate": (
        Tiers([(0.0, 0.02, 20.01), (600.0, 0.03, 12.5)], cumulative=True),
        Tiers([(0.0, 0.01, 50.0)], cumulative=True),
    ),
    "kucoinfutures": (
        Tiers([(0.0, 0.025, 20.0), (5000.0, 0.125, 4.0)]),
        Tiers([(0.0, 0.05, 10.0), (700 * 10.0, 0.1, 5.0)], measure=QUANTITY),
    ),
    "mexc": (
        Tiers([(0.0, 0.002, 250.0), (800 * 0.25, 0.02, 25.0)], measure=QUANTITY),
        Tiers([(0.0, 0.125, 2.0), (10 * 100.0, 0.375, 1 / 0.75), (40 * 100.0, 0.625, 1.0)], measure=QUANTITY),
    ),
    "htx": (
        ByLeverage({20.0: [(0.0, 0.25), (999 * 0.5, 0.35)], 5.0: [(0.0, 0.1)]}),
        ByLeverage({10.0: [(0.0, 0.2), (49 * 100.0, 0.3)]}),
    ),
    "krakenfutures": (
        Tiers([(0.0, 0.025, 20.0), (4000.0, 0.125, 4.0)], cumulative=True),
        Tiers([(0.0, 0.01, 50.0), (700 * 2.0, 0.02, 25.0)], cumulative=True, measure=QUANTITY),
    ),
}

CALLS = """
    bybit          publicGetV5MarketRiskLimit                 category=linear symbol=FOOUSDT
    bybit          publicGetV5MarketRiskLimit                 category=inverse symbol=BARUSD
    okx            publicGetPublicPositionTiers               instType=SWAP tdMode=isolated instFamily=FOO-USDT
    okx            publicGetPublicPositionTiers               instType=SWAP tdMode=isolated instFamily=BAR-USD
    bitget         publicMixGetV2MixMarketQueryPositionLever  symbol=FOOUSDT productType=USDT-FUTURES
    bitget         publicMixGetV2MixMarketQueryPositionLever  symbol=BARUSD productType=COIN-FUTURES
    bitget         publicMixGetV2MixMarketQueryPositionLever  symbol=FOOPERP productType=USDC-FUTURES
    gate           publicFuturesGetSettleRiskLimitTiers       settle=usdt contract=FOO_USDT
    gate           publicFuturesGetSettleRiskLimitTiers       settle=btc contract=BTC_USD
    kucoinfutures  futuresPublicGetContractsRiskLimitSymbol   symbol=FOOUSDTM
    kucoinfutures  futuresPublicGetContractsRiskLimitSymbol   symbol=BARUSDM
    mexc           contractPublicGetDetail
    htx            contractPublicGetLinearSwapApiV1SwapAdjustfactor  contract_code=FOO-USDT
    htx            contractPublicGetSwapApiV1SwapAdjustfactor contract_code=BAR-USD
    krakenfutures  publicGetInstruments
"""


def read(venue: str, answer: Any, markets: list[ListedMarket] | None = None) -> dict[str, Form]:
    known = MARKETS[venue] if markets is None else markets
    return dict(FEEDS[venue].parse(answer, {market.native_id: market for market in known}))


def read_first(venue: str, answer: Any) -> Form:
    """The ladder of the venue's linear market, which is the only one that is meant."""
    (form,) = read(venue, answer, MARKETS[venue][:1]).values()
    return form


def table(form: Form) -> TierTable:
    built = form.build()
    assert isinstance(built, TierTable)
    return built


@pytest.mark.parametrize("venue", FEEDS)
def test_answers_become_ladders(venue: str) -> None:
    found = read(venue, ANSWERS[venue])
    assert found == dict(zip([market.unified for market in MARKETS[venue]], EXPECTED[venue], strict=False))
    for form in found.values():
        form.build()
    assert read_first(venue, ANSWERS[venue]) == EXPECTED[venue][0]  # other markets are left out


@pytest.mark.parametrize("venue", FEEDS)
def test_calls_are_made_for_the_given_markets_only(venue: str) -> None:
    lines = [line.split() for line in CALLS.strip().splitlines()]
    calls = [Call(line[1], dict(item.split("=") for item in line[2:])) for line in lines if line[0] == venue]
    assert list(FEEDS[venue].calls(MARKETS[venue])) == calls
    assert list(FEEDS[venue].calls([])) == []


@pytest.mark.parametrize("venue", FEEDS)
def test_ccxt_has_every_method(venue: str) -> None:
    ccxt = pytest.importorskip("ccxt")
    feed = FEEDS[venue]
    for name in feed.exchanges:
        exchange = getattr(ccxt, name)()
        for call in feed.calls(MARKETS[venue]):
            assert callable(getattr(exchange, call.method)), call.method


def test_okx_asks_for_swaps_only() -> None:
    assert list(okx.FEED.calls([listed("FOO/USDT:USDT-270101", "FOO-USDT-270101")])) == []


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


#: per venue the way to one row, and the fields it cannot do without
FIELDS = """
    bybit          result                     list
    bybit          result.list.0              symbol riskLimitValue maintenanceMargin initialMargin maxLeverage
    okx            .                          data
    okx            data.0                     instFamily maxSz mmr maxLever
    bitget         .                          data
    bitget         data.0                     symbol endUnit keepMarginRate leverage
    gate           0                          contract risk_limit maintenance_rate leverage_max
    kucoinfutures  .                          data
    kucoinfutures  data.0                     symbol maxRiskLimit maintainMargin maxLeverage
    mexc           .                          data
    mexc           data.0                     symbol riskLimitCustom
    mexc           data.0.riskLimitCustom.1   maxVol mmr maxLeverage
    mexc           data.1                     riskBaseVol riskIncrVol riskLevelLimit maintenanceMarginRate
    mexc           data.1                     initialMarginRate riskIncrMmr riskIncrImr
    htx            .                          data
    htx            data.0                     contract_code list
    htx            data.0.list.0              lever_rate ladders
    htx            data.0.list.0.ladders.1    min_size max_size adjust_factor
    krakenfutures  .                          instruments
    krakenfutures  instruments.1              symbol marginLevels
    krakenfutures  instruments.1.marginLevels.0  numNonContractUnits initialMargin maintenanceMargin
    krakenfutures  instruments.2.marginLevels.1  contracts
"""
CASES = [(*line.split()[:2], name) for line in FIELDS.strip().splitlines() for name in line.split()[2:]]
NAMES_OF_MARKETS = {"symbol", "instFamily", "contract", "contract_code"}


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
    if name not in NAMES_OF_MARKETS:
        row[name] = "of another type"
        with pytest.raises(FileFormatError, match=rf"\b{name} = "):
            read(venue, answer)


@pytest.mark.parametrize("venue", FEEDS)
def test_rows_that_are_no_objects_are_refused(venue: str) -> None:
    answer = deepcopy(ANSWERS[venue])
    path = {"bybit": "result.list", "gate": ".", "krakenfutures": "instruments"}.get(venue, "data")
    at(answer, path).append(["an array"])
    with pytest.raises(FileFormatError):
        read(venue, answer)


def test_gate_rows_without_a_name_belong_to_the_one_market() -> None:
    form = read_first("gate", GATE_ROWS[:2])
    assert form == EXPECTED["gate"][0]
    assert table(form).amounts == pytest.approx([0.0, 6.0])  # as printed
    with pytest.raises(FileFormatError, match=r"contract = None.*2 markets"):
        read("gate", GATE_ROWS)


def test_bybit_deductions_are_those_that_are_printed() -> None:
    assert table(read_first("bybit", ANSWERS["bybit"])).amounts == pytest.approx([0.0, 300.0, 3900.0])


def mexc_contract(**fields: Any) -> Any:
    """An answer of the call that names a symbol: an object instead of a list."""
    return {"success": True, "code": 0, "data": {**ANSWERS["mexc"]["data"][0], **fields}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, EXPECTED["mexc"][0]),
        ({"riskLimitType": "BY_VALUE"}, Tiers([(0.0, 0.002, 250.0), (800.0, 0.02, 25.0)])),
        # lists of before the mode existed; five steps of no width are one tier
        ({"riskLimitMode": None, "riskLevelLimit": 5}, Tiers([(0.0, 0.002, 250.0)], measure=QUANTITY)),
    ],
    ids=["one object", "values", "no mode"],
)
def test_mexc_variants(fields: dict[str, Any], expected: Form) -> None:
    assert read_first("mexc", mexc_contract(**fields)) == expected


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"riskLimitCustom": []}, "riskLimitCustom"),
        ({"riskLimitMode": "INCREASE", "initialMarginRate": 0}, "initialMarginRate"),
    ],
)
def test_mexc_contracts_without_a_ladder_are_refused(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(FileFormatError, match=f"FOO_USDT: {name} = "):
        read("mexc", mexc_contract(**fields))


@pytest.mark.parametrize("leverages", [[], [{"lever_rate": 5, "ladders": []}]], ids=["no leverage", "no tier"])
def test_htx_contracts_without_a_ladder_are_refused(leverages: list[Any]) -> None:
    row = {"contract_code": "FOO-USDT", "margin_mode": "isolated", "list": leverages}
    with pytest.raises(FileFormatError, match=r"FOO-USDT: (list|ladders) = "):
        read("htx", {"status": "ok", "data": [row]})


def kraken_instrument(**fields: Any) -> Any:
    return {"result": "success", "instruments": [{"symbol": "PF_FOOUSD", "type": "flexible_futures", **fields}]}


def kraken_level(floor: float, initial: float) -> dict[str, float]:
    return {"numNonContractUnits": floor, "initialMargin": initial, "maintenanceMargin": initial / 2}


@pytest.mark.parametrize("empty", [{}, {"marginLevels": []}, {"marginLevels": None}], ids=["none", "empty", "null"])
def test_kraken_schedules_stand_in_for_levels(empty: dict[str, Any]) -> None:
    europa = {"europa": {"retail": [kraken_level(0, 0.5)], "professional": [kraken_level(0, 0.25)]}}
    both = {**europa, "dlt": {"professional": [kraken_level(300, 0.5), kraken_level(0, 0.125)]}}
    form = read_first("krakenfutures", kraken_instrument(marginSchedules=both, **empty))
    assert form == Tiers([(0.0, 0.0625, 8.0), (300.0, 0.25, 2.0)], cumulative=True)
    form = read_first("krakenfutures", kraken_instrument(marginSchedules=europa, **empty))
    assert form == Tiers([(0.0, 0.25, 2.0)], cumulative=True)


def test_kraken_levels_of_one_floor_leave_the_strictest_and_zero_margins_are_refused() -> None:
    levels = [kraken_level(0, 0.5), kraken_level(0, 0.25)]
    form = read_first("krakenfutures", kraken_instrument(marginLevels=levels))
    assert form == Tiers([(0.0, 0.25, 2.0)], cumulative=True)
    with pytest.raises(FileFormatError, match=r"PF_FOOUSD: initialMargin = 0\.0"):
        read("krakenfutures", kraken_instrument(marginLevels=[kraken_level(0, 0.0)]))


def recorded(test: Callable[..., None]) -> Callable[..., None]:
    absent = pytest.mark.skipif(not FIXTURES.is_dir(), reason="the collected payloads are not beside this checkout")
    marked: Callable[..., None] = pytest.mark.recorded(absent(test))
    return marked


def sample(venue: str, method: str) -> Any:
    """An answer that the venue's documentation prints."""
    collected = json.loads((FIXTURES / venue / "ccxt_samples.json").read_text())
    return next(each["payload"] for each in collected if each["method"] == f"rest {method}")


@recorded
@pytest.mark.parametrize(
    ("venue", "method", "native_id", "first"),
    [
        ("bybit", "fetch_derivatives_market_leverage_tiers", "BTCUSD", (0.005, 100.0)),
        ("bitget", "fetch_market_leverage_tiers", "BTCUSDT", (0.004, 125.0)),
        ("gate", "fetch_market_leverage_tiers", "BTC_USDT", (0.004, 125.0)),
        ("kucoinfutures", "fetch_market_leverage_tiers", "ETHUSDTM", (0.005, 100.0)),
        ("mexc", "fetch_leverage_tiers", "BTC_USDT", (0.004, 125.0)),
        ("krakenfutures", "fetch_leverage_tiers", "fi_ethusd_180928", (0.01, 50.0)),
    ],
)
def test_documented_answers(venue: str, method: str, native_id: str, first: tuple[float, float]) -> None:
    market = listed(BAR if venue == "krakenfutures" else FOO, native_id)
    tier = table(read(venue, sample(venue, method), [market])[market.unified]).tiers[0]
    assert (tier.rate, tier.max_leverage) == pytest.approx(first)


@recorded
def test_documented_answer_of_htx() -> None:
    found = read("htx", sample("htx", "fetch_leverage_tiers"), [listed(FOO, "MANA-USDT", 10.0)])
    assert found == {FOO: ByLeverage({75.0: [(0.0, 0.7)]})}


@recorded
def test_answers_of_okx_about_spot_margin_hold_no_ladder() -> None:
    path = FIXTURES / "okx" / "nautilus" / "http_get_position_tiers.json"
    assert read("okx", json.loads(path.read_text())) == {}
    with pytest.raises(FileFormatError, match="instFamily"):
        read("okx", sample("okx", "fetch_market_leverage_tiers"))


@recorded
def test_recorded_deductions_of_gate_are_those_that_accumulate() -> None:
    recording = json.loads((FIXTURES / "gate" / "gocryptotrader" / "risk_limit_table.json").read_text())
    rows = recording["GET"][0]["data"]
    assert table(read_first("gate", rows)).amounts == pytest.approx([float(row["deduction"]) for row in rows])


@recorded
@pytest.mark.parametrize("name", ["nautilus/http_futures_instruments.json", "cryptofeed/KRAKEN_FUTURES.0.json"])
def test_recorded_instruments_of_kraken(name: str) -> None:
    answer = json.loads((FIXTURES / "krakenfutures" / name).read_text())
    answer = answer[0]["msg"] if isinstance(answer, list) else answer
    kinds = {row["symbol"]: row["type"] for row in answer["instruments"] if "marginLevels" in row}
    inverse = {symbol: kind == "futures_inverse" for symbol, kind in kinds.items()}
    markets = [ListedMarket(symbol, symbol, "X", inverse[symbol], 1.0) for symbol in kinds]
    found = read("krakenfutures", answer, markets)
    assert found.keys() == kinds.keys()
    for symbol, form in found.items():
        ladder = table(form)
        assert ladder.cumulative
        assert ladder.measure is (QUANTITY if inverse[symbol] else TierMeasure.VALUE)
