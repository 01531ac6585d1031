"""What the launcher does where a GPU is missing or fails, with CuPy's answers faked; and indices of any type."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from forcedmove_kernels.arrays import ClusterRule, Notional, View
from forcedmove_kernels.backend import select_backend
from forcedmove_kernels.budget import watched_bytes, working_bytes
from forcedmove_kernels.cuda import device as devices_module
from forcedmove_kernels.cuda import open_backend
from forcedmove_kernels.errors import BackendUnavailableError, MemoryBudgetError
from tests.cuda_host.device import CompilerMissing, library
from tests.gpu.devices import host

try:
    library()
except CompilerMissing as missing:
    pytest.skip(str(missing), allow_module_level=True)

INFO = {"name": b"GPU under test", "major": 9, "minor": 0}


class RuntimeFault(Exception):
    """Stands for CuPy's CUDARuntimeError."""


class CompileFault(Exception):
    """Stands for CuPy's CompileException."""


class _Context:
    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def cupy(fault: str = "", count: int = 1) -> Any:
    """CuPy with ``count`` GPUs where one call fails."""

    def fails(name: str, kind: type[Exception], answer: Any) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            if name == fault:
                raise kind(f"{name} failed")
            return answer

        return call

    runtime = SimpleNamespace(
        CUDARuntimeError=RuntimeFault,
        getDeviceCount=fails("count", RuntimeFault, count),
        memGetInfo=fails("memory", RuntimeFault, (1 << 30, 2 << 30)),
        getDeviceProperties=fails("properties", RuntimeFault, INFO),
        driverGetVersion=lambda: 13_000,
        runtimeGetVersion=lambda: 13_050,
    )
    module = SimpleNamespace(compile=fails("compile", CompileFault, None))
    cuda = SimpleNamespace(
        runtime=runtime,
        compiler=SimpleNamespace(CompileException=CompileFault),
        Device=_Context,
        Stream=fails("stream", RuntimeFault, _Context()),
    )
    return SimpleNamespace(cuda=cuda, __version__="14.2.0", RawModule=lambda **_: module)


@pytest.mark.parametrize("fault", ["count", "memory", "properties", "stream", "compile"])
def test_whatever_fails_before_the_first_launch_is_a_missing_backend(
    monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A busy GPU, a driver that is too old, an architecture that the compiler no longer knows: auto goes on."""
    monkeypatch.setattr(devices_module, "_cupy", lambda: cupy(fault))
    with pytest.raises(BackendUnavailableError, match=f"{fault} failed"):
        open_backend()
    chosen, choice = select_backend("auto")
    assert choice.name == chosen.name == "cpu"
    assert f"{fault} failed" in choice.reason


def test_devices_are_numbered_and_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices_module, "_cupy", lambda: cupy(count=2))
    first, second = devices_module.devices()
    assert (first.index, second.index, second.name) == (0, 1, "GPU under test")
    assert (first.compute_capability, first.driver_version, first.runtime_version) == ("9.0", "13.0", "13.5")
    assert open_backend(1).device.name == "GPU under test"
    with pytest.raises(BackendUnavailableError, match="device = 2: there are 2"):
        open_backend(2)


def test_a_store_that_does_not_fit_is_refused_with_what_a_tick_works_in(monkeypatch: pytest.MonkeyPatch) -> None:
    backend: Any = host()
    monkeypatch.setattr(type(backend.device), "free_bytes", lambda _: working_bytes(8, 64))
    with pytest.raises(MemoryBudgetError, match="lower `max_cohorts_per_market`"):
        backend.open_store(8, 64, 3, 64)


def test_what_a_tick_asks_for_is_launched_once_and_allocated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Markets with a symbol each, which is when profiles take the most memory: what the budget says holds them."""
    backend: Any = host()
    there = backend.open_store(5, 4, 2, 40)
    there.refresh()
    there.set_spread(np.arange(5, dtype=np.int32), 64, 500)
    taken: list[int] = []
    empty = backend.device.empty

    def counted(shape: Any, dtype: Any) -> Any:
        taken.append(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        return empty(shape, dtype)

    monkeypatch.setattr(backend.device, "empty", counted)
    every, rule = np.arange(5, dtype=np.int32), ClusterRule(3, 150, 0)
    money = Notional(np.ones(5), np.zeros(5))
    backend.device.launched.clear()
    there.profiles(every, np.arange(6), money, rule)
    spreading = {"gather_rows": 1, "scatter_levels": 1, "gather_levels": 1}
    assert backend.device.launched == spreading | {"fill_profiles": 1, "find_clusters": 1}
    levels, change, profile = sorted(taken)[-3:]
    assert levels + change + profile == working_bytes(5, 40) - watched_bytes(5, 40)
    there.profiles(every, np.arange(6), money, rule)  # packets take turns
    taken.clear()
    there.profiles(every, np.array([0, 2, 5]), money, rule)
    there.profiles(every[:2], np.array([0, 1, 2]), Notional(*(m[:2] for m in money)), rule)
    assert not taken


def test_indices_of_any_integer_type_mean_the_same() -> None:
    """NumPy's own index type is 64 bits wide; kernels read 32."""
    there = host().open_store(3, 4, 2, 8)
    there.move_window(np.array([0, 2]), 5)
    there.refresh()
    money = Notional(np.ones(2, np.int64), np.zeros(2, np.int64))
    for markets in (np.array([2, 0]), np.array([2, 0], np.int32), np.array([2, 0], np.uint16)):
        assert there.totals(markets, False).shape == (2, 2, 10)
        assert there.leverage_grid(markets, True).sum() == 0
        found = there.profiles(markets, np.array([0, 1, 2], markets.dtype), money, ClusterRule(1, 100, 0))
        assert (found.markets.sum(), found.symbols.shape, len(found.clusters.begin)) == (0, (2, 2, 10), 0)
        where = np.zeros((2, 2, 1), np.int64)
        assert there.render(View(markets, None, False, money, where, 1, 0, 8)).shape == (1, 10)


def test_what_cannot_be_rendered_is_refused() -> None:
    there = host().open_store(2, 4, 3, 8)
    there.refresh()
    one, money = np.zeros(1, np.int32), Notional(np.ones(1), np.ones(1))
    nowhere = np.zeros((1, 2, 1), np.int32)

    def render(markets: Any = one, tiers: Any = None, target: Any = nowhere) -> None:
        there.render(View(markets, tiers, False, money, target, 1, 0, 8))

    with pytest.raises(ValueError, match="markets: at least one"):
        render(markets=one[:0])
    with pytest.raises(ValueError, match="tiers: must not repeat"):
        render(tiers=np.array([1, 1]), target=np.zeros((1, 2, 2), np.int32))
    with pytest.raises(ValueError, match="tiers: indices"):
        render(tiers=np.array([3]))
    with pytest.raises(ValueError, match="target: need shape"):
        render(target=np.zeros((1, 2, 2), np.int32))
    with pytest.raises(ValueError, match="target: must be -1"):
        render(target=np.full((1, 2, 1), -2, np.int32))
