"""Requests become canonical values, or errors that name the field and the value."""

from __future__ import annotations

import pytest

from forcedmove.v1 import heatmap_pb2, model_pb2
from forcedmove_server.engine.frames import ViewSpec
from forcedmove_server.errors import InputError, UnknownNameError
from forcedmove_server.market.instruments import ContractType, Instrument, InstrumentRegistry
from forcedmove_server.rpc.formats import FrameFormat
from forcedmove_server.rpc.limits import Limits, describe
from forcedmove_server.rpc.requests import format_of, spec_of, subscription_of, symbol_of, symbols_of

LONG, SHORT = model_pb2.SIDE_LONG, model_pb2.SIDE_SHORT


@pytest.fixture
def registry() -> InstrumentRegistry:
    return InstrumentRegistry(
        [
            Instrument("okx", "BTC-USDT-SWAP", "BTC", "USDT"),
            Instrument("binance", "BTCUSDT", "BTC", "USDT"),
            Instrument("binance", "BTCUSD_PERP", "BTC", "USD", ContractType.INVERSE),
            Instrument("binance", "ETHUSDT", "ETH", "USDT"),
        ]
    )


def test_equal_wishes_compare_equal(registry: InstrumentRegistry) -> None:
    plain = spec_of(model_pb2.MapView(), registry)
    assert plain == ViewSpec()
    same = model_pb2.MapView(
        sides=[SHORT, LONG, SHORT],
        keep_axes=[model_pb2.AXIS_PRICE, model_pb2.AXIS_SIDE, model_pb2.AXIS_SIDE],
        weighting=model_pb2.WEIGHTING_LIVE,
        leverage_min=-0.0,
        price_range_fraction=-0.0,
    )
    assert repr(spec_of(same, registry)) == repr(plain)
    spec = spec_of(model_pb2.MapView(venues=[" Binance", "OKX", "okx"], keep_axes=[model_pb2.AXIS_VENUE]), registry)
    assert spec.venues == ("okx", "binance")  # in the registry's order
    assert spec.keep == ("venue", "price")  # the price axis is always kept


@pytest.mark.parametrize(
    ("view", "field", "value"),
    [
        (model_pb2.MapView(sides=[0]), "view.sides", "0"),
        (model_pb2.MapView(sides=[9]), "view.sides", "9: must be one of long (1), short (2)"),
        (model_pb2.MapView(keep_axes=[0]), "view.keep_axes", "0"),
        (model_pb2.MapView(weighting=7), "view.weighting", "7"),
        (model_pb2.MapView(leverage_min=float("nan")), "view.leverage_min", "nan"),
        (model_pb2.MapView(leverage_max=-2), "view.leverage_max", "-2.0"),
        (model_pb2.MapView(leverage_min=3, leverage_max=2), "view.leverage_min", "3.0"),
        (model_pb2.MapView(price_range_fraction=float("-inf")), "view.price_range_fraction", "-inf"),
    ],
)
def test_errors_name_field_and_value(
    registry: InstrumentRegistry, view: model_pb2.MapView, field: str, value: str
) -> None:
    with pytest.raises(InputError) as raised:
        spec_of(view, registry)
    assert raised.value.field == field
    assert str(raised.value).startswith(f"{field} = {value}")


def test_names_are_resolved_once(registry: InstrumentRegistry) -> None:
    names = ["eth", "binance:btcusd_perp", "BTC/USDT:USDT", "ETH"]
    assert symbols_of(names, registry, Limits()) == ("ETH", "BTC")
    assert symbols_of([], registry, Limits()) is None
    assert symbol_of("btc", registry) == "BTC"
    with pytest.raises(UnknownNameError, match="'XRP'; known: BTC, ETH"):
        symbols_of(["BTC", "XRP"], registry, Limits())
    with pytest.raises(InputError, match="symbols = 3: at most 2"):
        symbols_of(["BTC"] * 3, registry, Limits(max_symbols=2))


def test_subscription_carries_id_rate_and_resume(registry: InstrumentRegistry) -> None:
    wanted = heatmap_pb2.Subscription(max_rate_hz=4, resume_epoch=3, resume_seq={"BTC": 9}, max_unacked=3)
    subscription = subscription_of(wanted, 5, registry, Limits())
    assert (subscription.request_id, subscription.min_interval_s, subscription.max_unacked) == (5, 0.25, 3)
    assert (subscription.resume_epoch, subscription.resume_seq) == (3, {"BTC": 9})
    everything = subscription_of(heatmap_pb2.Subscription(), 0, registry, Limits())
    assert (everything.min_interval_s, everything.delivery, everything.written) == (0, "latest", FrameFormat())


def test_equal_wishes_have_equal_formats(registry: InstrumentRegistry) -> None:
    zstd = heatmap_pb2.Encoding(compression=heatmap_pb2.COMPRESSION_ZSTD, quantum_usd=1_000)
    assert format_of(zstd) == FrameFormat(True, 1_000.0, True)
    assert format_of(heatmap_pb2.Encoding(snapshots_only=True)) == FrameFormat(False)
    assert format_of(heatmap_pb2.Encoding(compression=heatmap_pb2.COMPRESSION_NONE)) == FrameFormat()


def test_a_range_between_two_tiers_is_refused(registry: InstrumentRegistry) -> None:
    with pytest.raises(InputError, match="no leverage tier"):
        spec_of(model_pb2.MapView(leverage_min=2.2, leverage_max=2.8), registry)
    assert spec_of(model_pb2.MapView(leverage_min=5, leverage_max=5), registry).leverage_max == 5


def test_views_are_described_by_what_is_set() -> None:
    assert describe(ViewSpec()) == "keep=side,price weighting=live"
    full = ViewSpec(("okx",), ("long",), 5, 0, ("price",), "fresh", 0.2)
    assert describe(full) == "keep=price venues=okx sides=long leverage=5..inf price_range=0.2 weighting=fresh"
