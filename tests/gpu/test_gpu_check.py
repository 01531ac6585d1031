"""``make gpu-check`` from end to end, with the host build in the place of a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.errors import BackendUnavailableError
from tests.gpu import __main__ as gpu_check
from tests.gpu import devices, parity_loop, report, sanitizer, steps
from tests.gpu.steps import Step, run_step
from tests.parity.every_check import CHECKS

SANITIZER = """#!/bin/sh
# Stands in for compute-sanitizer: runs the program it is given, behind the options.
[ "$1" = --tool ] && tool=$2
while [ "$1" != {python} ]; do shift; done
"$@" || exit $?
echo "========= $tool: ERROR SUMMARY: {errors} errors"
exit {code}
"""


@pytest.fixture(scope="module")
def host() -> Backend:
    """The CUDA sources on this machine's processor."""
    try:
        return devices.host()
    except BackendUnavailableError as missing:
        pytest.skip(str(missing))


needs_host = pytest.mark.usefixtures("host")


def stand_in(folder: Path, errors: int, code: int) -> Path:
    tool = folder / sanitizer.NAME
    tool.write_text(SANITIZER.format(python=sys.executable, errors=errors, code=code))
    tool.chmod(0o755)
    return tool


def checked(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and Markdown of a run that has no GPU to run on."""
    common = ["--out", str(folder), "--seed", "1", "--parity-seconds", "4"]
    code = gpu_check.main([*common, *arguments])
    return code, json.loads((folder / "gpu-check.json").read_text()), (folder / "gpu-check.md").read_text()


@needs_host
def test_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, 0, 0)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    code, record, page = checked(tmp_path, "--device", "host", "--steps", "parity", "memcheck", "racecheck")
    assert code == 0, page
    assert [(step["name"], step["outcome"]) for step in record["steps"]] == [
        ("parity", "passed"),
        ("memcheck", "passed"),
        ("racecheck", "passed"),
    ]
    assert record["steps"][2]["detail"] == "========= racecheck: ERROR SUMMARY: 0 errors"
    assert record["facts"]["seed"] == "1"
    assert set(record["facts"]) == {"date", "GPU", "driver", "CUDA", "CuPy", "NumPy", "Python", "seed"}
    assert "| parity | passed |" in page
    runs = record["parity"]["runs"]
    assert set(runs) == {check.name for check in CHECKS} | {"bad_arguments"}
    assert min(runs.values()) >= 1


@needs_host
def test_a_wrong_bit_fails_and_says_how_to_repeat_it(tmp_path: Path) -> None:
    code, record, page = checked(tmp_path, "--device", "faulty-host", "--steps", "parity")
    assert code == 1
    (step,) = record["steps"]
    assert step["outcome"] == "failed"
    assert step["detail"].endswith(" checks, 1 failed")
    assert "again: python -m tests.gpu.parity_loop --seed 1 --only leverage_grid --round " in page


def test_findings_of_the_sanitizer_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, 3, int(sanitizer.FOUND))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    step = sanitizer.watch("memcheck", [sys.executable, "-c", "pass"], 20)
    assert (step.outcome, step.detail) == ("failed", "========= memcheck: ERROR SUMMARY: 3 errors")


@needs_host
def test_missing_sanitizer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitizer, "find", lambda: None)
    code, record, page = checked(tmp_path, "--device", "host", "--steps", "memcheck")
    assert code == 0
    assert record["steps"][0]["outcome"] == "skipped"
    assert "compute-sanitizer not found" in page


def test_sanitizer_is_found_in_a_toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    tool = stand_in(tmp_path / "bin", 0, 0)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert sanitizer.find() == tool


def test_steps_end_in_time() -> None:
    step = run_step("slow", [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"], 2)
    assert (step.outcome, step.detail, step.bad) == ("timed out", "begun", True)
    assert step.seconds < 10


def test_crash_keeps_its_output() -> None:
    step = run_step("crash", [sys.executable, "-c", "raise SystemExit('no such kernel')"], 20)
    assert (step.outcome, step.detail, step.output.strip()) == ("failed", "no such kernel", "no such kernel")


def test_without_a_gpu_one_line_and_two(capfd: pytest.CaptureFixture[str]) -> None:
    try:
        devices.describe_cuda()
    except BackendUnavailableError:
        pass
    else:
        pytest.skip("there is a GPU here")
    assert gpu_check.main(["--steps", "parity"]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("gpu-check: ")
    assert said.err.count("\n") == 1


def test_limits_add_up_to_less_than_eight_minutes() -> None:
    assert gpu_check.PARITY_LIMIT_S + 2 * gpu_check.WATCHED_LIMIT_S + gpu_check.BENCHMARK_LIMIT_S < 8 * 60
    assert gpu_check.PARITY_S < gpu_check.PARITY_LIMIT_S
    assert gpu_check.WATCHED_S < gpu_check.WATCHED_LIMIT_S


def test_benchmark_rows_are_in_the_report(tmp_path: Path) -> None:
    rows = [{"name": "full rebuild", "params": {"cohorts": 10}, "median": 0.71234, "unit": "ms", "ratio": None}]
    report.write(
        tmp_path, {"GPU": "a | b"}, [Step("benchmark", "passed", 1.5, "done")], {}, {"results": rows, "goals": rows[:1]}
    )
    page = (tmp_path / "gpu-check.md").read_text()
    assert "| full rebuild | cohorts=10 | 0.7123 | ms |  |" in page
    assert "## Figures to reach" in page
    assert "a \\| b" in page


@needs_host
def test_one_check_can_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    assert parity_loop.main(["--device", "host", "--seed", "5", "--only", "clusters", "--round", "3"]) == 0
    assert capsys.readouterr().out == "1 checks, 0 failed\n"


def test_every_check_runs_once_at_least(host: Backend) -> None:
    results = parity_loop.run_checks(host, 1, count(), 0.0, parity_loop.FULL_SIZES)
    assert results == {"runs": {check.name: 1 for check in CHECKS}, "failures": {}}


@needs_host
def test_needs_only_numpy(tmp_path: Path) -> None:
    """Everything that the device machine imports, with the packages that it lacks made impossible to import."""
    blocked = "numba", "pytest", "hypothesis", "grpc", "scipy"
    program = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import tests.gpu.__main__, "
    program += "tests.gpu.parity_loop as loop; sys.exit(loop.main(sys.argv[1:]))"
    paths = os.pathsep.join(str(steps.ROOT / folder) for folder in ("kernels", "."))
    command = [
        sys.executable,
        "-c",
        program,
        "--device",
        "host",
        "--seed",
        "1",
        "--only",
        "apply_updates",
        "--round",
        "1",
    ]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
