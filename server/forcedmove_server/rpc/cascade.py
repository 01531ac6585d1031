"""CascadeService: what a shock would set off."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import cascade_pb2
from forcedmove_server.engine.service import EngineService
from forcedmove_server.rpc.forecasts import question_of, simulate_response
from forcedmove_server.rpc.requests import symbol_of
from forcedmove_server.rpc.status import guarded

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    SimulateContext = ServicerContext[cascade_pb2.SimulateRequest, cascade_pb2.SimulateResponse]

SERVICE = cascade_pb2.DESCRIPTOR.services_by_name["CascadeService"].full_name


class CascadeHandlers:
    """Handlers of one server."""

    def __init__(self, engine: EngineService) -> None:
        self._engine = engine

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
        symbol_map, found = await asyncio.wrap_future(self._engine.simulate(symbol, partial(question_of, request)))
        return simulate_response(self._engine.epoch, symbol_map, found)
