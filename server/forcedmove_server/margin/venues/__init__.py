"""One small file per venue family; this table says which venue names each describes.

To add a venue: write ``venues/<family>.py`` with a function ``rule(instrument) -> MarginRule``, name its sources in the
docstring, and add its venue names here. Prefer ``notes`` over silence for whatever is recalled rather than read.
"""

from __future__ import annotations

from collections.abc import Callable

from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.margin.venues import (
    binance,
    bitget,
    bybit,
    deribit,
    gate,
    hyperliquid,
    kraken,
    mexc,
    okx,
    phemex,
)
from forcedmove_server.market.instruments import Instrument

#: venue name -> its rule; the names of recorded archives stand beside the venues' own
VENUE_RULES: dict[str, Callable[[Instrument], MarginRule]] = {
    name: rule
    for rule, names in {
        binance.rule: ("binance", "binanceusdm", "binancecoinm", "binance-futures", "binance-delivery", "aster"),
        bitget.rule: ("bitget", "bitget-futures"),
        bybit.rule: ("bybit",),
        deribit.rule: ("deribit",),
        gate.rule: ("gate", "gateio", "gate-io-futures"),
        hyperliquid.rule: ("hyperliquid",),
        kraken.rule: ("krakenfutures", "cryptofacilities"),
        mexc.rule: ("mexc",),
        okx.rule: ("okx", "okex-swap", "okex-futures"),
        phemex.rule: ("phemex",),
    }.items()
    for name in names
}
