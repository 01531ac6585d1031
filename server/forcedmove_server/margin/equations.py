"""The liquidation price of one position: one linear and one inverse equation, and the way they are solved.

Symbols: ``s`` +1 long, -1 short; ``Q`` quantity in base units (linear) or US dollars (inverse); ``E`` entry price;
``M`` margin and ``C`` maintenance amount, in USD (linear) or coin (inverse); ``m`` maintenance rate; ``f`` fee rate
that the trigger counts. A position is liquidated when its equity has fallen to its maintenance requirement::

    linear    M + s Q (P - E)     = Q P (m + f) - C   ->  P = (E - s (M + C) / Q) / (1 - s (m + f))             (L)
    inverse   M + s Q (1/E - 1/P) = Q/P (m + f) - C   ->  P = (1 + s (m + f)) / (1/E + s (M + C) / Q)           (I)

Both are the same equation in the position's *value* ``v``, which is ``Q P`` on a linear and ``Q / P`` on an inverse
contract, with ``d = s`` on a linear and ``d = -s`` on an inverse one: the way in which equity follows the value::

    M + d (v - v_entry) = v (m + f) - C               ->  v = (v_entry - d (M + C)) / (1 - d (m + f))           (V)

With ``m = C = f = 0`` it gives the bankruptcy price, where the margin is gone: ``E (1 - s / leverage)`` on a linear
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

    @property
    def text(self) -> str:
        """The equation in words of the module's symbols."""
        rate = "f" if self.maintenance_on_entry and self.counts_fee else "(m + f)" if self.counts_fee else "m"
        margin = "M + C - m Q E" if self.maintenance_on_entry else "M + C"
        if self.inverse:
            margin = margin.replace("Q E", "Q/E")
            above = "1" if self.maintenance_on_entry and not self.counts_fee else f"(1 + s {rate})"
            text = f"P = {above} / (1/E + s ({margin}) / Q)"
        elif self.maintenance_on_entry and not self.counts_fee:
            text = f"P = E - s ({margin}) / Q"
        else:
            text = f"P = (E - s ({margin}) / Q) / (1 - s {rate})"
        return text + (", M with the closing fee at bankruptcy" if self.reserves_close_fee else "")


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
        Formula("I4+fee", inverse=True, maintenance_on_entry=True, counts_fee=True),
    )
}

#: rates that leave nothing of a position's value to trade against
MAX_TOTAL_RATE = 0.999


def checked(name: str, value: ArrayLike, low: float, high: float = np.inf, *, open_low: bool = False) -> F64:
    """Return ``value`` as float64. Raises InputError naming the first value outside ``low .. high`` or not finite."""
    array = np.asarray(value, np.float64)
    # Two reductions instead of four comparisons: NaN fails both, and no temporary array is made.
    if array.size and not (
        (array.min() > low if open_low else array.min() >= low) and array.max() <= high and array.max() < np.inf
    ):
        good = np.isfinite(array) & (array <= high) & ((array > low) if open_low else (array >= low))
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


@dataclass(frozen=True, slots=True)
class Terms:
    """A position brought to (V): float64 arrays that broadcast against each other, per unit of quantity.

    ``direction`` is ``d``; ``unit_value`` the entry value of one unit; ``unit_margin`` the margin of one unit;
    ``quantity`` the number of units.
    """

    inverse: bool
    direction: F64
    unit_value: F64
    unit_margin: F64
    quantity: F64

    def price(self, unit_value: F64) -> F64:
        """Price at which one unit has a value: 0 or ``inf`` for values that no price gives."""
        if not self.inverse:
            return np.maximum(unit_value, 0.0)
        never = unit_value <= 0
        if not np.any(never):
            return 1.0 / unit_value
        return np.where(never, np.inf, 1.0 / np.where(never, 1.0, unit_value))

    def solve(self, rate: ArrayLike, amount: ArrayLike) -> F64:
        """Solve (V) for the value of one unit with a rate (fee included) and a maintenance amount of the position."""
        margin = self.unit_margin + np.asarray(amount, np.float64) / self.quantity
        value: F64 = (self.unit_value - self.direction * margin) / (1.0 - self.direction * np.asarray(rate, np.float64))
        return value


