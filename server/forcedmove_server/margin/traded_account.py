"""A cross-margined account that is known by its fills and transfers: what it holds, and where it is liquidated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from forcedmove_server.margin.equations import LONG, SHORT
from forcedmove_server.margin.margin_rule import MarginRule

#: a position smaller than this share of what was traded is the rounding of its fills
_ROUNDING = 1e-9


@dataclass(slots=True)
class TradedAccount:
    """Cash and positions of linear contracts in one margin currency, USD.

    ``quantity`` by market is signed, negative for shorts. ``cash`` is what would be left were every position closed for
    nothing: transfers less what was paid for positions, so that equity is ``cash + sum(quantity * mark)`` and needs no
    entry prices. Fees and funding are cash too, where they are known: :meth:`transfer`.
    """

    cash: float = 0.0
    quantity: dict[str, float] = field(default_factory=dict)

    def transfer(self, usd: float) -> None:
        """Deposit, or withdraw a negative amount."""
        self.cash += usd

    def fill(self, market: str, quantity: float, price: float) -> None:
        """Buy ``quantity`` at ``price``, or sell a negative one."""
        before = self.quantity.get(market, 0.0)
        after = before + quantity
        self.cash -= quantity * price
        if abs(after) <= _ROUNDING * (abs(before) + abs(quantity)):
            self.quantity.pop(market, None)
        else:
            self.quantity[market] = after

    def notional(self, marks: Mapping[str, float]) -> float:
        """USD of all positions at ``marks``. Raises KeyError for a market without one."""
        return math.fsum(abs(quantity) * marks[market] for market, quantity in self.quantity.items())

    def equity(self, marks: Mapping[str, float]) -> float:
        """USD of the account at ``marks``. Raises KeyError for a market without one."""
        return self.cash + math.fsum(quantity * marks[market] for market, quantity in self.quantity.items())

    def requirement(self, marks: Mapping[str, float], rules: Mapping[str, MarginRule]) -> float:
        """Maintenance margin of all positions at ``marks``, in USD."""
        return math.fsum(self._maintenance(market, marks, rules) for market in self.quantity)

    def liquidation_price(self, market: str, marks: Mapping[str, float], rules: Mapping[str, MarginRule]) -> float:
        """Price of ``market`` at which the account is liquidated if its other markets stay at ``marks``.

        0 for a long and infinity for a short that no price liquidates; beyond the mark for an account that is below its
        requirement already. Raises KeyError for a market that the account has no position in, or no mark of.
        """
        quantity, mark = self.quantity[market], marks[market]
        others = math.fsum(self._maintenance(other, marks, rules) for other in self.quantity if other != market)
        side = LONG if quantity > 0 else SHORT
        available = self.equity(marks) - others
        return float(rules[market].liquidation_price(side, mark, abs(quantity), margin=available))

    def _maintenance(self, market: str, marks: Mapping[str, float], rules: Mapping[str, MarginRule]) -> float:
        return float(rules[market].requirement(abs(self.quantity[market]), marks[market]))
