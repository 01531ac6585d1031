"""Watched views on the device: what comes back, what it takes, and where there is no room for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forcedmove_kernels.arrays import NOT_OBSERVED, Notional, Rules, Updates, View
from forcedmove_kernels.budget import frame_bytes
from forcedmove_kernels.cuda import store as cuda_store
from forcedmove_kernels.cuda.store import CudaStore
from forcedmove_kernels.fixed_point import cumulative_weights
from tests.cuda_host.device import CompilerMissing, HostDevice, library
from tests.gpu.devices import host
from tests.parity.builders import SMALL, in_every_phase
from tests.parity.draws import SeededDraws
from tests.parity.watched_checks import watched_views

try:
    library()
except CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)

BINS = 1000
ENTRY = 500 << 10
EVERY = np.arange(2, dtype=np.int32)
BY_SIDE = View(
    EVERY, None, False, Notional(np.full(2, 100.0), np.zeros(2)), np.array([[[0], [1]]] * 2, np.int32), 2, 0, BINS
)
TIERS = BY_SIDE._replace(tiers=EVERY, target=np.zeros((2, 2, 2), np.int32), outputs=1)


class CountingDevice(HostDevice):
    """Counts what is allocated and what comes back, in bytes."""

    allocated = returned = copies = 0

    def empty(self, shape: Any, dtype: Any) -> Any:
        array = super().empty(shape, dtype)
        self.allocated += array.nbytes
        return array

    def receive(self, target: Any, source: Any) -> None:
        self.returned += source.nbytes
        self.copies += 1
        super().receive(target, source)

    def reset(self) -> None:
        self.allocated = self.returned = self.copies = 0
        self.launched.clear()


@pytest.fixture
def device() -> CountingDevice:
    return CountingDevice()


@pytest.fixture
def store(device: CountingDevice) -> CudaStore:
    """Two markets of two tiers without cohorts."""
    backend: Any = type(host())(device)
    opened: CudaStore = backend.open_store(2, 64, 2, BINS)
    for market in EVERY.tolist():
        tables = in_every_phase([[[0.9, 0.95], [1.1, 1.05]]]), cumulative_weights(np.ones((1, 2, 2)))
        opened.set_rules(market, Rules(np.full(1, 2, np.uint8), *tables))
    opened.refresh()
    return opened


def open_lots(store: CudaStore, market: int, count: int = 1) -> None:
    """Let ``count`` cohorts open at prices of their own: each has two cells a side."""
    at, one = np.full(1, ENTRY, np.uint32), np.ones(1, np.uint32)
    entries = ENTRY + (np.arange(count, dtype=np.uint32) << 10)
    first = np.array([0, count])
    unseen = np.full((1, 2), NOT_OBSERVED, np.uint32)
    lots = np.full(count, 10, np.uint32)
    store.apply(Updates(np.full(1, market, np.int32), at, at, at, unseen, one, first, entries, lots))


def test_what_comes_back_is_what_changed(store: CudaStore, device: CountingDevice) -> None:
    views = {"by side": BY_SIDE, "tiers": TIERS}
    first = store.render_watched(views)
    store.render_watched(views)
    open_lots(store, 0)
    device.reset()
    drawn = store.render_watched(views)
    assert [len(rendering.changed) for rendering in drawn.values()] == [4, 4]
    assert (device.copies, device.returned) == (2, 8 * (1 + len(views)) + 8 * (4 + 4))
    assert not device.allocated
    assert device.launched == {
        "gather_rows": 1,
        "fill_grid": 1,
        **dict.fromkeys(("add_outputs", "finish_outputs", "count_changed", "place_changed", "list_changed"), 2),
    }
    assert not any(rendering.values.any() for rendering in first.values())
    assert [rendering.values.sum() for rendering in drawn.values()] == [20, 20]
    device.reset()
    again = store.render_watched(views)
    assert (device.copies, device.returned) == (1, 8 * (1 + len(views)))
    assert all(again[name].values is drawn[name].values for name in views)


def test_a_frame_that_changed_too_much_comes_back_whole(store: CudaStore, device: CountingDevice) -> None:
    narrow = BY_SIDE._replace(low=445, high=465)
    open_lots(store, 0)
    before = store.render_watched({"narrow": narrow, "wide": BY_SIDE})
    open_lots(store, 1, 50)
    device.reset()
    drawn = store.render_watched({"narrow": narrow, "wide": BY_SIDE})
    assert drawn["narrow"].since == 0
    assert drawn["wide"].since == before["wide"].revision
    assert device.returned == 8 * 3 + 8 * len(drawn["wide"].changed) + drawn["narrow"].values.nbytes
    for name, view in (("narrow", narrow), ("wide", BY_SIDE)):
        np.testing.assert_array_equal(drawn[name].values, store.render(view))


def test_memory_is_bounded_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    size = BY_SIDE.outputs * (BINS + 2)
    monkeypatch.setattr(cuda_store, "watched_bytes", lambda markets, bins: 2 * frame_bytes(size))
    device = CountingDevice()
    backend: Any = type(host())(device)
    store = backend.open_store(2, 64, 2, BINS)
    store.refresh()
    for _ in range(2):
        store.render_watched(dict.fromkeys("ab", BY_SIDE))
    device.reset()
    store.render_watched(dict.fromkeys("abc", BY_SIDE))
    assert device.launched["count_changed"] == 2
    assert store.render_watched({"c": BY_SIDE})["c"].since > 0  # compared on the host
    store.forget(["a", "unknown"])
    store.render_watched({"c": BY_SIDE})
    device.reset()
    store.render_watched(dict.fromkeys("bc", BY_SIDE))
    assert device.launched["count_changed"] == 2
    assert not device.allocated
    store.render_watched({"c": BY_SIDE._replace(high=BINS - 1)})  # another shape takes the old one's place
    device.reset()
    store.render_watched({"c": BY_SIDE._replace(high=BINS - 1)})
    assert device.launched["count_changed"] == 1


@pytest.mark.parametrize("room", [0, 500])
def test_without_room_the_answers_are_the_same(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(cuda_store, "watched_bytes", lambda markets, bins: room)
    for seed in range(40):
        watched_views(host(), SeededDraws(seed), SMALL)
