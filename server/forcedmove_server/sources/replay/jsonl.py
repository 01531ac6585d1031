"""Hyperliquid recordings as JSON lines: trades, asset contexts and book snapshots, one file per coin and day.

``<kind>_<COIN>_<YYYYMMDD>.jsonl`` or ``.jsonl.gz``, ``ts`` in epoch milliseconds::

    trades  {"ts":1781654400643,"px":0.1702,"sz":109.0,"side":"B"}            side of the aggressor, B buy, A sell
    ctx     {"ts":1781654423451,"funding":1.25e-05,"oi":18847364.0,"mark":0.17032,"oracle":0.17045}
    l2      {"ts":1781308799954,"bids":[[0.15735,95.0],...],"asks":[[...],...]}   [price, size], best first

Sizes and open interest are coins. Trades carry no id: identical rows are separate trades.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.sources.replay.blocks import (
    SECOND_NS,
    Block,
    Feed,
    Options,
    RecordedFile,
    TimeOrder,
    build,
    decimal_step,
    note_rows,
    positive,
)
from forcedmove_server.sources.replay.columns import Columns, decode_json
from forcedmove_server.sources.replay.compressed import LineBlock, head
from forcedmove_server.sources.replay.text import in_order, read_text, span_of_name

MILLISECOND_NS = 1_000_000
#: a recorder that restarts writes again what the venue sends it as history, up to a quarter of an hour of it
REORDER_SPAN_NS = 900 * SECOND_NS

_NAME = re.compile(r"^(trades|ctx|l2)_([A-Za-z0-9:]+)_(\d{8})\.jsonl(\.gz)?$")
_LEVELS = pa.list_(pa.list_(pa.float64()))
_SCHEMAS = {
    "trades": {"ts": pa.int64(), "px": pa.float64(), "sz": pa.float64(), "side": pa.string()},
    "ctx": {"ts": pa.int64(), "oi": pa.float64(), "mark": pa.float64()},
    "l2": {"ts": pa.int64(), "bids": _LEVELS, "asks": _LEVELS},
}
_YIELDS = {"trades": ("trades",), "ctx": ("open_interest", "mark_prices"), "l2": ("depth",)}
#: size decimals and highest leverage: szDecimals and maxLeverage of the venue's info request ``{"type": "meta"}``,
#: https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/info-endpoint/perpetuals
_META = {
    "BTC": (5, 40.0),
    "ETH": (4, 25.0),
    "SOL": (2, 20.0),
    "AVAX": (2, 10.0),
    "ARB": (1, 10.0),
    "DOGE": (0, 10.0),
    "WIF": (0, 5.0),
}
_UNKNOWN_MAX_LEVERAGE = 5.0


def recognise(path: Path) -> RecordedFile | None:
    """Return what the file holds if its name is one of this format."""
    match = _NAME.match(path.name)
    return RecordedFile(path, match[1], match[2], *span_of_name(path)) if match else None


def feeds(files: list[RecordedFile], options: Options) -> list[Feed]:
    """Return one feed per kind and coin. Raises FileFormatError for a file whose first lines are something else."""
    groups: dict[tuple[str, str], list[RecordedFile]] = {}
    for file in in_order(files):
        groups.setdefault((file.name, file.kind), []).append(file)
    made = []
    for (coin, kind), group in sorted(groups.items()):
        if not options.kinds.isdisjoint(_YIELDS[kind]):
            key = ""
            for file in group:
                key = options.book.describe(_describe(coin, kind, _first_rows(file)))
            made.append(Feed(f"{key} {kind}", group, [key], _opener(group, kind, key, options)))
    return made


def _first_rows(file: RecordedFile) -> Columns:
    rows = decode_json(LineBlock(head(file.path), 1, 0), file.path, file.kind, _SCHEMAS[file.kind], [])
    for name in _SCHEMAS[file.kind]:
        if len(rows) == rows.table[name].null_count:
            reason = f"no field {name!r} in the first lines of a {file.kind} file"
            raise FileFormatError("file", file.path.name, reason, str(file.path.parent))
    return rows


def _describe(coin: str, kind: str, first: Columns) -> Instrument:
    if coin in _META:
        decimals, leverage = _META[coin]
        step = 10.0**-decimals
    else:
        if kind == "l2":
            sizes = _pairs(first.table["bids"].combine_chunks().flatten())[:, 1]
        else:
            sizes = first.floats("sz" if kind == "trades" else "oi")
        step, leverage = decimal_step(sizes), _UNKNOWN_MAX_LEVERAGE
        decimals = round(-np.log10(step))
    # prices have at most 6 - szDecimals decimals (and five significant figures)
    price_step = 10.0 ** -max(0, 6 - decimals)
    return Instrument(
        "hyperliquid", coin, coin, "USDC", quantity_step=step, price_step=price_step, max_leverage=leverage
    )


def _opener(
    files: list[RecordedFile], kind: str, key: str, options: Options
) -> Callable[[Callable[[str], bool]], Iterator[Block]]:
    fill = {"trades": _trades, "ctx": _contexts, "l2": _books}[kind]

    def open_feed(wanted: Callable[[str], bool]) -> Iterator[Block]:
        if not wanted(key):
            return
        order = TimeOrder(REORDER_SPAN_NS)
        yield Block(instruments=[options.book[key]])

        def decode(file: RecordedFile, lines: LineBlock, block: Block) -> int:
            rows = decode_json(lines, file.path, kind, _SCHEMAS[kind], block.notes)
            fill(rows, order, block)
            return len(rows)

        yield from read_text(files, kind, order, decode, options.block_bytes, self_delimiting=True)

    return open_feed


def _trades(rows: Columns, order: TimeOrder, block: Block) -> None:
    time_ns, price, size = rows.times("ts", MILLISECOND_NS), rows.floats("px"), rows.floats("sz")
    codes, sides = rows.codes("side")
    aggressor = np.array([{"B": 1, "A": -1}.get(side or "", 0) for side in sides], np.int32)[codes]
    good_price, good_size, good_side = positive(price), positive(size), aggressor != 0
    note_rows(block.notes, "trades.bad_price", ~good_price, rows.place)
    note_rows(block.notes, "trades.bad_quantity", good_price & ~good_size, rows.place)
    note_rows(block.notes, "trades.unknown_side", good_price & good_size & ~good_side, rows.place)
    keep = order.narrow(good_price & good_size & good_side, time_ns, "trades", rows.place, block.notes)
    if not keep.all():
        time_ns, price, size, aggressor = time_ns[keep], price[keep], size[keep], aggressor[keep]
    block.kinds["trades"] = build("trades", time_ns, price=price, quantity=size, aggressor=aggressor)


def _contexts(rows: Columns, order: TimeOrder, block: Block) -> None:
    time_ns, interest, mark = rows.times("ts", MILLISECOND_NS), rows.floats("oi"), rows.floats("mark")
    admitted = order.narrow(np.ones(len(rows), np.bool_), time_ns, "open_interest", rows.place, block.notes)
    good_interest, good_mark = positive(interest) | (interest == 0), positive(mark)
    note_rows(block.notes, "open_interest.bad_quantity", ~good_interest, rows.place)
    note_rows(block.notes, "open_interest.zero", interest == 0, rows.place)
    note_rows(block.notes, "mark_prices.bad_price", ~good_mark, rows.place)
    keep = admitted & good_interest
    block.kinds["open_interest"] = build("open_interest", time_ns[keep], quantity=interest[keep])
    keep = admitted & good_mark
    block.kinds["mark_prices"] = build("mark_prices", time_ns[keep], price=mark[keep])


def _books(rows: Columns, order: TimeOrder, block: Block) -> None:
    time_ns = rows.times("ts", MILLISECOND_NS)
    admitted = order.narrow(np.ones(len(rows), np.bool_), time_ns, "depth", rows.place, block.notes)
    whole, parts = np.ones(len(rows), np.bool_), []
    for side, name in enumerate(("bids", "asks")):
        levels = rows.table[name].combine_chunks()
        owner = np.repeat(np.arange(len(rows)), levels.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
        numbers = _pairs(levels.flatten())
        parts.append((owner, np.full(len(owner), side, np.int32), numbers))
        whole &= np.bincount(owner, minlength=len(rows)) > 0
    note_rows(block.notes, "depth.one_sided", ~whole, rows.place)
    owner = np.concatenate([part[0] for part in parts])
    side_of = np.concatenate([part[1] for part in parts])
    numbers = np.concatenate([part[2] for part in parts])
    good = positive(numbers[:, 0]) & positive(numbers[:, 1])
    bad_levels = np.zeros(len(rows), np.bool_)
    bad_levels[owner[~good]] = True
    note_rows(block.notes, "depth.bad_level", bad_levels, rows.place)
    good &= admitted[owner]
    kept = np.flatnonzero(good)
    kept = kept[np.argsort(owner[kept], kind="stable")]  # a snapshot's bids, then its asks
    block.kinds["depth"] = build(
        "depth", time_ns[owner[kept]], price=numbers[kept, 0], quantity=numbers[kept, 1], side=side_of[kept]
    )


def _pairs(levels: pa.ListArray) -> NDArray[np.float64]:
    """Return levels as rows of price and size; NaN where a level is not a pair."""
    values = np.asarray(levels.flatten().to_numpy(zero_copy_only=False), np.float64)
    lengths = levels.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    if np.all(lengths == 2):
        return values.reshape(-1, 2)
    starts = np.cumsum(lengths) - lengths
    numbers = np.full((len(lengths), 2), np.nan)
    pair = lengths == 2
    numbers[pair, 0], numbers[pair, 1] = values[starts[pair]], values[starts[pair] + 1]
    return numbers
