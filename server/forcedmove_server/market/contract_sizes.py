"""What the files do not say of their markets: contract sizes and highest leverages.

Contract sizes are the venues' instrument lists (OKX ``public/instruments`` ctVal, Gate ``futures/usdt/contracts``
quanto_multiplier, HTX ``swap_contract_info`` contract_size, MEXC ``contract/detail`` contractSize, Deribit
``public/get_instruments`` contract_size); leverages Binance's tier table of 2024-10-24. A size that is not here is
given to the replay by market key.
"""

from __future__ import annotations

_BINANCE_MAX_LEVERAGE = {"BTC": 125.0, "ETH": 125.0, "SOL": 100.0}
_OTHER_MAX_LEVERAGE = 75.0

#: base units per contract of USDT-margined contracts; Deribit's are in USDC
LINEAR_CONTRACT_SIZE = {
    "okx": {
        "BTC": 0.01,
        "ETH": 0.1,
        "SOL": 1.0,
        "XRP": 100.0,
        "DOGE": 1000.0,
        "ADA": 100.0,
        "AVAX": 1.0,
        "LINK": 1.0,
        "LTC": 1.0,
        "BCH": 0.1,
        "DOT": 1.0,
    },
    "gate": {
        "BTC": 0.0001,
        "ETH": 0.01,
        "SOL": 1.0,
        "XRP": 10.0,
        "DOGE": 10.0,
        "ADA": 10.0,
        "BNB": 0.001,
        "AVAX": 1.0,
        "ARB": 1.0,
        "LINK": 1.0,
        "LTC": 0.1,
        "BCH": 0.01,
        "DOT": 1.0,
    },
    "htx": {
        "BTC": 0.001,
        "ETH": 0.01,
        "SOL": 1.0,
        "XRP": 10.0,
        "DOGE": 100.0,
        "ADA": 10.0,
        "BNB": 0.1,
        "AVAX": 1.0,
        "LINK": 0.1,
        "LTC": 0.1,
        "BCH": 0.01,
        "DOT": 1.0,
    },
    "deribit": {
        "BTC": 0.001,
        "ETH": 0.01,
        "SOL": 0.1,
        "XRP": 10.0,
        "DOGE": 100.0,
        "ADA": 10.0,
        "AVAX": 0.1,
        "LINK": 1.0,
        "LTC": 0.1,
        "BCH": 0.02,
        "DOT": 1.0,
    },
    "kucoinfutures": {"BTC": 0.001, "ETH": 0.01, "SOL": 0.1, "XRP": 10.0, "DOGE": 100.0, "AVAX": 0.1},
    "xt": {"BTC": 0.0001, "ETH": 0.01, "LTC": 0.1, "XT": 1.0},
    "mexc": {
        "BTC": 0.0001,
        "ETH": 0.01,
        "SOL": 0.1,
        "XRP": 1.0,
        "DOGE": 100.0,
        "ADA": 1.0,
        "BNB": 0.01,
        "AVAX": 0.1,
        "LINK": 0.1,
        "LTC": 0.01,
        "BCH": 0.01,
        "DOT": 0.1,
    },
}


def linear_contract_size(venue: str, base: str) -> float | None:
    """Base units per contract, None where this table does not know."""
    return LINEAR_CONTRACT_SIZE.get(venue, {}).get(base)


def inverse_contract_size(base: str) -> float:
    """USD per contract on Binance COIN-M, OKX and HTX: 100 for BTC, 10 for the others."""
    return 100.0 if base == "BTC" else 10.0


def binance_max_leverage(base: str) -> float:
    """Highest leverage of Binance's first tier."""
    return _BINANCE_MAX_LEVERAGE.get(base, _OTHER_MAX_LEVERAGE)
