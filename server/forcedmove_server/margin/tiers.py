"""Maintenance tiers: which rate and amount a position of a given size pays.

Venues publish a ladder: above each floor a higher maintenance rate and a lower maximum leverage. Three kinds exist:

* *cumulative*: an amount is deducted so that the requirement ``rate * value - amount`` is continuous, each rate
  applying to its own slice (Binance, Bybit, Bitget, Gate, Hyperliquid, Kraken). Binance's recursion:
  ``amount_n = floor_n * (rate_n - rate_{n-1}) + amount_{n-1}`` (FAQ b3c689c1f50a44cabb3a84e663b81d93);
* *flat*: the whole position pays the rate of its tier, with a jump at each floor (OKX, KuCoin);
* *by leverage*: flat, and the rate is a factor divided by the leverage the position was opened with (HTX).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.errors import InputError


class TierMeasure(StrEnum):
    """What a ladder's floors count."""

    VALUE = "value"
    """Position value in the margin currency: USD on linear contracts, coin on inverse ones."""
    QUANTITY = "quantity"
    """Model quantity: base units on linear contracts, USD on inverse ones."""


@dataclass(frozen=True, slots=True)
class MaintenanceTier:
    """From ``floor`` upwards: maintenance ``rate``, deducted ``amount``, greatest leverage a position may open with."""

    floor: float
    rate: float
    amount: float
    max_leverage: float


