"""Maintenance ladders as files: the form in which they are shipped, cached on disk and imported.

One JSON file per venue. Floors count position value in the margin currency (``measure`` "value") or model quantity
("quantity": base units on linear contracts, USD on inverse ones). ``markets`` are unified symbols (``BTC/USDT:USDT``)
or the venue's own ids; ``*linear`` and ``*inverse`` name the ladder that stands in for markets that are not listed.
"""

from __future__ import annotations

import os
import tempfile
from datetime import date
from pathlib import Path
from typing import Annotated

import msgspec

from forcedmove_server.errors import FileFormatError, InputError
from forcedmove_server.margin.facts import Confidence
from forcedmove_server.margin.margin_rule import Maintenance
from forcedmove_server.margin.provenance import Origin
from forcedmove_server.margin.rate_functions import LineRate, RateFunction, RootRate
from forcedmove_server.margin.tiers import (
    LeverageLadders,
    TierMeasure,
    TierTable,
    cumulative_tiers,
    flat_tiers,
)

FORMAT = 1

STAND_IN = {False: "*linear", True: "*inverse"}

Floor = Annotated[float, msgspec.Meta(ge=0, le=1e18)]


class Tiers(msgspec.Struct, frozen=True, tag="tiers", forbid_unknown_fields=True, omit_defaults=True):
    """A ladder of ``(floor, rate, max_leverage)`` rows; ``cumulative`` where each rate applies to its own slice."""

    rows: list[tuple[Floor, float, float]]
    cumulative: bool = False
    measure: TierMeasure = TierMeasure.VALUE

    def build(self) -> TierTable:
        """Make the ladder. Raises InputError naming the tier."""
        return cumulative_tiers(self.rows, self.measure) if self.cumulative else flat_tiers(self.rows, self.measure)


class ByLeverage(msgspec.Struct, frozen=True, tag="by_leverage", forbid_unknown_fields=True, omit_defaults=True):
    """Ladders of ``(floor, factor)`` rows per leverage: the rate is ``factor / leverage``."""

    ladders: dict[float, list[tuple[Floor, float]]]
    measure: TierMeasure = TierMeasure.QUANTITY

    def build(self) -> LeverageLadders:
        """Make the ladders. Raises InputError naming ladder and field."""
        return LeverageLadders(self.ladders, self.measure)


class Line(msgspec.Struct, frozen=True, tag="line", forbid_unknown_fields=True, omit_defaults=True):
    """Rates that grow with size along a line, as ``(base, factor)``."""

    maintenance: tuple[float, float]
    initial: tuple[float, float]
    measure: TierMeasure = TierMeasure.QUANTITY

    def build(self) -> RateFunction:
        """Make the function. Raises InputError naming the parameter."""
        return RateFunction(LineRate(*self.maintenance), LineRate(*self.initial), self.measure)


class Root(msgspec.Struct, frozen=True, tag="root", forbid_unknown_fields=True, omit_defaults=True):
    """Rates that grow with the square root of size, as ``(base, factor, shift, scale)``."""

    maintenance: tuple[float, float, float, float]
    initial: tuple[float, float, float, float]
    measure: TierMeasure = TierMeasure.VALUE

    def build(self) -> RateFunction:
        """Make the function. Raises InputError naming the parameter."""
        return RateFunction(RootRate(*self.maintenance), RootRate(*self.initial), self.measure)


Form = Tiers | ByLeverage | Line | Root


class Ladder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The maintenance of some markets; date, confidence and source where they differ from the file's."""

    markets: list[str]
    maintenance: Form
    as_of: date | None = None
    about: bool | None = None
    confidence: Confidence | None = None
    source: str | None = None


class LadderFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ladders of one venue, as of a day; ``about`` where only month or year of it are known."""

    venue: str
    as_of: date
    confidence: Confidence
    source: str
    ladders: list[Ladder]
    origin: Origin = Origin.SHIPPED
    about: bool = False
    format: int = FORMAT

    def check(self, place: str) -> None:
        """Raise FileFormatError for a ladder that cannot be, or a market that is listed twice."""
        if self.format != FORMAT:
            raise FileFormatError("format", self.format, f"this version reads format {FORMAT}", place)
        seen: set[str] = set()
        for ladder in self.ladders:
            for market in ladder.markets:
                if market in seen:
                    raise FileFormatError("markets", market, "is listed twice", place)
                seen.add(market)
            try:
                ladder.maintenance.build()
            except InputError as error:
                where = f"{place}: {', '.join(ladder.markets[:3])}"
                raise FileFormatError(error.field, error.value, error.reason, where) from None


def read_ladders(path: Path) -> LadderFile:
    """Read a ladder file. Raises FileFormatError naming field and file for one that is unreadable or wrong."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileFormatError("path", str(path), error.strerror or "cannot be read") from None
    file = decode_ladders(content, str(path))
    file.check(str(path))
    return file


def decode_ladders(content: bytes, place: str) -> LadderFile:
    """Decode a ladder file, without checking its ladders. Raises FileFormatError."""
    try:
        return msgspec.json.decode(content, type=LadderFile)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at ")
        raise FileFormatError(where.strip("`") or "content", "...", reason, place) from None
    except msgspec.DecodeError as error:
        raise FileFormatError("content", content[:40], f"is not JSON: {error}", place) from None


def write_ladders(file: LadderFile, path: Path) -> None:
    """Write a ladder file so that a reader sees the old or the new one, never a part. Raises FileFormatError."""
    file.check(str(path))
    content = encode_ladders(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise FileFormatError("path", str(path), error.strerror or "cannot be written") from None


def encode_ladders(file: LadderFile) -> bytes:
    """Encode a ladder file, one ladder a line, so that a change of one market is a change of one line."""
    head = msgspec.json.encode(msgspec.structs.replace(file, ladders=[]))
    before, empty, after = head.partition(b'"ladders":[]')
    assert empty
    lines = b",\n".join(msgspec.json.encode(ladder) for ladder in file.ladders)
    return before + b'"ladders":[\n' + lines + b"\n]" + after + b"\n"


def form_of(maintenance: Maintenance) -> Form:
    """Return the file form of a ladder: the inverse of ``build``."""
    if isinstance(maintenance, TierTable):
        rows = [(tier.floor, tier.rate, tier.max_leverage) for tier in maintenance.tiers]
        return Tiers(rows, maintenance.cumulative and len(rows) > 1, maintenance.measure)
    if isinstance(maintenance, LeverageLadders):
        return ByLeverage({k: list(rows) for k, rows in maintenance.ladders.items()}, maintenance.measure)
    if isinstance(maintenance, RateFunction):
        lower, upper = maintenance.maintenance, maintenance.initial
        if isinstance(lower, LineRate) and isinstance(upper, LineRate):
            return Line((lower.base, lower.factor), (upper.base, upper.factor), maintenance.measure)
        if isinstance(lower, RootRate) and isinstance(upper, RootRate):
            low, high = ((f.base, f.factor, f.shift, f.scale) for f in (lower, upper))
            return Root(low, high, maintenance.measure)
    raise InputError("maintenance", type(maintenance).__name__, "has no file form")
