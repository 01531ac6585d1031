"""What a stream of one producer tells: numbered changes of positions, and what became of each. Plain values all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forcedmove_server.errors import ForcedMoveError, InputError, LimitError, QuotaError, UnknownNameError
from forcedmove_server.market.positions import PositionChange, PositionKey

#: of quantities and prices: sums of fewer than 10**15 such quantities have at most 68 decimal digits
_LEAST, _MOST = 1e-18, 1e18
#: longest message of a refusal that is remembered
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class PositionDelta:
    """So much more, or less, of one cohort: positions of a market and side with one entry price and leverage.

    ``market`` is a ``venue:native_id`` key, ``side`` 0 long, 1 short. ``quantity`` is signed, in base units, on inverse
    contracts USD. ``liquidation_price_usd`` follows from the rest by the venue's rule; None: never. ``time_ns`` None:
    when it is told.
    """

    market: str
    side: int
    quantity: float
    entry_price_usd: float
    leverage: float
    liquidation_price_usd: float | None
    time_ns: int | None = None

    @property
    def key(self) -> PositionKey:
        """What tells its cohort apart from whatever else its producer holds."""
        return PositionKey("", self.market, self.side, (self.entry_price_usd, self.leverage))

    def check(self, field: str) -> None:
        """Raise InputError naming ``field`` and what is wrong with it, whatever is held."""
        if not _LEAST <= abs(self.quantity) <= _MOST:  # false for NaN
            reason = f"must be from {_LEAST:g} to {_MOST:g}, or that much below zero"
            raise InputError(f"{field}.quantity", self.quantity, reason)
        for name in ("entry_price_usd", "leverage"):
            value = getattr(self, name)
            if not _LEAST <= value <= _MOST:
                raise InputError(f"{field}.{name}", value, f"must be from {_LEAST:g} to {_MOST:g}")
        if self.time_ns is not None and self.time_ns < 0:
            raise InputError(f"{field}.time_ns", self.time_ns, "must not be before 1970")


@dataclass(frozen=True, slots=True)
class DeltaChange:
    """Deltas of one request, in their order; ``representative`` as in PositionChange."""

    deltas: tuple[PositionDelta, ...]
    representative: bool = False


class RefusalKind(StrEnum):
    """What is wrong with a request that is refused for good."""

    VALUE = "value"
    NAME = "name"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was refused: what is wrong, with which field of it ("" where it is none of them)."""

    kind: RefusalKind
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """One request of a stream. It is taken in only where all up to ``after`` of its producer are settled.

    Sequence 0 asks for the last that is settled, and says that the producer is there. A ``body`` that is a Refusal was
    refused before it came here; it is settled with the others, in its place.
    """

    producer: str
    sequence: int
    after: int
    body: PositionChange | DeltaChange | Refusal


class Outcome(StrEnum):
    """What became of a request. All but the last are for good."""

    APPLIED = "applied"
    REPEATED = "repeated"
    REFUSED = "refused"
    #: one before it is not settled
    POSTPONED = "postponed"


@dataclass(frozen=True, slots=True)
class IngestAck:
    """What became of request ``sequence``; ``last`` is the newest of its producer that is settled."""

    sequence: int
    outcome: Outcome
    last: int
    refusal: Refusal | None = None


def refusal_of(error: ForcedMoveError) -> Refusal | None:
    """Return an error as a refusal for good; None where the same request may be taken in later."""
    message = str(error)[:_LONGEST]
    if isinstance(error, InputError):
        return Refusal(RefusalKind.VALUE, error.field, message)
    if isinstance(error, UnknownNameError):
        return Refusal(RefusalKind.NAME, error.kind, message)
    if isinstance(error, LimitError) and not isinstance(error, QuotaError):
        return Refusal(RefusalKind.LIMIT, "", message)
    return None
