"""Our own recordings: a folder of Parquet files, one sub-folder per event kind. Layout: docs/FORMATS.md.

Written by :class:`forcedmove_server.sources.record.Recorder`; this module owns the schemas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forcedmove_server.errors import FileFormatError, InstrumentError
from forcedmove_server.market.events import EVENT_DTYPES, Channel
from forcedmove_server.market.instruments import ContractType, Instrument
from forcedmove_server.sources.replay.blocks import (
    SECOND_NS,
    Block,
    Feed,
    Note,
    Options,
    Place,
    RecordedFile,
    TimeOrder,
    note_rows,
    positive,
)

FORMAT_VERSION = 1
VERSION_KEY = b"forcedmove.format_version"
INSTRUMENTS_FILE = "instruments.parquet"
PART_NAME = "part-{:06d}.parquet"
REORDER_SPAN_NS = 60 * SECOND_NS

_PART = re.compile(r"^part-\d{6,}\.parquet$")
_ARROW = {"i8": pa.int64(), "f8": pa.float64(), "i4": pa.int32()}
_METADATA = {VERSION_KEY: str(FORMAT_VERSION).encode()}

#: the columns of each kind: those of its event dtype, with ``market`` as the market's key
SCHEMAS = {
    kind: pa.schema(
        [
            (name, pa.dictionary(pa.int32(), pa.string()) if name == "market" else _ARROW[dtype[name].str[1:]])
            for name in dtype.names or ()
            if name != "_pad"
        ],
        metadata=_METADATA,
    )
    for kind, dtype in EVENT_DTYPES.items()
}
INSTRUMENT_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("venue", "native_id", "base", "quote", "contract_type")]
    + [(name, pa.float64()) for name in ("contract_size", "quantity_step", "price_step", "max_leverage")]
    + [("listed_base", pa.string())],
    metadata=_METADATA,
)
#: columns that recordings of earlier versions lack
_LATER = ("listed_base",)


def recognise(path: Path) -> RecordedFile | None:
    """Return what the file holds if it is a part of a recording."""
    if _PART.match(path.name) and path.parent.name in SCHEMAS:
        return RecordedFile(path, path.parent.name, str(path.parent.parent))
    return None


def feeds(files: list[RecordedFile], options: Options) -> list[Feed]:
    """Return one feed per recording and kind. Raises FileFormatError for missing instruments or another version."""
    groups: dict[tuple[str, str], list[RecordedFile]] = {}
    for file in sorted(files, key=lambda f: str(f.path)):
        groups.setdefault((file.name, file.kind), []).append(file)
    keys: dict[str, list[str]] = {}
    made = []
    for (root, kind), group in sorted(groups.items()):
        if root not in keys:
            keys[root] = [options.book.describe(instrument) for instrument in read_instruments(Path(root))]
        if kind in options.kinds:
            opener = _opener(group, kind, keys[root], options)
            made.append(Feed(f"{root} {kind}", group, keys[root], opener, own_gaps=frozenset(Channel)))
    return made


def read_instruments(root: Path) -> list[Instrument]:
    """Read a recording's instruments. Raises FileFormatError, or InstrumentError for a description that cannot be."""
    path = root / INSTRUMENTS_FILE
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise FileFormatError("file", INSTRUMENTS_FILE, "is missing beside the recorded parts", str(root)) from None
    except (OSError, pa.ArrowInvalid) as error:
        raise FileFormatError("file", INSTRUMENTS_FILE, str(error).splitlines()[0], str(root)) from error
    _check_version(table.schema, path)
    known = [name for name in INSTRUMENT_SCHEMA.names if name in table.column_names]
    missing = [name for name in INSTRUMENT_SCHEMA.names if name not in (*known, *_LATER)]
    if missing:
        raise FileFormatError("columns", table.column_names, f"missing {', '.join(missing)}", str(path))
    found = []
    for row in table.select(known).to_pylist():
        if row["contract_type"] not in set(ContractType):
            kinds = ", ".join(ContractType)
            raise InstrumentError("contract_type", row["contract_type"], f"known: {kinds}", str(path))
        found.append(Instrument(**{**row, "contract_type": ContractType(row["contract_type"])}))
    return found


def _check_version(schema: pa.Schema, path: Path) -> None:
    version = (schema.metadata or {}).get(VERSION_KEY)
    if version != _METADATA[VERSION_KEY]:
        shown = version.decode(errors="replace") if version else None
        raise FileFormatError("format_version", shown, f"this reader knows {FORMAT_VERSION}", str(path))


def _opener(
    files: list[RecordedFile], kind: str, keys: list[str], options: Options
) -> Callable[[Callable[[str], bool]], Iterator[Block]]:
    def open_feed(wanted: Callable[[str], bool]) -> Iterator[Block]:
        order = TimeOrder(REORDER_SPAN_NS)
        index = {key: k for k, key in enumerate(key for key in keys if wanted(key))}
        yield Block(instruments=[options.book[key] for key in index])
        for file in files:
            yield from _read_part(file, kind, index, set(keys), order)

    return open_feed


def _read_part(
    file: RecordedFile, kind: str, index: dict[str, int], known: set[str], order: TimeOrder
) -> Iterator[Block]:
    try:
        part = pq.ParquetFile(file.path, read_dictionary=["market"])
        _check_version(part.schema_arrow, file.path)
        missing = [name for name in SCHEMAS[kind].names if name not in part.schema_arrow.names]
        if missing:
            raise FileFormatError("columns", part.schema_arrow.names, f"missing {', '.join(missing)}", str(file.path))
        size, groups = file.path.stat().st_size, part.metadata.num_row_groups
        for group in range(groups):
            table = part.read_row_group(group, columns=SCHEMAS[kind].names)
            block = Block(bytes_read=size // groups)
            _fill(table, kind, index, known, order, Place(file.path, 0), block)
            block.watermark_ns = order.watermark_ns
            yield block
    except PermissionError as error:
        raise FileFormatError("file", file.path.name, "permission denied", str(file.path.parent)) from error
    except (pa.ArrowInvalid, OSError) as error:  # a part cut off or damaged: the others are still good
        place = f"{file.path}: {str(error).splitlines()[0]}"
        yield Block(notes=[Note("file.corrupt", 1, place)], watermark_ns=order.watermark_ns)


def _fill(
    table: pa.Table, kind: str, index: dict[str, int], known: set[str], order: TimeOrder, place: Place, block: Block
) -> None:
    encoded = table["market"].combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], SCHEMAS[kind].field("market").type)
    names = encoded.dictionary.to_pylist()
    lut = np.array([index.get(name, -1 if name in known else -2) for name in names] + [-2], np.int32)
    market = lut[encoded.indices.fill_null(len(names)).to_numpy(zero_copy_only=False)]
    note_rows(block.notes, f"{kind}.unknown_market", market == -2, place)
    rows = np.zeros(table.num_rows, EVENT_DTYPES[kind])
    for name in SCHEMAS[kind].names:
        rows[name] = market if name == "market" else table[name].to_numpy()
    keep = market >= 0
    for name in ("price", "quantity"):
        if name in SCHEMAS[kind].names:
            good = positive(rows[name]) | ((kind == "open_interest") & (rows[name] == 0))
            note_rows(block.notes, f"{kind}.bad_{name}", keep & ~good, place)
            keep &= good
    keep = order.narrow(keep, np.ascontiguousarray(rows["time_ns"]), kind, place, block.notes)
    block.kinds[kind] = rows[keep] if not keep.all() else rows
