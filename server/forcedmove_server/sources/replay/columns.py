"""Blocks of lines to columns: pyarrow's readers on whole blocks, a tolerant line-wise path for a block that fails.

A damaged line makes pyarrow refuse its block; that block alone is then read line by line, and the lines that cannot be
read are noted as ``<what>.unparsable``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
from numpy.typing import NDArray

from forcedmove_server.sources.replay.blocks import Floats, Note, Place, Times
from forcedmove_server.sources.replay.compressed import LineBlock

Schema = Mapping[str, pa.DataType]
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_NULLS = ("", '""', "null", "NaN", "nan")


@dataclass(slots=True)
class Columns:
    """Decoded columns of a block and where its rows came from."""

    table: pa.Table
    place: Place

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def floats(self, name: str) -> Floats:
        """Return a column as float64; absent values are NaN."""
        column = self.table[name]
        if pa.types.is_null(column.type):
            return np.full(len(column), np.nan)
        return np.asarray(column.to_numpy(), np.float64)

    def times(self, name: str, scale_ns: int) -> Times:
        """Return a column of integers times ``scale_ns``; absent values are zero, which is no time."""
        column = self.table[name]
        if column.null_count:
            column = column.fill_null(0)
        return np.asarray(column.to_numpy(), np.int64) * scale_ns

    def codes(self, name: str) -> tuple[NDArray[np.int32], list[str | None]]:
        """Return a text column as codes into its distinct values, in order of appearance."""
        encoded = self.table[name].combine_chunks().dictionary_encode(null_encoding="encode")
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int32), encoded.dictionary.to_pylist()


def decode_csv(
    block: LineBlock, path: Path, what: str, names: Sequence[str], schema: Schema, notes: list[Note]
) -> Columns:
    """Decode comma-separated lines without header; ``names`` are all columns of the file, ``schema`` those wanted."""
    if block.data.strip():
        try:
            table = pa.csv.read_csv(
                pa.BufferReader(block.data),
                pa.csv.ReadOptions(column_names=list(names), use_threads=False, block_size=len(block.data) + 1),
                convert_options=pa.csv.ConvertOptions(include_columns=list(schema), column_types=dict(schema)),
            )
        except pa.ArrowInvalid:
            return _line_wise(block, path, what, schema, lambda line: _csv_row(line, names, schema), notes)
        return Columns(table, Place(path, block.first_line))
    return _empty(schema, path, block)


def decode_json(block: LineBlock, path: Path, what: str, schema: Schema, notes: list[Note]) -> Columns:
    """Decode one JSON object per line; fields that ``schema`` does not name are ignored."""
    if block.data.strip():
        try:
            table = pa.json.read_json(
                pa.BufferReader(block.data),
                pa.json.ReadOptions(use_threads=False, block_size=len(block.data) + 1),
                pa.json.ParseOptions(
                    explicit_schema=pa.schema(list(schema.items())), unexpected_field_behavior="ignore"
                ),
            )
        except pa.ArrowInvalid:
            return _line_wise(block, path, what, schema, lambda line: _json_row(line, schema), notes)
        return Columns(table, Place(path, block.first_line))
    return _empty(schema, path, block)


def _empty(schema: Schema, path: Path, block: LineBlock) -> Columns:
    return Columns(pa.schema(list(schema.items())).empty_table(), Place(path, block.first_line))


def _line_wise(
    block: LineBlock,
    path: Path,
    what: str,
    schema: Schema,
    parse: Callable[[bytes], dict[str, Any]],
    notes: list[Note],
) -> Columns:
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for offset, line in enumerate(block.data.splitlines()):
        if not line.strip():
            continue
        try:
            rows.append(parse(line))
            lines.append(block.first_line + offset)
        except (ValueError, KeyError, TypeError, OverflowError, msgspec.DecodeError):
            notes.append(Note(f"{what}.unparsable", 1, f"{path}:{block.first_line + offset}"))
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(schema.items())))
    return Columns(table, Place(path, block.first_line, np.asarray(lines, np.int64)))


def _csv_row(line: bytes, names: Sequence[str], schema: Schema) -> dict[str, Any]:
    cells = line.decode().split(",")
    if len(cells) != len(names):
        raise ValueError(f"{len(cells)} columns, expected {len(names)}")
    found = dict(zip(names, cells, strict=True))
    return {name: _cell(found[name].strip(), kind) for name, kind in schema.items()}


def _json_row(line: bytes, schema: Schema) -> dict[str, Any]:
    found = msgspec.json.decode(line)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return {name: _cell(found.get(name), kind) for name, kind in schema.items()}


def _cell(value: Any, kind: pa.DataType) -> Any:
    """Convert one value; numbers may come as text. Raises ValueError or TypeError."""
    if value is None or (isinstance(value, str) and value in _NULLS):
        return None
    if pa.types.is_list(kind):
        return [_cell(item, kind.value_type) for item in value]
    if pa.types.is_integer(kind):
        number = int(value) if not isinstance(value, str) or value.lstrip("-").isdigit() else int(float(value))
        if abs(number) >= 1 << 63:
            raise ValueError(f"{number} does not fit 64 bits")
        return number
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_boolean(kind):
        return value if isinstance(value, bool) else _BOOLEANS[str(value).lower()]
    return str(value)
