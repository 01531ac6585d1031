"""Requests of streams: each settled once, in the order of its producer, and remembered where it was refused."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from forcedmove_server.engine.exact.cohorts import cohort_changes
from forcedmove_server.errors import ForcedMoveError
from forcedmove_server.market.ingest import DeltaChange, IngestAck, IngestRequest, Outcome, Refusal, refusal_of
from forcedmove_server.market.positions import PositionChange

if TYPE_CHECKING:
    from forcedmove_server.engine.exact.positions import ExactPositions

#: refusals that are remembered of one producer: no stream has more requests unanswered (ingest.window); and of all
REMEMBERED, _OF_ALL = 1_024, 65_536


class Refusals:
    """The newest refusals of each producer, so that who lost the answer gets the same one again."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, OrderedDict[int, Refusal]] = OrderedDict()
        self._count = 0

    def find(self, producer: str, sequence: int) -> Refusal | None:
        """Why a request was refused; None where it was not, or that was long ago."""
        own = self._of.get(producer)
        return None if own is None else own.get(sequence)

    def add(self, producer: str, sequence: int, refusal: Refusal) -> None:
        """Remember a refusal; the producer's oldest gives way, or all of the one that was refused longest ago."""
        own = self._of.setdefault(producer, OrderedDict())
        own[sequence] = refusal
        self._count += 1
        self._of.move_to_end(producer)
        if len(own) > REMEMBERED:
            own.popitem(last=False)
            self._count -= 1
        while self._count > _OF_ALL:
            _, gone = self._of.popitem(last=False)
            self._count -= len(gone)


class Ingest:
    """Settles requests of streams on exact positions. Belongs to their thread; all it does follows from its calls."""

    def __init__(self, exact: ExactPositions) -> None:
        self._exact, self._refusals = exact, Refusals()

    def take(self, request: IngestRequest) -> IngestAck:
        """Apply a request, all of it or nothing, unless its sequence was settled before; to be called after a sweep.

        What can never be applied is refused, and settled by that.
        """
        producer, sequence = request.producer, request.sequence
        last = self._exact.last_sequence(producer)
        if not sequence:
            self._exact.hear(producer)
        if sequence <= last:
            refusal = self._refusals.find(producer, sequence)
            return IngestAck(sequence, Outcome.REFUSED if refusal else Outcome.REPEATED, last, refusal)
        if request.after > last:
            return IngestAck(sequence, Outcome.POSTPONED, last)
        refusal = request.body if isinstance(request.body, Refusal) else self._refused(request, request.body)
        if refusal is None:
            return IngestAck(sequence, Outcome.APPLIED, sequence)
        self._exact.note(producer, sequence)
        self._refusals.add(producer, sequence, refusal)
        return IngestAck(sequence, Outcome.REFUSED, sequence, refusal)

    def _refused(self, request: IngestRequest, body: PositionChange | DeltaChange) -> Refusal | None:
        try:
            if isinstance(body, DeltaChange):
                self._add_up(request, body)
            else:
                self._exact.apply(body)
        except ForcedMoveError as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            return refusal
        return None

    def _add_up(self, request: IngestRequest, body: DeltaChange) -> None:
        changes = cohort_changes(self._exact.holdings(request.producer), body.deltas)
        change = PositionChange(
            producer=request.producer,
            sequence=request.sequence,
            positions=changes.positions,
            removed=changes.removed,
            representative=body.representative,
        )
        self._exact.apply(change, tuple(f"deltas[{place}]" for place in changes.places))
        for held, position in changes.closed:
            held.position = position
