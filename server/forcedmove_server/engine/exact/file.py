"""Exact positions from a file: the newest snapshot of a file of known positions (docs/FORMATS.md)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from forcedmove_server.errors import FileFormatError, ForcedMoveError
from forcedmove_server.market.positions import ExactPosition, PositionAck, PositionChange, PositionKey
from forcedmove_server.scorecard.known import SIDES_OF_FILES, SNAPSHOT_NS, column_of, read_table, times_of

_LOG = logging.getLogger(__name__)

#: the name of the configured file among producers; no client can have it
FILE_PRODUCER = "config:file"
#: columns that an exact position may have beside those of a known one
_SIZES = ("quantity", "notional_usd")
_MORE = ("leverage", "entry_price_usd")
_LOOK_S = 5.0
#: columns that go by several names
_NAMED = ("time", "account", "notional_usd")
#: a file that stays as it is counts as told again this often, or four times within the age at which it is forgotten
_TELL_S = 600.0


def read_positions(path: Path) -> tuple[ExactPosition, ...]:
    """Read the newest snapshot of a file: every open position, also those that are never liquidated.

    Raises FileFormatError naming the file and the column, InputError naming the row.
    """
    table = read_table(path)
    if not len(table):
        return ()
    if (stamps := _optional(table, "time", path, lambda column: times_of(column, path))) is not None:
        table = table.filter(pa.array(stamps > stamps.max() - SNAPSHOT_NS))
    market, side = (column_of(table, name, path).cast("string").to_pylist() for name in ("market", "side"))
    level = _numbers(column_of(table, "liquidation_price_usd", path), "liquidation_price_usd", path)
    account = _optional(table, "account", path, lambda column: column.cast("string").to_pylist())
    sizes, more = (
        {name: _optional(table, name, path, partial(_numbers, name=name, path=path)) for name in names}
        for names in (_SIZES, _MORE)
    )
    opened = _optional(table, "opened_at", path, lambda column: _moments(column, path))
    if all(size is None for size in sizes.values()):
        raise FileFormatError("positions", str(path), "has neither a column quantity nor notional_usd")
    found = []
    for row in range(len(table)):
        word = str(side[row]).lower()
        if word not in SIDES_OF_FILES:
            raise FileFormatError("side", side[row], f"must be long or short in {path}")
        if ":" not in str(market[row]):
            raise FileFormatError("market", market[row], f"must be a market's key, like binance:BTCUSDT, in {path}")
        for name in _SIZES:
            value = None if sizes[name] is None else sizes[name][row]
            if value is not None and value < 0 and word == "long":
                raise FileFormatError(name, value, f"is negative, and its side is long, in {path}")
        quantity, notional = (None if sizes[name] is None else _size(sizes[name][row]) for name in _SIZES)
        position = ExactPosition(
            key=PositionKey("" if account is None else str(account[row] or ""), market[row], SIDES_OF_FILES[word]),
            quantity=quantity,
            notional_usd=notional if quantity is None else None,
            liquidation_price_usd=level[row] or None,
            opened_at_ns=None if opened is None else opened[row],
            **{name: None if values is None else values[row] for name, values in more.items()},
        )
        position.check(f"{path}, row {row + 1}")
        found.append(position)
    return tuple(found)


async def follow_file(name: str, tell: Callable[[PositionChange], Awaitable[PositionAck]], max_age_s: float) -> None:
    """Tell what a file holds, now, whenever it changes, and before what was told is forgotten; until cancelled.

    A file that cannot be used is logged, once per change of it; what it held before stays until it is too old.
    """
    path = await asyncio.to_thread(Path(name).expanduser)
    seen: object = None
    told_s = 0.0
    while True:
        now = await asyncio.to_thread(_stamp, path)
        changed, is_due = now != seen, time.monotonic() - told_s >= min(_TELL_S, max_age_s / 4)
        seen = now
        if isinstance(now, str):
            if changed:
                _LOG.warning("exact positions: %s: %s", path, now)
        elif changed or is_due:
            told_s = time.monotonic()
            await _tell(path, tell, changed)
        await asyncio.sleep(_LOOK_S)


def _stamp(path: Path) -> tuple[int, ...] | str:
    """Return what changes with a file, or why there is none."""
    try:
        found = path.stat()
    except OSError as error:
        return error.strerror or str(error)
    return found.st_mtime_ns, found.st_size, found.st_ino


async def _tell(path: Path, tell: Callable[[PositionChange], Awaitable[PositionAck]], is_new: bool) -> None:
    try:
        positions = await asyncio.to_thread(read_positions, path) if is_new else ()
        change = PositionChange(FILE_PRODUCER, time.time_ns(), positions, replace=is_new, lenient=True)
        ack = await tell(change)
    except ForcedMoveError as error:
        if is_new:
            _LOG.warning("exact positions: %s", error)
        return
    if is_new:
        left_out = f", {ack.left_out} left out: crossed, or told twice" if ack.left_out else ""
        _LOG.info("exact positions of %s: %d in the map, %d wait%s", path, ack.live, ack.waiting, left_out)


def _optional(table: Any, name: str, path: Path, read: Callable[[Any], Any]) -> Any:
    try:
        column = column_of(table, name, path) if name in _NAMED else table[name]
    except (FileFormatError, KeyError):
        return None
    return read(column)


def _moments(column: Any, path: Path) -> list[int | None]:
    known = column.is_valid().to_pylist()
    if not any(known):
        return [None] * len(known)
    times = times_of(pc.fill_null(column, column.drop_null()[0]), path).tolist()
    return [time_ns if is_known else None for time_ns, is_known in zip(times, known, strict=True)]


def _numbers(column: Any, name: str, path: Path) -> list[float | None]:
    try:
        numbers: list[float | None] = column.cast("float64").to_pylist()
    except pa.ArrowException as error:
        raise FileFormatError(name, str(path), f"must be numbers: {error}") from error
    return numbers


def _size(value: float | None) -> float | None:
    return None if value is None else abs(value)
