"""Which underlying a venue's coin is: ``XBT`` is BTC; ``1000PEPE``, ``kPEPE``, ``PEPE1000`` are thousands of PEPE."""

from __future__ import annotations

import re

_ALIASES = {"XBT": "BTC"}
_THOUSANDS = {"1000": 1e3, "10000": 1e4, "100000": 1e5, "1000000": 1e6, "10000000": 1e7, "1M": 1e6, "k": 1e3}
_PREFIXED = re.compile(r"(10{3,7}|1M(?=[A-Z]{3})|k(?=[A-Z]))([A-Za-z][A-Za-z0-9]*)")
_SUFFIXED = re.compile(r"([A-Z]{3,})(10{3,7})")


def underlying(coin: str) -> tuple[str, float]:
    """Return the symbol that a venue's coin belongs to, and how many of its units one coin is.

    A lower-case ``k`` in front is Hyperliquid's thousand; it has to come as the venue writes it.
    """
    if match := _PREFIXED.fullmatch(coin):
        return match[2].upper(), _THOUSANDS[match[1]]
    if match := _SUFFIXED.fullmatch(coin):
        return match[1], _THOUSANDS[match[2]]
    name = coin.upper()
    return _ALIASES.get(name, name), 1.0
