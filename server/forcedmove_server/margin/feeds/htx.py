"""HTX's adjustment factors (https://www.htx.com/en-us/opend/newApiPages, ``swap_adjustfactor``).

A position pays ``adjust_factor / leverage`` of its value, with one ladder per leverage. Sizes are net contracts and
both bounds belong to their tier; the last one has no upper bound. Coin-margined answers name no margin mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    rows_at,
    text,
)
from forcedmove_server.margin.ladders import ByLeverage

SOURCE = "GET /linear-swap-api/v1/swap_adjustfactor, /swap-api/v1/swap_adjustfactor (isolated)"
_METHODS = {
    False: "contractPublicGetLinearSwapApiV1SwapAdjustfactor",
    True: "contractPublicGetSwapApiV1SwapAdjustfactor",
}


def _calls(markets: Sequence[ListedMarket]) -> Iterator[Call]:
    # Without a code the answer holds every contract at every leverage: several megabytes.
    for market in markets:
        yield Call(_METHODS[market.inverse], {"contract_code": market.native_id})


def _parse(answer: Any, markets: Markets) -> Iterator[ParsedLadder]:
    check_code(answer, "status", "ok", "err_msg", SOURCE)
    for row in rows_at(answer, "data"):
        market = markets.get(text(row, "contract_code", SOURCE))
        if market is not None and row.get("margin_mode", "isolated") == "isolated":
            place = f"{SOURCE}: {market.native_id}"
            ladders = {
                number(at, "lever_rate", place): _ladder(rows_at(at, "ladders"), market.contract_size, place)
                for at in rows_at(row, "list")
            }
            if not ladders:
                raise FileFormatError("list", [], "has no leverage", place)
            yield ParsedLadder(market.unified, ByLeverage(ladders))


def _ladder(tiers: list[Any], contract_size: float, place: str) -> list[tuple[float, float]]:
    """Read the ``(floor, factor)`` rows of one leverage."""
    if not tiers:
        raise FileFormatError("ladders", tiers, "has no tier", place)
    rising = sorted(tiers, key=lambda tier: number(tier, "min_size", place))
    # Floors are the ceilings below: ``min_size`` is a contract more. The ceiling of the last tier is not read.
    ceilings = [number(tier, "max_size", place) for tier in rising[:-1]]
    floors = [size * contract_size for size in (0.0, *ceilings)]
    factors = [number(tier, "adjust_factor", place) for tier in rising]
    # Of tiers that share a floor the last one rules: the others span nothing.
    return list(dict(zip(floors, factors, strict=True)).items())


FEED = TierFeed("htx", ("htx",), _calls, _parse, SOURCE)
