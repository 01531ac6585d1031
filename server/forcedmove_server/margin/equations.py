"""The liquidation price of one isolated position: one linear and one inverse equation.

Symbols: ``s`` +1 long, -1 short; ``Q`` quantity in base units (linear) or US dollars (inverse); ``E`` entry price;
``M`` margin locked and ``C`` maintenance amount, in USD (linear) or coin (inverse); ``m`` maintenance rate; ``f`` fee
rate that the trigger counts. A position is liquidated when its equity has fallen to its maintenance requirement::

    linear    M + s Q (P - E)     = Q P (m + f) - C   ->  P = (E - s (M + C) / Q) / (1 - s (m + f))             (L)
    inverse   M + s Q (1/E - 1/P) = Q/P (m + f) - C   ->  P = (1 + s (m + f)) / (1/E + s (M + C) / Q)           (I)

With ``m = C = f = 0`` both give the bankruptcy price, where the margin is gone: ``E (1 - s / leverage)`` on a linear
contract. The venues differ in three ways only, and a :class:`Formula` names the combination:

* which of ``f`` and ``C`` they count (numbers that are zero elsewhere);
* maintenance on the *entry* value (L4, I3, I4) instead of the current one: ``m`` leaves the denominator and
  ``m Q E`` (linear) or ``m Q / E`` (inverse) is taken from the margin;
* a reserve for the closing fee at the bankruptcy price, locked with the margin (L3).

Sources: Binance FAQ b3c689c1f50a44cabb3a84e663b81d93 (linear) and ceccfcfb4e3a45e3b48b0b1bb1a8ae46 (inverse); Bybit
help, "Liquidation Price under Isolated Mode" (2026-05-27); Phemex help "liq-price-for-USDTM"; XT and MEXC help (L4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.errors import InputError

F64 = NDArray[np.float64]

LONG, SHORT = 0, 1


@dataclass(frozen=True, slots=True)
class Formula:
    """A named variant of (L) or (I); see the module's text for what the flags change."""

    name: str
    inverse: bool = False
    counts_fee: bool = False
    maintenance_on_entry: bool = False
    reserves_close_fee: bool = False


FORMULAS: dict[str, Formula] = {
    formula.name: formula
    for formula in (
        Formula("L1"),
        Formula("L1+fee", counts_fee=True),
        Formula("L2", counts_fee=True),
        Formula("L3", counts_fee=True, reserves_close_fee=True),
        Formula("L4", maintenance_on_entry=True),
        Formula("L4+fee", maintenance_on_entry=True, counts_fee=True),
        Formula("I1", inverse=True),
        Formula("I2", inverse=True, counts_fee=True),
        Formula("I3", inverse=True, maintenance_on_entry=True),
        Formula("I4", inverse=True, maintenance_on_entry=True),
    )
}


def checked(name: str, value: ArrayLike, low: float, high: float = np.inf, *, open_low: bool = False) -> F64:
    """Return ``value`` as float64. Raises InputError naming the first value outside ``low .. high`` or not finite."""
    array = np.asarray(value, np.float64)
    good = np.isfinite(array) & (array <= high) & ((array > low) if open_low else (array >= low))
    if not np.all(good):
        bound = f"{'above' if open_low else 'at least'} {low:g}" + ("" if high == np.inf else f" and at most {high:g}")
        raise InputError(name, float(np.ravel(array)[np.argmin(good)]), f"must be a number {bound}")
    return array


def sign_of(side: ArrayLike) -> F64:
    """Return +1 for side 0 (long) and -1 for side 1 (short). Raises InputError for any other side."""
    sides = np.asarray(side)
    if not np.all((sides == LONG) | (sides == SHORT)):
        raise InputError("side", np.ravel(sides)[np.argmax((sides != LONG) & (sides != SHORT))], "0 long or 1 short")
    sign: F64 = 1.0 - 2.0 * sides.astype(np.float64)
    return sign


def locked_margin(
    formula: Formula, side: ArrayLike, entry: ArrayLike, quantity: ArrayLike, leverage: ArrayLike, fee_rate: float
) -> F64:
    """Margin a venue locks when a position is opened: entry value / leverage, and the close-fee reserve of L3.

    USD on linear contracts, coin on inverse ones. Raises InputError for values that cannot be.
    """
    prices = checked("entry", entry, 0.0, open_low=True)
    value = checked("quantity", quantity, 0.0, open_low=True) * (1.0 / prices if formula.inverse else prices)
    initial = value / checked("leverage", leverage, 1.0)
    if formula.reserves_close_fee:
        initial = initial + fee_rate * (value - sign_of(side) * initial)
    return initial


