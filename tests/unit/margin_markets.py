"""Markets of all described venues, under the ids they have there, for tests of their rules."""

from __future__ import annotations

from forcedmove_server.margin.feeds.feed import ListedMarket, Markets
from forcedmove_server.margin.venues import VENUES
from forcedmove_server.market.instruments import ContractType, Instrument

_QUOTES = dict.fromkeys(("hyperliquid", "deribit", "lighter", "dydx", "backpack"), "USDC") | dict.fromkeys(
    ("krakenfutures", "cryptocom", "paradex"), "USD"
)
_LINEAR_ID = {
    "okx": "{}-USDT-SWAP",
    "gate": "{}_USDT",
    "hyperliquid": "{}",
    "mexc": "{}_USDT",
    "htx": "{}-USDT",
    "kucoinfutures": "{}USDTM",
    "bingx": "{}-USDT",
    "krakenfutures": "PF_{}USD",
    "deribit": "{}_USDC-PERPETUAL",
    "bitfinex": "t{}F0:USTF0",
    "cryptocom": "{}USD-PERP",
    "lighter": "{}",
    "dydx": "{}-USD",
    "xt": "{}_usdt",
    "whitebit": "{}_PERP",
    "paradex": "{}-USD-PERP",
    "backpack": "{}_USDC_PERP",
}
_INVERSE_ID = {
    "binance": "{}USD_PERP",
    "okx": "{}-USD-SWAP",
    "bitget": "{}USD",
    "gate": "{}_USD",
    "mexc": "{}_USD",
    "htx": "{}-USD",
    "kucoinfutures": "{}USDM",
    "bingx": "{}-USD",
    "krakenfutures": "PI_{}USD",
    "deribit": "{}-PERPETUAL",
    "xt": "{}_usd",
}


def market(venue: str, base: str = "BTC", inverse: bool = False, max_leverage: float = 1_000.0) -> Instrument:
    """A market of a venue as it is listed there; its own greatest leverage says nothing by default."""
    native = (_INVERSE_ID.get(venue, "{}USD") if inverse else _LINEAR_ID.get(venue, "{}USDT")).format(base)
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


def markets_of(unified_by_id: dict[str, str], contract_size: float = 1.0) -> Markets:
    """Listed markets; those that are settled in their base are inverse."""
    found = {}
    for native_id, unified in unified_by_id.items():
        base, settle = unified.partition("/")[0], unified.partition(":")[2].partition("-")[0]
        found[native_id] = ListedMarket(unified, native_id, base, settle == base, contract_size)
    return found
