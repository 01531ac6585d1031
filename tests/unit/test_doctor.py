"""``forcedmove doctor`` tells what would run, what is missing and what does not fit, on machines of make-believe."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forcedmove_kernels import cuda
from forcedmove_kernels.budget import store_bytes
from forcedmove_kernels.errors import BackendUnavailableError
from forcedmove_server.commands import doctor

GIB = 1 << 30
GPUS = [
    cuda.DeviceInfo(0, "NVIDIA H200", 140 * GIB, 139 * GIB, "9.0", "13.0", "12.9", "14.2.0"),
    cuda.DeviceInfo(1, "NVIDIA L4", 22 * GIB, 10 << 20, "8.9", "13.0", "12.9", "14.2.0"),
]


def doctor_says(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return doctor.run(parser.parse_args(arguments))


def missing(reason: str) -> Any:
    def fail(*_: object) -> None:
        raise BackendUnavailableError(reason)

    return fail


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("devices", "open_backend"):
        monkeypatch.setattr(cuda, name, missing("no CUDA device: the driver is too old"))


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "devices", lambda: GPUS)
    monkeypatch.setattr(
        cuda, "open_backend", lambda index: SimpleNamespace(device=SimpleNamespace(name=GPUS[index].name))
    )


def config(folder: Path, text: str) -> str:
    path = folder / "forcedmove.toml"
    path.write_text(text)
    return str(path)


def test_without_a_gpu_the_cpu_computes_and_the_report_says_why(
    no_driver: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor_says("--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["problem"] is None
    assert told["chosen"]["name"] == "cpu"
    assert "driver is too old" in told["chosen"]["reason"]
    assert told["backends"]["cuda"]["available"] is False
    assert "forcedmove[cuda13]" in told["backends"]["cuda"]["reason"]
    assert told["backends"]["cpu"] == told["backends"]["reference"] == {"available": True, "reason": None}
    assert told["devices"] == []
    assert told["memory"]["needed_bytes"] == store_bytes(512 + 2 * 64, 2048, 13, 2048) < told["memory"]["free_bytes"]
    assert told["threads"] >= 1
    assert {"forcedmove", "python", "numpy", "numba", "cupy", "cuda_driver", "cuda_runtime"} == set(told["versions"])
    assert set(told["kernel_caches"]) == {"cpu"}
    assert doctor_says() == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "backend    cpu: cuda cannot run here: no CUDA device: the driver is too old\nmemory     74.0 MiB"
    )
    assert "  cpu runs here\n" in text


def test_the_configured_backend_is_judged(no_driver: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = config(tmp_path, '[engine]\nbackend = "cuda"\n')
    assert doctor_says("--config", file) == 1
    assert capsys.readouterr().out.startswith("problem    cuda cannot run here: no CUDA device: the driver is too old")
    assert doctor_says("--config", file, "--backend", "cpu") == 0
    assert capsys.readouterr().out.startswith("backend    cpu: asked for\n")


def test_devices_are_told_and_their_memory_counts(
    two_gpus: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUPY_CACHE_DIR", "/var/cache/kernels")
    assert doctor_says() == 0
    text = capsys.readouterr().out
    for said in (
        "backend    cuda on device 0, NVIDIA H200: the fastest runs here\n",
        "NVIDIA H200 has 139.0 GiB free\n",
        "  1: NVIDIA L4, compute capability 8.9, 22.0 GiB, 10.0 MiB free\n",
        "  cuda_runtime  12.9\n",
        "  cuda: /var/cache/kernels\n",
    ):
        assert said in text
    assert doctor_says("--json", "--config", config(tmp_path, "[engine]\ndevice = 1\n")) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["problem"] == (
        "needs 364.9 MiB, NVIDIA L4 has 10.0 MiB free: lower `max_cohorts_per_market`, `max_markets` or `bins`"
    )
    assert told["chosen"]["device"] == 1
    assert told["devices"][1]["free_bytes"] == 10 << 20


def test_a_config_that_cannot_be_read_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor_says("--config", config(tmp_path, "[engine]\nbinz = 1\n")) == 2
    assert "engine.binz" in capsys.readouterr().err
