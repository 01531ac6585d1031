"""What a venue's public tier table looks like on the wire: which calls fetch it, and what their answers mean.

A feed is pure. :mod:`~forcedmove_server.margin.fetch` makes the calls through ccxt, ``forcedmove tiers import`` reads
an answer that somebody saved; both hand the decoded JSON to ``parse``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.ladders import Form


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
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise FileFormatError(name, value, "is not a number", place) from None


def rows_at(answer: Any, *path: str) -> list[Any]:
    """Return the list under a path of keys. Raises FileFormatError naming the key where it stops being one."""
    found = answer
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    if not isinstance(found, list):
        raise FileFormatError(".".join(path) or "content", type(found).__name__, "must be a list", "tier table")
    return found


def floors_of(ceilings: Sequence[float]) -> list[float]:
    """Floors of tiers that are published by their upper bounds."""
    return [0.0, *ceilings[:-1]]
