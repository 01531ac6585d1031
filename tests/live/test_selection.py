"""Which symbols are collected: what people write, and the largest."""

from __future__ import annotations

import pytest

from forcedmove_server.collectors.selection import Selection
from forcedmove_server.errors import ConfigError
from forcedmove_server.market.instruments import Instrument

BTC = Instrument("binance", "BTCUSDT", "BTC", "USDT")
BTC_ELSEWHERE = Instrument("okx", "BTC-USDT-SWAP", "BTC", "USDT")
ETH = Instrument("binance", "ETHUSDT", "ETH", "USDT")
PEPE = Instrument("binance", "1000PEPEUSDT", "PEPE", "USDT", listed_base="1000PEPE")
ALL = (BTC, BTC_ELSEWHERE, ETH, PEPE)


def chosen(*symbols: str, figures: dict[str, float] | None = None) -> list[Instrument]:
    selection = Selection(symbols)
    selection.rank(figures or {})
    return [one for one in ALL if selection.has(one)]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("btc", [BTC, BTC_ELSEWHERE]),
        ("BTC", [BTC, BTC_ELSEWHERE]),
        ("binance:BTCUSDT", [BTC]),
        ("btc-usdt-swap", [BTC_ELSEWHERE]),
        ("ETH/USDT:USDT", [ETH]),
        ("pepe", [PEPE]),
        ("1000PEPEUSDT", [PEPE]),
        ("DOGE", []),
    ],
)
def test_names_mean_what_they_mean_to_a_replay(name: str, found: list[Instrument]) -> None:
    """A name that other commands understand must not silently choose nothing here."""
    assert chosen(name) == found


def test_the_largest_are_chosen_and_names_come_on_top() -> None:
    figures = {"BTC": 3.0, "ETH": 2.0, "PEPE": 1.0}
    assert chosen("top:1", figures=figures) == [BTC, BTC_ELSEWHERE]
    assert chosen("top:1", "pepe", figures=figures) == [BTC, BTC_ELSEWHERE, PEPE]
    assert chosen("top:2", "top:1", figures=figures) == [BTC, BTC_ELSEWHERE, ETH]
    assert chosen("top:100", figures=figures) == list(ALL)


def test_equal_symbols_are_chosen_by_name_so_that_every_run_chooses_the_same() -> None:
    assert chosen("top:1", figures={"PEPE": 1.0, "ETH": 1.0}) == [ETH]


def test_without_figures_the_choice_stays() -> None:
    selection = Selection(("top:1",))
    assert not selection.has(BTC)
    selection.rank({"BTC": 1.0})
    selection.rank({})
    assert selection.has(BTC)
    selection.rank({"ETH": 1.0})
    assert not selection.has(BTC)


def test_only_a_number_needs_a_ranking() -> None:
    assert Selection(("top:5",)).needs_ranking
    assert not Selection(("BTC",)).needs_ranking


@pytest.mark.parametrize("symbol", ["top:2", "TOP:2", "Top:2", " top:2 ", "top:002"])
def test_case_does_not_matter(symbol: str) -> None:
    assert chosen(symbol, figures={"BTC": 3.0, "ETH": 2.0, "PEPE": 1.0}) == [BTC, BTC_ELSEWHERE, ETH]
    assert Selection((symbol,)).without(ALL) == []


@pytest.mark.parametrize(
    "symbol",
    [
        *("top:", "TOP:", "top:0", "TOP:000", "top:-1", "top:1.5", "top:10001", "top:x", f"top:{'9' * 5_000}"),
        *("top: 5", "top :5", "top5", "TOP 5", "top-5", "top=5", "top_5"),
    ],
)
def test_what_is_nearly_a_number_of_symbols_is_refused(symbol: str) -> None:
    """As a name it would choose nothing, or not what was meant."""
    with pytest.raises(ConfigError, match="must be like top:100, with a number from 1 to 10,000"):
        Selection(("BTC", symbol))


def test_a_coin_that_is_called_top_is_a_name() -> None:
    top = Instrument("okx", "TOP-USDT-SWAP", "TOP", "USDT")
    for name in ("TOP", "top-usdt-swap", "okx:TOP-USDT-SWAP", "TOP/USDT:USDT"):
        assert Selection((name,)).has(top)


def test_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="must name symbols"):
        Selection(())


def test_where_there_is_not_room_named_symbols_are_served_first_then_the_largest() -> None:
    selection = Selection(("pepe", "top:2"))
    selection.rank({"ETH": 2.0, "BTC": 3.0, "PEPE": 1.0})
    assert sorted(ALL, key=selection.place)[:2] == [PEPE, BTC]
    assert selection.place(BTC) == selection.place(BTC_ELSEWHERE) < selection.place(ETH)


def test_a_name_that_no_venue_lists_is_told() -> None:
    assert Selection(("BTC", "NOSUCH", "top:3")).without(ALL) == ["NOSUCH"]


def test_two_symbols_that_are_alike_do_not_take_turns() -> None:
    selection = Selection(("top:1",))
    for first, second, chosen in ((10.0, 9.9, "BTC"), (10.0, 10.9, "BTC"), (10.0, 11.1, "ETH"), (10.9, 10.0, "ETH")):
        selection.rank({"BTC": first, "ETH": second})
        assert [one.symbol for one in (BTC, ETH) if selection.has(one)] == [chosen]
