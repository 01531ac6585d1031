"""Exact positions from a file: the newest snapshot of a file of known positions (docs/FORMATS.md)."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import logging
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forcedmove_server.errors import FileFormatError, ForcedMoveError, NotReadyError
from forcedmove_server.market.positions import ExactPosition, PositionAck, PositionChange, PositionKey
from forcedmove_server.scorecard.known import SIDES_OF_FILES, SNAPSHOT_NS, column_of, read_table, times_of

_LOG = logging.getLogger(__name__)

#: the name of the configured file among producers; no client can have it
FILE_PRODUCER = "config:file"
#: columns that an exact position may have beside those of a known one
_SIZES = ("quantity", "notional_usd")
_MORE = ("leverage", "entry_price_usd")
_LOOK_S = 5.0
#: looks after which a file is read that changes all the time
_MOST_LOOKS = 6
#: columns that go by several names
_NAMED = ("time", "account", "notional_usd")
#: a file that stays as it is counts as told again this often, or four times within the age at which it is forgotten
_TELL_S = 600.0


def read_positions(path: Path) -> tuple[ExactPosition, ...]:
    """Read the newest snapshot of a file: every open position, also those that are never liquidated.

    A file with a header and no rows says that there are none. Raises FileFormatError naming the file and the column, or
    the line of a CSV file that ends in the middle of a row; InputError naming the row.
    """
    if path.suffix == ".csv":
        _check_whole(path)
    table = read_table(path)
    row_of = np.arange(len(table))
    stamps = _optional(table, "time", path, lambda column: times_of(column, path))
    if stamps is not None and len(table):
        newest = stamps > stamps.max() - SNAPSHOT_NS
        table, row_of = table.filter(pa.array(newest)), row_of[newest]
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
        position.check(f"{path}, row {row_of[row] + 1}")
        found.append(position)
    return tuple(found)


async def follow_file(name: str, tell: Callable[[PositionChange], Awaitable[PositionAck]], max_age_s: float) -> None:
    """Tell what a file holds, now, whenever it changes, and before what was told is forgotten; until cancelled.

    A changed file is read once it has been left alone for a look, and after a few looks in any case; again at the next
    look when it changed meanwhile. One that cannot be used is logged as an error, and again every now and then; what it
    held before stays until it is too old.
    """
    path = await asyncio.to_thread(Path(name).expanduser)
    seen: object = None
    before: object = None
    is_good, waited, told_s = False, 0, 0.0
    while True:
        now = await asyncio.to_thread(_stamp, path)
        is_due = time.monotonic() - told_s >= min(_TELL_S, max_age_s / 4)
        waited = 0 if now == seen else waited + 1
        is_left_alone = now == before or _age_s(now) >= _LOOK_S or waited > _MOST_LOOKS
        before = now
        if now != seen and is_left_alone:
            found = await _tell(path, tell, now)
            if found is not None:
                seen, is_good, told_s = now, found, time.monotonic()
        elif now == seen and is_due:
            told_s = time.monotonic()
            if is_good:
                await _renew(tell)
            else:
                _LOG.error("exact positions: %s still cannot be used; nothing of it is renewed", path)
        await asyncio.sleep(_LOOK_S)


def _stamp(path: Path) -> tuple[int, ...] | str:
    """Return what changes with a file, or why there is none."""
    try:
        found = path.stat()
    except OSError as error:
        return error.strerror or str(error)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _age_s(stamp: tuple[int, ...] | str) -> float:
    return math.inf if isinstance(stamp, str) else time.time() - stamp[0] / 1e9


async def _tell(
    path: Path, tell: Callable[[PositionChange], Awaitable[PositionAck]], stamp: tuple[int, ...] | str
) -> bool | None:
    """Tell what a file holds that is as ``stamp`` says.

    Returns False where it cannot be used, None where it is to be tried again.
    """
    try:
        if isinstance(stamp, str):
            raise FileFormatError("file", str(path), f"cannot be read: {stamp}")
        positions = await asyncio.to_thread(read_positions, path)
        if await asyncio.to_thread(_stamp, path) != stamp:
            return None
        ack = await tell(PositionChange(FILE_PRODUCER, time.time_ns(), positions, replace=True, lenient=True))
    except NotReadyError as error:  # nothing is wrong with the file: it is told again with the next look
        _LOG.warning("exact positions of %s cannot be told yet: %s", path, error)
        return None
    except ForcedMoveError as error:
        _LOG.error("exact positions: %s; what the file held before stays until it is too old", error)
        return False
    left_out = f", {ack.left_out} left out: crossed, or told twice" if ack.left_out else ""
    _LOG.info("exact positions of %s: %d in the map, %d wait%s", path, ack.live, ack.waiting, left_out)
    return True


async def _renew(tell: Callable[[PositionChange], Awaitable[PositionAck]]) -> None:
    with contextlib.suppress(ForcedMoveError):  # an engine that has stopped
        await tell(PositionChange(FILE_PRODUCER, time.time_ns(), replace=False, lenient=True))


def _check_whole(path: Path) -> None:
    """Raise FileFormatError naming the line where a CSV file ends in the middle of a row, as while it is written.

    A row that was cut in its last number would still be one: only the newline behind it tells. A file without a header
    is not whole either.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return  # who reads it says why
    lines = content.count(b"\n")
    if not content.strip():
        raise FileFormatError("file", str(path), "is empty, without even a header: is it being written?")
    if not content.endswith(b"\n"):
        raise FileFormatError("line", lines + 1, f"does not end in {path}: a whole file ends with a newline")
    try:
        rows = csv.reader(content.decode("utf-8-sig").splitlines(keepends=True))
        columns = len(next(rows))
        for row in rows:
            if row and len(row) != columns:
                reason = f"has {len(row)} fields in {path}, and its header {columns}"
                raise FileFormatError("line", rows.line_num, reason)
    except (csv.Error, UnicodeDecodeError) as error:
        raise FileFormatError("file", str(path), f"is no CSV file: {error}") from error


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
