"""A ledger of accounts: every fill, transfer and liquidation that a venue tells of its users, read from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forcedmove_server.errors import FileFormatError
from forcedmove_server.scorecard.known import read_table, times_of

#: files and their columns, each with what dumps of exchanges call them
_FILES = {
    "fills": ("fills", "trades", "non_mm_trades"),
    "transfers": ("transfers", "ledger_updates", "non_mm_ledger_updates"),
    "liquidations": ("liquidations",),
}
_TIME = ("time", "ts", "timestamp")
_ACCOUNT = ("account", "user", "address")
_COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    "fills": {
        "time": _TIME,
        "account": _ACCOUNT,
        "market": ("market", "coin", "symbol"),
        "side": ("side",),
        "price_usd": ("price_usd", "px", "price"),
        "quantity": ("quantity", "sz", "size"),
    },
    "transfers": {"time": _TIME, "account": _ACCOUNT, "usd": ("usd", "delta_usd")},
    "liquidations": {
        "time": _TIME,
        "account": _ACCOUNT,
        "notional_usd": ("notional_usd", "liquidated_ntl_pos"),
        "equity_usd": ("equity_usd", "liquidated_account_value"),
        "margin": ("margin", "leverage_type"),
    },
}
_BUYS = {"buy": 1.0, "bid": 1.0, "b": 1.0, "sell": -1.0, "ask": -1.0, "a": -1.0}
_MARGINS = {"cross": False, "isolated": True}

_Meaning = TypeVar("_Meaning")


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade of an account: ``quantity`` in base units, negative for a sale."""

    time_ns: int
    account: str
    market: str
    quantity: float
    price_usd: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """A deposit into an account, negative for a withdrawal."""

    time_ns: int
    account: str
    usd: float


@dataclass(frozen=True, slots=True)
class LedgerLiquidation:
    """An account that was liquidated: notional of what was taken at the mark, and what the account was worth then."""

    time_ns: int
    account: str
    notional_usd: float
    equity_usd: float
    isolated: bool


Event = Transfer | LedgerLiquidation | Fill


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything in order of time. Of one second, transfers come first, then liquidations, then fills.

    A venue fills a liquidation in the second in which it tells of it, so what an account held comes before.
    """

    events: tuple[Event, ...]

    @classmethod
    def read(cls, folder: str | Path) -> Ledger:
        """Read ``fills``, ``transfers`` and ``liquidations``, CSV or Parquet; layout: docs/FORMATS.md.

        Raises FileFormatError naming the file, and the column or the value that is wrong.
        """
        rows: list[tuple[int, int, int, Event]] = []
        readers: dict[str, Reader] = {"transfers": _transfers, "liquidations": _liquidations, "fills": _fills}
        for order, (kind, read) in enumerate(readers.items()):
            path = _file(Path(folder), kind)
            table = read_table(path)
            columns = {name: _column(table, known, path).combine_chunks() for name, known in _COLUMNS[kind].items()}
            rows += [(event.time_ns, order, row, event) for row, event in enumerate(read(columns, path))]
        rows.sort(key=lambda row: row[:3])
        return cls(tuple(event for _, _, _, event in rows))


Reader = Callable[[dict[str, Any], Path], Iterator[Event]]


def _transfers(columns: dict[str, Any], path: Path) -> Iterator[Transfer]:
    for row in zip(*_keys(columns, path), _numbers(columns["usd"], "usd", path).tolist(), strict=True):
        yield Transfer(*row)


def _liquidations(columns: dict[str, Any], path: Path) -> Iterator[LedgerLiquidation]:
    notional, equity = (_numbers(columns[name], name, path).tolist() for name in ("notional_usd", "equity_usd"))
    isolated = [_word(word, _MARGINS, "margin", path) for word in columns["margin"].to_pylist()]
    for row in zip(*_keys(columns, path), notional, equity, isolated, strict=True):
        yield LedgerLiquidation(*row)


def _fills(columns: dict[str, Any], path: Path) -> Iterator[Fill]:
    quantity, price = (_numbers(columns[name], name, path) for name in ("quantity", "price_usd"))
    for name, values in (("quantity", quantity), ("price_usd", price)):
        if (values <= 0).any():
            raise FileFormatError(name, float(values[values <= 0][0]), f"must be positive in {path}")
    sign = np.array([_word(word, _BUYS, "side", path) for word in columns["side"].to_pylist()], np.float64)
    markets = columns["market"].cast("string").to_pylist()
    for row in zip(*_keys(columns, path), markets, (quantity * sign).tolist(), price.tolist(), strict=True):
        yield Fill(*row)


def _keys(columns: dict[str, Any], path: Path) -> tuple[list[int], list[str]]:
    return times_of(columns["time"], path).tolist(), columns["account"].cast("string").to_pylist()


def _column(table: pa.Table, names: tuple[str, ...], path: Path) -> Any:
    for known in names:
        if known in table.column_names:
            return table[known]
    also = f" (or {', '.join(names[1:])})" if names[1:] else ""
    raise FileFormatError("columns", str(path), f"has no column {names[0]}{also}")


def _numbers(column: Any, name: str, path: Path) -> NDArray[np.float64]:
    try:
        values: NDArray[np.float64] = column.cast("float64").to_numpy(zero_copy_only=False)
    except pa.ArrowException as error:
        raise FileFormatError(name, str(column.type), f"must be numbers in {path}") from error
    if not np.isfinite(values).all():
        raise FileFormatError(name, float(values[~np.isfinite(values)][0]), f"must be finite in {path}")
    return values


def _word(word: Any, meanings: dict[str, _Meaning], name: str, path: Path) -> _Meaning:
    found = meanings.get(str(word).lower())
    if found is None:
        raise FileFormatError(name, str(word), f"must be one of {', '.join(meanings)} in {path}")
    return found


def _file(folder: Path, kind: str) -> Path:
    for stem in _FILES[kind]:
        for suffix in (".parquet", ".csv"):
            if (path := folder / f"{stem}{suffix}").exists():
                return path
    raise FileFormatError("ledger", str(folder), f"has no {kind}.csv or .parquet (or {', '.join(_FILES[kind][1:])})")
