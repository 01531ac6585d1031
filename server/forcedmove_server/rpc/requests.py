"""Requests to checked values. Every error names the field as it is called on the wire, and the value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from forcedmove.v1 import cascade_pb2, heatmap_pb2, model_pb2, scorecard_pb2, whatif_pb2
from forcedmove_server.engine.bands import check_band
from forcedmove_server.engine.frames import AXES, SIDES, AxisName, SideName, SymbolMap, ViewSpec, WeightingName
from forcedmove_server.engine.scan.question import LEAST_SHOCK, MOST_SHOCK
from forcedmove_server.engine.views import check_view
from forcedmove_server.errors import InputError, NotReadyError, UnknownNameError
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.rpc.formats import FrameFormat
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.scorecard.summary import Where

DeliveryName = Literal["latest", "every"]

AXIS_NUMBERS: Mapping[AxisName, model_pb2.Axis.ValueType] = {
    "venue": model_pb2.AXIS_VENUE,
    "side": model_pb2.AXIS_SIDE,
    "leverage": model_pb2.AXIS_LEVERAGE,
    "price": model_pb2.AXIS_PRICE,
}
SIDE_NUMBERS: Mapping[SideName, model_pb2.Side.ValueType] = {
    "long": model_pb2.SIDE_LONG,
    "short": model_pb2.SIDE_SHORT,
}
WEIGHTING_NUMBERS: Mapping[WeightingName, model_pb2.Weighting.ValueType] = {
    "live": model_pb2.WEIGHTING_LIVE,
    "fresh": model_pb2.WEIGHTING_FRESH,
}
DELIVERY_NUMBERS: Mapping[DeliveryName, heatmap_pb2.Delivery.ValueType] = {
    "latest": heatmap_pb2.DELIVERY_LATEST,
    "every": heatmap_pb2.DELIVERY_EVERY,
}
_DELIVERY_NAMES = {number: name for name, number in DELIVERY_NUMBERS.items()}
_COMPRESSIONS: Mapping[heatmap_pb2.Compression.ValueType, str] = {
    heatmap_pb2.COMPRESSION_NONE: "none",
    heatmap_pb2.COMPRESSION_ZSTD: "zstd",
}
_AXIS_NAMES = {number: name for name, number in AXIS_NUMBERS.items()}
_SIDE_NAMES = {number: name for name, number in SIDE_NUMBERS.items()}
_WEIGHTING_NAMES = {number: name for name, number in WEIGHTING_NUMBERS.items()}
N = TypeVar("N", bound=int)
T = TypeVar("T", bound=str)

#: a fraction of the mark beyond which a number is a mistake
_MAX_MOVE = 100.0
_MOST_UNACKED = 64
#: a larger one would leave nothing of any map
_MOST_QUANTUM_USD = 1e9
_LEAST_QUANTUM_USD = 0.01
_DEFAULT_KEEP: tuple[AxisName, ...] = ("side", "price")


@dataclass(frozen=True, slots=True)
class Subscription:
    """What one reader wants. ``symbols`` None means all, also those that appear later."""

    symbols: tuple[str, ...] | None
    spec: ViewSpec
    request_id: int = 0
    min_interval_s: float = 0.0
    resume_epoch: int = 0
    resume_seq: Mapping[str, int] = field(default_factory=dict)
    delivery: DeliveryName = "latest"
    max_unacked: int = 0
    written: FrameFormat = field(default_factory=FrameFormat)


def subscription_of(
    wanted: heatmap_pb2.Subscription, request_id: int, registry: InstrumentRegistry, limits: Limits
) -> Subscription:
    """Check a subscription. Raises InputError or UnknownNameError."""
    rate = finite("max_rate_hz", wanted.max_rate_hz, 0.0)
    delivery = member("delivery", wanted.delivery, _DELIVERY_NAMES) if wanted.delivery else "latest"
    if rate and delivery == "every":
        raise InputError("max_rate_hz", rate, "must be 0 where delivery is DELIVERY_EVERY, which leaves no frame out")
    if wanted.max_unacked > _MOST_UNACKED:
        raise InputError("max_unacked", wanted.max_unacked, f"at most {_MOST_UNACKED}")
    if len(wanted.resume_seq) > limits.max_symbols:
        raise InputError("resume_seq", len(wanted.resume_seq), f"at most {limits.max_symbols} symbols")
    return Subscription(
        symbols=symbols_of(wanted.symbols, registry, limits),
        spec=spec_of(wanted.view, registry),
        request_id=request_id,
        min_interval_s=1.0 / rate if rate else 0.0,
        resume_epoch=wanted.resume_epoch,
        resume_seq=dict(wanted.resume_seq),
        delivery=delivery,
        max_unacked=wanted.max_unacked,
        written=format_of(wanted.encoding),
    )


def format_of(encoding: heatmap_pb2.Encoding) -> FrameFormat:
    """Check how frames are to be written. Raises InputError."""
    quantum = finite("encoding.quantum_usd", encoding.quantum_usd, 0.0, _MOST_QUANTUM_USD)
    if 0 < quantum < _LEAST_QUANTUM_USD:
        raise InputError("encoding.quantum_usd", quantum, f"must be 0 or at least {_LEAST_QUANTUM_USD:g}")
    compression = member("encoding.compression", encoding.compression or heatmap_pb2.COMPRESSION_NONE, _COMPRESSIONS)
    return FrameFormat(not encoding.snapshots_only, quantum, compression == "zstd")


def symbols_of(names: Sequence[str], registry: InstrumentRegistry, limits: Limits) -> tuple[str, ...] | None:
    """Resolve what people type to symbols, each once; None where the list is empty, which means all."""
    if len(names) > limits.max_symbols:
        raise InputError("symbols", len(names), f"at most {limits.max_symbols} names")
    symbols = dict.fromkeys(registry[market].symbol for name in names for market in registry.resolve(name))
    return tuple(symbols) or None


def spec_of(view: model_pb2.MapView, registry: InstrumentRegistry) -> ViewSpec:
    """Check a MapView and bring it to its one canonical form, so that equal wishes compare equal.

    Raises InputError or UnknownNameError, whether or not a map exists that the view could be rendered from.
    """
    known = registry.venues()
    wanted = {venue_of(name, known) for name in view.venues}
    sides = {member("view.sides", number, _SIDE_NAMES) for number in view.sides}
    keep = {member("view.keep_axes", number, _AXIS_NAMES) for number in view.keep_axes} or set(_DEFAULT_KEEP)
    low = finite("view.leverage_min", view.leverage_min, 0.0)
    high = finite("view.leverage_max", view.leverage_max, 0.0)
    if high and low > high:
        raise InputError("view.leverage_min", low, f"must not be above view.leverage_max = {high!r}")
    spec = ViewSpec(
        venues=tuple(venue for venue in known if venue in wanted),
        sides=tuple(side for side in SIDES if side in sides) if len(sides) < len(SIDES) else (),
        leverage_min=low,
        leverage_max=high,
        keep=tuple(axis for axis in AXES if axis in keep or axis == "price"),
        weighting=member("view.weighting", view.weighting, _WEIGHTING_NAMES) if view.weighting else "live",
        price_range_fraction=finite("view.price_range_fraction", view.price_range_fraction, 0.0, _MAX_MOVE),
    )
    check_view(spec)
    return spec


def band_level_of(request: heatmap_pb2.GetSnapshotRequest, spec: ViewSpec) -> float | None:
    """Return the level of the band that is wanted, None for none. Raises InputError for one that no band has."""
    level = finite("band_level", request.band_level, -math.inf)
    if level == 0:
        return None
    check_band(level, spec)
    return level


def shock_of(request: cascade_pb2.SimulateRequest | whatif_pb2.WhatIfRequest, symbol_map: SymbolMap) -> float:
    """Return the shocked price in USD. Raises InputError, or NotReadyError while the symbol has no mark price."""
    kind = request.WhichOneof("shock")
    if kind is None:
        raise InputError("shock", None, "set price_usd or move_fraction")
    if not symbol_map.mark_price_usd > 0:  # also a mark that is not a number
        raise NotReadyError(f"{symbol_map.symbol}: no mark price yet")
    if kind == "price_usd":
        return finite("price_usd", request.price_usd, 0.0, above=True)
    move = request.move_fraction
    if not LEAST_SHOCK <= move <= MOST_SHOCK:
        raise InputError("move_fraction", move, f"must lie in {LEAST_SHOCK:g} .. {MOST_SHOCK:g}")
    return symbol_map.mark_price_usd * (1.0 + move)


def where_of(request: scorecard_pb2.GetScorecardRequest, registry: InstrumentRegistry) -> Where:
    """Return the part of the markets that is meant. Raises InputError, or UnknownNameError where there is none."""
    venue = venue_of(request.venue, registry.venues()) if request.venue else None
    symbol = symbol_of(request.symbol, registry) if request.symbol else None
    side = SIDES.index(member("side", request.side, _SIDE_NAMES)) if request.side else None
    if venue is not None and symbol is not None:
        listed = dict.fromkeys(registry[market].venue for market in registry.markets_of(symbol))
        venue_of(venue, listed)
    return Where(venue, symbol, side)


def symbol_of(name: str, registry: InstrumentRegistry) -> str:
    """Resolve one name. Raises InputError when it is empty, UnknownNameError when nothing has it."""
    if not name.strip():
        raise InputError("symbol", name, "must not be empty")
    return registry[registry.resolve(name)[0]].symbol


def venue_of(name: str, known: Iterable[str]) -> str:
    """Resolve a venue's name. Raises UnknownNameError for one that is not among the known."""
    venue = name.strip().lower()
    if venue not in known:
        raise UnknownNameError("venue", name, sorted(known))
    return venue


def member(field_name: str, number: N, names: Mapping[N, T]) -> T:
    """Return what an enum's number means. Raises InputError for one that it does not have."""
    try:
        return names[number]
    except KeyError:
        known = ", ".join(f"{name} ({known})" for known, name in names.items())
        raise InputError(field_name, number, f"must be one of {known}") from None


def finite(field_name: str, value: float, minimum: float, maximum: float = math.inf, *, above: bool = False) -> float:
    """Return a number within bounds. Raises InputError naming field, value and bound."""
    if not math.isfinite(value):
        raise InputError(field_name, value, "must be a finite number")
    if value < minimum or (above and value == minimum):
        raise InputError(field_name, value, f"must be {'above' if above else 'at least'} {minimum:g}")
    if value > maximum:
        raise InputError(field_name, value, f"must be at most {maximum:g}")
    return value + 0.0  # no negative zero: it would print oddly and still compare equal
