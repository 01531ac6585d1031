"""Kraken's margin levels (https://docs.kraken.com/api/docs/futures-api/trading/get-instruments).

Levels are printed by their floors: ``numNonContractUnits``, USD of position value, on linear instruments (PF) and
``contracts`` on inverse ones (PI). Each rate applies to its own slice (support 15579128794772). The greatest leverage
of a level is 1 / ``initialMargin``.
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
    check_code,
    number,
    one_per_floor,
    rows_at,
    text,
)
from forcedmove_server.margin.ladders import Tiers
from forcedmove_server.margin.tiers import TierMeasure

SOURCE = "GET /derivatives/api/v3/instruments"


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    if markets:
        yield Call("publicGetInstruments", {})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "result", "success", "error", SOURCE)
    for instrument in rows_at(answer, "instruments"):
        market = markets.get(text(instrument, "symbol", SOURCE))
        if market is not None:
            yield ParsedLadder(market.unified, _ladder(instrument, market))


def _ladder(instrument: Mapping[str, Any], market: ListedMarket) -> Tiers:
    place = f"{SOURCE}: {market.native_id}"
    name = "contracts" if market.inverse else "numNonContractUnits"
    unit, measure = (market.contract_size, TierMeasure.QUANTITY) if market.inverse else (1.0, TierMeasure.VALUE)
    levels = []
    for level in _levels(instrument, place):
        initial = number(level, "initialMargin", place)
        if not initial > 0:
            raise FileFormatError("initialMargin", initial, "must be positive", place)
        rate = number(level, "maintenanceMargin", place)
        levels.append((number(level, name, place) * unit, rate, max(1.0 / initial, 1.0)))
    # The list is not always sorted. Of levels that share a floor the strictest one rules.
    rows = one_per_floor(sorted(levels, key=lambda row: row[:2]))
    return Tiers(rows, cumulative=True, measure=measure)


def _levels(instrument: Mapping[str, Any], place: str) -> list[Any]:
    """Return the levels of professional clients, or those of the first schedule that is there."""
    schedules = instrument.get("marginSchedules")
    classes = [by for by in schedules.values() if isinstance(by, Mapping)] if isinstance(schedules, Mapping) else []
    offshore = schedules.get("dlt") if isinstance(schedules, Mapping) else None
    professional = offshore.get("professional") if isinstance(offshore, Mapping) else None
    candidates = [instrument.get("marginLevels"), professional, *(levels for by in classes for levels in by.values())]
    for levels in candidates:
        if isinstance(levels, list) and levels:
            return levels
    raise FileFormatError("marginLevels", instrument.get("marginLevels"), "lists no level", place)


FEED = TierFeed("krakenfutures", ("krakenfutures",), _calls, _parse, SOURCE)
