"""Every backend gives the oracle's bits, on any number of threads."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from forcedmove_kernels.backend import Backend
from tests.parity.builders import LARGE, SMALL
from tests.parity.draws import SeededDraws
from tests.parity.every_check import CHECKS, Check
from tests.parity.refusals import bad_arguments
from tests.parity.tables import HypothesisDraws

each_check = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
UNHURRIED = settings(suppress_health_check=list(HealthCheck))


def examples(backend: Backend, count: int) -> int:
    """Of the oracle only what it promises of itself can be wrong here."""
    return -(-count // 4) if backend.name == "reference" else count


@each_check
def test_small_tables(backend: Backend, check: Check) -> None:
    """What fails is shrunk."""

    @settings(UNHURRIED, max_examples=examples(backend, check.small))
    @given(choices=st.data())
    def run(choices: st.DataObject) -> None:
        check.run(backend, HypothesisDraws(choices.draw), SMALL)

    run()


@each_check
def test_large_tables(backend: Backend, check: Check) -> None:
    """More than a block of threads and a tile hold: too many numbers for Hypothesis, which draws the seed alone."""

    @settings(
        UNHURRIED, max_examples=examples(backend, check.large), phases=[Phase.explicit, Phase.reuse, Phase.generate]
    )
    @given(seed=st.integers(0, (1 << 64) - 1))
    def run(seed: int) -> None:
        check.run(backend, SeededDraws(seed), LARGE)

    run()


def test_bad_arguments_are_refused(backend: Backend) -> None:
    bad_arguments(backend)
