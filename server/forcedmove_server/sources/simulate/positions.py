"""The live positions of every market and side, in one table of records.

Row ``2 * market + side`` holds the positions of one side of one market, packed from column 0. A record is a crowd of
like accounts: ``lots`` is what the crowd holds, ``account_usd`` what one of them held at opening, which is what chose
the maintenance tier and with it ``ratio``, the liquidation price over the entry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Records

POSITION = np.dtype(
    [
        ("entry", "<f8"),
        ("lots", "<i8"),
        ("leverage", "<f8"),
        ("ratio", "<f8"),
        ("liquidation_price", "<f8"),
        ("account_usd", "<f8"),
        ("opened_ns", "<i8"),
        ("close_at", "<i8"),
    ]
)

#: one true position; ``quantity`` is in model units (base units, USD on inverse contracts)
TRUTH = np.dtype(
    [
        ("market", "<i4"),
        ("side", "<i4"),
        ("entry", "<f8"),
        ("quantity", "<f8"),
        ("leverage", "<f8"),
        ("liquidation_price", "<f8"),
        ("account_usd", "<f8"),
        ("opened_ns", "<i8"),
    ]
)

_NEVER = np.iinfo(np.int64).max


class PositionTable:
    """Positions of ``markets`` markets; the arrays grow when a row is full.

    ``lots`` int64 ``[rows]`` totals; ``nearest`` float64 ``[rows]`` the liquidation price a falling (long) or rising
    (short) mark meets first; ``next_close`` int64 ``[rows]`` the step of the next voluntary close.
    """

    def __init__(self, inverse: NDArray[np.bool_], capacity: int) -> None:
        rows = 2 * len(inverse)
        self._inverse = np.repeat(inverse, 2)
        self._records = np.zeros((rows, capacity), POSITION)
        self.count = np.zeros(rows, np.int64)
        self.lots = np.zeros(rows, np.int64)
        self.nearest = np.tile([0.0, np.inf], len(inverse))
        self.next_close = np.full(rows, _NEVER, np.int64)

    def row(self, row: int) -> Records:
        """View of one row's live records."""
        return self._records[row, : self.count[row]]

    def insert(self, row: int, records: Records) -> None:
        """Append records to a row."""
        count, added = int(self.count[row]), len(records)
        capacity = self._records.shape[1]
        if count + added > capacity:
            self._records = np.pad(self._records, ((0, 0), (0, max(capacity, added))))
        self._records[row, count : count + added] = records
        self.count[row] += added
        self.lots[row] += records["lots"].sum()
        self._refresh(row)

    def add_to(self, row: int, slot: int, lots: int, price: float) -> None:
        """Let a position add at ``price``: entries average by value on linear, by coin on inverse contracts."""
        record = self._records[row, slot]
        held, entry = int(record["lots"]), float(record["entry"])
        total = held + lots
        coins = held / entry + lots / price
        mean = total / coins if self._inverse[row] else (held * entry + lots * price) / total
        record["entry"], record["lots"], record["liquidation_price"] = mean, total, mean * record["ratio"]
        self.lots[row] += lots
        self._refresh(row)

    def take(self, row: int, gone: NDArray[np.bool_]) -> Records:
        """Remove and return the records of a row that ``gone`` (bool ``[count]``) marks."""
        records = self.row(row)
        taken = records[gone]
        kept = records[~gone]
        self._records[row, : len(kept)] = kept
        self.count[row] = len(kept)
        self.lots[row] -= taken["lots"].sum()
        self._refresh(row)
        return taken

    def _refresh(self, row: int) -> None:
        records = self.row(row)
        if row % 2:
            self.nearest[row] = records["liquidation_price"].min(initial=np.inf)
        else:
            self.nearest[row] = records["liquidation_price"].max(initial=0.0)
        self.next_close[row] = records["close_at"].min(initial=_NEVER)

    def truth(self, market_ids: NDArray[np.int32], quantity_step: NDArray[np.float64]) -> Records:
        """Return all live positions as TRUTH records; ``market_ids`` names the markets in a registry."""
        rows = [self.row(row) for row in range(len(self.count))]
        live = np.concatenate(rows)
        index = np.repeat(np.arange(len(rows)), self.count)
        out = np.zeros(len(live), TRUTH)
        out["market"], out["side"] = market_ids[index // 2], index % 2
        out["quantity"] = live["lots"] * quantity_step[index // 2]
        for name in ("entry", "leverage", "liquidation_price", "account_usd", "opened_ns"):
            out[name] = live[name]
        return out
