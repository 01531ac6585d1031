"""Tardis exchange ids and symbols as instruments, and the unit of their amounts.

Tardis keeps amounts as the venue sends them (tardis-node's mappers copy the venue's size field): base units, contracts,
USD, or on one feed quote value. Sources are noted beside each row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forcedmove_server.errors import InstrumentError
from forcedmove_server.market.contract_sizes import (
    binance_max_leverage,
    inverse_contract_size,
    linear_contract_size,
)
from forcedmove_server.market.instruments import ContractType, Instrument


@dataclass(frozen=True, slots=True)
class _Shape:
    """One family of symbols: how to read the name, and what an amount of 1 is.

    ``unit`` is ``base`` or ``usd`` (one of it), ``table`` (a contract: linear size from the table or from the caller),
    ``inverse table`` (100 or 10 USD).
    """

    pattern: str
    unit: str
    inverse: bool = False
    quote: str = ""  # where the name does not say


@dataclass(frozen=True, slots=True)
class _Exchange:
    venue: str
    shapes: tuple[_Shape, ...]
    liquidations_in_quote: bool = False
    counts_both_sides: bool = False
    max_leverage: float = 100.0


_PAIR = r"(?P<base>[A-Z0-9]+?)(?P<quote>USDT|USDC|FDUSD|USDE|USD1)"
_DASHED = r"(?P<base>[A-Z0-9]+)-(?P<quote>USDT|USDC)"
_UNDERSCORED = r"(?P<base>[A-Z0-9]+)_(?P<quote>USDT|USDC)"

EXCHANGES = {
    # fapi: quantities in base units; dapi: contracts of 100 USD (BTC) or 10 USD
    "binance-futures": _Exchange("binance", (_Shape(_PAIR + r"(_\d{6})?", "base"),)),
    "binance-delivery": _Exchange(
        "binance", (_Shape(r"(?P<base>[A-Z0-9]+)(?P<quote>USD)_(PERP|\d{6})", "inverse table", True),)
    ),
    # v5: size in base units on linear, in USD on inverse
    "bybit": _Exchange(
        "bybit",
        (
            _Shape(_PAIR + r"(-\d\d[A-Z]{3}\d\d)?", "base"),
            _Shape(r"(?P<base>[A-Z0-9]+)PERP", "base", quote="USDC"),
            _Shape(r"(?P<base>[A-Z0-9]+)(?P<quote>USD)([HMUZ]\d\d)?", "usd", True),
        ),
    ),
    # sz and oi in contracts of ctVal
    "okex-swap": _Exchange(
        "okx",
        (
            _Shape(_DASHED + "-SWAP", "table"),
            _Shape(r"(?P<base>[A-Z0-9]+)-(?P<quote>USD)-SWAP", "inverse table", True),
        ),
    ),
    "okex-futures": _Exchange(
        "okx",
        (
            _Shape(_DASHED + r"-\d{6}", "table"),
            _Shape(r"(?P<base>[A-Z0-9]+)-(?P<quote>USD)-\d{6}", "inverse table", True),
        ),
    ),
    # amount: USD on inverse, base units on linear (USDC)
    "deribit": _Exchange(
        "deribit",
        (
            _Shape(r"(?P<base>[A-Z0-9]+)_(?P<quote>USDC|USDT)-(PERPETUAL|\d+[A-Z]{3}\d\d)", "base"),
            _Shape(r"(?P<base>BTC|ETH)-(PERPETUAL|\d+[A-Z]{3}\d\d)", "usd", True, "USD"),
        ),
        max_leverage=50.0,
    ),
    "bitfinex-derivatives": _Exchange("bitfinex", (_Shape(r"(?P<base>[A-Z0-9]+)F0:(?P<quote>UST)F0", "base"),)),
    # PF_ in base units, PI_ and FI_ in contracts of 1 USD
    "cryptofacilities": _Exchange(
        "krakenfutures",
        (
            _Shape(r"PF_(?P<base>[A-Z0-9]+)(?P<quote>USD)", "base"),
            _Shape(r"[PF]I_(?P<base>[A-Z0-9]+)(?P<quote>USD)(_\d{6})?", "usd", True),
        ),
        max_leverage=50.0,
    ),
    # HuobiDerivativeTickerMapper and HuobiLiquidationsMapper read ``volume``, trades ``amount``: contracts. Those of
    # trades and open interest are sums of both sides, as HTX says.
    "huobi-dm-linear-swap": _Exchange("htx", (_Shape(_DASHED, "table"),), counts_both_sides=True),
    "huobi-dm-swap": _Exchange(
        "htx",
        (_Shape(r"(?P<base>[A-Z0-9]+)-(?P<quote>USD)", "inverse table", True),),
        counts_both_sides=True,
    ),
    # GateIOFuturesTradesMapper: |size| in contracts of quanto_multiplier; BTC_USD is 1 USD
    "gate-io-futures": _Exchange(
        "gate",
        (
            _Shape(_UNDERSCORED, "table"),
            _Shape(r"(?P<base>BTC)_(?P<quote>USD)", "usd", True),
        ),
    ),
    # sizes in base units; BitgetV3LiquidationsMapper copies ``amount``, which is quote value
    "bitget-futures": _Exchange(
        "bitget",
        (_Shape(_PAIR, "base"), _Shape(r"(?P<base>[A-Z0-9]+)PERP", "base", quote="USDC")),
        liquidations_in_quote=True,
    ),
    "hyperliquid": _Exchange("hyperliquid", (_Shape(r"(?P<base>[A-Z0-9]+)", "base", quote="USDC"),), max_leverage=40.0),
    "phemex": _Exchange("phemex", (_Shape(_PAIR, "base"), _Shape(r"(?P<base>BTC)(?P<quote>USD)", "usd", True))),
    "dydx-v4": _Exchange("dydx", (_Shape(r"(?P<base>[A-Z0-9]+)-(?P<quote>USD)", "base"),), max_leverage=50.0),
    "kucoin-futures": _Exchange("kucoinfutures", (_Shape(r"(?P<base>[A-Z0-9]+?)(?P<quote>USDT|USDC)M", "table"),)),
    "mexc-futures": _Exchange("mexc", (_Shape(_UNDERSCORED, "table"),)),
}


@dataclass(frozen=True, slots=True)
class TardisMarket:
    """An instrument and how to convert its amounts: ``model quantity = amount * scale``.

    ``liquidations_in_quote``: on liquidations, divide by the price as well. ``sides``: how many sides trades and open
    interest count.
    """

    instrument: Instrument
    scale: float
    liquidations_in_quote: bool
    sides: int


def market_of(
    exchange: str, symbol: str, steps: tuple[float, float], contract_sizes: dict[str, float]
) -> TardisMarket | None:
    """Describe a symbol, None for options, spot and the like; ``steps`` are the amount and price steps in the file.

    Raises InstrumentError for a contract whose size is neither known nor given.
    """
    known = EXCHANGES[exchange]
    for shape in known.shapes:
        match = re.fullmatch(shape.pattern, symbol)
        if match:
            base = {"XBT": "BTC"}.get(match["base"], match["base"])
            key = f"{known.venue}:{symbol}"
            size = contract_sizes.get(key) or _size(shape, known.venue, base, key)
            instrument = Instrument(
                venue=known.venue,
                native_id=symbol,
                base=base,
                quote=shape.quote or match["quote"],
                contract_type=ContractType.INVERSE if shape.inverse else ContractType.LINEAR,
                contract_size=size,
                quantity_step=steps[0] * size,
                price_step=steps[1],
                max_leverage=binance_max_leverage(base) if known.venue == "binance" else known.max_leverage,
            )
            return TardisMarket(instrument, size, known.liquidations_in_quote, 2 if known.counts_both_sides else 1)
    return None


def _size(shape: _Shape, venue: str, base: str, key: str) -> float:
    if shape.unit == "inverse table":
        return inverse_contract_size(base)
    if shape.unit == "table":
        size = linear_contract_size(venue, base)
        if size is None:
            raise InstrumentError(
                "contract_size", None, f"{venue} quotes contracts and this one's size is not known; give it", key
            )
        return size
    return 1.0
