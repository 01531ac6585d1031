"""Liquidation prices that venues state of real accounts, beside those of our margin rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import InputError
from forcedmove_server.margin.margin_rule import MarginRule
from forcedmove_server.scorecard.accounts import AccountPositions

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LevelAgreement:
    """How near recomputed liquidation prices come to those stated, over some positions that have one within reach.

    Shares of positions within a distance of relative error, by the account's whole equity (``cross``) and by the better
    of that and the margin of the leverage setting (``either``); ``alone`` counts positions of accounts with no other.
    """

    market: str
    positions: int
    alone: int
    cross: tuple[float, ...]
    cross_alone: tuple[float, ...]
    either: tuple[float, ...]


#: relative errors that shares are counted at
ERRORS = (1e-3, 1e-2, 5e-2)


def recomputed_levels(known: AccountPositions, rule_of: Callable[[str], MarginRule]) -> tuple[F64, F64]:
    """Return liquidation prices as cross and as isolated positions, float64 ``[P]`` each.

    Cross: what the account is worth, less the maintenance of its other positions at their marks. Isolated: the margin
    that the leverage setting locks, NaN without a setting or with one that the market does not offer.
    """
    cross, isolated = np.empty(len(known.side)), np.full(len(known.side), np.nan)
    required, rules = np.empty(len(known.side)), {name: rule_of(name) for name in np.unique(known.market).tolist()}
    mine = {name: np.flatnonzero(known.market == name) for name in rules}
    for name, rows in mine.items():
        required[rows] = rules[name].requirement(known.quantity[rows], known.mark_usd[rows])
    key = known.snapshot * (known.account.max(initial=0) + 1) + known.account
    _, group = np.unique(key, return_inverse=True)
    available = known.equity_usd - np.bincount(group, required)[group] + required
    for name, rows in mine.items():
        rule = rules[name]
        side, quantity = known.side[rows], known.quantity[rows]
        cross[rows] = rule.liquidation_price(side, known.mark_usd[rows], quantity, margin=available[rows])
        offered = rows[(known.leverage[rows] >= 1) & (known.leverage[rows] <= rule.leverage_limit)]
        if len(offered):
            isolated[offered] = rule.liquidation_price(
                known.side[offered], known.entry_usd[offered], known.quantity[offered], known.leverage[offered]
            )
    return cross, isolated


def compare_levels(
    known: AccountPositions, rule_of: Callable[[str], MarginRule], markets: list[str], reach: float = 1.0
) -> tuple[LevelAgreement, ...]:
    """Compare positions whose stated level lies within ``reach`` of the mark: each of ``markets``, then all there are.

    Raises InputError where no position has one.
    """
    cross, isolated = recomputed_levels(known, rule_of)
    with np.errstate(invalid="ignore"):
        near = np.abs(known.level_usd / known.mark_usd - 1) < reach
        errors = [np.abs(levels / known.level_usd - 1) for levels in (cross, isolated)]
    if not near.any():
        raise InputError("positions", len(known.side), "none has a liquidation price within reach")
    key = known.snapshot * (known.account.max(initial=0) + 1) + known.account
    _, group, sizes = np.unique(key, return_inverse=True, return_counts=True)
    alone = sizes[group] == 1
    either = np.fmin(*errors)
    found = []
    for name in (*markets, "all"):
        rows = near if name == "all" else near & (known.market == name)
        found.append(
            LevelAgreement(
                market=name,
                positions=int(rows.sum()),
                alone=int((rows & alone).sum()),
                cross=_shares(errors[0][rows]),
                cross_alone=_shares(errors[0][rows & alone]),
                either=_shares(either[rows]),
            )
        )
    return tuple(found)


def _shares(error: F64) -> tuple[float, ...]:
    return tuple(float((error <= most).mean()) if len(error) else float("nan") for most in ERRORS)
