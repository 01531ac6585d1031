"""Phemex: three generations of risk limits in the list of products, all by the upper bounds of their tiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from forcedmove_server.margin.feeds.feed import (
    Call,
    ListedMarket,
    Markets,
    ParsedLadder,
    Tier,
    TierFeed,
    check_code,
    number,
    rows_at,
    text,
    tier_reader,
    usable_by_ceiling,
)
from forcedmove_server.margin.ladders import Tiers
from forcedmove_server.margin.tiers import TierMeasure

_PLACE = "phemex products"

#: ratios named "...Er" are whole numbers of 1 / this
_RATIO_SCALE = 1e8

#: Limits of inverse markets are contracts since 2022-11 (1,000,000 and more of 1 USD) and were coins before (100 to
#: 550 BTC). Nothing in the answer says which, so the magnitude of the smallest decides.
_LEAST_CONTRACTS = 10_000.0

#: an item of a leverage margin; its maintenance amount only accumulates what the rates say
_margin = tier_reader("notionalValueRv", "maintenanceMarginRateRr", "maxLeverage")


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    yield Call("publicGetCfgV2Products", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "code", 0, "msg", _PLACE)
    for symbol, row in _by_symbol(rows_at(answer, "data", "riskLimits")):
        if market := markets.get(symbol):
            yield from _ladder(market, *_first_generation(market, rows_at(row, "riskLimits")))
    second = {symbol: rows_at(row, "riskLimits") for symbol, row in _by_symbol(_optional(answer, "riskLimitsV2"))}
    third = _third_generation(answer)
    for symbol in {**second, **third}:
        if market := markets.get(symbol):
            read, rows = (_margin, third[symbol]) if symbol in third else (_limit, second[symbol])
            yield from _ladder(market, [read(row, _PLACE) for row in rows], TierMeasure.VALUE, cumulative=True)


def _first_generation(market: ListedMarket, rows: list[Any]) -> tuple[list[Tier], TierMeasure, bool]:
    """Entries, measure and kind of the old markets: coin-settled ones, and linear ones that are settled in USD."""
    # "maintenanceMargin" beside these is text with a percent sign.
    entries = [
        _entry(
            number(row, "limit", _PLACE),
            number(row, "maintenanceMarginEr", _PLACE) / _RATIO_SCALE,
            number(row, "initialMarginEr", _PLACE) / _RATIO_SCALE,
        )
        for row in rows
    ]
    if market.inverse and min((entry[0] for entry in entries), default=0.0) >= _LEAST_CONTRACTS:
        usd = [(limit * market.contract_size, rate, leverage) for limit, rate, leverage in entries]
        return usd, TierMeasure.QUANTITY, False
    return entries, TierMeasure.VALUE, False


def _third_generation(answer: Any) -> dict[str, list[Any]]:
    """Items of the leverage margin that a product points at, by symbol."""
    margins = {number(row, "index_id", _PLACE): rows_at(row, "items") for row in _optional(answer, "leverageMargins")}
    found = {}
    for symbol, row in _by_symbol(_optional(answer, "perpProductsV2")):
        if row.get("leverageMargin") is not None:
            items = margins.get(number(row, "leverageMargin", _PLACE))
            if items:
                found[symbol] = items
    return found


def _limit(row: Any, place: str) -> Tier:
    """Entry of a risk limit of the second generation, whose rates are plain."""
    rates = number(row, "maintenanceMarginRr", place), number(row, "initialMarginRr", place)
    return _entry(number(row, "limit", place), *rates)


def _entry(ceiling: float, maintenance: float, initial: float) -> Tier:
    return ceiling, maintenance, 1.0 / initial if initial > 0 else 1.0


def _ladder(
    market: ListedMarket, entries: list[Tier], measure: TierMeasure, cumulative: bool
) -> Iterator[ParsedLadder]:
    """Turn entries into a ladder; none where no tier has a rate that can be."""
    if rows := usable_by_ceiling(entries):
        yield ParsedLadder(market.unified, Tiers(rows, cumulative, measure))


def _by_symbol(rows: list[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in rows:
        yield text(row, "symbol", _PLACE), row


def _optional(answer: Any, name: str) -> list[Any]:
    """Rows of a part that older answers lack."""
    return rows_at(answer, "data", name) if name in answer["data"] else []


FEED = TierFeed("phemex", ("phemex",), _calls, _parse, "GET /public/cfg/v2/products: risk limits, leverageMargins")
