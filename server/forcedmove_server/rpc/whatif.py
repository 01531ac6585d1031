"""WhatIfService: a client's own position against the newest map. Nothing of a request is kept, and none is logged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import whatif_pb2
from forcedmove_server.engine.frames import SymbolMap
from forcedmove_server.engine.service import EngineService
from forcedmove_server.engine.whatif import MapOfTick, Outlook, Row, WhatIf, WhatIfQuestion, look_up
from forcedmove_server.errors import InputError
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.question import Question, answer
from forcedmove_server.rpc.forecasts import given_book
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.margin import message_of as liquidation_message
from forcedmove_server.rpc.margin import on_the_wire
from forcedmove_server.rpc.margin import question_of as position_of
from forcedmove_server.rpc.messages import assumption_messages, chain_message
from forcedmove_server.rpc.requests import shock_of, symbol_of
from forcedmove_server.rpc.status import guarded
from forcedmove_server.rpc.turns import Turns

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    WhatIfContext = ServicerContext[whatif_pb2.WhatIfRequest, whatif_pb2.WhatIfResponse]

SERVICE = whatif_pb2.DESCRIPTOR.services_by_name["WhatIfService"].full_name


class WhatIfHandlers:
    """Handlers of one server; ``turns`` are those of all questions about shocks and positions."""

    def __init__(self, engine: EngineService, book: LadderBook, limits: Limits, turns: Turns) -> None:
        self._engine, self._book, self._limits, self._turns = engine, book, limits, turns

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "WhatIf": grpc.unary_unary_rpc_method_handler(
                    self.what_if, whatif_pb2.WhatIfRequest.FromString, whatif_pb2.WhatIfResponse.SerializeToString
                )
            },
        )

    @guarded
    async def what_if(self, request: whatif_pb2.WhatIfRequest, context: WhatIfContext) -> whatif_pb2.WhatIfResponse:
        """Answer for one position."""
        for name in ("venue", "symbol"):
            if not getattr(request.position, name).strip():
                raise InputError(f"position.{name}", "", "must not be empty")
        terms = self._book, datetime.now(UTC).date(), self._limits.tiers_stale_after_days
        try:
            position = position_of(request.position, self._limits)
            liquidation = answer(position, *terms)
        except InputError as error:
            named = on_the_wire(error)
            raise InputError(f"position.{named.field}", named.value, named.reason, named.place) from None
        symbol = symbol_of(request.position.symbol, self._engine.registry)

        async def take() -> Callable[[], tuple[WhatIf, MapOfTick]]:
            looked_up = await asyncio.wrap_future(self._engine.at_tick(look_up(symbol)))
            question = _question(request, position, looked_up.newest)
            return lambda: (looked_up.what_if(question, liquidation, *terms), looked_up)

        return _message(*await self._turns.answer(take), self._engine.epoch)


def _question(request: whatif_pb2.WhatIfRequest, position: Question, newest: SymbolMap) -> WhatIfQuestion:
    """Check the rest of a request. Raises InputError naming the field."""
    book = given_book(request.book) if request.HasField("book") else None
    return WhatIfQuestion(
        position=position,
        horizons_s=tuple(request.horizons_s),
        leverages=tuple(request.leverages),
        added_margins=tuple(request.added_margins),
        shock_usd=None if request.WhichOneof("shock") is None else shock_of(request, newest),
        book=book,
        book_ends=request.book_ends,
    )


def _message(found: WhatIf, looked_up: MapOfTick, epoch: int) -> whatif_pb2.WhatIfResponse:
    newest, state = looked_up.newest, looked_up.state
    message = whatif_pb2.WhatIfResponse(
        liquidation=liquidation_message(found.liquidation),
        symbol=newest.symbol,
        epoch=epoch,
        seq=newest.seq,
        event_time_ns=newest.event_time_ns,
        mark_price_usd=newest.mark_price_usd,
        volatility_day=state.law.sigma_day,
        volatility_measured=state.sigma_measured,
        outlook=_outlook(found.outlook),
        shock_reaches=found.shock_reaches,
        by_leverage=map(_row, found.by_leverage),
        by_added_margin=map(_row, found.by_added_margin),
        assumptions=assumption_messages((*newest.assumptions, *found.assumptions)),
    )
    if found.nearest is not None:
        message.nearest_chain.MergeFrom(chain_message(found.nearest))
    if found.shock is not None:
        message.shock_chain.MergeFrom(chain_message(found.shock))
    return message


def _row(row: Row) -> whatif_pb2.WhatIfRow:
    outlook = None if row.outlook is None else _outlook(row.outlook)
    return whatif_pb2.WhatIfRow(value=row.value, outlook=outlook, refused=row.refused)


def _outlook(found: Outlook) -> whatif_pb2.PositionOutlook:
    return whatif_pb2.PositionOutlook(
        liquidation_price_usd=found.level_usd,
        distance_fraction=found.distance,
        shock_fraction=found.shock,
        touches=[
            whatif_pb2.TouchProbability(horizon_s=t.horizon_s, alone=t.alone, with_cascade=t.with_cascade)
            for t in found.touches
        ],
    )