class TierTable:
    """A validated ladder of maintenance tiers.

    Raises InputError naming tier and field: no tiers, first floor not 0, floors or rates that do not ascend, rates
    outside (0, 1), leverage below 1 or rising with size, amounts that are neither all zero nor the accumulated ones
    (to the rounding of a printed table).
    """

    def __init__(self, tiers: Iterable[MaintenanceTier], measure: TierMeasure = TierMeasure.VALUE) -> None:
        self.tiers = tuple(tiers)
        self.measure = measure
        self.floors = np.array([tier.floor for tier in self.tiers])
        self.rates = np.array([tier.rate for tier in self.tiers])
        self.amounts = np.array([tier.amount for tier in self.tiers])
        self.max_leverages = np.array([tier.max_leverage for tier in self.tiers])
        self._check()

    @property
    def cumulative(self) -> bool:
        """Whether amounts make the requirement continuous; a single tier counts as cumulative."""
        return len(self.tiers) == 1 or bool(self.amounts[-1] > 0)

    @property
    def moves_with_price(self) -> bool:
        """Whether the tier is chosen at the liquidation price. The jumps of flat ladders are taken at entry."""
        return self.cumulative and len(self.tiers) > 1 and self.measure is TierMeasure.VALUE

    @property
    def max_leverage(self) -> float:
        """Greatest leverage of the ladder, that of the smallest positions."""
        return float(self.max_leverages[0])

    def index(self, size: ArrayLike) -> NDArray[np.int64]:
        """Tier of a position's size (in this table's measure); a size on a floor belongs to the tier below it."""
        return _tier(self.floors, size)

    def reduced(
        self, size: ArrayLike, leverage: ArrayLike, tiers: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the tier of positions (0 is the lowest) and the size that leads them ``tiers`` tiers down."""
        tier = self.index(size)
        return tier, _ceiling(self.floors, np.maximum(tier - tiers, 0))

    def largest_size(self, leverage: ArrayLike) -> NDArray[np.float64]:
        """Greatest size that may open with ``leverage``: ``inf`` in the last tier, 0 where no tier allows it."""
        ceilings = np.append(self.floors[1:], np.inf)
        allowed = self.max_leverages >= np.asarray(leverage, np.float64)[..., None]
        sizes: NDArray[np.float64] = np.where(allowed, ceilings, 0.0).max(-1)
        return sizes

    def terms(self, size: ArrayLike, leverage: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the maintenance rate and amount of positions of a size; the leverage does not matter here.

        Amounts of a ladder that counts quantity are quantities too: they lower the rate, whatever the price.
        """
        tier = self.index(size)
        rates, amounts = self.rates[tier], self.amounts[tier]
        if self.measure is TierMeasure.VALUE:
            return rates, amounts
        sizes = np.asarray(size, np.float64)
        return rates - amounts / np.where(sizes > 0, sizes, 1.0), np.zeros(np.shape(size))

    def _check(self) -> None:
        if not self.tiers or self.tiers[0].floor != 0:
            raise InputError("tiers[0].floor", self.tiers[0].floor if self.tiers else None, "the first floor is 0")
        for k, tier in enumerate(self.tiers):
            if not 0 < tier.rate < 1:
                raise InputError(f"tiers[{k}].rate", tier.rate, "must lie in (0, 1)")
            if not tier.max_leverage >= 1:
                raise InputError(f"tiers[{k}].max_leverage", tier.max_leverage, "must be at least 1")
        for k in range(1, len(self.tiers)):
            below, tier = self.tiers[k - 1], self.tiers[k]
            if not tier.floor > below.floor:
                raise InputError(f"tiers[{k}].floor", tier.floor, "floors must ascend")
            if not tier.rate >= below.rate:
                raise InputError(f"tiers[{k}].rate", tier.rate, "rates must not fall with size")
            if tier.max_leverage > below.max_leverage:
                raise InputError(f"tiers[{k}].max_leverage", tier.max_leverage, "must not rise with size")
        if np.any(self.amounts != 0):
            expected = accumulated_amounts(self.floors, self.rates)
            wrong = ~np.isclose(self.amounts, expected, rtol=1e-6, atol=1e-8)
            if np.any(wrong):
                k = int(np.argmax(wrong))
                raise InputError(f"tiers[{k}].amount", self.tiers[k].amount, f"accumulates to {expected[k]:g}")


def accumulated_amounts(floors: ArrayLike, rates: ArrayLike) -> NDArray[np.float64]:
    """Amounts that make ``rate * size - amount`` continuous at every floor (Binance's recursion)."""
    steps = np.diff(np.asarray(rates, np.float64), prepend=np.asarray(rates, np.float64)[:1])
    # Venues print whole numbers or a few decimals: the noise of the steps is cut off, so that 12 000 is 12 000.
    amounts: NDArray[np.float64] = np.cumsum(np.asarray(floors, np.float64) * steps).round(9)
    return amounts


def cumulative_tiers(rows: Sequence[tuple[float, float, float]], measure: TierMeasure = TierMeasure.VALUE) -> TierTable:
    """Build a cumulative table from ``(floor, rate, max_leverage)`` rows."""
    amounts = accumulated_amounts([row[0] for row in rows], [row[1] for row in rows])
    tiers = [
        MaintenanceTier(floor, rate, float(amount), leverage)
        for (floor, rate, leverage), amount in zip(rows, amounts, strict=True)
    ]
    return TierTable(tiers, measure)


def flat_tiers(rows: Sequence[tuple[float, float, float]], measure: TierMeasure = TierMeasure.VALUE) -> TierTable:
    """Build a table without deductions from ``(floor, rate, max_leverage)`` rows."""
    return TierTable((MaintenanceTier(floor, rate, 0.0, leverage) for floor, rate, leverage in rows), measure)


@dataclass(frozen=True, slots=True)
class StatedMaintenance:
    """One rate and amount for every size: what somebody states instead of a venue's ladder."""

    rate: float
    amount: float = 0.0
    measure: ClassVar[TierMeasure] = TierMeasure.VALUE
    moves_with_price: ClassVar[bool] = False
    max_leverage: ClassVar[float] = math.inf

    def largest_size(self, leverage: ArrayLike) -> NDArray[np.float64]:
        """``inf``: nothing is said about sizes."""
        return np.full(np.shape(leverage), np.inf)

    def terms(self, size: ArrayLike, leverage: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the rate and the amount."""
        return np.full(np.shape(size), self.rate), np.full(np.shape(size), self.amount)


class LeverageLadders:
    """Ladders of factors, one per leverage: a position pays ``factor / leverage`` of its value (HTX).

    ``ladders`` maps a leverage to ``(floor, factor)`` rows; a position between two listed leverages uses the ladder of
    the next one above. Raises InputError naming ladder and field as :class:`TierTable`.
    """

    moves_with_price = False

    def __init__(
        self, ladders: Mapping[float, Sequence[tuple[float, float]]], measure: TierMeasure = TierMeasure.QUANTITY
    ) -> None:
        if not ladders:
            raise InputError("ladders", None, "needs at least one leverage")
        self.measure = measure
        self.leverages = np.array(sorted(ladders), np.float64)
        if not self.leverages[0] >= 1:
            raise InputError("ladders", float(self.leverages[0]), "leverages are at least 1")
        self.ladders = {leverage: tuple(ladders[leverage]) for leverage in sorted(ladders)}
        self._floors = [np.array([row[0] for row in rows]) for rows in self.ladders.values()]
        self._factors = [np.array([row[1] for row in rows]) for rows in self.ladders.values()]
        for leverage, floors, factors in zip(self.leverages, self._floors, self._factors, strict=True):
            place = f"ladders[{leverage:g}]"
            if len(floors) == 0 or floors[0] != 0 or np.any(np.diff(floors) <= 0):
                raise InputError(f"{place}.floor", floors.tolist(), "floors ascend from 0")
            if np.any((factors <= 0) | (factors >= leverage)) or np.any(np.diff(factors) < 0):
                raise InputError(f"{place}.factor", factors.tolist(), "factors lie in (0, leverage), not falling")

    @property
    def max_leverage(self) -> float:
        """Greatest listed leverage."""
        return float(self.leverages[-1])

    def largest_size(self, leverage: ArrayLike) -> NDArray[np.float64]:
        """``inf`` for every leverage up to the greatest, 0 above: these ladders bound no size."""
        sizes: NDArray[np.float64] = np.where(np.asarray(leverage, np.float64) <= self.max_leverage, np.inf, 0.0)
        return sizes

    def terms(self, size: ArrayLike, leverage: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the maintenance rate ``factor / leverage`` and an amount of zero; arguments broadcast."""
        sizes, wanted = np.broadcast_arrays(np.asarray(size, np.float64), np.asarray(leverage, np.float64))
        rates = np.empty(wanted.shape)
        for mine, floors, factors in self._chosen(wanted):
            rates[mine] = factors[_tier(floors, sizes[mine])] / wanted[mine]
        return rates, np.zeros(wanted.shape)

    def reduced(
        self, size: ArrayLike, leverage: ArrayLike, tiers: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the tier of positions (0 is the lowest) and the size that leads them ``tiers`` tiers down."""
        sizes, wanted = np.broadcast_arrays(np.asarray(size, np.float64), np.asarray(leverage, np.float64))
        tier, kept = np.empty(wanted.shape, np.int64), np.empty(wanted.shape)
        for mine, floors, _ in self._chosen(wanted):
            tier[mine] = _tier(floors, sizes[mine])
            kept[mine] = _ceiling(floors, np.maximum(tier[mine] - tiers, 0))
        return tier, kept

    def _chosen(
        self, leverage: NDArray[np.float64]
    ) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]]:
        """Each ladder's floors and factors, and which of the leverages use it."""
        chosen = np.minimum(np.searchsorted(self.leverages, leverage, side="left"), len(self.leverages) - 1)
        for k, (floors, factors) in enumerate(zip(self._floors, self._factors, strict=True)):
            yield chosen == k, floors, factors


def _tier(floors: NDArray[np.float64], size: ArrayLike) -> NDArray[np.int64]:
    """Tier of a size; one on a floor belongs to the tier below it."""
    found: NDArray[np.int64] = np.searchsorted(floors, np.asarray(size, np.float64), side="left") - 1
    return np.maximum(found, 0)


def _ceiling(floors: NDArray[np.float64], tier: NDArray[np.int64]) -> NDArray[np.float64]:
    """Greatest size of a tier; ``inf`` for the last one."""
    ceilings: NDArray[np.float64] = np.append(floors[1:], np.inf)[tier]
    return ceilings
