"""Binance's public futures archive (data.binance.vision): aggTrades, metrics and markPriceKlines; zip or CSV.

``<SYMBOL>-aggTrades-<date>.zip``, ``<SYMBOL>-metrics-<date>.zip``,
``markPriceKlines/<SYMBOL>/1m/<SYMBOL>-1m-<date>.zip``, or .csv; the date is a day or a month, a header line may be
there or not. https://github.com/binance/binance-public-data

* aggTrades: ``agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker`` (ms). A buyer who
  was the maker means that the taker sold. Ids count up by one: a repeated id is a duplicate, a jump is a gap.
* metrics: ``create_time,symbol,sum_open_interest,sum_open_interest_value,...`` every 5 minutes.
* markPriceKlines: ``open_time,open,high,low,close,volume,close_time,...``. A bar becomes four mark prices, so that its
  extremes are not lost: open, low, high, close when it rose, open, high, low, close when it fell.

USD-M quantities are base units and values USD. COIN-M (``BTCUSD_PERP``) quantities are contracts of 100 USD (BTC) or
10 USD (others) and values coins, so a price is contracts x size / value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.contract_sizes import binance_max_leverage, inverse_contract_size
from forcedmove_server.market.events import Channel
from forcedmove_server.market.instruments import ContractType, Instrument
from forcedmove_server.sources.replay.blocks import (
    SECOND_NS,
    Block,
    Feed,
    Options,
    RecordedFile,
    SeenIds,
    TimeOrder,
    Times,
    build,
    decimal_step,
    note_rows,
    positive,
)
from forcedmove_server.sources.replay.columns import Columns, decode_csv
from forcedmove_server.sources.replay.compressed import LineBlock, head
from forcedmove_server.sources.replay.oi_bars import interest_rows
from forcedmove_server.sources.replay.text import in_order, read_text, span_of_name, without_header

REORDER_SPAN_NS = 600 * SECOND_NS

_SYMBOL = r"([A-Z0-9]+(?:_(?:PERP|\d{6}))?)"
_NAME = re.compile(
    rf"^{_SYMBOL}-(aggTrades|metrics|markPriceKlines)(?:-1m)?-\d{{4}}-\d\d(?:-\d\d)?\.(?:zip|csv|csv\.gz)$"
)
_KLINE_NAME = re.compile(rf"^{_SYMBOL}-1m-\d{{4}}-\d\d(?:-\d\d)?\.(?:zip|csv|csv\.gz)$")
_BASE = re.compile(r"^([A-Z0-9]+?)(USDT|USDC|FDUSD|USD)(?:_(?:PERP|\d{6}))?$")
_YIELDS = {
    "aggTrades": ("trades", "gaps"),
    "metrics": ("open_interest", "mark_prices"),
    "markPriceKlines": ("mark_prices",),
}
_COLUMNS = {
    "aggTrades": [
        "agg_trade_id",
        "price",
        "quantity",
        "first_trade_id",
        "last_trade_id",
        "transact_time",
        "is_buyer_maker",
    ],
    "metrics": [
        "create_time",
        "symbol",
        "sum_open_interest",
        "sum_open_interest_value",
        "count_toptrader_long_short_ratio",
        "sum_toptrader_long_short_ratio",
        "count_long_short_ratio",
        "sum_taker_long_short_vol_ratio",
    ],
    "markPriceKlines": [
        "open_time",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "close_time",
        "quote_volume",
        "count",
        "taker_buy_volume",
        "taker_buy_quote_volume",
        "ignore",
    ],
}
_SCHEMAS = {
    "aggTrades": {
        "agg_trade_id": pa.int64(),
        "price": pa.float64(),
        "quantity": pa.float64(),
        "transact_time": pa.int64(),
        "is_buyer_maker": pa.bool_(),
    },
    "metrics": {
        "create_time": pa.string(),
        "symbol": pa.string(),
        "sum_open_interest": pa.float64(),
        "sum_open_interest_value": pa.float64(),
    },
    "markPriceKlines": {
        "open_time": pa.int64(),
        "open": pa.float64(),
        "high": pa.float64(),
        "low": pa.float64(),
        "close": pa.float64(),
        "close_time": pa.int64(),
    },
}


def recognise(path: Path) -> RecordedFile | None:
    """Return what the file holds if its name is one of the archive's."""
    match = _NAME.match(path.name)
    if match:
        return RecordedFile(path, match[2], match[1], *span_of_name(path))
    match = _KLINE_NAME.match(path.name)
    if match and "markPriceKlines" in path.parts:
        return RecordedFile(path, "markPriceKlines", match[1], *span_of_name(path))
    return None


