"""Exact positions: what a client tells of its own, and what the server holds of it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forcedmove.v1 import positions_pb2
from forcedmove_client.decoding import SIDE_NAMES, named
from forcedmove_client.errors import InvalidArgumentError
from forcedmove_client.frames import SideName
from forcedmove_client.requests import number_of

PositionStateName = Literal["live", "waiting", "crossed"]

_STATES: dict[positions_pb2.PositionState.ValueType, PositionStateName] = {
    positions_pb2.POSITION_STATE_LIVE: "live",
    positions_pb2.POSITION_STATE_WAITING: "waiting",
    positions_pb2.POSITION_STATE_CROSSED: "crossed",
}
#: positions of one request at most
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class PositionKey:
    """What tells a producer's positions apart; ``symbol`` is the market as its venue writes it."""

    venue: str
    symbol: str
    side: SideName
    account: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """One open position. Prices are USD; prices and quantities are of one coin.

    Give ``quantity`` (base units, on inverse contracts USD) or ``notional_usd``. ``liquidation_price`` None: never.
    ``leverage`` is the effective one; without it the leverage tier follows from ``entry_price``, without both it is the
    lowest. ``opened_at`` None: now.
    """

    key: PositionKey
    quantity: float | None = None
    liquidation_price: float | None = None
    notional_usd: float | None = None
    leverage: float | None = None
    entry_price: float | None = None
    opened_at: np.datetime64 | None = None


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """A position as the server holds it: its quantity where known, the leverage of its tier where live."""

    position: Position
    state: PositionStateName
    quantity: float | None
    tier_leverage: float | None


@dataclass(frozen=True, slots=True)
class HeldPositions:
    """All that one producer told and that still stands; ``sequence`` is 0 where nothing is known of it."""

    sequence: int
    expires_in_s: float
    positions: tuple[HeldPosition, ...]


@dataclass(frozen=True, slots=True)
class PositionsAnswer:
    """What became of a change. ``applied`` is False where a newer one had come; ``sequence`` is that of the newest."""

    applied: bool
    sequence: int
    live: int
    waiting: int
    expires_in_s: float


def set_requests(
    producer: str,
    positions: Iterable[Position],
    removed: Iterable[PositionKey],
    replace: bool,
    representative: bool,
    sequence: int | None,
) -> Iterator[positions_pb2.SetPositionsRequest]:
    """Yield the requests of one change: several where it is a large one. Raises InvalidArgumentError."""
    told, gone = [position_message(position) for position in positions], [key_message(key) for key in removed]
    first = time.time_ns() if sequence is None else sequence
    if first < 1:
        raise InvalidArgumentError(f"sequence = {first}: must be above zero")
    for number in range(max(-(-len(told) // _MOST), -(-len(gone) // _MOST), 1)):
        part = slice(number * _MOST, (number + 1) * _MOST)
        yield positions_pb2.SetPositionsRequest(
            producer=producer,
            sequence=first + number,
            positions=told[part],
            removed=gone[part],
            replace=replace and number == 0,
            representative=representative,
        )


def clear_request(producer: str, sequence: int | None) -> positions_pb2.ClearPositionsRequest:
    """The request that ends all positions of a producer."""
    return positions_pb2.ClearPositionsRequest(
        producer=producer, sequence=time.time_ns() if sequence is None else sequence
    )


def answer_of(response: positions_pb2.SetPositionsResponse) -> PositionsAnswer:
    """The answer to a change."""
    return PositionsAnswer(response.applied, response.sequence, response.live, response.waiting, response.expires_in_s)


def held_of(response: positions_pb2.ListPositionsResponse) -> HeldPositions:
    """The positions of a producer."""
    return HeldPositions(response.sequence, response.expires_in_s, tuple(map(_held, response.positions)))


def position_message(position: Position) -> positions_pb2.Position:
    """The message of a position. Raises InvalidArgumentError where its size is missing, or told twice."""
    if (position.quantity is None) == (position.notional_usd is None):
        raise InvalidArgumentError(
            f"quantity = {position.quantity!r}, notional_usd = {position.notional_usd!r}: give exactly one of them"
        )
    message = positions_pb2.Position(
        key=key_message(position.key),
        liquidation_price_usd=position.liquidation_price,
        leverage=position.leverage,
        entry_price_usd=position.entry_price,
    )
    if position.quantity is not None:
        message.quantity = position.quantity
    elif position.notional_usd is not None:
        message.notional_usd = position.notional_usd
    if position.opened_at is not None:
        message.opened_at_ns = int(position.opened_at.astype("datetime64[ns]").astype(np.int64))
    return message


def key_message(key: PositionKey) -> positions_pb2.PositionKey:
    """The message of a key."""
    return positions_pb2.PositionKey(
        account=key.account, venue=key.venue, symbol=key.symbol, side=number_of("side", key.side, SIDE_NAMES)
    )


def _held(message: positions_pb2.HeldPosition) -> HeldPosition:
    told = message.position

    def stated(name: str) -> float | None:
        return getattr(told, name) if told.HasField(name) else None  # type: ignore[arg-type]

    side = named("side", told.key.side, SIDE_NAMES)
    position = Position(
        key=PositionKey(told.key.venue, told.key.symbol, side, told.key.account),
        quantity=stated("quantity"),
        liquidation_price=stated("liquidation_price_usd"),
        notional_usd=stated("notional_usd"),
        leverage=stated("leverage"),
        entry_price=stated("entry_price_usd"),
        opened_at=np.datetime64(told.opened_at_ns, "ns") if told.HasField("opened_at_ns") else None,
    )
    return HeldPosition(
        position,
        named("state", message.state, _STATES),
        message.quantity if message.HasField("quantity") else None,
        message.tier_leverage if message.HasField("tier_leverage") else None,
    )
