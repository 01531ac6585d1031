"""From requests of a stream to what the engine is told, and from its answers to results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import grpc

from forcedmove.v1 import ingest_pb2
from forcedmove_server.errors import ForcedMoveError, InputError, NotReadyError, QuotaError
from forcedmove_server.margin.cohort_levels import cohort_levels
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.rules import rule_for
from forcedmove_server.market.ingest import (
    DeltaChange,
    IngestAck,
    Outcome,
    PositionDelta,
    Refusal,
    RefusalKind,
    refusal_of,
)
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import PositionChange
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.positions import change_of, market_of, side_of
from forcedmove_server.rpc.status import status_of

_OUTCOMES = {
    Outcome.APPLIED: ingest_pb2.INGEST_OUTCOME_APPLIED,
    Outcome.REPEATED: ingest_pb2.INGEST_OUTCOME_REPEATED,
    Outcome.REFUSED: ingest_pb2.INGEST_OUTCOME_REFUSED,
    Outcome.POSTPONED: ingest_pb2.INGEST_OUTCOME_POSTPONED,
}
OUTCOME_NAMES = {number: outcome.value for outcome, number in _OUTCOMES.items()}
_CODES = {
    RefusalKind.VALUE: grpc.StatusCode.INVALID_ARGUMENT,
    RefusalKind.NAME: grpc.StatusCode.NOT_FOUND,
    RefusalKind.LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
}
#: when it is worth while to send again what came too early, or what the engine could not take in
_RETRY_S = 0.5


class _Cohort(NamedTuple):
    """What one delta is about: the rest of it is a quantity and a time."""

    market: int
    side: int
    entry: float
    leverage: float


class IngestReader:
    """Reads the changes of requests, with the liquidation prices that follow from them. Of one server."""

    def __init__(self, registry: InstrumentRegistry, book: LadderBook, limits: Limits) -> None:
        self._registry, self._book, self._limits = registry, book, limits
        self._rules: dict[int, MarginRule] = {}

    def body_of(self, producer: str, request: ingest_pb2.IngestRequest) -> PositionChange | DeltaChange | Refusal:
        """Return what a request asks for, or why it cannot be, as far as that needs no market's state."""
        try:
            if request.HasField("deltas"):
                return DeltaChange(self._deltas(request.deltas.deltas), request.deltas.representative)
            told = request.positions if request.HasField("positions") else ingest_pb2.PositionSet()
            return change_of(producer, request.sequence, told, self._registry, self._limits)
        except ForcedMoveError as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            return refusal

    def _deltas(self, messages: Sequence[ingest_pb2.PositionDelta]) -> tuple[PositionDelta, ...]:
        if len(messages) > self._limits.ingest.max_deltas:
            raise InputError("deltas", len(messages), f"at most {self._limits.ingest.max_deltas} in one request")
        cohorts, deltas = [], []
        for place, message in enumerate(messages):
            field = f"deltas[{place}]"
            market = market_of(field, message.venue, message.symbol, self._registry)
            delta = PositionDelta(
                market=self._registry[market].key,
                side=side_of(field, message.side),
                quantity=message.quantity,
                entry_price_usd=message.entry_price_usd,
                leverage=message.leverage,
                liquidation_price_usd=None,
                time_ns=message.time_ns if message.HasField("time_ns") else None,
            )
            delta.check(field)
            cohorts.append(_Cohort(market, delta.side, delta.entry_price_usd, delta.leverage))
            deltas.append(delta)
        levels = self._levels(cohorts)
        return tuple(
            PositionDelta(one.market, one.side, one.quantity, *cohort[2:], levels[cohort], one.time_ns)
            for one, cohort in zip(deltas, cohorts, strict=True)
        )

    def _levels(self, cohorts: Iterable[_Cohort]) -> dict[_Cohort, float | None]:
        """Liquidation prices, one market at a time. Raises InputError naming the first delta of a cohort."""
        by_market: dict[int, dict[_Cohort, str]] = {}
        for place, cohort in enumerate(cohorts):
            by_market.setdefault(cohort.market, {}).setdefault(cohort, f"deltas[{place}]")
        found: dict[_Cohort, float | None] = {}
        for market, named in by_market.items():
            _, sides, entries, leverages = zip(*named, strict=True)
            fields = tuple(named.values())
            typical_usd = self._limits.typical_position_usd
            levels = cohort_levels(self._rule(market), sides, entries, leverages, typical_usd, fields)
            found.update(zip(named, levels, strict=True))
        return found

    def _rule(self, market: int) -> MarginRule:
        if market not in self._rules:
            self._rules[market] = rule_for(self._registry[market], self._book)
        return self._rules[market]


def result_of(sequence: int, answer: Future[IngestAck]) -> ingest_pb2.IngestResult:
    """Return what became of a request that is answered. Raises what is a bug."""
    error = answer.exception()
    if error is None:
        return _result(answer.result())
    if not isinstance(error, ForcedMoveError):
        raise error
    code, message, _ = status_of(error)
    refused = ingest_pb2.IngestError(code=code.value[0], message=message)
    outcome = ingest_pb2.INGEST_OUTCOME_REFUSED
    if isinstance(error, QuotaError | NotReadyError):
        outcome = ingest_pb2.INGEST_OUTCOME_POSTPONED
        refused.retry_delay_s = error.retry_s if isinstance(error, QuotaError) else _RETRY_S
    elif isinstance(error, InputError):
        refused.field = error.field
    return ingest_pb2.IngestResult(sequence=sequence, outcome=outcome, error=refused)


def _result(ack: IngestAck) -> ingest_pb2.IngestResult:
    result = ingest_pb2.IngestResult(sequence=ack.sequence, outcome=_OUTCOMES[ack.outcome])
    if ack.refusal is not None:
        code: int = _CODES[ack.refusal.kind].value[0]
        result.error.MergeFrom(ingest_pb2.IngestError(code=code, field=ack.refusal.field, message=ack.refusal.message))
    elif ack.outcome is Outcome.POSTPONED:
        result.error.MergeFrom(
            ingest_pb2.IngestError(
                code=grpc.StatusCode.ABORTED.value[0],
                message=f"a request before {ack.sequence} is not settled; the last that is, is {ack.last}",
                retry_delay_s=_RETRY_S,
            )
        )
    return result
