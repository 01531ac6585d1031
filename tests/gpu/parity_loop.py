"""Every parity check on a device, over and over, with fresh tables from one seed.

``python -m tests.gpu.parity_loop`` is one step of ``make gpu-check``: a process of its own, because a fault on a device
ends everything that runs there. The same ``--seed`` gives the same tables; ``--only`` and ``--round`` repeat one.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

from forcedmove_kernels.backend import Backend
from tests.gpu.devices import DEVICES
from tests.parity.builders import LARGE, SMALL, Size
from tests.parity.draws import SeededDraws
from tests.parity.every_check import CHECKS
from tests.parity.refusals import bad_arguments

#: a few blocks and tiles: what a tool that watches every memory access gets through
MEDIUM = LARGE._replace(
    markets=2, capacity=(1200, 5200), cohorts=(300, 600, 4100), openings=(1, 257), bins=(62, 255, 1000), many=(300,)
)
FULL_SIZES = ("small", "large")
WATCHED_SIZES = ("small", "medium")
SIZES: dict[str, Size] = {"small": SMALL, "medium": MEDIUM, "large": LARGE}


def run_checks(
    backend: Backend, seed: int, rounds: Iterable[int], seconds: float, sizes: tuple[str, ...], only: str | None = None
) -> dict[str, Any]:
    """Run rounds of all checks, or of one, for about ``seconds``. Return how often each ran, and the failures.

    A round's number decides its tables; of each ``len(sizes)`` rounds one has tables of each size. The first round is
    finished however long it takes. A check that failed once does not run again.
    """
    begin = time.monotonic()
    runs = {check.name: 0 for check in CHECKS if only in (None, check.name)}
    failures: dict[str, dict[str, Any]] = {}
    for turn in rounds:
        if len(failures) == len(runs):
            break
        kind = sizes[turn % len(sizes)]
        for index, check in enumerate(CHECKS):
            if check.name not in runs or check.name in failures:
                continue
            if runs[check.name] and time.monotonic() - begin > seconds:
                return {"runs": runs, "failures": failures}
            runs[check.name] += 1
            problem = problem_of(lambda: check.run(backend, SeededDraws(seed, turn, index), SIZES[kind]))  # noqa: B023
            if problem:
                failures[check.name] = {"round": turn, "tables": kind, "what": problem}
    return {"runs": runs, "failures": failures}


def problem_of(work: Callable[[], None]) -> str | None:
    """What is wrong, in words: one check that crashes is a result, and the others go on."""
    try:
        work()
    except Exception:  # noqa: BLE001
        return traceback.format_exc(limit=-4)
    return None


def main(arguments: list[str] | None = None) -> int:
    """Run the checks and write what happened as JSON; 0 when all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=DEVICES, default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--seconds", type=float, default=60, help="start no check after so many seconds but those of the first round"
    )
    parser.add_argument("--watched", action="store_true", help="two rounds, every array an allocation of its own")
    parser.add_argument("--only", choices=[check.name for check in CHECKS], help="run this check alone")
    parser.add_argument("--round", type=int, help="run this round alone")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    asked = parser.parse_args(arguments)
    device = DEVICES[asked.device]
    backend = device.open_watched() if asked.watched else device.open()
    sizes = WATCHED_SIZES if asked.watched else FULL_SIZES
    rounds = range(len(sizes)) if asked.watched else count()
    if asked.round is not None:
        rounds = [asked.round]
    results = run_checks(backend, asked.seed, rounds, asked.seconds, sizes, asked.only)
    if not asked.only:
        results["runs"]["bad_arguments"] = 1
        problem = problem_of(lambda: bad_arguments(backend))
        if problem:
            results["failures"]["bad_arguments"] = {"what": problem}
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=1) + "\n")
    for name, failure in results["failures"].items():
        print(f"{name}: {failure['what']}")
        if "round" in failure:
            print(
                f"again: python -m tests.gpu.parity_loop --seed {asked.seed} --only {name} --round {failure['round']}"
                + (" --watched" if asked.watched else "")
            )
    print(f"{sum(results['runs'].values())} checks, {len(results['failures'])} failed")
    return 1 if results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
