"""What a tick was made from, as one record: batches and how far each was taken in, changes, and what the clock said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np

from forcedmove_server.engine.core import INGEST, SET_POSITIONS, EngineCore
from forcedmove_server.errors import FileFormatError, ForcedMoveError
from forcedmove_server.market.events import EVENT_DTYPES, EventBatch
from forcedmove_server.market.ingest import DeltaChange, IngestRequest, Refusal
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from forcedmove_server.market.positions import PositionChange

#: how a change is read, by its name: what EngineCore.changes has, a journal can hold
CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    SET_POSITIONS: lambda raw: msgspec.convert(raw, PositionChange),
    INGEST: lambda raw: IngestRequest(**{**raw, "body": _body(raw["body"])}),
}

_BATCH, _STEPS, _CHANGE = range(3)


class SealedRecord(NamedTuple):
    """A record that is complete: its inputs in order, as (kind, ...), and what the clock said at its tick."""

    inputs: list[tuple[Any, ...]]
    clock_s: float

    @property
    def size(self) -> int:
        """Bytes that it takes at least until it is written."""
        batches: list[EventBatch] = [one[2] for one in self.inputs if one[0] == _BATCH]
        rows = sum(rows.nbytes for batch in batches for rows in batch.by_kind().values())
        return rows + 256 * (1 + len(self.inputs))


class TickRecord:
    """Inputs since the last tick, in the order they were taken in. Belongs to the engine's thread."""

    def __init__(self) -> None:
        self._inputs: list[tuple[Any, ...]] = []

    def batch(self, source: str, batch: EventBatch) -> None:
        """A source's next batch was begun."""
        self._inputs.append((_BATCH, source, batch))

    def step(self) -> None:
        """A bit more of the batch was taken in."""
        if self._inputs and self._inputs[-1][0] == _STEPS:
            self._inputs[-1] = (_STEPS, self._inputs[-1][1] + 1)
        else:
            self._inputs.append((_STEPS, 1))

    def change(self, name: str, change: object) -> None:
        """A change was made; one that was refused leaves no trace."""
        self._inputs.append((_CHANGE, name, change))

    def sealed(self, clock_s: float) -> SealedRecord:
        """Return what there is: the tick that begins now was made from it."""
        return SealedRecord(self._inputs, clock_s)


@dataclass(frozen=True, slots=True)
class Record:
    """A record as the log holds it. ``instruments`` are those that were registered since the last one."""

    clock_s: float
    instruments: tuple[Instrument, ...]
    inputs: tuple[tuple[Any, ...], ...]

    @classmethod
    def decoded(cls, payload: bytes | memoryview) -> Record:
        """Read what :func:`encoded` wrote. Raises FileFormatError, also for changes that this version does not know."""
        try:
            clock_s, instruments, raw = msgspec.msgpack.decode(payload)
            inputs = tuple(_decoded(one) for one in raw)
            return cls(clock_s, tuple(msgspec.convert(one, Instrument) for one in instruments), inputs)
        except (msgspec.MsgspecError, ValueError, TypeError, KeyError, IndexError) as error:
            raise FileFormatError("record", len(payload), f"holds no inputs of this version: {error}") from error

    def batches(self) -> Iterator[tuple[str, EventBatch]]:
        """Yield its batches, with their sources."""
        return ((one[1], one[2]) for one in self.inputs if one[0] == _BATCH)

    def changes(self) -> Iterator[tuple[str, Any]]:
        """Yield its changes, with their names."""
        return ((one[1], one[2]) for one in self.inputs if one[0] == _CHANGE)

    def repeat(self, core: EngineCore) -> list[ForcedMoveError]:
        """Give a core these inputs, tick and all, as it was given them when they were written down.

        Returns why changes could not be made again: only where limits are configured otherwise now.
        """
        refused: list[ForcedMoveError] = []
        for instrument in self.instruments:
            core.registry.add(instrument)
        made = False
        for kind, *rest in self.inputs:
            if kind == _CHANGE and not made:
                core.begin_tick(self.clock_s)
                made = True
            if kind == _BATCH:
                core.begin(*rest)
            elif kind == _STEPS:
                for _ in range(rest[0]):
                    core.step()
            else:
                try:
                    core.change(*rest)
                except ForcedMoveError as error:
                    refused.append(error)
        if not made:
            core.begin_tick(self.clock_s)
        core.publish()
        core.stages.end_tick()
        return refused


def encoded(record: SealedRecord, instruments: tuple[Instrument, ...]) -> bytes:
    """Return a record as MessagePack: [clock, instruments, inputs]; rows of events are their bytes."""
    inputs = [_encoded(*one) for one in record.inputs]
    return msgspec.msgpack.encode([record.clock_s, instruments, inputs])


def added(registry: InstrumentRegistry, known: int) -> tuple[Instrument, ...]:
    """Return the instruments that were registered after the first ``known``."""
    return tuple(registry[market] for market in range(known, len(registry)))


def _encoded(kind: int, *rest: Any) -> list[Any]:
    if kind != _BATCH:
        return [kind, *rest]
    source, batch = rest
    rows = {name: rows.tobytes() for name, rows in batch.by_kind().items() if len(rows)}
    return [_BATCH, source, batch.until_ns, rows]


def _body(raw: dict[str, Any]) -> PositionChange | DeltaChange | Refusal:
    """Return the body of a request, whose kinds have no field in common."""
    if "deltas" in raw:
        return msgspec.convert(raw, DeltaChange)
    return msgspec.convert(raw, Refusal) if "kind" in raw else msgspec.convert(raw, PositionChange)


def _decoded(one: list[Any]) -> tuple[Any, ...]:
    kind, *rest = one
    if kind == _BATCH:
        source, until_ns, rows = rest
        kinds = {name: np.frombuffer(bytearray(raw), EVENT_DTYPES[name]) for name, raw in rows.items()}
        return _BATCH, source, EventBatch(until_ns, **kinds)
    if kind == _CHANGE:
        name, change = rest
        return _CHANGE, name, CHANGES[name](change)
    if kind != _STEPS:
        raise ValueError(f"input of kind {kind}")
    return _STEPS, int(rest[0])
