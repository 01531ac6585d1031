"""Writes any stream of event batches as a recording that :class:`ReplaySource` reads. Layout: docs/FORMATS.md."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.events import EVENT_DTYPES, EventBatch, Records
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay.parquet import INSTRUMENT_SCHEMA, INSTRUMENTS_FILE, PART_NAME, SCHEMAS

_ROW_GROUP_ROWS = 1 << 16
_SECOND_NS = 1_000_000_000


class Recorder:
    """Appends batches to a new folder in parts; a part is there completely or not at all.

    A part ends after ``rows_per_part`` rows or ``part_span_ns`` of event time. A recording that is killed loses the
    part it was gathering and nothing before it. Use as a context manager, or call :meth:`finish`. Raises
    FileFormatError for a folder that already holds something or cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        registry: InstrumentRegistry,
        rows_per_part: int = 1 << 20,
        part_span_ns: int = 3600 * _SECOND_NS,
    ) -> None:
        self.path = Path(path)
        self._registry = registry
        self._rows_per_part, self._part_span_ns = rows_per_part, part_span_ns
        self._held: dict[str, list[Records]] = {kind: [] for kind in EVENT_DTYPES}
        self._rows, self._part, self._part_began_ns = 0, 0, 0
        self._instruments_written = -1
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise FileFormatError("path", str(path), "is not empty; a recording begins in a new folder")
        except OSError as error:
            raise FileFormatError("path", str(path), error.strerror or str(error)) from error

    def write(self, batch: EventBatch) -> None:
        """Add a batch; its arrays are copied at the end of the part, so the caller must not change them before."""
        for kind, rows in batch.by_kind().items():
            if len(rows):
                self._held[kind].append(rows)
                self._rows += len(rows)
        self._part_began_ns = self._part_began_ns or batch.until_ns
        if self._rows >= self._rows_per_part or batch.until_ns - self._part_began_ns >= self._part_span_ns:
            self.finish_part()
            self._part_began_ns = batch.until_ns

    def finish_part(self) -> None:
        """Write what was gathered as the next part of every kind that has rows."""
        self._write_instruments()  # first: a part must never name a market that is not described
        for kind, pieces in self._held.items():
            if pieces:
                name = PART_NAME.format(self._part)
                table = _table(kind, np.concatenate(pieces), self._registry)
                # parts that hold the same rows, of another kind or by chance, must not look like copies of a file
                told_apart = {**table.schema.metadata, b"forcedmove_part": f"{kind}/{name}".encode()}
                _write(table.replace_schema_metadata(told_apart), self.path / kind / name)
                pieces.clear()
        self._part += 1 if self._rows else 0
        self._rows = 0

    def finish(self) -> None:
        """Write the last part. A recorder may be finished more than once."""
        self.finish_part()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def _write_instruments(self) -> None:
        if self._instruments_written == len(self._registry):
            return
        rows = [{**dataclasses.asdict(i), "contract_type": str(i.contract_type)} for i in self._registry]
        _write(pa.Table.from_pylist(rows, schema=INSTRUMENT_SCHEMA), self.path / INSTRUMENTS_FILE)
        self._instruments_written = len(rows)


def _table(kind: str, rows: Records, registry: InstrumentRegistry) -> pa.Table:
    keys = pa.array([instrument.key for instrument in registry], pa.string())
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(rows["market"], pa.int32()), keys)
        if name == "market"
        else pa.array(np.ascontiguousarray(rows[name]))
        for name in SCHEMAS[kind].names
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMAS[kind])


def _write(table: pa.Table, path: Path) -> None:
    """Write under a temporary name, then rename: readers see whole files only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    pq.write_table(table, unfinished, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(path)
