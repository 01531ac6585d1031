"""What "the same" means, and arrays full of garbage that nobody may read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import U64, Cohorts, Standing, Window, empty_standing

POISON = 0xDEAD_BEEF_DEAD_BEEF


def copy(record: Any) -> Any:
    """A record of arrays of its own."""
    return type(record)(*(field.copy() for field in record))


def all_rows(cohorts: Cohorts) -> NDArray[np.int32]:
    """Every row (market, side)."""
    return np.arange(2 * len(cohorts.used), dtype=np.int32)


def poisoned(cohorts: Cohorts, window: Window) -> U64:
    """Totals u64 ``[M, 2, C]`` full of garbage."""
    return np.full((len(cohorts.used), 2, window.bins + 2), POISON, np.uint64)


def poisoned_standing(cohorts: Cohorts, window: Window) -> Standing:
    """A standing whose rows are all stale and hold garbage."""
    standing = empty_standing(cohorts, window.bins)
    for field in standing[1:]:
        field[...] = POISON & np.iinfo(field.dtype).max
    return standing


def slots_in_use(cohorts: Cohorts, market: int) -> slice:
    """The slots of a market's cohorts."""
    first = int(cohorts.start[market])
    return slice(first, first + int(cohorts.used[market]))


def assert_array(got: Any, expected: Any, name: str = "") -> None:
    """Same shape, dtype and bits."""
    one, other = np.asarray(got), np.asarray(expected)
    assert one.dtype == other.dtype, f"{name}: {one.dtype} instead of {other.dtype}"
    if one.dtype.kind == "f":  # bits: NaN equals itself, and the zeros differ
        word = np.dtype(f"u{one.dtype.itemsize}")
        one, other = one.view(word), other.view(word)
    np.testing.assert_array_equal(one, other, err_msg=name, strict=True)


def assert_same(got: Any, expected: Any) -> None:
    """Same arrays, bit for bit, field by field; a field may be a record itself."""
    for name, one, other in zip(expected._fields, got, expected, strict=True):
        if isinstance(other, tuple):
            assert_same(one, other)
        else:
            assert_array(one, other, name)


def assert_same_where_clean(got: Standing, expected: Standing, cohorts: Cohorts) -> None:
    """Equal flags, and equal arrays on the rows that are not stale; stale rows may hold anything."""
    assert_array(got.stale, expected.stale, "stale")
    clean = expected.stale == 0
    for name in ("totals", "fresh", "live", "frontier"):
        assert_array(getattr(got, name)[clean], getattr(expected, name)[clean], name)
    for market, side in np.argwhere(clean).tolist():
        slots = slots_in_use(cohorts, market)
        assert_array(got.trigger[side, slots], expected.trigger[side, slots], f"trigger of row {market}, {side}")


@contextmanager
def refused(error: type[Exception], field: str) -> Iterator[None]:
    """Require that what follows raises ``error`` naming ``field`` (a regular expression)."""
    said = None
    try:
        yield
    except error as problem:
        said = str(problem)
    assert said is not None, f"nothing raised: expected {error.__name__} naming {field!r}"
    assert re.search(field, said), f"{error.__name__} does not name {field!r}: {said}"
