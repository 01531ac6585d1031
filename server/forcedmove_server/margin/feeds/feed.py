"""What a venue's public tier table looks like on the wire: which calls fetch it, and what their answers mean.

A feed is pure. :mod:`~forcedmove_server.margin.fetch` makes the calls through ccxt, ``forcedmove tiers import`` reads
an answer that somebody saved; both hand the decoded JSON to ``parse``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.ladders import Form
from forcedmove_server.margin.tiers import accumulated_amounts

T = TypeVar("T")

#: relative rounding of printed maintenance amounts
_AMOUNT_ROUNDING = 2e-3

#: a bound (upper as most venues publish it, lower in a ladder), maintenance rate, greatest leverage
Tier = tuple[float, float, float]


class ListedMarket(NamedTuple):
    """A market as ccxt lists it. ``contract_size`` is base units (linear) or USD (inverse) per contract."""

    unified: str
    native_id: str
    base: str
    inverse: bool
    contract_size: float


#: markets by the venue's own id
Markets = Mapping[str, ListedMarket]


class Call(NamedTuple):
    """One public call: the name of ccxt's generated method, and its parameters."""

    method: str
    params: dict[str, Any]


class ParsedLadder(NamedTuple):
    """The maintenance of one market."""

    unified: str
    maintenance: Form


@dataclass(frozen=True, slots=True)
class TierFeed:
    """How one venue publishes its tiers.

    ``exchanges`` are the ccxt classes whose markets are meant, ``calls`` says what to fetch for some of these markets,
    ``parse`` turns one decoded answer into ladders; markets of the answer that are not in ``markets`` are left out.
    ``source`` names the endpoint. ``parse`` raises FileFormatError naming a field that is missing or not a number.
    """

    venue: str
    exchanges: tuple[str, ...]
    calls: Callable[[Sequence[ListedMarket]], Iterator[Call]]
    parse: Callable[[Any, Markets], Iterator[ParsedLadder]]
    source: str


def number(row: Any, name: str, place: str) -> float:
    """Read a number that may come as text. Raises FileFormatError naming field and place."""
    value = row.get(name) if isinstance(row, Mapping) else None
    try:
        read = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        read = math.nan
    if not math.isfinite(read):
        raise FileFormatError(name, value, "is not a number", place)
    return read


def text(row: Any, name: str, place: str) -> str:
    """Read a text, such as the name of a market. Raises FileFormatError naming field and place."""
    value = row.get(name) if isinstance(row, Mapping) else None
    if not isinstance(value, str):
        raise FileFormatError(name, value, "must be text", place)
    return value


def rows_at(answer: Any, *path: str) -> list[Any]:
    """Return the list under a path of keys. Raises FileFormatError naming the key where it stops being one."""
    found = answer
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, list):
        raise FileFormatError(".".join(path) or "content", type(found).__name__, "must be a list", "tier table")
    return found


def check_code(answer: Any, name: str, good: float | str, message: str, place: str) -> None:
    """Raise FileFormatError for an answer that is an error, with what the venue says under ``message``.

    A ``good`` code that is a number also comes as text ("00000"). A code that is missing is an error as well.
    """
    read = text if isinstance(good, str) else number
    if read(answer, name, place) != good:
        raise FileFormatError(name, answer[name], f"is an error: {answer.get(message)}", place)


def tier_reader(bound: str, rate: str, leverage: str) -> Callable[[Any, str], Tier]:
    """Make what reads a tier from a row with these fields; it raises FileFormatError as ``number`` does."""
    return lambda row, place: (number(row, bound, place), number(row, rate, place), number(row, leverage, place))


def grouped(
    rows: Iterable[Any], key: Callable[[Any], str], markets: Markets, read: Callable[[Any, str], T], place: str
) -> dict[str, list[T]]:
    """Collect what ``read`` makes of each row and its place, by native id; only rows of ``markets`` are read.

    ``key`` finds the native id of a row. Raises what ``key`` and ``read`` raise.
    """
    found: dict[str, list[T]] = {}
    for row in rows:
        native_id = key(row)
        if native_id in markets:
            found.setdefault(native_id, []).append(read(row, f"{place}: {native_id}"))
    return found


def by_ceiling(tiers: Iterable[Tier], unit: float = 1.0) -> list[Tier]:
    """Turn tiers by their upper bounds, in any order, into the rows of a ladder; tiers without width are left out.

    ``unit`` times a bound is a floor, for bounds in contracts. Leverages below 1 become 1.
    """
    return [(low * unit, rate, leverage) for low, high, rate, leverage in _spans(tiers) if low < high]


def usable_by_ceiling(tiers: Iterable[Tier]) -> list[Tier]:
    """Do as ``by_ceiling`` for tables with rates that cannot be: such tiers are left out, which may leave none.

    Of tiers on one floor the last usable one counts, even where it has no width.
    """
    return one_per_floor((low, rate, leverage) for low, _, rate, leverage in _spans(tiers) if 0 < rate < 1)


def one_per_floor(rows: Iterable[Tier]) -> list[Tier]:
    """Keep the last of the rows on one floor, since the others span nothing: of sorted rows the strictest."""
    return list({row[0]: row for row in rows}.values())


def check_amounts(tiers: Sequence[Tier], rows: Sequence[Any], bound: str, amount: str, place: str) -> None:
    """Raise FileFormatError where a venue prints other maintenance amounts than its rates accumulate to.

    Then the table may be misread. ``rows`` are what ``tiers`` were read from, in any order; ``bound`` orders them. Rows
    without amounts, or of which some were left out, say nothing. Printed amounts are rounded.
    """
    if len(rows) != len(tiers) or any(amount not in row for row in rows):
        return
    ordered = sorted(rows, key=lambda row: number(row, bound, place))
    expected = accumulated_amounts([floor for floor, _, _ in tiers], [rate for _, rate, _ in tiers])
    for row, accumulated in zip(ordered, expected.tolist(), strict=True):
        printed = 0.0 if row[amount] == "" else number(row, amount, place)
        if not math.isclose(printed, accumulated, rel_tol=_AMOUNT_ROUNDING, abs_tol=1e-9):
            raise FileFormatError(amount, printed, f"but the rates accumulate to {accumulated:.10g}", place)


def _spans(tiers: Iterable[Tier]) -> Iterator[tuple[float, float, float, float]]:
    """Floor, ceiling, rate and leverage of rising tiers."""
    low = 0.0
    for high, rate, leverage in sorted(tiers):
        yield low, high, rate, max(leverage, 1.0)
        low = high
