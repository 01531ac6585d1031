"""One position, exactly: its liquidation price and everything that led to it.

The scalar face of :class:`~forcedmove_server.margin.margin_rule.MarginRule`: the same equations, one position, and
errors instead of sentinels where a position could not exist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from forcedmove_server.errors import InputError
from forcedmove_server.margin.equations import FORMULAS, LONG, MAX_TOTAL_RATE, SHORT, Formula, checked, locked_margin
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.process import first_step
from forcedmove_server.margin.tiers import StatedMaintenance, TierTable

#: relative difference of two prices that are one price
_ROUNDING = 1e-12


class Status(StrEnum):
    """Whether a position has a liquidation price."""

    LIQUIDATABLE = "liquidatable"
    NEVER = "never"
    """No price liquidates it: its margin covers the whole loss."""
    AT_ONCE = "at once"
    """Its margin is below its maintenance already at the entry price."""


@dataclass(frozen=True, slots=True)
class OtherPosition:
    """Another position of a cross account, in the same margin currency.

    ``quantity`` is signed (negative: short), in base units (linear) or USD (inverse); ``mark`` the price it is valued
    at; ``maintenance_rate`` and ``maintenance_amount`` are its tier's. ``inverse`` None: as the account's own position.
    """

    quantity: float
    entry: float
    mark: float
    maintenance_rate: float = 0.0
    maintenance_amount: float = 0.0
    inverse: bool | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.quantity) and self.quantity != 0):
            raise InputError("other_positions.quantity", self.quantity, "must be a number other than 0")
        for name in ("entry", "mark"):
            checked(f"other_positions.{name}", getattr(self, name), 0.0, open_low=True)
        checked("other_positions.maintenance_rate", self.maintenance_rate, 0.0, MAX_TOTAL_RATE)
        checked("other_positions.maintenance_amount", self.maintenance_amount, 0.0)

    @property
    def unrealised(self) -> float:
        """Profit at the mark, in the margin currency."""
        change = 1 / self.entry - 1 / self.mark if self.inverse else self.mark - self.entry
        return self.quantity * change

    @property
    def maintenance(self) -> float:
        """Maintenance margin at the mark, in the margin currency."""
        value = abs(self.quantity) / self.mark if self.inverse else abs(self.quantity) * self.mark
        return max(value * self.maintenance_rate - self.maintenance_amount, 0.0)


@dataclass(frozen=True, slots=True)
class Account:
    """What a cross position can lose: the wallet's balance and the other positions that share it."""

    balance: float
    others: Sequence[OtherPosition] = ()

    def __post_init__(self) -> None:
        if not math.isfinite(self.balance):
            raise InputError("balance", self.balance, "must be a finite number")
        if not (math.isfinite(self.available) and math.isfinite(self.equity)):
            raise InputError("other_positions", len(self.others), "are worth more than a number can hold")

    @property
    def available(self) -> float:
        """Balance, plus the other positions' profit, less their maintenance: ``WB - TMM + UPNL`` of the Binance FAQ."""
        return self.balance + math.fsum(other.unrealised - other.maintenance for other in self.others)

    @property
    def equity(self) -> float:
        """Balance plus the other positions' profit."""
        return self.balance + math.fsum(other.unrealised for other in self.others)


@dataclass(frozen=True, slots=True)
class Override:
    """What a caller states instead of the venue's own: a rate and amount replace the ladder, a fee the venue's fee."""

    maintenance_rate: float | None = None
    maintenance_amount: float | None = None
    fee_rate: float | None = None

    def apply(self, rule: MarginRule) -> MarginRule:
        """Return the rule with these numbers in it. Raises InputError naming the field."""
        if self.fee_rate is not None:
            fee = float(checked("fee", self.fee_rate, 0.0, 0.1))
            formula = rule.formula if rule.formula.counts_fee or not fee else _counting_fee(rule.formula)
            rule = replace(rule, formula=formula, fee_rate=fee if formula.counts_fee else 0.0)
        if self.maintenance_amount is not None:
            checked("maint_amount", self.maintenance_amount, 0.0)
            if self.maintenance_rate is None:
                raise InputError("maint_amount", self.maintenance_amount, "needs the maintenance rate it belongs to")
        if self.maintenance_rate is not None:
            checked("mmr", self.maintenance_rate, 0.0, MAX_TOTAL_RATE - rule.fee_rate)
            rule = replace(rule, maintenance=StatedMaintenance(self.maintenance_rate, self.maintenance_amount or 0.0))
        return rule


