"""What callers write, as protobuf messages. Values are checked by the server; only names of enums are checked here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from forcedmove.v1 import cascade_pb2, heatmap_pb2, model_pb2
from forcedmove_client.credit import WINDOW
from forcedmove_client.decoding import AXIS_NAMES, SIDE_NAMES, WEIGHTING_NAMES
from forcedmove_client.errors import InvalidArgumentError
from forcedmove_client.frames import AxisName, SideName, WeightingName

Names = str | Iterable[str]

_DELIVERIES: Mapping[heatmap_pb2.Delivery.ValueType, str] = {
    heatmap_pb2.DELIVERY_LATEST: "latest",
    heatmap_pb2.DELIVERY_EVERY: "every",
}
_MOST_UNACKED = 64
N = TypeVar("N", bound=int)


def names_of(names: Names) -> list[str]:
    """One name or several, as a list."""
    return [names] if isinstance(names, str) else list(names)


def view_message(
    *,
    venues: Names,
    sides: SideName | Iterable[SideName],
    leverage: tuple[float, float],
    keep: AxisName | Iterable[AxisName],
    weighting: WeightingName,
    price_range: float,
) -> model_pb2.MapView:
    """The view of a request. Raises InvalidArgumentError."""
    try:
        leverage_min, leverage_max = leverage
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"leverage = {leverage!r}: must be a pair (min, max); 0 means no limit") from None
    return model_pb2.MapView(
        venues=names_of(venues),
        sides=[number_of("sides", side, SIDE_NAMES) for side in names_of(sides)],
        leverage_min=leverage_min,
        leverage_max=leverage_max,
        keep_axes=[number_of("keep", axis, AXIS_NAMES) for axis in names_of(keep)],
        weighting=number_of("weighting", weighting, WEIGHTING_NAMES),
        price_range_fraction=price_range,
    )


def subscription_message(
    *,
    symbols: Names,
    max_rate_hz: float,
    delivery: str,
    max_unacked: int | None,
    quantum_usd: float,
    compress: bool,
    snapshots_only: bool,
    **view: Any,
) -> heatmap_pb2.Subscription:
    """What a stream is to bring; arguments as in ``AsyncClient.subscribe``. Raises InvalidArgumentError."""
    number = number_of("delivery", delivery, _DELIVERIES)
    if max_unacked is None:
        max_unacked = WINDOW
    if not 0 <= max_unacked <= _MOST_UNACKED:
        raise InvalidArgumentError(f"max_unacked = {max_unacked!r}: must lie in 0 .. {_MOST_UNACKED}")
    return heatmap_pb2.Subscription(
        symbols=names_of(symbols),
        view=view_message(**view),
        max_rate_hz=max_rate_hz,
        delivery=number,
        max_unacked=max_unacked,
        encoding=heatmap_pb2.Encoding(
            snapshots_only=snapshots_only,
            quantum_usd=quantum_usd,
            compression=heatmap_pb2.COMPRESSION_ZSTD if compress else heatmap_pb2.COMPRESSION_NONE,
        ),
    )


def stays(symbol: str, before: Collection[str], now: Collection[str]) -> bool:
    """Whether a symbol that came under the names ``before`` also comes under the names ``now``; no names: all.

    One that was asked for by another name than its own counts as staying as long as one of those does.
    """
    if not now or symbol in now:
        return True
    return bool(before) and symbol not in before and not set(before).isdisjoint(now)


def simulate_request(symbol: str, price: float | None, move: float | None) -> cascade_pb2.SimulateRequest:
    """The request for one shock. Raises InvalidArgumentError unless exactly one of price and move is given."""
    if (price is None) == (move is None):
        raise InvalidArgumentError(f"price = {price!r}, move = {move!r}: give exactly one of them")
    request = cascade_pb2.SimulateRequest(symbol=symbol)
    if price is not None:
        request.price_usd = price
    elif move is not None:
        request.move_fraction = move
    return request


def number_of(argument: str, name: str, names: Mapping[N, str]) -> N:
    """Number of an enum's value by its name. Raises InvalidArgumentError naming the argument."""
    for number, known in names.items():
        if known == name:
            return number
    raise InvalidArgumentError(f"{argument} = {name!r}: must be one of {', '.join(names.values())}")
