"""``make bench``: every benchmark, printed as a table and written to build/bench.json.

A benchmark asserts its answer before it reports a time. Machines differ and are noisy: read the ratios, which are taken
against a baseline in the same run.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MODULES = ("margin_bench", "kernels_bench", "replay_bench", "pipeline_bench", "stream_bench")


def table(results: list[dict[str, Any]]) -> str:
    """Lay out results as text."""
    rows = [("benchmark", "parameters", "median", "unit", "ratio", "baseline")]
    for result in results:
        params = ", ".join(f"{key}={value}" for key, value in result["params"].items())
        ratio = "" if result["ratio"] is None else f"{result['ratio']:.2f}x"
        median = f"{result['median']:,.4g}"
        rows.append((result["name"], params, median, result["unit"], ratio, result["baseline"] or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    aligned = ("<", "<", ">", "<", ">", "<")
    return "\n".join(
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, aligned, widths, strict=True)).rstrip()
        for row in rows
    )


def main() -> int:
    """Run the chosen benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *MODULES], help="run only these")
    chosen = parser.parse_args().only or MODULES
    results: list[dict[str, Any]] = []
    for name in chosen:
        print(f"... {name}", file=sys.stderr)
        import_module(f"tests.benchmarks.{name}").run(results)
    (ROOT / "build").mkdir(exist_ok=True)
    (ROOT / "build" / "bench.json").write_text(json.dumps(results, indent=1) + "\n")
    print(f"{platform.machine()}, {platform.python_implementation()} {platform.python_version()}")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
