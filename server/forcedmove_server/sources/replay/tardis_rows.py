"""Rows of the Tardis data types as event columns, and the markets of a file."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forcedmove_server.errors import InstrumentError
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.sources.replay.blocks import (
    Block,
    Floats,
    Mask,
    Options,
    Times,
    build,
    decimal_step,
    note_rows,
    positive,
)
from forcedmove_server.sources.replay.columns import Columns
from forcedmove_server.sources.replay.tardis_symbols import TardisMarket, market_of

Codes = NDArray[np.int32]
YIELDS = {
    "trades": ("trades",),
    "liquidations": ("liquidations",),
    "derivative_ticker": ("open_interest", "mark_prices"),
    "book_snapshot": ("depth",),
}
_STEP_COLUMNS = {
    "trades": ("amount", "price"),
    "liquidations": ("amount", "price"),
    "derivative_ticker": ("open_interest", "mark_price"),
    "book_snapshot": ("asks[0].amount", "asks[0].price"),
}


class Markets:
    """The symbols of one feed, described as they are met; row codes are -1 for rows that are not delivered."""

    def __init__(self, exchange: str, family: str, options: Options) -> None:
        self.exchange, self.family, self._options = exchange, family, options
        self._known: dict[str, TardisMarket | InstrumentError | None] = {}
        self._wanted: Callable[[str], bool] | None = None
        self._index: dict[str, int] = {}
        self._recent_ids: pa.Array | None = None
        self.scale, self.turnover_scale = np.empty(0), np.empty(0)
        self.in_quote = np.empty(0, np.bool_)

    def keys(self) -> list[str]:
        """Return the market keys met so far.

        Raises InstrumentError when there are none for want of a contract size.
        """
        known = [market.instrument.key for market in self._known.values() if isinstance(market, TardisMarket)]
        errors = [error for error in self._known.values() if isinstance(error, InstrumentError)]
        if errors and not known:
            raise errors[0]
        return known

    def instrument(self, key: str) -> Instrument:
        """Return the description of a key that was met."""
        found = (market.instrument for market in self._known.values() if isinstance(market, TardisMarket))
        return next(instrument for instrument in found if instrument.key == key)

    def describe(self, symbol: str) -> Instrument | None:
        """Describe a symbol that the first lines do not show, as far as its name tells."""
        found = self._describe(symbol, (1.0, 1.0))
        return found.instrument if isinstance(found, TardisMarket) else None

    def start(self, wanted: Callable[[str], bool]) -> None:
        """Begin reading: only wanted market keys get an index."""
        self._wanted, self._index, self._recent_ids = wanted, {}, None
        self.scale, self.turnover_scale = np.empty(0), np.empty(0)
        self.in_quote = np.empty(0, np.bool_)

    def of_rows(self, rows: Columns, block: Block) -> Codes:
        """Return each row's index in the feed; new instruments are announced in the block."""
        codes, symbols = rows.codes("symbol")
        lut = np.full(len(symbols) + 1, -1, np.int32)
        for code, symbol in enumerate(symbols):
            if symbol is not None:
                lut[code] = self._index_of(symbol, codes == code, rows, block)
        return lut[codes]

    def _index_of(self, symbol: str, mine: Mask, rows: Columns, block: Block) -> int:
        what = YIELDS[self.family][0]
        if symbol not in self._known:
            amount, price = _STEP_COLUMNS[self.family]
            steps = (decimal_step(rows.floats(amount)[mine]), decimal_step(rows.floats(price)[mine]))
            self._known[symbol] = self._describe(symbol, steps)
        market = self._known[symbol]
        if market is None:
            note_rows(block.notes, f"{what}.not_a_dollar_future", mine, rows.place)
            return -1
        if isinstance(market, InstrumentError):
            note_rows(block.notes, f"{what}.unknown_contract_size", mine, rows.place)
            return -1
        key = market.instrument.key
        if self._wanted is None or not self._wanted(key):
            return -1
        if symbol not in self._index:
            self._index[symbol] = len(self._index)
            self._options.book.describe(market.instrument)
            block.instruments.append(self._options.book[key])
            self.scale = np.append(self.scale, market.scale)
            self.turnover_scale = np.append(self.turnover_scale, market.scale / market.sides)
            self.in_quote = np.append(self.in_quote, market.liquidations_in_quote)
        return self._index[symbol]

    def _describe(self, symbol: str, steps: tuple[float, float]) -> TardisMarket | InstrumentError | None:
        try:
            return market_of(self.exchange, symbol, steps, self._options.book.contract_sizes)
        except InstrumentError as error:
            return error

    def once(self, rows: Columns, keep: Mask, block: Block) -> Mask:
        """Drop rows whose (symbol, id) came before in this block or the one before."""
        if self.family != "trades" or not len(rows):
            return keep
        ids = rows.table["id"]
        ids = pc.if_else(pc.equal(ids, ""), None, ids)
        if ids.null_count == len(ids):
            return keep
        keyed = pc.binary_join_element_wise(rows.table["symbol"], ids, " ").combine_chunks()
        codes = keyed.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
        first = np.ones(len(codes), np.bool_)
        _, first_rows = np.unique(codes, return_index=True)
        if len(first_rows) < len(codes):
            first[:] = False
            first[first_rows] = True
            first |= codes < 0  # rows without an id cannot be told apart
        if self._recent_ids is not None:
            repeated = pc.is_in(keyed, value_set=self._recent_ids).to_numpy(zero_copy_only=False)
            first &= ~(repeated & (codes >= 0))
        note_rows(block.notes, "trades.duplicate", keep & ~first, rows.place)
        self._recent_ids = keyed
        return keep & first


