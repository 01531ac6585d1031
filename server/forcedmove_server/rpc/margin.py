"""MarginService: where a client's own position is liquidated. Nothing of a request is kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import margin_pb2, model_pb2
from forcedmove_server.errors import InputError
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.position import OtherPosition, Status
from forcedmove_server.margin.question import Answer, Question, answer
from forcedmove_server.market.instruments import ContractType
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.status import guarded

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    PriceContext = ServicerContext[margin_pb2.GetLiquidationPriceRequest, margin_pb2.GetLiquidationPriceResponse]

SERVICE = margin_pb2.DESCRIPTOR.services_by_name["MarginService"].full_name

_CONTRACTS = {
    margin_pb2.CONTRACT_TYPE_UNSPECIFIED: None,
    margin_pb2.CONTRACT_TYPE_LINEAR: ContractType.LINEAR,
    margin_pb2.CONTRACT_TYPE_INVERSE: ContractType.INVERSE,
}
_SIDES = {model_pb2.SIDE_LONG: "long", model_pb2.SIDE_SHORT: "short"}
#: what the question calls its fields, and what the request calls them where that differs
_WIRE_NAMES = {
    "entry": "entry_price_usd",
    "contract": "contract_type",
    "balance": "account.balance",
    "other_positions": "account.positions",
    "mmr": "maintenance_rate",
    "maint_amount": "maintenance_amount",
    "fee": "fee_rate",
}
_OTHER_NAMES = {"entry": "entry_price_usd", "mark": "mark_price_usd"}
#: longest venue, symbol or formula that anybody could mean
_LONGEST_NAME = 64
_STATUSES = {
    Status.LIQUIDATABLE: margin_pb2.LIQUIDATION_STATUS_LIQUIDATABLE,
    Status.NEVER: margin_pb2.LIQUIDATION_STATUS_NEVER,
    Status.AT_ONCE: margin_pb2.LIQUIDATION_STATUS_AT_ONCE,
}


class MarginHandlers:
    """Handlers of one server."""

    def __init__(self, book: LadderBook, limits: Limits) -> None:
        self._book, self._limits = book, limits

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetLiquidationPrice": grpc.unary_unary_rpc_method_handler(
                    self.get_liquidation_price,
                    margin_pb2.GetLiquidationPriceRequest.FromString,
                    margin_pb2.GetLiquidationPriceResponse.SerializeToString,
                )
            },
        )

    @guarded
    async def get_liquidation_price(
        self, request: margin_pb2.GetLiquidationPriceRequest, context: PriceContext
    ) -> margin_pb2.GetLiquidationPriceResponse:
        """Answer for one position."""
        try:
            question = question_of(request, self._limits)
            today, after_days = datetime.now(UTC).date(), self._limits.tiers_stale_after_days
            return message_of(answer(question, self._book, today, after_days))
        except InputError as error:
            raise on_the_wire(error) from None


def on_the_wire(error: InputError) -> InputError:
    """Name the field as the request calls it."""
    name, _, rest = error.field.partition(".")
    renamed = _WIRE_NAMES.get(name, name) + (f".{_OTHER_NAMES.get(rest, rest)}" if rest else "")
    return InputError(renamed, error.value, error.reason, error.place)


def question_of(request: margin_pb2.GetLiquidationPriceRequest, limits: Limits) -> Question:
    """Read a request. Raises InputError naming the field as it is called on the wire."""
    if request.side not in _SIDES:
        raise InputError("side", request.side, "must be SIDE_LONG (1) or SIDE_SHORT (2)")
    kind = request.WhichOneof("collateral")
    if kind is None and not request.HasField("leverage"):
        raise InputError("collateral", None, "set leverage, margin or account")
    for name in ("venue", "symbol", "formula"):
        given = getattr(request, name)
        if len(given) > _LONGEST_NAME:
            raise InputError(name, f"{given[:_LONGEST_NAME]}...", f"is longer than {_LONGEST_NAME} characters")
    positions = request.account.positions
    if len(positions) > limits.max_account_positions:
        raise InputError("account.positions", len(positions), f"at most {limits.max_account_positions}")

    def stated(name: str) -> float | None:
        return getattr(request, name) if request.HasField(name) else None  # type: ignore[arg-type]

    size = stated("contract_size")
    return Question(
        venue=request.venue or None,
        symbol=request.symbol or "BTC",
        contract=_contract("contract_type", request.contract_type),
        side=_SIDES[request.side],
        entry=request.entry_price_usd,
        quantity=stated("quantity"),
        contract_size=1.0 if size is None else size,
        leverage=stated("leverage"),
        margin=request.margin if kind == "margin" else None,
        extra_margin=request.extra_margin,
        balance=request.account.balance if kind == "account" else None,
        others=tuple(map(_other, positions)),
        mmr=stated("maintenance_rate"),
        maint_amount=stated("maintenance_amount"),
        fee=stated("fee_rate"),
        formula=request.formula or None,
        max_leverage=stated("max_leverage"),
    )


def message_of(found: Answer) -> margin_pb2.GetLiquidationPriceResponse:
    """Turn an answer into its message."""
    liquidation = found.liquidation
    return margin_pb2.GetLiquidationPriceResponse(
        status=_STATUSES[liquidation.status],
        liquidation_price_usd=liquidation.liquidation_price,
        bankruptcy_price_usd=liquidation.bankruptcy_price,
        maintenance_rate=liquidation.maintenance_rate,
        maintenance_amount=liquidation.maintenance_amount,
        tier=liquidation.tier,
        fee_rate=liquidation.fee_rate,
        first_step_share=liquidation.first_step_share,
        formula=found.formula,
        formula_text=found.formula_text,
        source=found.source,
        confidence=str(found.confidence),
        trigger=found.trigger,
        tiers=found.tiers,
        tiers_stale=found.tiers_stale,
        notes=found.notes,
        process=found.process,
        cooldown_s=found.cooldown_s,
    )


def _contract(field: str, number: margin_pb2.ContractType.ValueType) -> ContractType | None:
    if number not in _CONTRACTS:
        raise InputError(field, number, "must be CONTRACT_TYPE_LINEAR (1) or CONTRACT_TYPE_INVERSE (2)")
    return _CONTRACTS[number]


def _other(position: margin_pb2.OtherPosition) -> OtherPosition:
    kind = _contract("account.positions.contract_type", position.contract_type)
    return OtherPosition(
        quantity=position.quantity,
        entry=position.entry_price_usd,
        mark=position.mark_price_usd,
        maintenance_rate=position.maintenance_rate,
        maintenance_amount=position.maintenance_amount,
        inverse=None if kind is None else kind is ContractType.INVERSE,
    )
