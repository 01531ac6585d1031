"""Streamed ingest: what a change tells and what became of it, and the messages of both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forcedmove.v1 import ingest_pb2
from forcedmove_client.decoding import SIDE_NAMES
from forcedmove_client.errors import InvalidArgumentError
from forcedmove_client.frames import SideName
from forcedmove_client.positions import Position, PositionKey, key_message, position_message
from forcedmove_client.requests import number_of

OutcomeName = Literal["applied", "repeated"]

OUTCOMES: dict[ingest_pb2.IngestOutcome.ValueType, OutcomeName] = {
    ingest_pb2.INGEST_OUTCOME_APPLIED: "applied",
    ingest_pb2.INGEST_OUTCOME_REPEATED: "repeated",
}
#: bytes of one request at most: servers read no larger ones, and end the stream
_MOST_BYTES = 256 << 10
_MOST_SEQUENCE = 2**64 - 1


@dataclass(frozen=True, slots=True)
class PositionDelta:
    """So much more, or less, of one cohort: positions of a market and side with one entry price and leverage.

    ``quantity`` is signed, in base units, on inverse contracts USD; prices are USD; both are of one coin. ``symbol`` is
    the market as its venue writes it. ``time`` None: now.
    """

    venue: str
    symbol: str
    side: SideName
    quantity: float
    entry_price: float
    leverage: float
    time: np.datetime64 | None = None


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a request: applied now, or ``repeated``, where it had been applied before."""

    sequence: int
    outcome: OutcomeName


@dataclass(slots=True)
class IngestStats:
    """What happened on a stream so far. ``postponed`` counts answers that asked for the same request again."""

    sent: int = 0
    applied: int = 0
    repeated: int = 0
    refused: int = 0
    postponed: int = 0
    reconnects: int = 0


def change_request(
    sequence: int,
    deltas: Iterable[PositionDelta],
    positions: Iterable[Position],
    removed: Iterable[PositionKey],
    replace: bool,
    representative: bool,
) -> ingest_pb2.IngestRequest:
    """The request of one change. Raises InvalidArgumentError for one that no server takes."""
    if not 0 < sequence <= _MOST_SEQUENCE:
        raise InvalidArgumentError(f"sequence = {sequence}: must be from 1 to {_MOST_SEQUENCE}")
    request = ingest_pb2.IngestRequest(sequence=sequence)
    added = list(map(_delta_message, deltas))
    told, gone = list(map(position_message, positions)), list(map(key_message, removed))
    if added and (told or gone or replace):
        raise InvalidArgumentError("deltas: a request has deltas or positions, not both")
    if added:
        request.deltas.MergeFrom(ingest_pb2.PositionDeltas(deltas=added, representative=representative))
    elif told or gone or replace:
        request.positions.MergeFrom(
            ingest_pb2.PositionSet(positions=told, removed=gone, replace=replace, representative=representative)
        )
    if (size := request.ByteSize()) > _MOST_BYTES:
        raise InvalidArgumentError(f"request of {size} bytes: at most {_MOST_BYTES}; send several")
    return request


def _delta_message(delta: PositionDelta) -> ingest_pb2.PositionDelta:
    message = ingest_pb2.PositionDelta(
        venue=delta.venue,
        symbol=delta.symbol,
        side=number_of("side", delta.side, SIDE_NAMES),
        quantity=delta.quantity,
        entry_price_usd=delta.entry_price,
        leverage=delta.leverage,
    )
    if delta.time is not None:
        message.time_ns = int(delta.time.astype("datetime64[ns]").astype(np.int64))
    return message
