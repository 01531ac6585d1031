"""What-if: a position of one's own against the map, as the server answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from forcedmove.v1 import margin_pb2, whatif_pb2
from forcedmove_client.decoding import assumption_of, chain_of
from forcedmove_client.errors import InvalidArgumentError
from forcedmove_client.forecasts import Levels
from forcedmove_client.frames import Assumption, Chain
from forcedmove_client.margin import Liquidation, liquidation_of


@dataclass(frozen=True, slots=True)
class Touch:
    """Chance that the price gets to a level within ``horizon_s``: by itself, and with a cascade that does the rest."""

    horizon_s: float
    alone: float
    with_cascade: float


@dataclass(frozen=True, slots=True)
class Outlook:
    """One position; moves are fractions of the mark.

    ``liquidation_price`` is None where no price liquidates it. ``distance`` is the move that touches it, 0 where it has
    been crossed, ``shock`` the smallest move whose chain does, None where the level lies outside the map's window.
    """

    liquidation_price: float | None
    distance: float | None
    shock: float | None
    touches: tuple[Touch, ...]


@dataclass(frozen=True, slots=True)
class WhatIfRow:
    """One line of a table: a leverage or an added margin. Without an outlook ``refused`` says why."""

    value: float
    outlook: Outlook | None
    refused: str


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The answer. ``nearest`` is the chain of the smallest shock that reaches the position, ``shock`` that of the one
    that was asked for, which ``shock_reaches`` it or not.
    """

    liquidation: Liquidation
    symbol: str
    epoch: int
    seq: int
    mark_price: float
    volatility_day: float
    volatility_measured: bool
    outlook: Outlook
    nearest: Chain | None
    shock: Chain | None
    shock_reaches: bool
    by_leverage: tuple[WhatIfRow, ...]
    by_added_margin: tuple[WhatIfRow, ...]
    assumptions: tuple[Assumption, ...]


def what_if_request(
    position: margin_pb2.GetLiquidationPriceRequest,
    *,
    horizons_s: Iterable[float],
    leverages: Iterable[float],
    added_margins: Iterable[float],
    price: float | None,
    move: float | None,
    bids: Levels,
    asks: Levels,
    book_ends: bool,
) -> whatif_pb2.WhatIfRequest:
    """The request for one position. Raises InvalidArgumentError for two shocks."""
    if price is not None and move is not None:
        raise InvalidArgumentError(f"price = {price!r}, move = {move!r}: give at most one of them")
    request = whatif_pb2.WhatIfRequest(
        position=position,
        horizons_s=list(horizons_s),
        leverages=list(leverages),
        added_margins=list(added_margins),
        book_ends=book_ends,
    )
    if price is not None:
        request.price_usd = price
    elif move is not None:
        request.move_fraction = move
    for name, levels in (("bids", bids), ("asks", asks)):
        for level_price, quantity in levels:
            getattr(request.book, name).add(price_usd=level_price, quantity=quantity)
    return request


def what_if_of(message: whatif_pb2.WhatIfResponse) -> WhatIf:
    """The answer for one position."""
    return WhatIf(
        liquidation=liquidation_of(message.liquidation),
        symbol=message.symbol,
        epoch=message.epoch,
        seq=message.seq,
        mark_price=message.mark_price_usd,
        volatility_day=message.volatility_day,
        volatility_measured=message.volatility_measured,
        outlook=_outlook(message.outlook),
        nearest=chain_of(message.nearest_chain) if message.HasField("nearest_chain") else None,
        shock=chain_of(message.shock_chain) if message.HasField("shock_chain") else None,
        shock_reaches=message.shock_reaches,
        by_leverage=tuple(map(_row, message.by_leverage)),
        by_added_margin=tuple(map(_row, message.by_added_margin)),
        assumptions=tuple(map(assumption_of, message.assumptions)),
    )


def _row(message: whatif_pb2.WhatIfRow) -> WhatIfRow:
    outlook = _outlook(message.outlook) if message.HasField("outlook") else None
    return WhatIfRow(message.value, outlook, message.refused)


def _outlook(message: whatif_pb2.PositionOutlook) -> Outlook:
    def stated(name: str) -> float | None:
        return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]

    return Outlook(
        liquidation_price=stated("liquidation_price_usd"),
        distance=stated("distance_fraction"),
        shock=stated("shock_fraction"),
        touches=tuple(Touch(touch.horizon_s, touch.alone, touch.with_cascade) for touch in message.touches),
    )
