"""Gate's risk limit tiers (https://www.gate.com/docs/developers/apiv4/en/#query-risk-limit-tiers).

``risk_limit`` is the upper bound of a tier, position value in the margin currency. Since 2025-07-29 each rate applies
to its own slice; the printed ``deduction`` is what their accumulation gives, so it is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forcedmove_server.errors import FileFormatError
from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    TierFeed,
    floors_of,
    number,
    rows_at,
)
from forcedmove_server.margin.ladders import Tiers

SOURCE = "GET /api/v4/futures/{settle}/risk_limit_tiers"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    for market in markets:
        settle = market.unified.rpartition(":")[2].lower()
        params = {"settle": settle, "contract": market.native_id}
        yield Call("publicFuturesGetSettleRiskLimitTiers", params)


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    if isinstance(answer, Mapping) and "label" in answer:
        raise FileFormatError("label", answer["label"], f"is an error: {answer.get('message')}", SOURCE)
    # An answer for one contract does not repeat its name: it has to be parsed with that market alone.
    only = next(iter(markets)) if len(markets) == 1 else None
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in rows_at(answer):
        contract = row.get("contract", only) if isinstance(row, Mapping) else None
        if contract is None:
            raise FileFormatError("contract", None, f"is missing, and {len(markets)} markets are meant", SOURCE)
        if str(contract) in markets:
            place = f"{SOURCE}: {contract}"
            leverage = max(number(row, "leverage_max", place), 1.0)
            tier = (number(row, "risk_limit", place), number(row, "maintenance_rate", place), leverage)
            found.setdefault(str(contract), []).append(tier)
    for contract, tiers in found.items():
        tiers.sort()
        floors = floors_of([ceiling for ceiling, _, _ in tiers])
        rows = [(low, rate, lever) for low, (high, rate, lever) in zip(floors, tiers, strict=True) if low < high]
        yield ParsedLadder(markets[contract].unified, Tiers(rows, cumulative=True))


FEED = TierFeed("gate", ("gate",), _calls, _parse, SOURCE)
