"""The backends under test: the oracle, numba, the CUDA sources built for the host, and a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.cpu import CpuBackend, schedule
from forcedmove_kernels.errors import BackendUnavailableError
from forcedmove_kernels.reference import ReferenceBackend
from tests.gpu.devices import cuda, host

CASES: dict[str, Callable[[], Backend]] = {
    "reference": ReferenceBackend,
    "cpu-1": lambda: CpuBackend(1),
    "cpu-2": lambda: CpuBackend(2),
    "host-1": lambda: host(threads=1, order="forward"),
    "host-2": lambda: host(threads=2, order="reverse"),
    "host-small-blocks": lambda: host(threads=2, order="reverse", small_blocks=True),
    "cuda": cuda,
}


@pytest.fixture(scope="session", params=list(CASES))
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend in turn; threads are launched however little there is to do."""
    threshold = schedule.MIN_PARALLEL_COST
    try:
        opened = CASES[request.param]()
    except BackendUnavailableError as missing:
        pytest.skip(str(missing))
    schedule.MIN_PARALLEL_COST = 0
    yield opened
    schedule.MIN_PARALLEL_COST = threshold
