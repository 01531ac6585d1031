"""Gate's risk limit tiers (https://www.gate.com/docs/developers/apiv4/en/#query-risk-limit-tiers).

``risk_limit`` is the upper bound of a tier, position value in the margin currency. Since 2025-07-29 each rate applies
to its own slice; the printed ``deduction`` has to be what their accumulation gives.
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
    by_ceiling,
    check_amounts,
    grouped,
    rows_at,
    tier_reader,
)
from forcedmove_server.margin.ladders import Tiers

SOURCE = "GET /api/v4/futures/{settle}/risk_limit_tiers"

_tier = tier_reader("risk_limit", "maintenance_rate", "leverage_max")


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

    def contract_of(row: Any) -> str:
        contract = row.get("contract", only) if isinstance(row, Mapping) else None
        if contract is None:
            raise FileFormatError("contract", None, f"is missing, and {len(markets)} markets are meant", SOURCE)
        return str(contract)

    rows = rows_at(answer)
    for contract, tiers in grouped(rows, contract_of, markets, _tier, SOURCE).items():
        ladder = by_ceiling(tiers)
        mine = [row for row in rows if contract_of(row) == contract]
        check_amounts(ladder, mine, "risk_limit", "deduction", f"{SOURCE}: {contract}")
        yield ParsedLadder(markets[contract].unified, Tiers(ladder, cumulative=True))


FEED = TierFeed("gate", ("gate",), _calls, _parse, SOURCE)
