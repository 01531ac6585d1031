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
MODULES = ("kernels_bench", "replay_bench", "pipeline_bench", "stream_bench")


def table(results: list[dict[str, Any]]) -> str:
    """Lay out results as text."""
    lines = [f"{'benchmark':<34}{'parameters':<58}{'median':>14} {'unit':<12}{'ratio':>8}  baseline"]
    for row in results:
        params = ", ".join(f"{key}={value}" for key, value in row["params"].items())
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}x"
        lines.append(
            f"{row['name']:<34}{params:<58}{row['median']:>14,.4g} {row['unit']:<12}{ratio:>8}  {row['baseline'] or ''}"
        )
    return "\n".join(lines)


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
