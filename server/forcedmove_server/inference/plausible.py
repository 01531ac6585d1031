"""One silly print must not liquidate a market: prices and quantities that cannot be are counted and left out.

A level that was crossed is dead for good, so a single wrong price would do lasting harm. A price is believed when it is
near the last believed one, or near an earlier print that was not believed: a real jump is confirmed by a later print,
a lone spike or one burst of them never is. How near depends on the time between: 22 % within seconds, a factor of two
after a minute of silence, so that bars and thin markets may move. The confirming print has to come at least a second
and at most a quarter of an hour later.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import MAX_PRICE_UNITS, PRICE_BITS
from forcedmove_server.inference.markets import MarketTable
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EventBatch, Records

F64 = NDArray[np.float64]

_NEAR_LOG, _NEAR_LOG_AFTER_SILENCE, _SILENCE_NS = 0.2, 0.5, 60 * 10**9
#: when a print may confirm one that was not believed
_SOONEST_NS, _LATEST_NS = 10**9, 900 * 10**9
#: no single trade has ever been worth as much
_MOST_TRADED_USD = 1e11
#: prices closer to zero than this many bins cannot be told from zero on their axis
_LEAST_BINS = 4


def without_implausible(batch: EventBatch, table: MarketTable, defects: Defects) -> EventBatch:
    """Return the batch without prices and trades that cannot be; each is counted in ``defects`` by kind."""
    keep_trade = (
        batch.trades["quantity"] * np.where(table.inverse[batch.trades["market"]], 1.0, batch.trades["price"])
        < _MOST_TRADED_USD
    )
    _note(defects, "trades.implausible_quantity", batch.trades, ~keep_trade, "quantity", table)
    kinds: dict[str, Records] = {"trades": batch.trades[keep_trade], "mark_prices": batch.mark_prices}
    believed = _believed(kinds, table)
    for kind, keep in believed.items():
        _note(defects, f"{kind}.implausible_price", kinds[kind], ~keep, "price", table)
        kinds[kind] = kinds[kind][keep] if not keep.all() else kinds[kind]
    return EventBatch(batch.until_ns, **(batch.by_kind() | kinds))


def _believed(kinds: dict[str, Records], table: MarketTable) -> dict[str, NDArray[np.bool_]]:
    rows = list(kinds.values())
    market, time_ns, price = (np.concatenate([r[name] for r in rows]) for name in ("market", "time_ns", "price"))
    order = np.lexsort((time_ns, market))
    market, time_ns, log = market[order], time_ns[order], np.log(price[order])
    first = np.concatenate(([True], market[1:] != market[:-1])) if len(market) else np.empty(0, bool)
    before = np.roll(log, 1)
    before[first] = table.printed_log[market[first]]
    keep = _on_axis(price[order], table.bin_width[market])
    jumps = np.abs(log - before) > _NEAR_LOG
    for m in np.unique(market[jumps | (first & (table.printed_log[market] != table.believed_log[market]))]):
        own = np.flatnonzero(market == m)
        keep[own] &= _follow(log[own], time_ns[own], table, int(m))
    last = np.concatenate((first[1:], [True])) if len(market) else first
    table.printed_log[market[last]] = log[last]
    table.believed_log[market[keep]], table.believed_ns[market[keep]] = log[keep], time_ns[keep]
    unsorted = np.empty(len(keep), bool)
    unsorted[order] = keep
    return dict(zip(kinds, np.split(unsorted, np.cumsum([len(r) for r in rows])[:-1]), strict=True))


def _follow(log: F64, time_ns: NDArray[np.int64], table: MarketTable, market: int) -> NDArray[np.bool_]:
    """Judge one market's prints one after the other; only for batches in which it jumps."""
    believed, believed_ns = float(table.believed_log[market]), int(table.believed_ns[market])
    suspect, suspect_ns = float(table.suspect_log[market]), int(table.suspect_ns[market])
    keep = np.zeros(len(log), bool)
    for k, (value, at) in enumerate(zip(log.tolist(), time_ns.tolist(), strict=True)):
        near = _NEAR_LOG + _NEAR_LOG_AFTER_SILENCE * min(max(at - believed_ns, 0) / _SILENCE_NS, 1.0)
        confirmed = abs(value - suspect) <= _NEAR_LOG and _SOONEST_NS <= at - suspect_ns <= _LATEST_NS
        if not abs(value - believed) > near or confirmed:
            keep[k] = True
            believed, believed_ns = value, at
        elif not abs(value - suspect) <= _NEAR_LOG or at - suspect_ns > _LATEST_NS:
            suspect, suspect_ns = value, at
    table.suspect_log[market], table.suspect_ns[market] = suspect, suspect_ns
    return keep


def _on_axis(price: F64, bin_width: F64) -> NDArray[np.bool_]:
    bins = price / np.where(bin_width > 0, bin_width, np.inf)
    on_axis: NDArray[np.bool_] = (bin_width == 0) | ((bins >= _LEAST_BINS) & (bins < MAX_PRICE_UNITS >> PRICE_BITS))
    return on_axis


def _note(defects: Defects, kind: str, rows: Records, bad: NDArray[np.bool_], field: str, table: MarketTable) -> None:
    found = np.flatnonzero(bad)
    if len(found):
        row = rows[found[0]]
        key = table.registry[int(row["market"])].key
        defects.note(kind, len(found), f"{key} {field} = {float(row[field])!r} at {int(row['time_ns'])} ns")
