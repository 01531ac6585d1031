"""A market's margin rule: which formula, which fee, which maintenance tiers, and what of it is assumed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from forcedmove_server.errors import InputError
from forcedmove_server.margin.equations import (
    F64,
    Formula,
    bankruptcy_price,
    checked,
    liquidation_price,
    sign_of,
)
from forcedmove_server.margin.tiers import TierMeasure, TierTable


@dataclass(frozen=True, slots=True)
class MarginRule:
    """How one market liquidates. ``notes`` is what the map says in its ``assumptions``; ``assumed`` marks a guess.

    Raises InputError for a fee that the formula does not count, or a fee rate outside [0, 0.1].
    """

    formula: Formula
    tiers: TierTable
    fee_rate: float = 0.0
    notes: tuple[str, ...] = ()
    assumed: bool = False

    def __post_init__(self) -> None:
        checked("fee_rate", self.fee_rate, 0.0, 0.1)
        if self.fee_rate and not self.formula.counts_fee:
            raise InputError("fee_rate", self.fee_rate, f"{self.formula.name} counts no fee")

    def value(self, quantity: ArrayLike, price: ArrayLike) -> F64:
        """Value of a position at ``price`` in the margin currency: USD on linear contracts, coin on inverse ones."""
        quantities, prices = np.asarray(quantity, np.float64), np.asarray(price, np.float64)
        return np.asarray(quantities / prices if self.formula.inverse else quantities * prices)

    def size(self, quantity: ArrayLike, price: ArrayLike) -> F64:
        """Size of a position in the measure of the tier table: its value, or its quantity."""
        by_quantity = self.tiers.measure is TierMeasure.QUANTITY
        return np.asarray(quantity, np.float64) if by_quantity else self.value(quantity, price)

    def quantity_of_size(self, size: ArrayLike, price: ArrayLike) -> F64:
        """Quantity whose size is ``size`` at ``price``: the inverse of :meth:`size`."""
        sizes, prices = np.asarray(size, np.float64), np.asarray(price, np.float64)
        if self.tiers.measure is TierMeasure.QUANTITY:
            return sizes
        return np.asarray(sizes * prices if self.formula.inverse else sizes / prices)

    def liquidation_price(
        self,
        side: ArrayLike,
        entry: ArrayLike,
        quantity: ArrayLike,
        leverage: ArrayLike | None = None,
        margin: ArrayLike | None = None,
    ) -> F64:
        """Liquidation prices with the tier the venue would use; arguments broadcast, result float64 USD.

        With cumulative tiers the tier is the one that holds the value *at the liquidation price* (Binance FAQ). No
        search is needed: the requirement ``max_n(rate_n * value - amount_n)`` is convex, so the true price is the one
        nearest to the entry among those of all tiers. Flat tiers, and maintenance on the entry value, take the tier
        at entry. Raises InputError as :func:`~forcedmove_server.margin.equations.liquidation_price`, and for a
        leverage above the table's maximum.
        """
        if leverage is not None:
            checked("leverage", leverage, 1.0, self.tiers.max_leverage)
        if not self.tiers.cumulative or self.formula.maintenance_on_entry:
            tier = self.tiers.index(self.size(quantity, checked("entry", entry, 0.0, open_low=True)))
            return self._price(
                side, entry, quantity, leverage, margin, self.tiers.rates[tier], self.tiers.amounts[tier]
            )
        given = [np.shape(a) for a in (side, entry, quantity, leverage, margin) if a is not None]
        column = (-1, *([1] * len(np.broadcast_shapes(*given))))
        rates, amounts = self.tiers.rates.reshape(column), self.tiers.amounts.reshape(column)
        prices = self._price(side, entry, quantity, leverage, margin, rates, amounts)
        nearest: F64 = np.where(sign_of(side) > 0, prices.max(0), prices.min(0))
        return nearest

    def bankruptcy_price(
        self, side: ArrayLike, entry: ArrayLike, leverage: ArrayLike, close_fee_rate: float = 0.0
    ) -> F64:
        """Price at which the margin is gone; see :func:`~forcedmove_server.margin.equations.bankruptcy_price`."""
        checked("leverage", leverage, 1.0, self.tiers.max_leverage)
        return bankruptcy_price(self.formula, side=side, entry=entry, leverage=leverage, close_fee_rate=close_fee_rate)

    def _price(
        self,
        side: ArrayLike,
        entry: ArrayLike,
        quantity: ArrayLike,
        leverage: ArrayLike | None,
        margin: ArrayLike | None,
        rate: ArrayLike,
        amount: ArrayLike,
    ) -> F64:
        return liquidation_price(
            self.formula,
            side=side,
            entry=entry,
            quantity=quantity,
            leverage=leverage,
            margin=margin,
            maintenance_rate=rate,
            maintenance_amount=amount,
            fee_rate=self.fee_rate,
        )
