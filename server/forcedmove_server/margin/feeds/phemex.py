"""Phemex: three generations of risk limits in the list of products, all by the upper bounds of their tiers."""

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
from forcedmove_server.margin.tiers import TierMeasure

_PLACE = "phemex products"

#: ratios named "...Er" are whole numbers of 1 / this
_RATIO_SCALE = 1e8

#: Limits of inverse markets are contracts since 2022-11 (1,000,000 and more of 1 USD) and were coins before (100 to
#: 550 BTC). Nothing in the answer says which, so the magnitude of the smallest decides.
_LEAST_CONTRACTS = 10_000.0

_Entry = tuple[float, float, float]


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    yield Call("publicGetCfgV2Products", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    if number(answer, "code", _PLACE) != 0:
        raise FileFormatError("code", answer["code"], f"is an error: {answer.get('msg')}", _PLACE)
    for symbol, row in _by_symbol(rows_at(answer, "data", "riskLimits")):
        if market := markets.get(symbol):
            yield from _ladder(market, *_first_generation(market, rows_at(row, "riskLimits")))
    second = {symbol: rows_at(row, "riskLimits") for symbol, row in _by_symbol(_optional(answer, "riskLimitsV2"))}
    third = _third_generation(answer)
    for symbol in {**second, **third}:
        if market := markets.get(symbol):
            entries = map(_margin, third[symbol]) if symbol in third else map(_limit, second[symbol])
            yield from _ladder(market, list(entries), TierMeasure.VALUE, cumulative=True)


def _first_generation(market: ListedMarket, rows: list[Any]) -> tuple[list[_Entry], TierMeasure, bool]:
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


def _margin(row: Any) -> _Entry:
    """Entry of an item of a leverage margin. Its maintenance amount only accumulates what the rates say."""
    rate, leverage = number(row, "maintenanceMarginRateRr", _PLACE), number(row, "maxLeverage", _PLACE)
    return number(row, "notionalValueRv", _PLACE), rate, leverage


def _limit(row: Any) -> _Entry:
    """Entry of a risk limit of the second generation, whose rates are plain."""
    rates = number(row, "maintenanceMarginRr", _PLACE), number(row, "initialMarginRr", _PLACE)
    return _entry(number(row, "limit", _PLACE), *rates)


def _entry(ceiling: float, maintenance: float, initial: float) -> _Entry:
    return ceiling, maintenance, 1.0 / initial if initial > 0 else 1.0


def _ladder(
    market: ListedMarket, entries: list[_Entry], measure: TierMeasure, cumulative: bool
) -> Iterator[ParsedLadder]:
    """Turn ``(ceiling, rate, leverage)`` entries into a ladder; none where no tier has a rate that can be."""
    ordered = sorted(entries)
    floors = floors_of([entry[0] for entry in ordered])
    rows = [
        (floor, rate, max(leverage, 1.0))
        for floor, (_, rate, leverage) in zip(floors, ordered, strict=False)
        if 0 < rate < 1
    ]
    # Of tiers on one floor all but the last are empty.
    distinct = list({row[0]: row for row in rows}.values())
    if distinct:
        yield ParsedLadder(market.unified, Tiers(distinct, cumulative, measure))


def _by_symbol(rows: list[Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in rows:
        symbol = row.get("symbol") if isinstance(row, Mapping) else None
        if not isinstance(symbol, str):
            raise FileFormatError("symbol", symbol, "must be text", _PLACE)
        yield symbol, row


def _optional(answer: Any, name: str) -> list[Any]:
    """Rows of a part that older answers lack."""
    return rows_at(answer, "data", name) if name in answer["data"] else []


FEED = TierFeed("phemex", ("phemex",), _calls, _parse, "GET /public/cfg/v2/products: risk limits, leverageMargins")
