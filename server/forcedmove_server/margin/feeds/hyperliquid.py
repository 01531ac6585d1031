"""Hyperliquid: margin tables of greatest leverages; the maintenance rate is half of ``1 / leverage``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    Tier,
    TierFeed,
    number,
    one_per_floor,
    rows_at,
    text,
)
from forcedmove_server.margin.ladders import Tiers

_PLACE = "hyperliquid meta"

#: below this the id of a table is itself the leverage of its only tier, and the table is not listed
_FIRST_LISTED_TABLE = 50


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    yield Call("publicPostInfo", {"type": "meta"})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    tables = _tables(answer)
    for index, row in enumerate(rows_at(answer, "universe")):
        name = text(row, "name", _PLACE)
        # ccxt's id is the place in the universe; coins of other dexes ("dex:COIN") are counted from elsewhere.
        market = markets.get(name) or (None if ":" in name else markets.get(str(index)))
        if market is None or row.get("isDelisted"):
            continue
        table = int(number(row, "marginTableId", _PLACE))
        if table in tables:
            yield ParsedLadder(market.unified, Tiers(tables[table], cumulative=True))
        elif table < _FIRST_LISTED_TABLE:
            yield ParsedLadder(market.unified, Tiers([_tier(0.0, float(table))], cumulative=True))
        else:
            raise FileFormatError("marginTableId", table, "is not among marginTables", f"{_PLACE}: {name}")


def _tables(answer: Any) -> dict[int, list[Tier]]:
    """Tiers by the id of their table, which comes as pairs."""
    tables = {}
    for pair in rows_at(answer, "marginTables"):
        if not isinstance(pair, list) or len(pair) != 2:
            raise FileFormatError("marginTables", pair, "must hold pairs of an id and a table", _PLACE)
        tiers = [
            _tier(number(row, "lowerBound", _PLACE), number(row, "maxLeverage", _PLACE))
            for row in rows_at(pair[1], "marginTiers")
        ]
        tables[int(number({"id": pair[0]}, "id", _PLACE))] = one_per_floor(sorted(tiers))
    return tables


def _tier(floor: float, leverage: float) -> Tier:
    return floor, 0.5 / max(leverage, 1.0), max(leverage, 1.0)


FEED = TierFeed("hyperliquid", ("hyperliquid",), _calls, _parse, "POST /info meta: universe, marginTables")