def feeds(files: list[RecordedFile], options: Options) -> list[Feed]:
    """Return one feed per symbol and kind.

    Raises FileFormatError for a file of other columns, InstrumentError for a symbol that is no dollar future.
    """
    groups: dict[tuple[str, str], list[RecordedFile]] = {}
    for file in in_order(files):
        groups.setdefault((file.name, file.kind), []).append(file)
    made = []
    for (symbol, kind), group in sorted(groups.items()):
        if options.kinds.isdisjoint(_YIELDS[kind]):
            continue
        key = ""
        for file in group:
            key = options.book.describe(_describe(symbol, _first_rows(file), kind))
        own = frozenset({Channel.TRADES}) if kind == "aggTrades" else frozenset()
        has_marks = (symbol, "markPriceKlines") in groups
        made.append(Feed(f"{key} {kind}", group, [key], _opener(group, kind, key, has_marks, options), own_gaps=own))
    return made


def _first_rows(file: RecordedFile) -> Columns:
    first = head(file.path)
    line = first.split(b"\n", 1)[0].decode(errors="replace").strip()
    names, expected = line.split(","), _COLUMNS[file.kind]
    if len(names) != len(expected):
        spot = " (a spot file?)" if file.kind == "aggTrades" and len(names) == 8 else ""
        raise FileFormatError("columns", len(names), f"{file.kind} has {len(expected)}{spot}", str(file.path))
    lines = LineBlock(first, 1, 0)
    return decode_csv(_rows_only(lines), file.path, file.kind, expected, _SCHEMAS[file.kind], [])


def _rows_only(lines: LineBlock) -> LineBlock:
    """Drop a header line; newer archives have one."""
    return without_header(lines) if lines.data[:1].isalpha() else lines


def _describe(symbol: str, rows: Columns, kind: str) -> Instrument:
    match = _BASE.match(symbol)
    inverse = bool(match and match[2] == "USD")
    base, quote = (match[1], match[2]) if match else (symbol, symbol)
    size = inverse_contract_size(base) if inverse else 1.0
    quantity = {"aggTrades": "quantity", "metrics": "sum_open_interest"}.get(kind)
    price = {"aggTrades": "price", "markPriceKlines": "close"}.get(kind)
    return Instrument(
        "binance",
        symbol,
        base,
        quote,
        ContractType.INVERSE if inverse else ContractType.LINEAR,
        contract_size=size,
        quantity_step=decimal_step(rows.floats(quantity)) * size if quantity else size,
        price_step=decimal_step(rows.floats(price)) if price else 1.0,
        max_leverage=binance_max_leverage(base),
    )


def _opener(
    files: list[RecordedFile], kind: str, key: str, has_marks: bool, options: Options
) -> Callable[[Callable[[str], bool]], Iterator[Block]]:
    def open_feed(wanted: Callable[[str], bool]) -> Iterator[Block]:
        if not wanted(key):
            return
        instrument, what = options.book[key], _YIELDS[kind][0]
        order, seen = TimeOrder(REORDER_SPAN_NS), SeenIds()
        last = [0]  # time of the newest trade id, for gaps between blocks
        yield Block(instruments=[instrument])

        def decode(file: RecordedFile, lines: LineBlock, block: Block) -> int:
            rows = decode_csv(_rows_only(lines), file.path, what, _COLUMNS[kind], _SCHEMAS[kind], block.notes)
            if kind == "aggTrades":
                _trades(rows, instrument, order, seen, last, block)
            elif kind == "metrics":
                _metrics(rows, instrument, order, seen, block, with_price=not has_marks)
            else:
                _mark_prices(rows, order, seen, block)
            return len(rows)

        yield from read_text(files, what, order, decode, options.block_bytes, self_delimiting=False)

    return open_feed


def _nanoseconds(stamps: Times) -> Times:
    """Epoch stamps in ms, or in us as newer spot files have them, told apart by their size."""
    return np.where(stamps > 10**14, stamps * 1000, stamps * 1_000_000)


def _model_units(instrument: Instrument) -> float:
    return instrument.contract_size if instrument.contract_type is ContractType.INVERSE else 1.0


