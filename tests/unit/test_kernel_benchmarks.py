"""The code of the kernel benchmarks runs, at sizes that take no time, so that it cannot rot. No times are asserted."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forcedmove_kernels.cuda import CudaBackend
from tests.benchmarks import cascade_bench, kernels_bench, scan_bench, tick_bench
from tests.benchmarks.__main__ import KeptResults, goals_table, table
from tests.benchmarks.kernels_bench import Sizes, measure
from tests.benchmarks.rounds import Contestant, medians
from tests.benchmarks.rows import goal
from tests.benchmarks.runners import Limits, Runner
from tests.cuda_host.device import CompilerMissing, HostDevice

SMALL = Sizes(
    rebuild={4_000: 2},
    large=4_000,
    ticks=tick_bench.Sizes((4_000, 8_000), (40, 80), 1),
    cascades=cascade_bench.Sizes(4, 6, 64, 80, 3, 1, promised=True),
    compaction=4_000,
    words=4_096,
    repeats=2,
)


def test_every_benchmark_of_the_kernels_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host build of the CUDA sources takes the place of a GPU where there is a compiler."""
    monkeypatch.setattr(kernels_bench, "cuda_runners", lambda words, repeats: host_build())
    results: list[dict[str, Any]] = []
    goals = measure(SMALL, results)
    names = {result["name"] for result in results}
    assert {"full rebuild", "full rebuild, weighted too", "tick", "compaction", "cascade chains"} <= names
    assert {"all-shock curves", "cascade paths"} <= names
    assert all(result["median"] > 0 and result["ns_per_update"] > 0 for result in results)
    assert len(table(results).splitlines()) == len(results) + 1
    assert {"ms", "x"} == {line["unit"] for line in goals}
    assert len(goals_table(goals).splitlines()) == len(goals) + 1


def test_the_benchmark_of_scans_runs() -> None:
    results: list[dict[str, Any]] = []
    goals = scan_bench.measure(scan_bench.Sizes(3, 6, 128, 4, 2, 2, 4_096, 2, promised=True), results)
    names = [result["name"] for result in results]
    assert {"scan: chains through their own depth", "scan streamed: first result", "scan streamed: whole"} <= set(names)
    assert {"scan: cascade chains", "scan: all-shock curves"} <= set(names)
    assert len(goals) == 3
    assert len(table(results).splitlines()) == len(results) + 1


def test_numpy_alone_has_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither numba nor a GPU: the contestants that are left, and no figure that has to be reached."""
    for runners in ("cpu_runners", "cuda_runners"):
        monkeypatch.setattr(kernels_bench, runners, lambda words, repeats: [])
    results: list[dict[str, Any]] = []
    assert measure(SMALL, results) == []
    assert {"full rebuild", "cascade chains", "all-shock curves", "cascade paths"} == {row["name"] for row in results}


def host_build() -> list[Runner]:
    try:
        device = HostDevice()
    except CompilerMissing:
        return []
    return [Runner("CUDA", CudaBackend(device), Limits(1e9, 1e9), "host build")]


def test_a_wrong_answer_is_not_timed() -> None:
    right, wrong = np.arange(4), np.arange(4) + 1
    with pytest.raises(AssertionError, match="second against first"):
        medians([Contestant("first", lambda: right), Contestant("second", lambda: (wrong,))], 1)
    other = Contestant("second", lambda: wrong, question="another")
    assert set(medians([Contestant("first", lambda: right), other], 1)) == {"first", "second"}


def test_contestants_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)

    def contestant(name: str, rounds: int | None = None) -> Contestant:
        return Contestant(name, lambda: turns.append(name) or 0, rounds=rounds)

    medians([contestant("a"), contestant("b", 3), contestant("c")], 4)
    assert turns == ["a", "b", "c", *"ac", *"abc", *"ac", *"abc"]


@pytest.mark.parametrize(("seen", "at_most", "reached"), [(31, False, True), (29, False, False), (29, True, True)])
def test_a_figure_is_reached(seen: float, at_most: bool, reached: bool) -> None:
    assert goal("what", 30, None, seen, "x", at_most)["reached"] is reached
    assert ("MISSED" in goals_table([goal("what", 30, None, seen, "x", at_most)])) is not reached


def test_results_are_kept_as_they_come(tmp_path: Path) -> None:
    results = KeptResults(tmp_path / "new" / "bench.json", {"cpu": "one"})
    results.append({"name": "first"})
    kept = json.loads((tmp_path / "new" / "bench.json").read_text())
    assert kept == {"machine": {"cpu": "one"}, "results": [{"name": "first"}], "goals": []}
    results.keep([{"what": "fast"}])
    assert json.loads((tmp_path / "new" / "bench.json").read_text())["goals"] == [{"what": "fast"}]
