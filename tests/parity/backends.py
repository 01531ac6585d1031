"""The backends under test. A GPU backend is one more row of ``CASES``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.cpu import CpuBackend, schedule
from forcedmove_kernels.reference import ReferenceBackend

CASES: dict[str, Callable[[], Backend]] = {
    "reference": ReferenceBackend,
    "cpu-1": lambda: CpuBackend(1),
    "cpu-2": lambda: CpuBackend(2),
}


@pytest.fixture(scope="session", params=list(CASES))
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend in turn; threads are launched however little there is to do."""
    threshold = schedule.MIN_PARALLEL_COST
    schedule.MIN_PARALLEL_COST = 0
    yield CASES[request.param]()
    schedule.MIN_PARALLEL_COST = threshold
