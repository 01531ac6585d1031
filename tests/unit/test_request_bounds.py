"""Lists of requests are counted before anything is made of their elements, and names are looked up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from forcedmove.v1 import cascade_pb2, heatmap_pb2, model_pb2, scan_pb2
from forcedmove_server.errors import InputError
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from forcedmove_server.rpc.forecasts import given_book
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import MOST_CHOICES, few, spec_of, subscription_of, symbols_of
from forcedmove_server.rpc.scan_messages import question_of

REGISTRY = InstrumentRegistry(Instrument("binance", f"X{k}USDT", f"X{k}", "USDT") for k in range(20))
LIMITS = Limits()
_MANY = MOST_CHOICES + 1


class Untouchable(list[object]):
    """A list whose elements nobody may look at."""

    def __iter__(self) -> None:  # type: ignore[override]
        raise AssertionError("looked at an element")


def subscribing(**wanted: object) -> Callable[[], object]:
    subscription = heatmap_pb2.Subscription(**wanted)  # type: ignore[arg-type]
    return lambda: subscription_of(subscription, 1, REGISTRY, LIMITS)


@pytest.mark.parametrize(
    ("field", "ask"),
    [
        ("symbols", subscribing(symbols=["X1"] * 1_001)),
        ("resume_seq", subscribing(resume_seq={f"X{k}": k for k in range(1_001)})),
        ("view.venues", lambda: spec_of(model_pb2.MapView(venues=["binance"] * _MANY), REGISTRY)),
        ("view.sides", lambda: spec_of(model_pb2.MapView(sides=[1] * _MANY), REGISTRY)),
        ("view.keep_axes", lambda: spec_of(model_pb2.MapView(keep_axes=[4] * _MANY), REGISTRY)),
        ("book.bids", lambda: given_book(cascade_pb2.OrderBook(bids=[cascade_pb2.OrderBookLevel()] * 2_001))),
        ("book.asks", lambda: given_book(cascade_pb2.OrderBook(asks=[cascade_pb2.OrderBookLevel()] * 2_001))),
        (
            "venues",
            lambda: question_of(
                scan_pb2.ScanRequest(shock_fractions=[0.1], venues=["binance"] * _MANY), REGISTRY, LIMITS
            ),
        ),
        ("shock_fractions", lambda: question_of(scan_pb2.ScanRequest(shock_fractions=[0.1] * 257), REGISTRY, LIMITS)),
    ],
)
def test_a_list_that_is_too_long_is_named(field: str, ask: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="at most") as caught:
        ask()
    assert caught.value.field == field


def test_no_element_of_a_list_that_is_too_long_is_looked_at() -> None:
    with pytest.raises(InputError, match="at most 2"):
        few("names", Untouchable(range(3)), 2)
    few("names", Untouchable(range(2)), 2)


def test_a_market_is_found_by_each_of_its_names_in_any_case_and_in_the_order_of_adding() -> None:
    registry = InstrumentRegistry([Instrument("a", "BTC", "BTC", "USDT"), Instrument("b", "btcusdt", "BTC", "USDT")])
    for name, found in (
        ("btc", [0, 1]),
        (" BTC ", [0, 1]),
        ("BTCUSDT", [1]),
        ("b:BtcUsdt", [1]),
        ("btc/usdt:usdt", [0, 1]),
    ):
        assert registry.resolve(name) == found
    registry.resolve("BTC").clear()
    assert registry.resolve("BTC") == [0, 1]
    registry.add(Instrument("c", "BTCUSDT", "BTC", "USDT"))
    assert registry.resolve("BTCUSDT") == [1, 2]
    assert symbols_of(["btcusdt", "BTC"], registry, LIMITS) == ("BTC",)
