"""Open-interest bars of Binance USD-M perpetuals, one file per coin: ``<COIN>_oi_5m.csv`` or ``.csv.gz``.

Columns ``t`` epoch milliseconds, ``oi`` coins counted on one side, ``oi_usd`` its value. The price of a row is
``oi_usd / oi``: a point at the row's stamp, delivered as a mark price. ``<COIN>_funding.csv.gz`` files beside them hold
nothing that a liquidation map needs; they are left out and counted as ``file.ignored``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.contract_sizes import binance_max_leverage
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.sources.replay.blocks import (
    SECOND_NS,
    Block,
    Feed,
    Floats,
    ImpliedPrice,
    Options,
    RecordedFile,
    TimeOrder,
    Times,
    build,
    decimal_step,
    note_rows,
    positive,
)
from forcedmove_server.sources.replay.columns import Columns, decode_csv
from forcedmove_server.sources.replay.compressed import LineBlock, head
from forcedmove_server.sources.replay.text import in_order, read_text, without_header

REORDER_SPAN_NS = 900 * SECOND_NS
_NAME = re.compile(r"^([A-Z0-9]+)_oi_\d+m\.csv(\.gz)?$")
_HEADER = ["t", "oi", "oi_usd"]
_SCHEMA = {"t": pa.int64(), "oi": pa.float64(), "oi_usd": pa.float64()}


def recognise(path: Path) -> RecordedFile | None:
    """Return what the file holds if its name is one of this format."""
    match = _NAME.match(path.name)
    return RecordedFile(path, "oi_bars", match[1]) if match else None


def feeds(files: list[RecordedFile], options: Options) -> list[Feed]:
    """Return one feed per file. Raises FileFormatError for a file with another header."""
    made = []
    for file in in_order(files):
        first = head(file.path)
        header = first.split(b"\n", 1)[0].decode(errors="replace").strip()
        if header.split(",") != _HEADER:
            raise FileFormatError("header", header, f"expected {','.join(_HEADER)}", str(file.path))
        rows = decode_csv(without_header(LineBlock(first, 1, 0)), file.path, "oi", _HEADER, _SCHEMA, [])
        key = options.book.describe(_describe(file.name, rows))
        made.append(Feed(f"{key} oi", [file], [key], _opener(file, key, options)))
    return made


def _describe(coin: str, rows: Columns) -> Instrument:
    interest = rows.floats("oi")
    with np.errstate(divide="ignore", invalid="ignore"):
        price = rows.floats("oi_usd") / interest
    typical = float(np.median(price[np.isfinite(price)])) if np.isfinite(price).any() else 1.0
    price_step = 10.0 ** (np.floor(np.log10(typical)) - 4) if typical > 0 else 1e-2
    return Instrument(
        "binance",
        f"{coin}USDT",
        coin,
        "USDT",
        quantity_step=decimal_step(interest),
        price_step=float(price_step),
        max_leverage=binance_max_leverage(coin),
    )


def _opener(file: RecordedFile, key: str, options: Options) -> Callable[[Callable[[str], bool]], Iterator[Block]]:
    def open_feed(wanted: Callable[[str], bool]) -> Iterator[Block]:
        if not wanted(key):
            return
        order = TimeOrder(REORDER_SPAN_NS)
        yield Block(instruments=[options.book[key]])

        def decode(file: RecordedFile, lines: LineBlock, block: Block) -> int:
            rows = decode_csv(without_header(lines), file.path, "open_interest", _HEADER, _SCHEMA, block.notes)
            quantity = rows.floats("oi")
            with np.errstate(divide="ignore", invalid="ignore"):
                price = rows.floats("oi_usd") / quantity
            interest_rows(key, rows, rows.times("t", 1_000_000), quantity, price, order, block)
            return len(rows)

        yield from read_text([file], "open_interest", order, decode, options.block_bytes, self_delimiting=False)

    return open_feed


def interest_rows(
    key: str,
    rows: Columns,
    time_ns: Times,
    quantity: Floats,
    price: Floats,
    order: TimeOrder,
    block: Block,
    with_price: bool = True,
) -> None:
    """Fill a block from rows of open interest in model units and the price that its value implies."""
    admitted = order.narrow(np.ones(len(rows), np.bool_), time_ns, "open_interest", rows.place, block.notes)
    good = positive(quantity) | (quantity == 0)
    note_rows(block.notes, "open_interest.bad_quantity", ~good, rows.place)
    note_rows(block.notes, "open_interest.zero", quantity == 0, rows.place)
    priced = positive(price) & positive(quantity)
    note_rows(block.notes, "mark_prices.bad_price", positive(quantity) & ~priced, rows.place)
    keep = admitted & good
    block.kinds["open_interest"] = build("open_interest", time_ns[keep], quantity=quantity[keep])
    keep = admitted & priced
    if keep.any():
        first = int(np.argmax(keep))
        block.implied.append(ImpliedPrice(key, int(time_ns[first]), float(price[first]), rows.place(first)))
    if with_price:
        block.kinds["mark_prices"] = build("mark_prices", time_ns[keep], price=price[keep])