@dataclass(frozen=True, slots=True)
class Liquidation:
    """Where a position is liquidated, and why. Prices in USD, None where there is none; amounts in the margin currency.

    A position that is liquidated at once has its entry as price. ``leverage`` is the setting, or what margin implies.
    """

    status: Status
    liquidation_price: float | None
    bankruptcy_price: float | None
    maintenance_rate: float
    maintenance_amount: float
    fee_rate: float
    tier: int | None
    leverage: float
    first_step_share: float
    rule: MarginRule


def liquidation_of(
    rule: MarginRule,
    *,
    side: int,
    entry: float,
    quantity: float,
    leverage: float | None = None,
    margin: float | None = None,
    extra_margin: float = 0.0,
    account: Account | None = None,
    override: Override | None = None,
) -> Liquidation:
    """Find the liquidation of one position: isolated with ``leverage`` or ``margin``, cross with ``account``.

    Beside a margin or an account, ``leverage`` is the setting, which chooses among ladders by leverage and is checked
    against the venue's limit. ``extra_margin`` was added to the margin that ``leverage`` locks.

    Raises InputError naming field, value and limit: as :meth:`MarginRule.liquidation_price`, and for a leverage above
    what the venue allows for the size, or an isolated margin that is not above maintenance; an account that is under
    water gets the status AT_ONCE instead.
    """
    if override is not None:
        rule = override.apply(rule)
    if account is not None:
        if margin is not None:
            raise InputError("margin", margin, "a cross position has none of its own: it loses the account's balance")
        margin = account.available
    elif leverage is None and margin is None:
        raise InputError("leverage", leverage, "give leverage or margin")
    checked("entry", entry, 0.0, open_low=True)
    checked("quantity", quantity, 0.0, open_low=True)
    if margin is not None and account is None:
        checked("margin", margin, 0.0)
    if leverage is not None:
        _check_leverage(rule, entry, quantity, leverage)
    if extra_margin:
        if leverage is None:
            raise InputError("extra_margin", extra_margin, "is added to the margin of a leverage, which is missing")
        if margin is not None:
            raise InputError("extra_margin", extra_margin, "is added to the margin of a leverage, not to another one")
        margin = _with_extra(rule, side, entry, quantity, leverage, extra_margin)
    if override is not None and override.maintenance_amount:
        _check_amount(rule, entry, quantity, override.maintenance_amount)
    price = float(rule.liquidation_price(side, entry, quantity, leverage, margin))
    status = status_of(side, entry, price)
    setting = _setting(rule, entry, quantity, leverage, margin)
    used = price if status is Status.LIQUIDATABLE else entry
    rate, amount, tier = _terms_at(rule, quantity, entry, used, min(setting, rule.leverage_limit))
    if status is Status.AT_ONCE and account is None:
        _refuse(rule, side, entry, quantity, leverage, margin, rate, amount)
    return Liquidation(
        status=status,
        liquidation_price=None if status is Status.NEVER else used,
        bankruptcy_price=_bankruptcy(rule, side, entry, quantity, leverage, margin, account),
        maintenance_rate=rate,
        maintenance_amount=amount,
        fee_rate=rule.fee_rate,
        tier=tier,
        leverage=setting,
        first_step_share=float(first_step(rule, quantity, used, min(setting, rule.leverage_limit))),
        rule=rule,
    )


def _check_amount(rule: MarginRule, entry: float, quantity: float, amount: float) -> None:
    required = float(rule.maintenance.terms(0.0, 1.0)[0] * rule.value(quantity, entry))
    if amount > required:
        raise InputError("maint_amount", amount, f"is more than the {required:.10g} that it is deducted from")