def terms_of(
    formula: Formula,
    side: ArrayLike,
    entry: ArrayLike,
    quantity: ArrayLike,
    leverage: ArrayLike | None,
    margin: ArrayLike | None,
    fee_rate: float = 0.0,
    *,
    least_margin: float = 0.0,
) -> Terms:
    """Check a position and bring it to (V). Raises InputError naming the field and the value."""
    sign = sign_of(side)
    prices = checked("entry", entry, 0.0, open_low=True)
    sizes = checked("quantity", quantity, 0.0, open_low=True)
    if (leverage is None) == (margin is None):
        raise InputError("leverage", leverage, "give either leverage or margin")
    unit_value = 1.0 / prices if formula.inverse else prices
    direction = -sign if formula.inverse else sign
    if margin is not None:
        unit_margin = checked("margin", margin, least_margin) / sizes
    else:
        # Without a quantity in it, so that 98 000 / 50 stays exact.
        unit_margin = unit_value / checked("leverage", leverage if leverage is not None else 0.0, 1.0)
        if formula.reserves_close_fee:
            unit_margin = unit_margin + fee_rate * (unit_value - direction * unit_margin)
    return Terms(formula.inverse, direction, unit_value, np.asarray(unit_margin), sizes)


def locked_margin(
    formula: Formula, side: ArrayLike, entry: ArrayLike, quantity: ArrayLike, leverage: ArrayLike, fee_rate: float
) -> F64:
    """Margin a venue locks when a position is opened: entry value / leverage, and the close-fee reserve of L3.

    USD on linear contracts, coin on inverse ones. Raises InputError for values that cannot be.
    """
    terms = terms_of(formula, side, entry, quantity, leverage, None, fee_rate)
    return np.asarray(terms.unit_margin * terms.quantity)


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
    """Trigger price at which a position is liquidated, by (L) or (I), with the tier's rate and amount given.

    All arguments broadcast; the result is float64 USD of the broadcast shape (0-d for scalars). Give either
    ``leverage`` or ``margin``: the margin actually locked (USD or coin), which added margin makes differ from entry
    value / leverage. A long that cannot be liquidated gets 0, a short ``inf``.

    Raises InputError naming the field and the value: side not 0 or 1; entry or quantity not a positive number;
    leverage below 1; negative margin, amount or rate; rates that add up to 1 or more.
    """
    rate = checked("maintenance_rate", maintenance_rate, 0.0)
    fee = checked("fee_rate", fee_rate, 0.0)
    checked("maintenance_rate + fee_rate", rate + fee, 0.0, MAX_TOTAL_RATE)
    amount = checked("maintenance_amount", maintenance_amount, 0.0)
    terms = terms_of(formula, side, entry, quantity, leverage, margin, float(fee))
    return price_with(formula, terms, rate, amount, float(fee))


def price_with(formula: Formula, terms: Terms, rate: ArrayLike, amount: ArrayLike, fee_rate: float) -> F64:
    """Like :func:`liquidation_price`, for checked terms."""
    rates = np.asarray(rate, np.float64)
    if formula.maintenance_on_entry:
        on_entry = rates * terms.unit_value * terms.quantity
        return terms.price(terms.solve(fee_rate, np.asarray(amount, np.float64) - on_entry))
    return terms.price(terms.solve(rates + fee_rate, amount))


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
    fee = float(checked("close_fee_rate", close_fee_rate, 0.0, MAX_TOTAL_RATE))
    terms = terms_of(formula, side, entry, quantity, leverage, margin, fee)
    return terms.price(terms.solve(fee, 0.0))
