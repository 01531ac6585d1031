"""Markets of all described venues, for tests of their rules."""

from __future__ import annotations

from forcedmove_server.margin.venues import VENUES
from forcedmove_server.market.instruments import ContractType, Instrument

_QUOTES = {"hyperliquid": "USDC", "krakenfutures": "USD", "deribit": "USDC", "cryptocom": "USD"} | dict.fromkeys(
    ("lighter", "dydx", "paradex", "backpack"), "USDC"
)
_INVERSE_ID = {
    "bybit": "{}USD",
    "okx": "{}-USD-SWAP",
    "deribit": "{}-PERPETUAL",
    "krakenfutures": "PI_{}USD",
}


def market(venue: str, base: str = "BTC", inverse: bool = False, max_leverage: float = 1_000.0) -> Instrument:
    """A market of a venue, quoted as it is quoted there; its own greatest leverage says nothing by default."""
    native = _INVERSE_ID.get(venue, "{}USD_PERP").format(base) if inverse else f"{base}_LINEAR"
    contract = ContractType.INVERSE if inverse else ContractType.LINEAR
    quote = "USD" if inverse else _QUOTES.get(venue, "USDT")
    return Instrument(venue, native, base, quote, contract, max_leverage=max_leverage)


def every_market(bases: tuple[str, ...] = ("BTC", "ETH", "SOL", "WIF")) -> list[Instrument]:
    """Linear and inverse markets of all 22 venues, where they list such contracts."""
    return [
        market(venue.name, base, inverse)
        for venue in VENUES
        for base in bases
        for inverse in (False, True)
        if (venue.inverse if inverse else venue.linear) is not None
    ]
