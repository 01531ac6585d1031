"""Tardis normalised CSV, plain or gzip: trades, derivative_ticker, liquidations, book_snapshot_*.

https://docs.tardis.dev/downloadable-csv-files/data-types: every file begins with ``exchange,symbol,timestamp,
local_timestamp`` (microseconds); then

* trades and liquidations: ``id,side,price,amount``. A trade's side is the taker's, possibly ``unknown``; a
  liquidation's ``buy`` means that a short position was liquidated, ``sell`` a long one (tardis-node: "normalized side
  is the liquidated aggressor side");
* derivative_ticker: ``funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,
  mark_price``, empty where the venue does not say;
* book_snapshot_5, _25: ``asks[0].price,asks[0].amount,bids[0].price,bids[0].amount,asks[1].price,...``.

Files are named ``<exchange>_<data type>_<YYYY-MM-DD>_<SYMBOL>.csv.gz`` or laid out as
``<exchange>/<data type>/<YYYY>/<MM>/<DD>/<SYMBOL>.csv.gz``; ``SYMBOL`` may be a group (PERPETUALS) of many symbols.
Units per exchange: :mod:`forcedmove_server.sources.replay.tardis_symbols`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.sources.replay.blocks import SECOND_NS, Block, Feed, Options, RecordedFile, TimeOrder, note_rows
from forcedmove_server.sources.replay.columns import Columns, decode_csv
from forcedmove_server.sources.replay.compressed import LineBlock, head
from forcedmove_server.sources.replay.tardis_rows import FILL, YIELDS, Markets
from forcedmove_server.sources.replay.tardis_symbols import EXCHANGES
from forcedmove_server.sources.replay.text import in_order, read_text, span_of_name, without_header

MICROSECOND_NS = 1000
#: files are in order of local_timestamp; exchange stamps lag it by the network's delay
REORDER_SPAN_NS = 60 * SECOND_NS

_COMMON = ["exchange", "symbol", "timestamp", "local_timestamp"]
_TYPES = "trades|derivative_ticker|liquidations|book_snapshot_\\d+"
_NAME = re.compile(rf"^([a-z0-9-]+)_({_TYPES})_(\d{{4}}-\d\d-\d\d)_([A-Z0-9:._-]+)\.csv(\.gz)?$", re.IGNORECASE)
_GROUPS = {"PERPETUALS", "FUTURES", "OPTIONS", "SPOT"}
_FOLDER = re.compile(rf"^({_TYPES})$")
_NEEDED = {
    "trades": ["id", "side", "price", "amount"],
    "liquidations": ["id", "side", "price", "amount"],
    "derivative_ticker": ["open_interest", "mark_price"],
    "book_snapshot": ["asks[0].price", "asks[0].amount", "bids[0].price", "bids[0].amount"],
}


def recognise(path: Path) -> RecordedFile | None:
    """Return what the file holds if its name or its folder is one of this format."""
    match = _NAME.match(path.name)
    if match:
        return RecordedFile(path, match[2].lower(), match[4], *span_of_name(path))
    if path.name.endswith((".csv", ".csv.gz")):
        for folder in path.parts[-6:-1]:
            if _FOLDER.match(folder) and _begins_as_tardis(path):
                dated = path.parts[-4:-1]
                named = Path("-".join(dated)) if all(part.isdigit() for part in dated) else path
                return RecordedFile(path, folder, path.name.split(".")[0], *span_of_name(named))
        if _begins_as_tardis(path):
            kind = _kind_of_columns(path)
            return RecordedFile(path, kind, path.name.split(".")[0], *span_of_name(path))
    return None


def feeds(files: list[RecordedFile], options: Options) -> list[Feed]:
    """Return one feed per exchange, kind and file symbol.

    Raises FileFormatError for another header or an exchange that is not mapped.
    """
    groups: dict[tuple[str, str, str], list[RecordedFile]] = {}
    columns: dict[Path, list[str]] = {}
    for file in in_order(files):
        if options.kinds.isdisjoint(YIELDS[_family(file.kind)]):
            continue
        first = head(file.path)
        columns[file.path] = _columns(first, file)
        groups.setdefault((_exchange(first, file), file.kind, file.name), []).append(file)
    made = []
    for (exchange, kind, name), group in sorted(groups.items()):
        markets = Markets(exchange, _family(kind), options)
        for file in group:
            rows = _decode(LineBlock(head(file.path), 1, 0), file, columns[file.path], Block())
            markets.of_rows(rows, Block())
        keys = markets.keys()
        for key in keys:
            options.book.describe(markets.instrument(key))
        opener = _opener(group, columns, markets, options)
        further = partial(_further, group, markets) if name.upper() in _GROUPS or not keys else None
        made.append(Feed(f"{exchange} {kind} {name}", group, keys, opener, further))
    return made


def _further(files: list[RecordedFile], markets: Markets) -> list[Instrument]:
    """Read the symbol column of grouped files to the end, for a name that their first lines do not show."""
    found: set[str] = set()

    def decode(file: RecordedFile, lines: LineBlock, block: Block) -> int:
        names = _columns(head(file.path), file)
        rows = decode_csv(without_header(lines), file.path, "symbol", names, {"symbol": pa.string()}, block.notes)
        found.update(symbol for symbol in pc.unique(rows.table["symbol"]).to_pylist() if symbol)
        return len(rows)

    for _ in read_text(files, "symbol", TimeOrder(0), decode, 1 << 22, self_delimiting=False):
        pass
    return [instrument for symbol in sorted(found) if (instrument := markets.describe(symbol))]


def _opener(
    files: list[RecordedFile], columns: dict[Path, list[str]], markets: Markets, options: Options
) -> Callable[[Callable[[str], bool]], Iterator[Block]]:
    def open_feed(wanted: Callable[[str], bool]) -> Iterator[Block]:
        order = TimeOrder(REORDER_SPAN_NS)
        markets.start(wanted)
        fill, what = FILL[markets.family], YIELDS[markets.family][0]

        def decode(file: RecordedFile, lines: LineBlock, block: Block) -> int:
            rows = _decode(lines, file, columns[file.path], block)
            market = markets.of_rows(rows, block)
            time_ns = rows.times("timestamp", MICROSECOND_NS)
            keep = order.narrow(markets.once(rows, market >= 0, block), time_ns, what, rows.place, block.notes)
            fill(rows, time_ns, rows.times("local_timestamp", MICROSECOND_NS), market, keep, markets, block)
            return len(rows)

        yield from read_text(files, what, order, decode, options.block_bytes, self_delimiting=False)

    return open_feed


def _decode(lines: LineBlock, file: RecordedFile, names: list[str], block: Block) -> Columns:
    schema: dict[str, pa.DataType] = {
        "symbol": pa.string(),
        "timestamp": pa.int64(),
        "local_timestamp": pa.int64(),
    }
    family = _family(file.kind)
    if family == "book_snapshot":
        schema |= {name: pa.float64() for name in names[len(_COMMON) :]}
    else:
        texts = {"id", "side"}
        schema |= {name: pa.string() if name in texts else pa.float64() for name in _NEEDED[family]}
    rows = decode_csv(without_header(lines), file.path, YIELDS[family][0], names, schema, block.notes)
    unstamped = rows.table["symbol"].is_null().to_numpy() if len(rows) else np.zeros(0, np.bool_)
    note_rows(block.notes, f"{YIELDS[family][0]}.no_symbol", unstamped, rows.place)
    return rows


def _family(kind: str) -> str:
    return "book_snapshot" if kind.startswith("book_snapshot") else kind


def _begins_as_tardis(path: Path) -> bool:
    return head(path)[:64].lstrip(b"\xef\xbb\xbf").startswith(",".join(_COMMON).encode())


def _kind_of_columns(path: Path) -> str:
    header = head(path).split(b"\n", 1)[0].decode().strip().split(",")
    if "mark_price" in header:
        return "derivative_ticker"
    if "asks[0].price" in header:
        return "book_snapshot_5"
    reason = "trades and liquidations have the same columns: name the file <exchange>_<data type>_<date>_<symbol>.csv"
    raise FileFormatError("data type", path.name, reason, str(path.parent))


def _columns(first: bytes, file: RecordedFile) -> list[str]:
    header = first.split(b"\n", 1)[0].decode(errors="replace").strip()
    names = header.split(",")
    missing = [name for name in _COMMON + _NEEDED[_family(file.kind)] if name not in names]
    if missing or names[:4] != _COMMON:
        reason = f"not a Tardis {file.kind} header; missing {', '.join(missing) or 'the common columns'}"
        raise FileFormatError("header", header[:120], reason, str(file.path))
    return names


def _exchange(first: bytes, file: RecordedFile) -> str:
    lines = [line for line in first.split(b"\n")[1:] if b"," in line]
    if lines:
        exchange = lines[0].split(b",", 1)[0].decode(errors="replace")
    else:  # a day without rows: the path says it
        named = [file.path.name.split("_", 1)[0], *reversed(file.path.parts)]
        exchange = next((part for part in named if part in EXCHANGES), named[0])
    if exchange not in EXCHANGES:
        raise FileFormatError("exchange", exchange, f"not mapped; known: {', '.join(EXCHANGES)}", str(file.path))
    return exchange
