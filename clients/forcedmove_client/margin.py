"""Where a position is liquidated, as the server says: request and answer of ``liquidation_price``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from forcedmove.v1 import margin_pb2
from forcedmove_client.decoding import SIDE_NAMES, named
from forcedmove_client.errors import InvalidArgumentError
from forcedmove_client.frames import SideName
from forcedmove_client.requests import number_of

ContractName = Literal["linear", "inverse"]
StatusName = Literal["liquidatable", "never", "at once"]

_CONTRACTS: dict[margin_pb2.ContractType.ValueType, ContractName] = {
    margin_pb2.CONTRACT_TYPE_LINEAR: "linear",
    margin_pb2.CONTRACT_TYPE_INVERSE: "inverse",
}
_STATUSES: dict[margin_pb2.LiquidationStatus.ValueType, StatusName] = {
    margin_pb2.LIQUIDATION_STATUS_LIQUIDATABLE: "liquidatable",
    margin_pb2.LIQUIDATION_STATUS_NEVER: "never",
    margin_pb2.LIQUIDATION_STATUS_AT_ONCE: "at once",
}


@dataclass(frozen=True, slots=True)
class OtherPosition:
    """Another position of a cross account; ``quantity`` is negative for a short.

    ``contract`` None means a contract like that of the position that is asked about.
    """

    quantity: float
    entry_price: float
    mark_price: float
    maintenance_rate: float = 0.0
    maintenance_amount: float = 0.0
    contract: ContractName | None = None


@dataclass(frozen=True, slots=True)
class Liquidation:
    """Where a position is liquidated, and why.

    Prices are USD, None where there is none. Rate, amount and tier (from 1) are those that were used; amounts are in
    the margin currency. ``first_step_share`` is what the first step of the liquidation closes.
    """

    status: StatusName
    price: float | None
    bankruptcy_price: float | None
    maintenance_rate: float
    maintenance_amount: float
    tier: int | None
    fee_rate: float
    first_step_share: float
    formula: str
    formula_text: str
    source: str
    confidence: str
    trigger: str
    tiers: str
    tiers_stale: bool
    notes: tuple[str, ...]
    process: str
    cooldown_s: float


def liquidation_request(
    *,
    venue: str,
    symbol: str,
    side: SideName,
    entry_price: float,
    quantity: float | None,
    contract: ContractName | None,
    contract_size: float | None,
    leverage: float | None,
    margin: float | None,
    balance: float | None,
    others: Iterable[OtherPosition],
    extra_margin: float,
    maintenance_rate: float | None,
    maintenance_amount: float | None,
    fee_rate: float | None,
    formula: str,
    max_leverage: float | None,
) -> margin_pb2.GetLiquidationPriceRequest:
    """The request for one position. Raises InvalidArgumentError for what cannot be meant together."""
    if margin is not None and balance is not None:
        raise InvalidArgumentError(
            f"margin = {margin!r}, balance = {balance!r}: a cross position has no margin of its own"
        )
    if leverage is None and margin is None and balance is None:
        raise InvalidArgumentError("leverage = None: give leverage, margin or balance")
    legs = list(map(_other_message, others))
    if legs and balance is None:
        raise InvalidArgumentError("balance = None: other positions need the balance they share")
    request = margin_pb2.GetLiquidationPriceRequest(
        venue=venue,
        symbol=symbol,
        contract_type=_contract_number(contract),
        side=number_of("side", side, SIDE_NAMES),
        entry_price_usd=entry_price,
        quantity=quantity,
        contract_size=contract_size,
        extra_margin=extra_margin,
        maintenance_rate=maintenance_rate,
        maintenance_amount=maintenance_amount,
        fee_rate=fee_rate,
        formula=formula,
        leverage=leverage,
        max_leverage=max_leverage,
    )
    if margin is not None:
        request.margin = margin
    elif balance is not None:
        request.account.balance = balance
        request.account.positions.extend(legs)
    return request


def liquidation_of(response: margin_pb2.GetLiquidationPriceResponse) -> Liquidation:
    """The answer for one position."""
    return Liquidation(
        status=named("status", response.status, _STATUSES),
        price=response.liquidation_price_usd if response.HasField("liquidation_price_usd") else None,
        bankruptcy_price=response.bankruptcy_price_usd if response.HasField("bankruptcy_price_usd") else None,
        maintenance_rate=response.maintenance_rate,
        maintenance_amount=response.maintenance_amount,
        tier=response.tier if response.HasField("tier") else None,
        fee_rate=response.fee_rate,
        first_step_share=response.first_step_share,
        formula=response.formula,
        formula_text=response.formula_text,
        source=response.source,
        confidence=response.confidence,
        trigger=response.trigger,
        tiers=response.tiers,
        tiers_stale=response.tiers_stale,
        notes=tuple(response.notes),
        process=response.process,
        cooldown_s=response.cooldown_s,
    )


def _contract_number(contract: ContractName | None) -> margin_pb2.ContractType.ValueType:
    if contract is None:
        return margin_pb2.CONTRACT_TYPE_UNSPECIFIED
    return number_of("contract", contract, _CONTRACTS)


def _other_message(other: OtherPosition) -> margin_pb2.OtherPosition:
    return margin_pb2.OtherPosition(
        quantity=other.quantity,
        entry_price_usd=other.entry_price,
        mark_price_usd=other.mark_price,
        maintenance_rate=other.maintenance_rate,
        maintenance_amount=other.maintenance_amount,
        contract_type=_contract_number(other.contract),
    )
