"""The checks notice a single wrong bit, wherever it is; without that their silence would say nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest

from forcedmove_kernels.backend import Backend
from forcedmove_kernels.reference import ReferenceBackend
from tests.parity.builders import SMALL
from tests.parity.draws import SeededDraws
from tests.parity.every_check import CHECKS
from tests.parity.faults import FAULTS, Fault, Faulty

ROUNDS = 60


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.method)
def test_fault_is_noticed(fault: Fault) -> None:
    check = next(check for check in CHECKS if check.name == fault.check)
    wrong: Any = Faulty(ReferenceBackend(), fault)
    for seed in range(ROUNDS):
        try:
            check.run(cast(Backend, wrong), SeededDraws(seed), SMALL)
        except AssertionError:
            return
    pytest.fail(f"{ROUNDS} tables did not show that {fault.method} was wrong")


def test_every_check_has_a_fault_to_notice() -> None:
    assert {fault.check for fault in FAULTS} == {check.name for check in CHECKS}


def test_same_seed_gives_the_same_tables() -> None:
    """Whatever a failed run prints as its seed repeats it."""

    class Recorder(SeededDraws):
        def __init__(self, seed: int) -> None:
            super().__init__(seed)
            self.seen: list[Any] = []

        def array(self, numbers: Any, size: int, dtype: Any) -> Any:
            drawn = super().array(numbers, size, dtype)
            self.seen.append(drawn.tolist())
            return drawn

    for check in CHECKS:
        once, twice, other = Recorder(7), Recorder(7), Recorder(8)
        for draws in (once, twice, other):
            check.run(ReferenceBackend(), draws, SMALL)
        assert once.seen == twice.seen
        assert once.seen != other.seen
