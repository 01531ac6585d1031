"""A market's margin rule: which formula, which fee, which maintenance, and what of it is assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from forcedmove_server.errors import InputError
from forcedmove_server.margin.equations import (
    F64,
    Formula,
    Terms,
    bankruptcy_price,
    checked,
    price_with,
    terms_of,
)
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.process import AT_ONCE, LiquidationProcess
from forcedmove_server.margin.provenance import UNDATED, Provenance
from forcedmove_server.margin.rate_functions import RateFunction, solve_value
from forcedmove_server.margin.tiers import LeverageLadders, StatedMaintenance, TierMeasure, TierTable
from forcedmove_server.margin.trigger import Trigger

Maintenance = TierTable | LeverageLadders | RateFunction | StatedMaintenance

#: positions that are solved together: their temporaries stay in the cache of one core
_CHUNK = 8_192


@dataclass(frozen=True, slots=True)
class MarginRule:
    """How one market liquidates. ``notes`` is what the map says in its ``assumptions``; ``assumed`` marks a guess.

    ``maintenance`` is the market's ladder, ``provenance`` where it comes from. ``confidence`` is that of the weakest
    fact used, ``source`` where the formula is written. ``extra_margin_fee`` is a rate by which margin that is added to
    a position is discounted. ``stated_limit`` is a greatest leverage that replaces the venue's and the ladder's.

    Raises InputError for a fee that the formula does not count, or a fee rate outside [0, 0.1].
    """

    formula: Formula
    maintenance: Maintenance
    fee_rate: float = 0.0
    notes: tuple[str, ...] = ()
    trigger: Trigger = Trigger.MARK
    process: LiquidationProcess = AT_ONCE
    provenance: Provenance = UNDATED
    confidence: Confidence = Confidence.ASSUMED
    source: str = ""
    max_leverage: float = math.inf
    extra_margin_fee: float = 0.0
    stated_limit: float | None = None

    def __post_init__(self) -> None:
        checked("fee_rate", self.fee_rate, 0.0, 0.1)
        if self.fee_rate and not self.formula.counts_fee:
            raise InputError("fee_rate", self.fee_rate, f"{self.formula.name} counts no fee")

    @property
    def assumed(self) -> bool:
        """Whether something the price depends on is a stand-in."""
        return self.confidence is Confidence.ASSUMED

    @property
    def leverage_limit(self) -> float:
        """Greatest leverage: what is stated, else the lower of the venue's limit and that of the ladder."""
        return min(self.max_leverage, self.maintenance.max_leverage) if self.stated_limit is None else self.stated_limit

    def value(self, quantity: ArrayLike, price: ArrayLike) -> F64:
        """Value of a position at ``price`` in the margin currency: USD on linear contracts, coin on inverse ones."""
        quantities, prices = np.asarray(quantity, np.float64), np.asarray(price, np.float64)
        return np.asarray(quantities / prices if self.formula.inverse else quantities * prices)

    def size(self, quantity: ArrayLike, price: ArrayLike) -> F64:
        """Size of a position in the measure of its maintenance: its value, or its quantity."""
        by_quantity = self.maintenance.measure is TierMeasure.QUANTITY
        return np.asarray(quantity, np.float64) if by_quantity else self.value(quantity, price)

    def quantity_of_size(self, size: ArrayLike, price: ArrayLike) -> F64:
        """Quantity whose size is ``size`` at ``price``: the inverse of :meth:`size`."""
        sizes, prices = np.asarray(size, np.float64), np.asarray(price, np.float64)
        if self.maintenance.measure is TierMeasure.QUANTITY:
            return sizes
        return np.asarray(sizes * prices if self.formula.inverse else sizes / prices)

    def largest_quantity(self, leverage: ArrayLike, price: ArrayLike) -> F64:
        """Greatest quantity that may open with ``leverage`` at ``price``: ``inf`` without a limit."""
        if self.stated_limit is not None:
            return np.where(np.asarray(leverage) <= self.stated_limit, np.inf, 0.0)
        return self.quantity_of_size(self.maintenance.largest_size(leverage), price)

    def liquidation_price(
        self,
        side: ArrayLike,
        entry: ArrayLike,
        quantity: ArrayLike,
        leverage: ArrayLike | None = None,
        margin: ArrayLike | None = None,
    ) -> F64:
        """Liquidation prices with the maintenance the venue would use; arguments broadcast, result float64 USD.

        With cumulative tiers the tier is the one that holds the value *at the liquidation price* (Binance FAQ). No
        search is needed: the requirement ``max_n(rate_n * value - amount_n)`` is convex, so the true price is the one
        met first among those of all tiers. Flat tiers, and maintenance on the entry value, take the tier at entry.

        A long that cannot be liquidated gets 0, a short ``inf``; a position whose margin is below its maintenance at
        entry gets a price at or beyond the entry. ``margin`` may be negative: what a losing cross account has left.
        With both, ``margin`` is what can be lost, and ``leverage`` the setting that chooses among ladders by leverage.
        Raises InputError as :func:`~forcedmove_server.margin.equations.liquidation_price`, and for a leverage above
        the market's maximum.
        """
        given = {"side": side, "entry": entry, "quantity": quantity, "leverage": leverage, "margin": margin}
        arrays = {name: np.asarray(value) for name, value in given.items() if value is not None}
        rows = max((array.shape[0] for array in arrays.values() if array.ndim == 1), default=0)
        if rows <= _CHUNK or any(array.shape not in ((), (rows,)) for array in arrays.values()):
            return self._prices(arrays)
        prices = np.empty(rows)
        for first in range(0, rows, _CHUNK):
            part = slice(first, first + _CHUNK)
            prices[part] = self._prices({name: a[part] if a.ndim else a for name, a in arrays.items()})
        return prices

    def bankruptcy_price(
        self,
        side: ArrayLike,
        entry: ArrayLike,
        leverage: ArrayLike | None = None,
        quantity: ArrayLike = 1.0,
        margin: ArrayLike | None = None,
    ) -> F64:
        """Price at which the margin is gone; see :func:`~forcedmove_server.margin.equations.bankruptcy_price`.

        Where the closing fee is reserved with the margin, it is paid from it.
        """
        if leverage is not None:
            checked("leverage", leverage, 1.0, self.leverage_limit)
        return bankruptcy_price(
            self.formula,
            side=side,
            entry=entry,
            quantity=quantity,
            leverage=leverage,
            margin=margin,
            close_fee_rate=self.fee_rate if self.formula.reserves_close_fee else 0.0,
        )

    def requirement(self, quantity: ArrayLike, price: ArrayLike, leverage: ArrayLike = 1.0) -> F64:
        """Maintenance margin of positions at ``price``, without fee, in the margin currency."""
        rate, amount = self.maintenance.terms(self.size(quantity, price), leverage)
        return np.asarray(rate * self.value(quantity, price) - amount)

    def _prices(self, given: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> F64:
        leverage, margin = given.get("leverage"), given.get("margin")
        if leverage is not None:
            checked("leverage", leverage, 1.0, self.leverage_limit)
        terms = terms_of(
            self.formula, given["side"], given["entry"], given["quantity"], leverage if margin is None else None,
            margin, self.fee_rate, least_margin=-np.inf,
        )  # fmt: skip
        if self.maintenance.moves_with_price and not self.formula.maintenance_on_entry:
            return terms.price(self._unit_value(terms))
        if leverage is None:  # only ladders by leverage ask for it
            unit = np.maximum(terms.unit_margin, terms.unit_value / self.leverage_limit)
            leverage = np.maximum(terms.unit_value / unit, 1.0)
        rate, amount = self.maintenance.terms(self.size(given["quantity"], given["entry"]), leverage)
        return price_with(self.formula, terms, rate, amount, self.fee_rate)

    def _unit_value(self, terms: Terms) -> F64:
        """Solve (V) with maintenance that depends on the value at the liquidation price."""
        if isinstance(self.maintenance, RateFunction):
            return solve_value(
                self.maintenance.maintenance, terms.direction, terms.unit_value, terms.unit_margin, terms.quantity,
                self.fee_rate,
            )  # fmt: skip
        assert isinstance(self.maintenance, TierTable)
        left = terms.unit_value - terms.direction * terms.unit_margin
        per_amount = terms.direction / terms.quantity
        rising = terms.direction > 0
        least = greatest = left
        for k, (rate, amount) in enumerate(zip(self.maintenance.rates, self.maintenance.amounts, strict=True)):
            total = rate + self.fee_rate
            value = (left - per_amount * amount) * np.where(rising, 1.0 / (1.0 - total), 1.0 / (1.0 + total))
            least, greatest = (value, value) if k == 0 else (np.minimum(least, value), np.maximum(greatest, value))
        return np.where(rising, greatest, least)
