"""Positions whose liquidation prices are known, as truth for a scorecard: snapshots read from a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.instruments import Instrument
from forcedmove_server.scorecard.frozen import KnownPositions

#: our column, and what exchanges' dumps call it
_COLUMNS = {
    "time": ("time", "ts", "timestamp"),
    "account": ("account", "address", "user"),
    "market": ("market", "symbol", "coin"),
    "side": ("side", "direction"),
    "notional_usd": ("notional_usd", "position_value"),
    "liquidation_price_usd": ("liquidation_price_usd", "liq_px"),
}
SIDES_OF_FILES = {"long": LONG, "short": SHORT}
#: a snapshot stands for what is open for this long
_VALID_NS = 25 * 3600 * 10**9
#: rows this close together are one snapshot
SNAPSHOT_NS = 30 * 60 * 10**9


@dataclass(frozen=True, slots=True)
class PositionSnapshots:
    """Who held what, at some times; layout of files: docs/FORMATS.md.

    Row ``k`` was seen at ``time_ns[k]`` (ascending) in ``market[k]``: a market's key, or a symbol, which stands for all
    of its markets.
    """

    time_ns: NDArray[np.int64]
    market: NDArray[np.str_]
    side: NDArray[np.int64]
    level_usd: NDArray[np.float64]
    notional_usd: NDArray[np.float64]
    account: NDArray[np.int64]

    @classmethod
    def read(cls, path: str | Path) -> PositionSnapshots:
        """Read a Parquet or CSV file.

        Raises FileFormatError naming the file, and the column or the value that is wrong; rows without a liquidation
        price are positions that are never liquidated, and are left out.
        """
        table = read_table(Path(path))
        columns = {name: column_of(table, name, path) for name in _COLUMNS}
        usable = pc.and_(
            pc.is_valid(columns["liquidation_price_usd"]),
            pc.greater(columns["liquidation_price_usd"].cast("float64"), 0),
        )
        usable = pc.fill_null(usable, False)
        columns = {name: column.filter(usable) for name, column in columns.items()}
        time_ns = times_of(columns["time"], path, np.flatnonzero(usable.to_numpy()))
        order = np.argsort(time_ns, kind="stable")
        words = [str(word).lower() for word in columns["side"].to_pylist()]
        for word in set(words) - SIDES_OF_FILES.keys():
            raise FileFormatError("side", word, f"must be long or short in {path}")
        accounts = columns["account"].cast("string").dictionary_encode().combine_chunks()
        return cls(
            time_ns=time_ns[order],
            market=np.array(columns["market"].cast("string").to_pylist(), np.str_)[order],
            side=np.array([SIDES_OF_FILES[word] for word in words], np.int64)[order],
            level_usd=columns["liquidation_price_usd"].cast("float64").to_numpy()[order],
            notional_usd=np.abs(columns["notional_usd"].cast("float64").to_numpy())[order],
            account=accounts.indices.to_numpy().astype(np.int64)[order],
        )

    def at(self, time_ns: int, instrument: Instrument) -> KnownPositions | None:
        """Positions of a market's newest snapshot that is not older than a day and an hour; None without one."""
        end = int(np.searchsorted(self.time_ns, time_ns, "right"))
        if not end or time_ns - self.time_ns[end - 1] > _VALID_NS:
            return None
        # rows of one snapshot may be stamped within minutes of each other
        begin = int(np.searchsorted(self.time_ns, self.time_ns[end - 1] - SNAPSHOT_NS))
        rows = np.arange(begin, end)
        rows = rows[np.isin(self.market[begin:end], (instrument.key, instrument.symbol))]
        if not len(rows):
            return None
        return KnownPositions(self.side[rows], self.level_usd[rows], self.notional_usd[rows], self.account[rows])


def read_table(path: Path) -> pa.Table:
    """Read a Parquet or CSV file. Raises FileFormatError."""
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        if path.suffix == ".csv":
            # an account of few digits is no number, 0x10 is not 16
            names = {known: pa.string() for name in ("account", "market") for known in _COLUMNS[name]}
            return pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=names))
    except (OSError, pa.ArrowException) as error:
        raise FileFormatError("file", str(path), f"cannot be read: {error}") from error
    raise FileFormatError("file", str(path), "must end in .parquet or .csv")


def column_of(table: pa.Table, name: str, path: str | Path) -> Any:
    """Return a column by our name or another of its names. Raises FileFormatError where there is none."""
    for known in _COLUMNS[name]:
        if known in table.column_names:
            return table[known]
    raise FileFormatError("positions", str(path), f"has no column {name} (or {', '.join(_COLUMNS[name][1:])})")


def times_of(column: Any, path: str | Path, rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """UTC nanoseconds of timestamps, or of integers that count milliseconds.

    Raises FileFormatError where one is no time, or missing, naming its row in the file, counted from 1; ``rows`` are
    those that the column was chosen from.
    """
    if column.null_count:
        missing = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        row = missing if rows is None else int(rows[missing])
        raise FileFormatError("row", row + 1, f"has no time in {path}")
    if pa.types.is_integer(column.type):
        milliseconds: NDArray[np.int64] = column.to_numpy().astype(np.int64)
        return milliseconds * 10**6
    try:
        stamps = column.cast(pa.timestamp("ns", "UTC"))
    except pa.ArrowException as error:
        raise FileFormatError("time", str(column[0]), f"is no time in {path}: {error}") from error
    nanoseconds: NDArray[np.int64] = stamps.cast("int64").to_numpy()
    return nanoseconds
