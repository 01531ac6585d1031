"""Cohorts that a producer tells by deltas: what it holds of each after them. Sums are decimal, as what is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Context, Decimal, Inexact

from forcedmove_server.engine.exact.rows import Held
from forcedmove_server.errors import InputError
from forcedmove_server.market.ingest import PositionDelta
from forcedmove_server.market.positions import ExactPosition, PositionKey, PositionState

#: no sum of quantities that a delta may have is rounded; see market.ingest
_EXACT = Context(prec=80, traps=[Inexact])


@dataclass(slots=True)
class _Cohort:
    """A cohort while deltas are added up; ``place`` is that of its last delta, ``crossed`` which crossed one it is."""

    position: ExactPosition
    quantity: Decimal
    place: int
    crossed: Held | None


@dataclass(frozen=True, slots=True)
class CohortChanges:
    """Cohorts that are set, each from the delta in its ``places``, and keys of those of which nothing is left.

    ``closed`` are crossed ones of which less is held: the map knows them no more.
    """

    positions: tuple[ExactPosition, ...]
    places: tuple[int, ...]
    removed: tuple[PositionKey, ...]
    closed: tuple[tuple[Held, ExactPosition], ...]


def cohort_changes(held: Mapping[PositionKey, Held], deltas: Iterable[PositionDelta]) -> CohortChanges:
    """Add deltas up, in their order, to what a producer holds. Raises InputError where more is taken than there is.

    Sums are rounded to a float64 once per cohort and request: those of up to 15 significant digits are exact.
    """
    cohorts: dict[PositionKey, _Cohort] = {}
    for place, delta in enumerate(deltas):
        key = delta.key
        one = cohorts.get(key)
        if one is None:
            one = cohorts[key] = _found(key, held.get(key), delta)
        if one.crossed is not None and delta.quantity > 0:  # what was crossed is gone, and what opens here begins anew
            one.crossed, one.position, one.quantity = None, _opened(key, delta), Decimal(0)
        after = _EXACT.add(one.quantity, _decimal(delta.quantity))
        if after < 0:
            side = "short" if delta.side else "long"
            raise InputError(
                f"deltas[{place}].quantity",
                delta.quantity,
                f"is more than the {float(one.quantity):.15g} that are held of {delta.market} {side} opened at "
                f"{delta.entry_price_usd:.12g} with {delta.leverage:.6g}x",
            )
        one.quantity, one.place = after, place
    changed = [(one, replace(one.position, quantity=float(one.quantity))) for one in cohorts.values() if one.quantity]
    return CohortChanges(
        positions=tuple(position for one, position in changed if one.crossed is None),
        places=tuple(one.place for one, _ in changed if one.crossed is None),
        removed=tuple(key for key, one in cohorts.items() if not one.quantity),
        closed=tuple((one.crossed, position) for one, position in changed if one.crossed is not None),
    )


def _found(key: PositionKey, held: Held | None, delta: PositionDelta) -> _Cohort:
    if held is None:
        return _Cohort(_opened(key, delta), Decimal(0), 0, None)
    assert held.position.quantity is not None
    crossed = held if held.state is PositionState.CROSSED else None
    return _Cohort(held.position, _decimal(held.position.quantity), 0, crossed)


def _opened(key: PositionKey, delta: PositionDelta) -> ExactPosition:
    return ExactPosition(
        key=key,
        liquidation_price_usd=delta.liquidation_price_usd,
        leverage=delta.leverage,
        entry_price_usd=delta.entry_price_usd,
        opened_at_ns=delta.time_ns,
    )


def _decimal(quantity: float) -> Decimal:
    """The shortest decimal that is this float: what was written."""
    return Decimal(repr(quantity))
