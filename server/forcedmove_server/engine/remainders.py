"""What exact positions leave of the inferred ones of their market, as rows of the store that readers see instead.

A market's own cohorts stand for all of its open interest and are never told of what is known. Beside them lies a row
that shows ``kept / of`` of each side, by prefix rounding: each cohort to less than a lot, each side to the lot. It is
made anew whenever its market has taken a step, or its share has changed, since; nothing ever flows back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import empty_cohorts

if TYPE_CHECKING:
    from forcedmove_server.engine.store import CohortStore

I64 = NDArray[np.int64]


@dataclass(slots=True)
class _Remainder:
    """``kept`` int64 ``[2]`` of every ``of`` lots are shown in ``row``; it was made from version ``seen``."""

    row: int
    kept: I64 = field(default_factory=lambda: np.ones(2, np.int64))
    of: int = 1
    seen: int = -1


class Remainders:
    """The remainder rows of a store, by market. Used from the store's thread."""

    def __init__(self, store: CohortStore) -> None:
        self._store = store
        self._of: dict[int, _Remainder] = {}

    def open(self, market: int, row: int) -> None:
        """Let ``row`` show a market's remainder, for now all of it."""
        self._store.copy_rules(market, row)
        self._store.resident.move_window(np.array([row], np.int32), self._store.first_bin(market))
        self._of[market] = _Remainder(row)

    def close(self, market: int) -> None:
        """Show a market itself again; its row is empty and free."""
        self._store.replace_exact(self._of.pop(market).row, empty_cohorts(0, 1))
        self._store.note(market)

    def share(self, market: int, kept: I64, of: int) -> None:
        """Show ``kept`` int64 ``[2]`` of every ``of`` lots of a market; none of them where that is zero."""
        own = self._of[market]
        if own.of != of or (own.kept != kept).any():
            own.kept, own.of, own.seen = kept, of, -1

    def lots(self, market: int) -> I64:
        """Lots that are shown of a market, int64 ``[2]``: as of now, whether or not its row has followed."""
        live: I64 = self._store.ledger.live[market]
        own = self._of.get(market)
        if own is None:
            return live
        shown = [lots * kept // max(own.of, 1) for lots, kept in zip(live.tolist(), own.kept.tolist(), strict=True)]
        return np.array(shown, np.int64)

    def shown(self, market: int) -> int:
        """Row of the store that shows the inferred positions of a market: its own, unless a part of it is known."""
        own = self._of.get(market)
        return market if own is None else own.row

    def follow_rules(self, market: int) -> None:
        """Give a market's remainder the rules that the market has now."""
        if market in self._of:
            self._store.copy_rules(market, self._of[market].row)

    def follow(self) -> None:
        """Bring all rows up to date with their markets; to be called before any of them is read."""
        for market, own in self._of.items():
            version = int(self._store.version[market])
            if own.seen != version:
                self._store.thin(market, own.row, self.lots(market))
                own.seen = version
