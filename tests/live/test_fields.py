"""Fields of messages: what comes out is a number, a time or text in its range, whatever goes in."""

from __future__ import annotations

import contextlib
import gzip
import math
import random
import zlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forcedmove_server.collectors import fields
from forcedmove_server.collectors.fields import (
    MOST_BYTES,
    choice,
    from_iso,
    from_ms,
    from_ns,
    from_s,
    from_us,
    inflated,
    levels,
    not_negative,
    positive,
    unpacked,
)

_ANYTHING = st.one_of(st.floats(), st.integers(), st.floats().map(str), st.text(max_size=12))
_TIMES = st.integers(1_230_768_000_000_000, 4_102_444_799_999_999)  # microseconds, 2009 to 2100


@given(_ANYTHING)
def test_numbers_are_finite_and_in_range_or_refused(value: Any) -> None:
    for read, least in ((positive, math.ulp(0.0)), (not_negative, 0.0)):
        try:
            number = read(value, "size")
        except (ValueError, OverflowError):
            continue
        assert least <= number < math.inf
        assert math.isfinite(number * number)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", 0, "0", "", "1e999", "1e-200", "0x10"])
def test_a_refused_price_is_named(value: Any) -> None:
    with pytest.raises(ValueError):
        positive(value, "price")


def test_a_quantity_of_zero_is_one() -> None:
    assert not_negative("0.000", "size") == 0.0
    with pytest.raises(ValueError, match="size = -1: must be a number, 0 or more"):
        not_negative(-1, "size")


@given(_TIMES)
def test_times_in_every_unit_mean_the_same(time_us: int) -> None:
    nanoseconds = time_us * 1_000
    assert from_us(time_us) == from_us(str(time_us)) == from_ns(nanoseconds) == nanoseconds
    assert from_ms(time_us // 1_000) == from_ms(str(time_us // 1_000)) == time_us // 1_000 * 1_000_000
    assert from_s(f"{time_us // 1_000_000}.{time_us % 1_000_000:06}") == nanoseconds
    when = datetime.fromtimestamp(time_us // 1_000_000, UTC) + timedelta(microseconds=time_us % 1_000_000)
    assert from_iso(when.isoformat()) == nanoseconds
    assert from_iso(when.isoformat().replace("+00:00", "Z")) == nanoseconds
    assert from_iso(when.replace(tzinfo=None).isoformat()) == nanoseconds
    assert from_iso(when.astimezone(timezone(timedelta(hours=9, minutes=30))).isoformat()) == nanoseconds


@given(_TIMES)
def test_a_time_in_the_wrong_unit_is_refused(time_us: int) -> None:
    """A venue that changes from milliseconds to microseconds must not put its events into another century."""
    for read, value in ((from_s, time_us // 1_000), (from_ms, time_us), (from_us, time_us * 1_000)):
        with pytest.raises(ValueError, match="is not a time of this century"):
            read(value, "ts")
    with pytest.raises(ValueError):
        from_us(time_us // 1_000)


@pytest.mark.parametrize("value", ["", "yesterday", "2026-13-01", "1970-01-01T00:00:00Z"])
def test_what_is_no_time_is_refused(value: str) -> None:
    with pytest.raises(ValueError):
        from_iso(value)


def test_words_are_looked_up_and_others_named() -> None:
    assert choice("Buy", {"Buy": 1, "Sell": -1}, "side") == 1
    with pytest.raises(ValueError, match="side = 'BUY': must be one of 'Buy', 'Sell'"):
        choice("BUY", {"Buy": 1, "Sell": -1}, "side")


def test_levels_are_converted_and_checked() -> None:
    assert levels([("2000", "3"), (1.0, 0)], 1000.0, 10.0) == ((2.0, 30.0), (0.001, 0.0))
    for wrong in (("0", "1"), ("1", "-1"), ("nan", "1")):
        with pytest.raises(ValueError):
            levels([wrong], 1.0, 1.0)


@given(st.binary(max_size=200))
def test_packed_messages_are_unpacked_and_plain_ones_left(content: bytes) -> None:
    assert unpacked(gzip.compress(content)) == content
    assert unpacked(b"{" + content) == b"{" + content
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    assert inflated(packer.compress(content) + packer.flush()) == content


@given(st.binary(max_size=60))
def test_broken_packing_is_refused_and_never_raises_anything_else(content: bytes) -> None:
    whole = gzip.compress(b"something")
    for broken in (whole[: len(content) % len(whole)], b"\x1f\x8b" + content):
        with contextlib.suppress(ValueError):
            unpacked(broken)


@pytest.mark.parametrize("size", [50, 50_000])
def test_a_truncated_message_is_refused(size: int) -> None:
    content = random.Random(1).randbytes(size)
    packed = gzip.compress(content)
    assert unpacked(packed) == content
    with pytest.raises(ValueError, match="truncated"):
        unpacked(packed[:-1])
    with pytest.raises(ValueError, match="incorrect data check"):
        unpacked(packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:])


def test_a_message_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MOST_BYTES", 1_000)
    assert len(unpacked(gzip.compress(b"a" * 1_000))) == 1_000
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        unpacked(gzip.compress(b"a" * 1_001))
    assert MOST_BYTES >= 2**20
