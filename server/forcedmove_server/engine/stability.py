"""How steady maps are from hour to hour, and whether they change without anything having been opened or closed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.engine.store import Ledger
from forcedmove_server.inference.comparison import spearman, wasserstein
from forcedmove_server.scorecard.frozen import FrozenMap
from forcedmove_server.scorecard.report.result import Stability
from forcedmove_server.scorecard.resampling import Resampling

F64 = NDArray[np.float64]

_DAY_NS = 86_400 * 10**9
#: a map that changed by this share of open interest more than it had a reason to has jumped
_JUMP = 0.01


@dataclass(frozen=True, slots=True)
class _Seen:
    """A map as it was, in lots, and all that had been opened, closed and liquidated until then: ``flow`` ``[2]``."""

    at_ns: int
    first_bin: int
    levels: F64
    flow: F64
    lot: float


class StabilityWatch:
    """Compares every market's map with itself ``every_ns`` before, on the bins that both windows have.

    What a map may change by is known: each lot that is opened, closed or liquidated changes one bin by one lot. What
    changes beyond that came from the model alone: levels that are spread by their distance from a mark that moved,
    cohorts that were joined as they aged, and rounding.
    """

    def __init__(self, every_ns: int) -> None:
        self._every_ns = every_ns
        self._seen: dict[int, _Seen] = {}
        #: day, rank correlation, distance, change and flow over open interest, jumped; a side of a market and step each
        self._rows: list[tuple[float, ...]] = []
        self._worst: tuple[float, int, int] | None = None

    def watch(self, frozen: FrozenMap, lot: float, ledger: Ledger) -> None:
        """Take a market's map at its grid time; quantities of the map are ``lot`` each."""
        if frozen.at_ns % self._every_ns:
            return
        m = frozen.market
        flow = (ledger.opened + ledger.overkill + ledger.closed + ledger.liquidated)[m].astype(np.float64)
        now = _Seen(frozen.at_ns, frozen.first_bin, frozen.levels / lot, flow, lot)
        before, self._seen[m] = self._seen.get(m), now
        # a lot that grew meanwhile rewrites the ledger
        if before is None or before.at_ns != frozen.at_ns - self._every_ns or before.lot != lot:
            return
        old, new = _on_common_bins(before, now)
        lots = frozen.open_interest / lot
        for side in (0, 1):
            if not (lots > 0 and old[side].any() and new[side].any()):
                continue
            change, moved = float(np.abs(new[side] - old[side]).sum()), float(flow[side] - before.flow[side])
            day = frozen.at_ns // _DAY_NS
            unexplained = max(change - moved, 0.0) / lots
            rank, away = spearman(old[side], new[side]), wasserstein(old[side], new[side])
            width_bp = frozen.bin_width_usd / frozen.mark_usd * 1e4
            self._rows.append((day, rank, away * width_bp, change / lots, moved / lots, float(unexplained > _JUMP)))
            if self._worst is None or unexplained > self._worst[0]:
                self._worst = (unexplained, m, frozen.at_ns)

    def result(self, keys: list[str], resampling: Resampling) -> Stability | None:
        """Return what was seen, None for nothing; ``keys`` names the markets."""
        if self._worst is None:
            return None
        day, rank, moved_bp, change, flow, jumped = np.array(self._rows).T
        ones = np.ones(len(rank))
        return Stability(
            every_ns=self._every_ns,
            rank=resampling.ratio(rank, ones, day),
            moved_bp=resampling.ratio(moved_bp, ones, day),
            change=resampling.ratio(change, ones, day),
            change_over_flow=resampling.ratio(change, flow, day),
            jumps=resampling.ratio(jumped, ones, day),
            worst_unexplained=self._worst[0],
            worst_market=keys[self._worst[1]],
            worst_at_ns=self._worst[2],
        )


def _on_common_bins(before: _Seen, now: _Seen) -> tuple[F64, F64]:
    first = max(before.first_bin, now.first_bin)
    last = min(before.first_bin + before.levels.shape[1], now.first_bin + now.levels.shape[1])
    old, new = (
        seen.levels[:, max(first - seen.first_bin, 0) : max(last - seen.first_bin, 0)] for seen in (before, now)
    )
    return old, new
