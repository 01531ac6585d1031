"""CascadeService: what a shock would set off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import cascade_pb2
from forcedmove_server.engine.cascade.answer import Forecast
from forcedmove_server.engine.frames import SymbolMap
from forcedmove_server.engine.service import EngineService
from forcedmove_server.rpc.forecasts import question_of, simulate_response
from forcedmove_server.rpc.requests import symbol_of
from forcedmove_server.rpc.status import guarded
from forcedmove_server.rpc.turns import Turns

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    SimulateContext = ServicerContext[cascade_pb2.SimulateRequest, cascade_pb2.SimulateResponse]

SERVICE = cascade_pb2.DESCRIPTOR.services_by_name["CascadeService"].full_name


class CascadeHandlers:
    """Handlers of one server; ``turns`` are those of all questions about shocks and positions."""

    def __init__(self, engine: EngineService, turns: Turns) -> None:
        self._engine, self._turns = engine, turns

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Simulate": grpc.unary_unary_rpc_method_handler(
                    self.simulate,
                    cascade_pb2.SimulateRequest.FromString,
                    cascade_pb2.SimulateResponse.SerializeToString,
                )
            },
        )

    @guarded
    async def simulate(
        self, request: cascade_pb2.SimulateRequest, context: SimulateContext
    ) -> cascade_pb2.SimulateResponse:
        """Follow one shock through the newest map."""
        symbol = symbol_of(request.symbol, self._engine.registry)

        async def take() -> Callable[[], tuple[SymbolMap, Forecast]]:
            newest, taken = await asyncio.wrap_future(self._engine.simulate(symbol, partial(question_of, request)))
            return lambda: (newest, taken.forecast())

        return simulate_response(self._engine.epoch, *await self._turns.answer(take))