#: what no venue says
_UNREADABLE = -9


def _sides(rows: Columns, meaning: dict[str, int]) -> NDArray[np.int32]:
    codes, sides = rows.codes("side")
    return np.array([meaning.get(side or "", _UNREADABLE) for side in sides] or [_UNREADABLE], np.int32)[codes]


def _priced(what: str, rows: Columns, keep: Mask, block: Block) -> tuple[Floats, Floats, Mask]:
    price, amount = rows.floats("price"), rows.floats("amount")
    good_price, good_amount = positive(price), positive(amount)
    note_rows(block.notes, f"{what}.bad_price", keep & ~good_price, rows.place)
    note_rows(block.notes, f"{what}.bad_quantity", keep & good_price & ~good_amount, rows.place)
    return price, amount, keep & good_price & good_amount


def _trades(
    rows: Columns, time_ns: Times, received_ns: Times, market: Codes, keep: Mask, markets: Markets, block: Block
) -> None:
    price, amount, keep = _priced("trades", rows, keep, block)
    aggressor = _sides(rows, {"buy": 1, "sell": -1, "unknown": 0})
    note_rows(block.notes, "trades.bad_side", keep & (aggressor == _UNREADABLE), rows.place)
    note_rows(
        block.notes, "trades.unknown_side", keep & (aggressor == 0), rows.place
    )  # delivered: the venue does not say
    keep = keep & (aggressor != _UNREADABLE)
    block.kinds["trades"] = build(
        "trades",
        time_ns[keep],
        received_ns=received_ns[keep],
        price=price[keep],
        quantity=amount[keep] * markets.turnover_scale[market[keep]],
        market=market[keep],
        aggressor=aggressor[keep],
    )


def _liquidations(
    rows: Columns, time_ns: Times, received_ns: Times, market: Codes, keep: Mask, markets: Markets, block: Block
) -> None:
    price, amount, keep = _priced("liquidations", rows, keep, block)
    side = _sides(rows, {"buy": 1, "sell": 0})  # a forced buy closes a short
    note_rows(block.notes, "liquidations.unknown_side", keep & (side < 0), rows.place)
    keep = keep & (side >= 0)
    quantity = amount[keep] * markets.scale[market[keep]]
    quantity = np.where(markets.in_quote[market[keep]], quantity / price[keep], quantity)
    block.kinds["liquidations"] = build(
        "liquidations",
        time_ns[keep],
        received_ns=received_ns[keep],
        price=price[keep],
        quantity=quantity,
        market=market[keep],
        side=side[keep],
    )


def _tickers(
    rows: Columns, time_ns: Times, received_ns: Times, market: Codes, keep: Mask, markets: Markets, block: Block
) -> None:
    interest, mark = rows.floats("open_interest"), rows.floats("mark_price")
    for what, values, good in (
        ("open_interest.bad_quantity", interest, positive(interest) | (interest == 0)),
        ("mark_prices.bad_price", mark, positive(mark)),
    ):
        note_rows(
            block.notes, what, keep & ~good & ~np.isnan(values), rows.place
        )  # empty is legal: not every row has both
    note_rows(block.notes, "open_interest.zero", keep & (interest == 0), rows.place)
    has = keep & (positive(interest) | (interest == 0))
    block.kinds["open_interest"] = build(
        "open_interest",
        time_ns[has],
        received_ns=received_ns[has],
        quantity=interest[has] * markets.turnover_scale[market[has]],
        market=market[has],
    )
    has = keep & positive(mark)
    block.kinds["mark_prices"] = build(
        "mark_prices", time_ns[has], received_ns=received_ns[has], price=mark[has], market=market[has]
    )


def _books(
    rows: Columns, time_ns: Times, received_ns: Times, market: Codes, keep: Mask, markets: Markets, block: Block
) -> None:
    kept = np.flatnonzero(keep)
    depth = sum(1 for name in rows.table.column_names if name.startswith("asks[") and name.endswith("].price"))
    prices, amounts = np.empty((len(kept), 2 * depth)), np.empty((len(kept), 2 * depth))
    for side, name in enumerate(("bids", "asks")):
        for level in range(depth):
            column = side * depth + level
            prices[:, column] = rows.floats(f"{name}[{level}].price")[kept]
            amounts[:, column] = rows.floats(f"{name}[{level}].amount")[kept]
    good = positive(prices) & positive(amounts)
    damaged = np.zeros(len(rows), np.bool_)
    damaged[kept] = (~good & ~np.isnan(prices)).any(axis=1)  # an empty level is legal: a thin book
    note_rows(block.notes, "depth.bad_level", damaged, rows.place)
    row, level_column = np.nonzero(good)
    owner = kept[row]
    block.kinds["depth"] = build(
        "depth",
        time_ns[owner],
        received_ns=received_ns[owner],
        price=prices[row, level_column],
        quantity=amounts[row, level_column] * markets.scale[market[owner]],
        market=market[owner],
        side=(level_column >= depth).astype(np.int32),
    )


FILL = {"trades": _trades, "liquidations": _liquidations, "derivative_ticker": _tickers, "book_snapshot": _books}
