"""Daily volatility and volume of every symbol, measured on line: the scale of the square-root impact law."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry

_DAY_S = 86_400.0
#: measurements older than this lose weight by e
_MEMORY_S = 2 * _DAY_S
#: returns are taken over at least this long, so that the bounce between bid and ask does not count
_RETURN_S = 60.0
#: what must have been seen before a measurement replaces the default
_ENOUGH_S = 3600.0
DEFAULT_DAILY_VOLATILITY = 0.03


@dataclass(slots=True)
class _Rate:
    """An exponentially forgetting rate per second."""

    total: float = 0.0
    seconds: float = 0.0

    def add(self, amount: float, elapsed_s: float) -> None:
        keep = math.exp(-elapsed_s / _MEMORY_S)
        self.total = self.total * keep + amount
        self.seconds = self.seconds * keep + elapsed_s

    def per_day(self) -> float | None:
        return self.total / self.seconds * _DAY_S if self.seconds >= _ENOUGH_S else None


class Activity:
    """Volatility and traded notional per symbol, from marks and trades."""

    def __init__(self, registry: InstrumentRegistry) -> None:
        self._registry = registry
        self._variance: dict[str, _Rate] = {}
        self._volume: dict[str, _Rate] = {}
        self._last_price: dict[str, tuple[int, float]] = {}
        self._last_until_ns: dict[str, int] = {}

    def take(self, batch: EventBatch) -> None:
        """Add one batch."""
        for rows in (batch.mark_prices, batch.trades):
            for market, row in zip(*np.unique(rows["market"][::-1], return_index=True), strict=True):
                last = rows[len(rows) - 1 - row]
                self._price(int(market), int(last["time_ns"]), float(last["price"]))
        trades = batch.trades
        if len(trades):
            markets = np.unique(trades["market"])
            inverse = np.zeros(int(markets[-1]) + 1, bool)
            inverse[markets] = [self._registry[int(m)].contract_type is ContractType.INVERSE for m in markets]
            usd = np.where(inverse[trades["market"]], 1.0, trades["price"]) * trades["quantity"]
            by_market = np.bincount(trades["market"], weights=usd)
            traded: dict[str, float] = {}
            for market in markets:
                symbol = self._registry[int(market)].symbol
                traded[symbol] = traded.get(symbol, 0.0) + float(by_market[market])
            for symbol, amount in traded.items():
                since = self._last_until_ns.get(symbol, int(trades["time_ns"][0]))
                self._last_until_ns[symbol] = batch.until_ns
                self._volume.setdefault(symbol, _Rate()).add(amount, max(batch.until_ns - since, 0) / 1e9)

    def daily_volatility(self, symbol: str) -> float | None:
        """Standard deviation of one day's log return; None before there is enough to measure."""
        rate = self._variance.get(symbol)
        variance = rate.per_day() if rate else None
        return math.sqrt(variance) if variance else None

    def daily_volume_usd(self, symbol: str) -> float | None:
        """Notional traded in a day over all markets; None before there is enough to measure."""
        rate = self._volume.get(symbol)
        return (rate.per_day() or None) if rate else None

    def _price(self, market: int, time_ns: int, price: float) -> None:
        # one market speaks for its symbol, so that differences between venues do not count as moves
        symbol = self._registry[market].symbol
        if market != self._registry.markets_of(symbol)[0]:
            return
        before = self._last_price.get(symbol)
        if before is None:
            self._last_price[symbol] = (time_ns, price)
            return
        elapsed_s = (time_ns - before[0]) / 1e9
        if elapsed_s >= _RETURN_S:
            self._variance.setdefault(symbol, _Rate()).add(math.log(price / before[1]) ** 2, elapsed_s)
            self._last_price[symbol] = (time_ns, price)
