"""Maps held against themselves an hour before: what was opened and closed explains a change, nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_server.engine.stability import StabilityWatch
from forcedmove_server.engine.store import Ledger
from forcedmove_server.scorecard.frozen import FrozenMap
from forcedmove_server.scorecard.report.result import Stability
from forcedmove_server.scorecard.resampling import Resampling

HOUR = 3600 * 10**9
LOT = 0.5
BINS = 40


def frozen(at_ns: int, lots: np.ndarray, first_bin: int = 80) -> FrozenMap:
    return FrozenMap("ours", 0, at_ns, 1_000.0, 10.0, first_bin, lots * LOT, float(lots[0].sum()) * LOT)


def watched(*maps: FrozenMap, opened: int = 0) -> Stability | None:
    watch, ledger = StabilityWatch(HOUR), Ledger.empty(1)
    for one in maps:
        watch.watch(one, LOT, ledger)
        ledger.opened[0] += opened
    return watch.result(["venue:M"], Resampling(resamples=10))


def some(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 100, (2, BINS)).astype(np.float64)


def test_a_map_that_stays_is_perfectly_steady() -> None:
    lots = some()
    found = watched(frozen(0, lots), frozen(HOUR, lots), opened=5)
    assert found is not None
    assert (found.rank.value, found.moved_bp.value, found.change.value, found.jumps.value) == (1.0, 0.0, 0.0, 0.0)
    assert (found.worst_unexplained, found.rank.n) == (0.0, 2)


def test_what_was_opened_is_explained_and_what_moved_by_itself_is_not() -> None:
    lots = some()
    more = lots.copy()
    more[:, 5] += 50
    found = watched(frozen(0, lots), frozen(HOUR, more), opened=50)
    assert found is not None
    assert found.change_over_flow.value == pytest.approx(1.0)
    assert found.worst_unexplained == 0.0
    moved = lots.copy()
    moved[0, 3], moved[0, 4] = 0.0, lots[0, 3] + lots[0, 4]
    found = watched(frozen(0, lots), frozen(HOUR, moved))
    assert found is not None
    assert found.worst_unexplained == pytest.approx(2 * lots[0, 3] / lots[0].sum())
    assert (found.worst_market, found.worst_at_ns) == ("venue:M", HOUR)
    assert found.jumps.value == (0.5 if found.worst_unexplained > 0.01 else 0.0)
    assert found.moved_bp.value == pytest.approx(lots[0, 3] / lots[0].sum() * 100 / 2)


def test_windows_are_compared_where_they_overlap_and_only_an_hour_apart() -> None:
    lots = some()
    shifted = np.concatenate([lots[:, 4:], some(1)[:, :4]], axis=1)
    found = watched(frozen(0, lots), frozen(HOUR, shifted, first_bin=84))
    assert found is not None
    assert found.change.value == 0.0
    assert watched(frozen(0, lots), frozen(2 * HOUR, lots)) is None
    assert watched(frozen(0, lots), frozen(HOUR // 2, some(2))) is None
