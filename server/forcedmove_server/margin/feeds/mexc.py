"""MEXC's risk limits, part of its contract list (https://www.mexc.com/api-docs/futures/market-endpoints).

``riskLimitMode`` CUSTOM lists the tiers; their ``riskIncr*`` are then zero, and expanding those would give one wrong
tier. INCREASE (also lists of before the mode existed) raises the rates by a step every ``riskIncrVol``. Sizes are
contracts, or position value where ``riskLimitType`` is BY_VALUE. The whole position pays the rate of its tier.
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
    Tier,
    TierFeed,
    by_ceiling,
    check_code,
    number,
    rows_at,
    text,
    tier_reader,
)
from forcedmove_server.margin.ladders import Tiers
from forcedmove_server.margin.tiers import TierMeasure

SOURCE = "GET /api/v1/contract/detail"

_tier = tier_reader("maxVol", "mmr", "maxLeverage")


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    if markets:
        yield Call("contractPublicGetDetail", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "code", 0, "message", SOURCE)
    one = isinstance(answer.get("data"), Mapping)  # so it is where the call named a symbol
    for row in [answer["data"]] if one else rows_at(answer, "data"):
        market = markets.get(text(row, "symbol", SOURCE))
        if market is not None:
            yield ParsedLadder(market.unified, _ladder(row, market))


def _ladder(contract: Mapping[str, Any], market: ListedMarket) -> Tiers:
    place = f"{SOURCE}: {market.native_id}"
    custom = contract.get("riskLimitMode") == "CUSTOM"
    tiers = _listed(contract, place) if custom else _increasing(contract, place)
    by_value = contract.get("riskLimitType") == "BY_VALUE"
    unit = 1.0 if by_value else market.contract_size
    return Tiers(by_ceiling(tiers, unit), measure=TierMeasure.VALUE if by_value else TierMeasure.QUANTITY)


def _listed(contract: Mapping[str, Any], place: str) -> Iterator[Tier]:
    tiers = rows_at(contract, "riskLimitCustom")
    if not tiers:
        raise FileFormatError("riskLimitCustom", tiers, "lists no tier", place)
    for tier in tiers:
        yield _tier(tier, place)


def _increasing(contract: Mapping[str, Any], place: str) -> Iterator[Tier]:
    volume, more = number(contract, "riskBaseVol", place), number(contract, "riskIncrVol", place)
    rate, steeper = number(contract, "maintenanceMarginRate", place), number(contract, "riskIncrMmr", place)
    initial, higher = number(contract, "initialMarginRate", place), number(contract, "riskIncrImr", place)
    if not initial > 0:
        raise FileFormatError("initialMarginRate", initial, "must be positive", place)
    for k in range(max(int(number(contract, "riskLevelLimit", place)), 1)):
        yield volume + k * more, rate + k * steeper, 1.0 / (initial + k * higher)


FEED = TierFeed("mexc", ("mexc",), _calls, _parse, SOURCE)
