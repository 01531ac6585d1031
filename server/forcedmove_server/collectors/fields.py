"""Fields of messages to checked numbers, times and bytes; all raise ValueError naming the field and the value."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeGuard

import msgspec

from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.records import Level

#: a message that unpacks to more than this is not one of ours
MOST_BYTES = 16 * 2**20
_GZIP, _RAW = zlib.MAX_WBITS | 16, -zlib.MAX_WBITS
#: deflate makes at most 258 bytes of 2 bits
_MOST_EXPANSION = 1032
#: more than any price, quantity or value, and less than any; products of them are still finite, and not 0
_MOST, _LEAST = 1e60, 1e-60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_NS, _LATEST_NS = 1_230_768_000 * 10**9, 4_102_444_800 * 10**9  # 2009 to 2100

Number = str | float | int
#: a trade's, a request's, an error's: venues write the same one as a number or as text
Id = int | str

#: The same checks for msgspec decoders with ``strict=False``, which read numbers and text alike and name the field: an
#: order of magnitude faster, so that trades use them.
Positive = Annotated[float, msgspec.Meta(gt=_LEAST, lt=_MOST)]
Seconds = Annotated[float, msgspec.Meta(ge=_EARLIEST_NS / 10**9, lt=_LATEST_NS / 10**9)]
Milliseconds = Annotated[int, msgspec.Meta(ge=_EARLIEST_NS // 10**6, lt=_LATEST_NS // 10**6)]
Microseconds = Annotated[int, msgspec.Meta(ge=_EARLIEST_NS // 10**3, lt=_LATEST_NS // 10**3)]
Nanoseconds = Annotated[int, msgspec.Meta(ge=_EARLIEST_NS, lt=_LATEST_NS)]


def positive(value: Number, field: str) -> float:
    """Read a number above 0, from a number or from text; NaN and what nothing could cost are refused."""
    number = float(value)
    if not _LEAST < number < _MOST:
        raise ValueError(f"{field} = {value!r}: must be a positive number")
    return number


def not_negative(value: Number, field: str) -> float:
    """Read a number, 0 or more, from a number or from text."""
    number = float(value)
    if not 0.0 <= number < _MOST:
        raise ValueError(f"{field} = {value!r}: must be a number, 0 or more")
    return number


def from_s(value: Number, field: str = "time") -> int:
    """Nanoseconds of a time in seconds, from an integer or a decimal fraction, as a number or as text."""
    return _plausible(round(float(value) * 1e6) * 1_000, value, field)


def from_ms(value: Number, field: str = "time") -> int:
    """Nanoseconds of a time in milliseconds."""
    if isinstance(value, int):
        return _plausible(value * 1_000_000, value, field)
    return _plausible(round(float(value) * 1e3) * 1_000, value, field)


def from_us(value: Number, field: str = "time") -> int:
    """Nanoseconds of a time in microseconds."""
    return _plausible(int(value) * 1_000, value, field)


def from_ns(value: Number, field: str = "time") -> int:
    """Check a time in nanoseconds."""
    return _plausible(int(value), value, field)


def from_iso(value: str, field: str = "time") -> int:
    """Nanoseconds of an ISO 8601 time; one without a zone is UTC."""
    return from_datetime(datetime.fromisoformat(value), field)


def from_datetime(when: datetime, field: str = "time") -> int:
    """Nanoseconds of an ISO 8601 time that a decoder has read; one without a zone is UTC."""
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    since = when - _EPOCH
    time_ns = (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
    if not _EARLIEST_NS <= time_ns < _LATEST_NS:
        raise ValueError(f"{field} = {when.isoformat()}: is not a time of this century")
    return time_ns


def given(value: Number | None) -> TypeGuard[Number]:
    """Whether a field is there: venues leave it out, or send null or an empty text. A 0 is there, however written."""
    return value is not None and value != ""


def one_id(value: Id) -> Id:
    """Return the same id for a number and for its text: answers and pushes may write it differently."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def request_number(value: Number | None) -> int:
    """Return the number of a request that the venue repeats, as a number or as text; -1 where it is no number."""
    text = str(value)
    return int(text) if text.isdecimal() else -1


def choice(value: str, options: dict[str, int], field: str) -> int:
    """Return what one of the venue's words means."""
    try:
        return options[value]
    except KeyError:
        raise ValueError(f"{field} = {value!r}: must be one of {', '.join(map(repr, options))}") from None


class ContentIds:
    """Ids for the trades of one message, made of what they say, where the venue gives none.

    Equal trades of one message are told apart by counting them. Equal trades of different messages are not, so that a
    message that comes twice counts once.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}

    def of(self, *numbers: float) -> int:
        """Return an id of a trade's time, price, quantity and aggressor."""
        own = hash(numbers)
        count = self._seen.get(own, 0)
        self._seen[own] = count + 1
        return hash((own, count)) if count else own


def levels(rows: Iterable[tuple[Number, Number]], units: float, quantity_unit: float) -> tuple[Level, ...]:
    """Book levels of (price, quantity) pairs: prices divided by ``units``, quantities times ``quantity_unit``."""
    return tuple(
        (positive(price, "price") / units, not_negative(size, "quantity") * quantity_unit) for price, size in rows
    )


def model_quantity(listing: Listing, contracts: float, coins: Number | None) -> float:
    """Contracts in model units; where nobody said how large one is, the coins that the message states beside them.

    NaN where neither is known, and on inverse contracts of unknown size, whose coins are worth a price.
    """
    if not math.isnan(listing.contract):
        return contracts * listing.contract
    if coins is None or coins == "":
        return math.nan
    quantity = not_negative(coins, "coins") * listing.coin
    return quantity if quantity or not contracts else math.nan


def unpacked(message: bytes) -> bytes:
    """Undo gzip; anything else comes back as it is. Too much, packed or not, is refused."""
    if message[:2] == b"\x1f\x8b":
        return _inflated(message, _GZIP)
    if len(message) > MOST_BYTES:
        raise ValueError(f"message of {len(message)} bytes: more than {MOST_BYTES}")
    return message


def without_nulls(message: bytes) -> bytes:
    """Write JSON anew without the members of objects that are null: those count as missing. Raises as msgspec does."""
    return msgspec.json.encode(_without_nulls(msgspec.json.decode(message)))


def inflated(message: bytes) -> bytes:
    """Decompress raw deflate."""
    return _inflated(message, _RAW)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _inflated(message: bytes, window_bits: int) -> bytes:
    try:
        if len(message) * _MOST_EXPANSION <= MOST_BYTES:  # cannot be too much, and one call is faster
            return zlib.decompress(message, window_bits)
        unpacking = zlib.decompressobj(window_bits)
        content = unpacking.decompress(message, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"message of {len(message)} bytes: {error}") from None
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise ValueError(f"message of {len(message)} bytes: truncated, or more than {MOST_BYTES} bytes unpacked")
    return content


def _plausible(time_ns: int, value: Number, field: str) -> int:
    if not _EARLIEST_NS <= time_ns < _LATEST_NS:
        raise ValueError(f"{field} = {value!r}: is not a time of this century in the expected unit")
    return time_ns
