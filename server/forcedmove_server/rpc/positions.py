"""PositionsService: exact positions that clients tell. What they say of accounts goes back to their producer alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import positions_pb2
from forcedmove_server.engine.exact.positions import check_producer
from forcedmove_server.engine.frames import SIDES
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import InputError, LimitError
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import (
    ExactPosition,
    HeldPosition,
    HeldPositions,
    PositionChange,
    PositionKey,
    PositionState,
)
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import SIDE_NUMBERS
from forcedmove_server.rpc.status import guarded

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    SetContext = ServicerContext[positions_pb2.SetPositionsRequest, positions_pb2.SetPositionsResponse]
    ListContext = ServicerContext[positions_pb2.ListPositionsRequest, positions_pb2.ListPositionsResponse]
    ClearContext = ServicerContext[positions_pb2.ClearPositionsRequest, positions_pb2.ClearPositionsResponse]

SERVICE = positions_pb2.DESCRIPTOR.services_by_name["PositionsService"].full_name

_SIDES = {number: SIDES.index(name) for name, number in SIDE_NUMBERS.items()}
_STATES = {
    PositionState.LIVE: positions_pb2.POSITION_STATE_LIVE,
    PositionState.WAITING: positions_pb2.POSITION_STATE_WAITING,
    PositionState.CROSSED: positions_pb2.POSITION_STATE_CROSSED,
}
#: longest venue or market that anybody could mean
_LONGEST_NAME = 64


class PositionsHandlers:
    """Handlers of one server."""

    def __init__(self, engine: EngineService, limits: Limits) -> None:
        self._engine, self._limits = engine, limits

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "SetPositions": grpc.unary_unary_rpc_method_handler(
                    self.set_positions,
                    positions_pb2.SetPositionsRequest.FromString,
                    positions_pb2.SetPositionsResponse.SerializeToString,
                ),
                "ListPositions": grpc.unary_unary_rpc_method_handler(
                    self.list_positions,
                    positions_pb2.ListPositionsRequest.FromString,
                    positions_pb2.ListPositionsResponse.SerializeToString,
                ),
                "ClearPositions": grpc.unary_unary_rpc_method_handler(
                    self.clear_positions,
                    positions_pb2.ClearPositionsRequest.FromString,
                    positions_pb2.ClearPositionsResponse.SerializeToString,
                ),
            },
        )

    @guarded
    async def set_positions(
        self, request: positions_pb2.SetPositionsRequest, context: SetContext
    ) -> positions_pb2.SetPositionsResponse:
        """Take in a change."""
        change = change_of(request, self._engine.registry, self._limits)
        ack = await asyncio.wrap_future(self._engine.set_positions(change))
        return positions_pb2.SetPositionsResponse(
            applied=ack.applied,
            sequence=ack.sequence,
            live=ack.live,
            waiting=ack.waiting,
            expires_in_s=max(ack.expires_in_s, 0.0),
        )

    @guarded
    async def list_positions(
        self, request: positions_pb2.ListPositionsRequest, context: ListContext
    ) -> positions_pb2.ListPositionsResponse:
        """List what one producer told."""
        check_producer(request.producer)
        held = await asyncio.wrap_future(self._engine.positions(request.producer))
        return response_of(held, self._engine.registry, self._limits)

    @guarded
    async def clear_positions(
        self, request: positions_pb2.ClearPositionsRequest, context: ClearContext
    ) -> positions_pb2.ClearPositionsResponse:
        """Remove all that one producer told."""
        check_producer(request.producer)
        change = PositionChange(request.producer, request.sequence, replace=True)
        ack = await asyncio.wrap_future(self._engine.set_positions(change))
        return positions_pb2.ClearPositionsResponse(applied=ack.applied, sequence=ack.sequence)


def change_of(
    request: positions_pb2.SetPositionsRequest, registry: InstrumentRegistry, limits: Limits
) -> PositionChange:
    """Check a SetPositionsRequest as far as that needs no market's state.

    Raises InputError naming the field as it is called on the wire, or UnknownNameError.
    """
    check_producer(request.producer)
    for name, count in (("positions", len(request.positions)), ("removed", len(request.removed))):
        if count > limits.max_positions:
            raise InputError(name, count, f"at most {limits.max_positions} in one request")
    positions = tuple(_position(f"positions[{k}]", one, registry) for k, one in enumerate(request.positions))
    removed = tuple(_key(f"removed[{k}]", one, registry) for k, one in enumerate(request.removed))
    return PositionChange(
        producer=request.producer,
        sequence=request.sequence,
        positions=positions,
        removed=removed,
        replace=request.replace,
        representative=request.representative,
    )


def response_of(
    held: HeldPositions, registry: InstrumentRegistry, limits: Limits
) -> positions_pb2.ListPositionsResponse:
    """Return a producer's positions as their message. Raises LimitError where they do not fit one."""
    response = positions_pb2.ListPositionsResponse(
        sequence=held.sequence,
        expires_in_s=max(held.expires_in_s, 0.0),
        positions=[_held_message(one) for one in held.positions],
    )
    if response.ByteSize() > limits.max_answer_bytes:
        raise LimitError(
            f"{len(held.positions)} positions do not fit the {limits.max_answer_bytes} bytes one answer holds: "
            "tell them as several producers"
        )
    return response


def _position(field: str, message: positions_pb2.Position, registry: InstrumentRegistry) -> ExactPosition:
    def stated(name: str) -> float | None:
        return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]

    position = ExactPosition(
        key=_key(f"{field}.key", message.key, registry),
        quantity=stated("quantity"),
        notional_usd=stated("notional_usd"),
        liquidation_price_usd=stated("liquidation_price_usd"),
        leverage=stated("leverage"),
        entry_price_usd=stated("entry_price_usd"),
        opened_at_ns=message.opened_at_ns if message.HasField("opened_at_ns") else None,
    )
    position.check(field)
    return position


def _key(field: str, message: positions_pb2.PositionKey, registry: InstrumentRegistry) -> PositionKey:
    for name in ("venue", "symbol"):
        value = getattr(message, name)
        if not 0 < len(value) <= _LONGEST_NAME:
            raise InputError(f"{field}.{name}", value[:_LONGEST_NAME], f"must have 1 to {_LONGEST_NAME} characters")
    if message.side not in _SIDES:
        raise InputError(f"{field}.side", message.side, "must be SIDE_LONG (1) or SIDE_SHORT (2)")
    wanted = f"{message.venue}:{message.symbol}"
    market = registry.find(wanted)
    if market is None:
        market = registry.find(f"{message.venue.strip().lower()}:{message.symbol.strip()}")
    market = registry.index_of(wanted) if market is None else market
    return PositionKey(message.account, registry[market].key, _SIDES[message.side])


def _held_message(held: HeldPosition) -> positions_pb2.HeldPosition:
    position = held.position
    venue, _, symbol = position.key.market.partition(":")
    side = SIDE_NUMBERS[SIDES[position.key.side]]
    told = positions_pb2.Position(
        key=positions_pb2.PositionKey(account=position.key.account, venue=venue, symbol=symbol, side=side),
        liquidation_price_usd=position.liquidation_price_usd,
        leverage=position.leverage,
        entry_price_usd=position.entry_price_usd,
        opened_at_ns=position.opened_at_ns,
    )
    if position.quantity is not None:
        told.quantity = position.quantity
    elif position.notional_usd is not None:
        told.notional_usd = position.notional_usd
    return positions_pb2.HeldPosition(
        position=told, state=_STATES[held.state], quantity=held.quantity, tier_leverage=held.tier_leverage
    )
