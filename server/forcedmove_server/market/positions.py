"""Exact positions: those whose liquidation price is known, told by whoever holds them or read from public accounts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from forcedmove_server.errors import InputError

#: no position has ever been as large; beyond it the quantity is in another unit
_IMPLAUSIBLE_USD = 1e12
_MOST_LEVERAGE = 1e4
_LONGEST_ACCOUNT = 128


class PositionState(StrEnum):
    """Where a position stands: in the map, not yet, or not any more."""

    LIVE = "live"
    #: its market has no price or no open interest yet
    WAITING = "waiting"
    #: the trigger price crossed its liquidation price
    CROSSED = "crossed"


@dataclass(frozen=True, slots=True)
class PositionKey:
    """What tells a producer's positions apart; ``market`` is a ``venue:native_id`` key, ``side`` 0 long, 1 short.

    ``cohort`` is the entry price and the leverage of one that is told by deltas (market.ingest), None: a position.
    """

    account: str
    market: str
    side: int
    cohort: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class ExactPosition:
    """One open position. Prices are USD; those and quantities are of one coin, as the model has them (not 1000PEPE).

    ``quantity`` counts base units, on inverse contracts USD; where it is None ``notional_usd`` is what it is worth at
    the mark when it is told. ``liquidation_price_usd`` None: it is never liquidated. ``leverage`` is the effective one;
    where it is None it follows from ``entry_price_usd``, and without that the position counts as one of the lowest
    leverage. ``opened_at_ns`` None: when it is told.
    """

    key: PositionKey
    quantity: float | None = None
    notional_usd: float | None = None
    liquidation_price_usd: float | None = None
    leverage: float | None = None
    entry_price_usd: float | None = None
    opened_at_ns: int | None = None

    def check(self, field: str) -> None:
        """Raise InputError naming ``field`` and what is wrong with it, whatever the market is like."""
        if self.key.side not in (0, 1):
            raise InputError(f"{field}.key.side", self.key.side, "must be long or short")
        if len(self.key.account) > _LONGEST_ACCOUNT or not self.key.account.isprintable():
            raise InputError(
                f"{field}.key.account",
                self.key.account[:32],
                f"must be at most {_LONGEST_ACCOUNT} printable characters",
            )
        if (self.quantity is None) == (self.notional_usd is None):
            raise InputError(f"{field}.size", None, "give quantity or notional_usd, one of them")
        for name in ("quantity", "notional_usd", "liquidation_price_usd", "leverage", "entry_price_usd"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{field}.{name}", value, "must be a number above zero")
        if self.notional_usd is not None and self.notional_usd > _IMPLAUSIBLE_USD:
            raise InputError(f"{field}.notional_usd", self.notional_usd, "is not a plausible position")
        if self.leverage is not None and not 0 < self.leverage <= _MOST_LEVERAGE:
            raise InputError(f"{field}.leverage", self.leverage, f"must be at most {_MOST_LEVERAGE:g}")
        if self.opened_at_ns is not None and self.opened_at_ns < 0:
            raise InputError(f"{field}.opened_at_ns", self.opened_at_ns, "must not be before 1970")


@dataclass(frozen=True, slots=True)
class PositionChange:
    """What a producer tells: positions that are set or replaced by key, keys that are gone.

    ``replace``: what is not among ``positions`` is gone. Of one producer only rising ``sequence`` numbers count.
    ``representative``: whether its positions tell what leverage others use, as those of all accounts of a venue do, and
    a client's own do not. ``lenient``: what cannot be in the map is left out instead of refusing all of it.
    """

    producer: str
    sequence: int
    positions: tuple[ExactPosition, ...] = ()
    removed: tuple[PositionKey, ...] = ()
    replace: bool = False
    representative: bool = False
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class PositionAck:
    """What became of a change. ``sequence`` is the newest that was applied, ``left_out`` what lenience skipped."""

    applied: bool
    sequence: int
    live: int
    waiting: int
    left_out: int
    expires_in_s: float


@dataclass(frozen=True, slots=True)
class HeldPosition:
    """A position as it is held: its quantity in model units where known, and where live the leverage of its tier."""

    position: ExactPosition
    state: PositionState
    quantity: float | None
    tier_leverage: float | None


@dataclass(frozen=True, slots=True)
class HeldPositions:
    """All that one producer told and that still stands, in the order of its telling."""

    sequence: int
    expires_in_s: float
    positions: tuple[HeldPosition, ...]