def liquidation_price(
    formula: Formula,
    *,
    side: ArrayLike,
    entry: ArrayLike,
    quantity: ArrayLike = 1.0,
    leverage: ArrayLike | None = None,
    margin: ArrayLike | None = None,
    maintenance_rate: ArrayLike = 0.0,
    maintenance_amount: ArrayLike = 0.0,
    fee_rate: float = 0.0,
) -> F64:
    """Trigger price at which a position is liquidated, by (L) or (I).

    All arguments broadcast; the result is float64 USD of the broadcast shape (0-d for scalars). Give either
    ``leverage`` or ``margin``: the margin actually locked (USD or coin), which added margin or a cross account's
    share makes differ from entry value / leverage. A long that cannot be liquidated gets 0, a short ``inf``.

    Raises InputError naming the field and the value: side not 0 or 1; entry or quantity not a positive number;
    leverage below 1; negative margin, amount or rate; rates that add up to 1 or more.
    """
    sign, prices = sign_of(side), checked("entry", entry, 0.0, open_low=True)
    rate = checked("maintenance_rate", maintenance_rate, 0.0)
    fee = checked("fee_rate", fee_rate, 0.0)
    checked("maintenance_rate + fee_rate", rate + fee, 0.0, 0.999)
    unit_margin = _unit_margin(formula, sign, prices, quantity, leverage, margin, float(fee))
    unit_margin = unit_margin + checked("maintenance_amount", maintenance_amount, 0.0) / np.asarray(
        quantity, np.float64
    )
    unit_value = 1.0 / prices if formula.inverse else prices
    if formula.maintenance_on_entry:
        unit_margin, rate = unit_margin - rate * unit_value, np.zeros_like(rate)
    return _solve(formula, sign, unit_value, unit_margin, rate + fee)


def bankruptcy_price(
    formula: Formula,
    *,
    side: ArrayLike,
    entry: ArrayLike,
    quantity: ArrayLike = 1.0,
    leverage: ArrayLike | None = None,
    margin: ArrayLike | None = None,
    close_fee_rate: float = 0.0,
) -> F64:
    """Price at which the margin is gone: (L) or (I) with no maintenance; ``close_fee_rate`` counts the closing fee.

    Shapes, units and errors as :func:`liquidation_price`. A long at 98 000 and 50x gives exactly 96 040.
    """
    sign, prices = sign_of(side), checked("entry", entry, 0.0, open_low=True)
    fee = checked("close_fee_rate", close_fee_rate, 0.0, 0.999)
    unit_margin = _unit_margin(formula, sign, prices, quantity, leverage, margin, float(fee))
    return _solve(formula, sign, 1.0 / prices if formula.inverse else prices, unit_margin, fee)


def _unit_margin(
    formula: Formula,
    sign: F64,
    prices: F64,
    quantity: ArrayLike,
    leverage: ArrayLike | None,
    margin: ArrayLike | None,
    fee_rate: float,
) -> F64:
    """Return ``M / Q``. Without a quantity in it when leverage is given, so that 98 000 / 50 stays exact."""
    sizes = checked("quantity", quantity, 0.0, open_low=True)
    if (leverage is None) == (margin is None):
        raise InputError("leverage", leverage, "give either leverage or margin")
    if margin is not None:
        return np.asarray(checked("margin", margin, 0.0) / sizes)
    return locked_margin(formula, (sign < 0).astype(np.int64), prices, 1.0, np.asarray(leverage), fee_rate)


def _solve(formula: Formula, sign: F64, unit_value: F64, unit_margin: F64, rate: F64) -> F64:
    if not formula.inverse:
        price: F64 = (unit_value - sign * unit_margin) / (1.0 - sign * rate)
        return np.maximum(price, 0.0)
    # A short whose margin covers the whole value (1x and below) has no root: the price would have to be infinite.
    value_at_liquidation = np.asarray(unit_value + sign * unit_margin)
    covered = value_at_liquidation <= 0
    return np.where(covered, np.inf, (1.0 + sign * rate) / np.where(covered, 1.0, value_at_liquidation))
