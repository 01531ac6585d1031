"""Open positions of known accounts at some times, liquidation prices or none, and what the accounts are worth."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forcedmove_server.errors import FileFormatError
from forcedmove_server.scorecard.known import SIDES_OF_FILES, SNAPSHOT_NS, read_table, times_of

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: our column, and what exchanges' dumps call it
_COLUMNS = {
    "time": ("time", "ts", "timestamp"),
    "account": ("account", "address", "user"),
    "market": ("market", "symbol", "coin"),
    "side": ("side", "direction"),
    "quantity": ("quantity", "size"),
    "entry_price_usd": ("entry_price_usd", "entry_px"),
    "mark_usd": ("mark_usd", "mark_px"),
    "liquidation_price_usd": ("liquidation_price_usd", "liq_px"),
    "equity_usd": ("equity_usd", "account_value"),
    "leverage": ("leverage",),
}
_POSITIVE = ("quantity", "entry_price_usd", "mark_usd")


@dataclass(frozen=True, slots=True)
class AccountPositions:
    """Positions, arrays ``[P]`` by time; layout of files: docs/FORMATS.md.

    ``snapshot`` numbers the snapshots, ``account`` the accounts, ``half`` is 0 or 1 by a hash of the account's name,
    so that it is the same in every file. ``level_usd`` is NaN where the venue says that nothing liquidates the
    position; ``leverage`` is the user's setting, NaN where the file has none.
    """

    snapshot: I64
    time_ns: I64
    account: I64
    half: I64
    market: NDArray[np.str_]
    side: I64
    quantity: F64
    entry_usd: F64
    mark_usd: F64
    level_usd: F64
    equity_usd: F64
    leverage: F64

    @property
    def notional_usd(self) -> F64:
        """USD at the mark."""
        return self.quantity * self.mark_usd

    def chosen(self, rows: NDArray[Any]) -> AccountPositions:
        """Return some of the rows, by index or mask."""
        return AccountPositions(*(getattr(self, field.name)[rows] for field in fields(self)))

    @classmethod
    def read(cls, path: str | Path) -> AccountPositions:
        """Read a Parquet or CSV file.

        Raises FileFormatError naming the file, and the column or the value that is wrong.
        """
        table = read_table(Path(path))
        columns = {name: _column(table, name, path) for name in _COLUMNS}
        numbers = {name: _numbers(columns[name], table.num_rows) for name in list(_COLUMNS)[4:]}
        for name in _POSITIVE:
            wrong = ~(numbers[name] > 0)
            if wrong.any():
                raise FileFormatError(name, float(numbers[name][wrong][0]), f"must be positive in {path}")
        words = [str(word).lower() for word in columns["side"].to_pylist()]
        for word in set(words) - SIDES_OF_FILES.keys():
            raise FileFormatError("side", word, f"must be long or short in {path}")
        time_ns = times_of(columns["time"].combine_chunks(), path)
        order = np.argsort(time_ns, kind="stable")
        names = [str(name) for name in columns["account"].to_pylist()]
        _, account = np.unique(names, return_inverse=True)
        # rows of one snapshot may be stamped within minutes of each other
        snapshot = np.cumsum(np.diff(time_ns[order], prepend=time_ns[order][:1]) > SNAPSHOT_NS)
        level = numbers["liquidation_price_usd"]
        return cls(
            snapshot=snapshot.astype(np.int64),
            time_ns=time_ns[order],
            account=account.astype(np.int64)[order],
            half=np.array([zlib.crc32(name.encode()) & 1 for name in names], np.int64)[order],
            market=np.array([str(name) for name in columns["market"].to_pylist()], np.str_)[order],
            side=np.array([SIDES_OF_FILES[word] for word in words], np.int64)[order],
            quantity=numbers["quantity"][order],
            entry_usd=numbers["entry_price_usd"][order],
            mark_usd=numbers["mark_usd"][order],
            level_usd=np.where(level > 0, level, np.nan)[order],
            equity_usd=numbers["equity_usd"][order],
            leverage=numbers["leverage"][order],
        )


def _column(table: pa.Table, name: str, path: str | Path) -> Any:
    for known in _COLUMNS[name]:
        if known in table.column_names:
            return table[known]
    if name == "leverage":
        return None
    raise FileFormatError("positions", str(path), f"has no column {name} (or {', '.join(_COLUMNS[name][1:])})")


def _numbers(column: Any, rows: int) -> F64:
    if column is None:
        return np.full(rows, np.nan)
    values: F64 = np.abs(column.cast("float64").to_numpy().astype(np.float64))
    return values
