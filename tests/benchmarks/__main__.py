"""``make bench``: every benchmark, printed as a table and written to build/bench.json.

A benchmark asserts its answer before it reports a time. Machines differ and are noisy: read the ratios, which are taken
against a baseline in the same run. The kernels' rows say how much of the machine's measured limits they use: of its
copy bandwidth, with the bytes that have to move at least, and of its rate of increments in the fastest memory.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks.runners import machine

ROOT = Path(__file__).parents[2]
MODULES = (
    "margin_bench",
    "kernels_bench",
    "scan_bench",
    "replay_bench",
    "pipeline_bench",
    "inference_bench",
    "stream_bench",
    "subscribers_bench",
    "gateway_bench",
    "ingest_bench",
    "collect_bench",
    "recovery_bench",
)


def table(results: list[dict[str, Any]]) -> str:
    """Lay out results as text."""
    rows = [("benchmark", "parameters", "median", "unit", "ns/update", "of copy", "of scatter", "ratio", "baseline")]
    for result in results:
        ns, copy, scatter = (result.get(key) for key in ("ns_per_update", "of_copy", "of_scatter"))
        rows.append(
            (
                result["name"],
                ", ".join(f"{key}={value}" for key, value in result["params"].items()),
                f"{result['median']:,.4g}",
                result["unit"],
                "" if ns is None else f"{ns:,.3g}",
                "" if copy is None else f"{copy:.0%}",
                "" if scatter is None else f"{scatter:.0%}",
                "" if result["ratio"] is None else f"{result['ratio']:.2f}x",
                result["baseline"] or "",
            )
        )
    return _aligned(rows, "<<><>>>><")


def goals_table(goals: list[dict[str, Any]]) -> str:
    """Lay out the figures that have to be reached."""
    rows = [("must reach", "must", "aim", "seen", "")]
    for goal in goals:
        must, aim, seen = (
            "" if goal[key] is None else f"{goal[key]:.3g} {goal['unit']}".replace(" x", "x")
            for key in ("must", "aim", "seen")
        )
        bound = "at most " if goal["at_most"] else ""
        rows.append((goal["what"], bound + must, aim, seen, "reached" if goal["reached"] else "MISSED"))
    return _aligned(rows, "<>>><")


def _aligned(rows: list[tuple[str, ...]], sides: str) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    )


class KeptResults(list[dict[str, Any]]):
    """Results that are in a file as soon as they are there: a run that is cut off loses none of them."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        super().__init__()
        self._path, self._about = path, about
        path.parent.mkdir(parents=True, exist_ok=True)
        self.keep([])

    def append(self, result: dict[str, Any]) -> None:
        super().append(result)
        self.keep([])

    def keep(self, goals: list[dict[str, Any]]) -> None:
        """Write what there is, with the goals that are known."""
        content = {"machine": self._about, "results": self, "goals": goals}
        self._path.write_text(json.dumps(content, indent=1) + "\n")


def main() -> int:
    """Run the chosen benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *MODULES], metavar="NAME", help=f"of {', '.join(MODULES)}")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where to write the figures")
    options = parser.parse_args()
    goals: list[dict[str, Any]] = []
    about = machine()
    results = KeptResults(options.json, about)
    for name in options.only or MODULES:
        print(f"... {name}", file=sys.stderr)
        goals += import_module(f"tests.benchmarks.{name}").run(results) or []
        results.keep(goals)
    print("; ".join(f"{key} {value}" for key, value in about.items()))
    print(table(results))
    if goals:
        print()
        print(goals_table(goals))
    return 0


if __name__ == "__main__":
    sys.exit(main())