def _trades(
    rows: Columns, instrument: Instrument, order: TimeOrder, seen: SeenIds, last: list[int], block: Block
) -> None:
    time_ns, ids = _nanoseconds(rows.times("transact_time", 1)), rows.times("agg_trade_id", 1)
    price, quantity = rows.floats("price"), rows.floats("quantity")
    sold = rows.table["is_buyer_maker"].fill_null(False).to_numpy().astype(np.bool_)
    before = seen.newest
    keep = seen.once(ids)
    note_rows(block.notes, "trades.duplicate", ~keep, rows.place)
    keep = order.narrow(keep, time_ns, "trades", rows.place, block.notes)
    _id_jumps(ids[keep], time_ns[keep], before, last, rows, block)
    good_price, good_quantity = positive(price), positive(quantity)
    note_rows(block.notes, "trades.bad_price", keep & ~good_price, rows.place)
    note_rows(block.notes, "trades.bad_quantity", keep & good_price & ~good_quantity, rows.place)
    keep &= good_price & good_quantity
    block.kinds["trades"] = build(
        "trades",
        time_ns[keep],
        price=price[keep],
        quantity=quantity[keep] * _model_units(instrument),
        aggressor=np.where(sold[keep], -1, 1),
    )


def _id_jumps(ids: Times, time_ns: Times, before: int | None, last: list[int], rows: Columns, block: Block) -> None:
    """Announce ids that are missing between neighbours."""
    if not len(ids):
        return
    by_id = np.argsort(ids, kind="stable")
    ids, time_ns = ids[by_id], time_ns[by_id]
    previous = np.concatenate(([ids[0] - 1 if before is None else before], ids[:-1]))
    previous_ns = np.concatenate(([last[0] or time_ns[0]], time_ns[:-1]))
    last[0] = int(time_ns[-1])
    jump = np.flatnonzero(ids - previous > 1)
    if len(jump):
        begin, end = previous_ns[jump], time_ns[jump]
        rising = end >= begin
        jump, begin, end = jump[rising], begin[rising], end[rising]
        note_rows(block.notes, "trades.gap", np.isin(np.arange(len(ids)), jump), rows.place)
        block.kinds["gaps"] = build("gaps", end, begin_ns=begin, channel=int(Channel.TRADES))


def _metrics(
    rows: Columns, instrument: Instrument, order: TimeOrder, seen: SeenIds, block: Block, with_price: bool
) -> None:
    stamps = pc.strptime(rows.table["create_time"], format="%Y-%m-%d %H:%M:%S", unit="s", error_is_null=True)
    time_ns = np.asarray(stamps.cast(pa.int64()).fill_null(0).to_numpy(), np.int64) * SECOND_NS
    mine = pc.equal(rows.table["symbol"], instrument.native_id).fill_null(False).to_numpy().astype(np.bool_)
    note_rows(block.notes, "open_interest.other_symbol", ~mine, rows.place)
    fresh = seen.once(time_ns) | (time_ns == 0)
    note_rows(block.notes, "open_interest.duplicate", mine & ~fresh, rows.place)
    quantity = rows.floats("sum_open_interest") * _model_units(instrument)
    value = rows.floats("sum_open_interest_value")
    with np.errstate(divide="ignore", invalid="ignore"):
        price = quantity / value if instrument.contract_type is ContractType.INVERSE else value / quantity
    kept = np.flatnonzero(mine & fresh)
    rows = Columns(rows.table.take(kept), rows.place.of(kept)) if len(kept) < len(rows) else rows
    interest_rows(instrument.key, rows, time_ns[kept], quantity[kept], price[kept], order, block, with_price)


def _mark_prices(rows: Columns, order: TimeOrder, seen: SeenIds, block: Block) -> None:
    opened, closed = _nanoseconds(rows.times("open_time", 1)), _nanoseconds(rows.times("close_time", 1))
    bar = np.stack([rows.floats(name) for name in ("open", "high", "low", "close")], axis=1)
    good = positive(bar).all(axis=1) & (bar[:, 1] >= bar[:, 2]) & (closed > opened)
    note_rows(block.notes, "mark_prices.bad_bar", ~good, rows.place)
    fresh = seen.once(opened)
    note_rows(block.notes, "mark_prices.duplicate", ~fresh, rows.place)
    keep = order.narrow(good & fresh, opened, "mark_prices", rows.place, block.notes)
    bar, opened, closed = bar[keep], opened[keep], closed[keep]
    rose = bar[:, 3] >= bar[:, 0]
    path = np.stack(
        [bar[:, 0], np.where(rose, bar[:, 2], bar[:, 1]), np.where(rose, bar[:, 1], bar[:, 2]), bar[:, 3]], axis=1
    )
    third = (closed - opened) // 3
    times = np.stack([opened, opened + third, opened + 2 * third, closed], axis=1)
    block.kinds["mark_prices"] = build("mark_prices", times.ravel(), price=path.ravel())