def _check_leverage(rule: MarginRule, entry: float, quantity: float, leverage: float) -> None:
    checked("leverage", leverage, 1.0, rule.leverage_limit)
    largest = float(rule.largest_quantity(leverage, entry))
    if quantity > largest * (1 + 1e-9):
        unit = "USD" if rule.formula.inverse else "base units"
        raise InputError("leverage", leverage, f"is allowed up to a quantity of {largest:g} {unit}, not {quantity:g}")


def _with_extra(
    rule: MarginRule, side: int, entry: float, quantity: float, leverage: float, extra_margin: float
) -> float:
    """Margin of a leverage plus what was added, which some venues discount by the fee of closing with it (Bybit)."""
    checked("extra_margin", extra_margin, 0.0)
    locked = float(locked_margin(rule.formula, side, entry, quantity, leverage, rule.fee_rate))
    rises = (side == LONG) != rule.formula.inverse
    return locked + extra_margin / (1.0 - rule.extra_margin_fee if rises else 1.0 + rule.extra_margin_fee)


def status_of(side: int, entry: float, price: float) -> Status:
    """Tell a price apart: 0 for a long and infinity for a short are never reached."""
    if price == (0.0 if side == LONG else math.inf):
        return Status.NEVER
    # A function of size that is at once above the margin gives the entry itself, to the rounding of its reciprocal.
    beyond = price >= entry * (1 - _ROUNDING) if side == LONG else price <= entry * (1 + _ROUNDING)
    return Status.AT_ONCE if beyond else Status.LIQUIDATABLE


def _bankruptcy(
    rule: MarginRule,
    side: int,
    entry: float,
    quantity: float,
    leverage: float | None,
    margin: float | None,
    account: Account | None,
) -> float | None:
    if account is not None:
        if account.equity < 0:
            return entry
        margin = account.equity
    price = float(rule.bankruptcy_price(side, entry, leverage if margin is None else None, quantity, margin))
    return price if 0 < price < math.inf else None


def _setting(rule: MarginRule, entry: float, quantity: float, leverage: float | None, margin: float | None) -> float:
    """The leverage that was set, or what the margin implies: at least 1, infinite where nothing is left."""
    if leverage is not None:
        return leverage
    return max(float(rule.value(quantity, entry)) / margin, 1.0) if margin is not None and margin > 0 else math.inf


def _terms_at(
    rule: MarginRule, quantity: float, entry: float, price: float, leverage: float
) -> tuple[float, float, int | None]:
    """Rate, amount and tier (from 1) that the price was computed with: those there, or at entry if the rule says so."""
    at_price = rule.maintenance.moves_with_price and not rule.formula.maintenance_on_entry
    size = rule.size(quantity, price if at_price else entry)
    rate, amount = rule.maintenance.terms(size, leverage)
    tier = int(rule.maintenance.index(size)) + 1 if isinstance(rule.maintenance, TierTable) else None
    return float(rate), float(amount), tier


def _refuse(
    rule: MarginRule,
    side: int,
    entry: float,
    quantity: float,
    leverage: float | None,
    margin: float | None,
    rate: float,
    amount: float,
) -> None:
    value = float(rule.value(quantity, entry))
    needed = value * (rate + rule.fee_rate) - amount
    word = "short" if side == SHORT else "long"
    if margin is not None:
        raise InputError(
            "margin", margin, f"is not above the maintenance margin of {needed:.10g} of this {word} at entry"
        )
    reason = f"its margin {value / leverage if leverage else 0:.10g} is not above the maintenance margin {needed:.10g}"
    raise InputError("leverage", leverage, f"{reason} of this {word} at entry")


def _counting_fee(formula: Formula) -> Formula:
    """The variant of a formula that counts a fee: every one has it."""
    wanted = replace(formula, counts_fee=True)
    return next(other for other in FORMULAS.values() if replace(other, name=formula.name) == wanted)
