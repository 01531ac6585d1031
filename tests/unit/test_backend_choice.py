"""Which backend is taken, what is said about it, and what a refusal names; no GPU is needed."""

from __future__ import annotations

import builtins
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from forcedmove_kernels import cuda
from forcedmove_kernels.backend import BackendChoice, select_backend
from forcedmove_kernels.errors import BackendUnavailableError


def no_gpu(index: int = 0) -> None:
    raise BackendUnavailableError("no CUDA device: the driver reports none")


def some_gpu(index: int = 0) -> SimpleNamespace:
    if index > 1:
        raise BackendUnavailableError(f"device = {index}: there are 2, numbered from 0")
    return SimpleNamespace(name="cuda", device=SimpleNamespace(name=("H200", "L4")[index]))


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "numba":
            raise ImportError("Numba needs NumPy 2.4 or less. Got NumPy 9.0.")
        return imported(name, *rest)

    monkeypatch.delitem(sys.modules, "numba", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "open_backend", some_gpu)
    assert select_backend()[1] == BackendChoice("auto", "cuda", "the fastest runs here", 0, "H200")
    assert select_backend(device=1)[1].device_name == "L4"
    assert select_backend("cuda", device=1)[1] == BackendChoice("cuda", "cuda", "asked for", 1, "L4")
    assert select_backend("cuda")[1].describe() == "cuda on device 0, H200: asked for"
    choice = select_backend(device=2)[1]
    assert choice == BackendChoice("auto", "cpu", "cuda cannot run here: device = 2: there are 2, numbered from 0")


def test_auto_says_why_each_faster_one_was_passed_over(monkeypatch: pytest.MonkeyPatch, without_numba: None) -> None:
    monkeypatch.setattr(cuda, "open_backend", no_gpu)
    backend, choice = select_backend()
    assert backend.name == choice.name == "reference"
    assert choice.reason == (
        "cuda cannot run here: no CUDA device: the driver reports none; "
        "cpu cannot run here: numba cannot be imported (Numba needs NumPy 2.4 or less. Got NumPy 9.0.): "
        "pip install 'forcedmove[server]'"
    )
    assert choice.device is None


def test_a_named_backend_runs_or_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "open_backend", no_gpu)
    backend, choice = select_backend("cpu", 1)
    assert (backend.name, choice.describe()) == ("cpu", "cpu: asked for")
    with pytest.raises(BackendUnavailableError) as caught:
        select_backend("cuda")
    for needed in ("no CUDA device: the driver reports none", "forcedmove[cuda12]", "forcedmove[cuda13]"):
        assert needed in str(caught.value)
    with pytest.raises(ValueError, match="backend = 'gpu': must be one of auto, cuda, cpu, reference"):
        select_backend("gpu")


def test_numba_that_cannot_be_imported(without_numba: None) -> None:
    with pytest.raises(BackendUnavailableError, match=r"Got NumPy 9\.0.*forcedmove\[server\]"):
        select_backend("cpu")


def test_without_cupy_there_is_still_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    reason = select_backend()[1].reason
    assert "cupy" in reason
    assert "forcedmove[cuda13]" in reason
