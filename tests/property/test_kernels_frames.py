"""What is rendered and what changed, against plain NumPy."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_kernels.arrays import Notional
from forcedmove_kernels.backend import Backend

EXAMPLES = settings(max_examples=40)


@EXAMPLES
@given(
    seed=st.integers(0, 1 << 32),
    rows=st.integers(0, 6),
    bins=st.integers(2, 40),
    outputs=st.integers(1, 4),
    edges=st.tuples(st.integers(0, 39), st.integers(1, 40)),
)
def test_rendering_is_a_plain_formula(
    backend: Backend, seed: int, rows: int, bins: int, outputs: int, edges: tuple[int, int]
) -> None:
    """Lots times the price of the middle of the cell, summed in cents; what lies outside is in the outer cells."""
    rng = np.random.default_rng(seed)
    low = min(edges[0], bins - 1)
    high = min(low + edges[1], bins)
    lots = rng.integers(0, 1 << rng.integers(1, 33), (rows, bins + 2)).astype(np.uint64)
    target = rng.integers(-1, outputs, rows).astype(np.int32)
    money = Notional(rng.choice([0.0, 100.0, 1 / 3], rows), rng.choice([0.0, 0.1, 50.0], rows))
    usd = backend.render(lots, target, outputs, money, 90, low, high)

    middle = 90 + np.arange(bins + 2) - 0.5
    cents = np.floor(lots * (money.base[:, None] + money.slope[:, None] * middle) + 0.5)
    expected = np.zeros((outputs, high - low + 2))
    for row in np.flatnonzero(target >= 0):
        expected[target[row], 0] += cents[row, : low + 1].sum()
        expected[target[row], 1:-1] += cents[row, low + 1 : high + 1]
        expected[target[row], -1] += cents[row, high + 1 :].sum()
    assert usd.dtype == np.float32
    np.testing.assert_array_equal(usd, (expected / 100).astype(np.float32))


@EXAMPLES
@given(seed=st.integers(0, 1 << 32), size=st.integers(0, 9000), share=st.sampled_from([0.0, 0.001, 0.3, 1.0]))
def test_applying_the_changes_gives_the_new_frame(backend: Backend, seed: int, size: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    previous = rng.random((1, size), np.float32)
    values = np.where(rng.random((1, size)) < share, np.float32(2), previous)
    changed = backend.changed_cells(previous, values)
    assert changed.dtype == np.uint32
    assert np.all(np.diff(changed.astype(np.int64)) > 0)
    patched = previous.copy()
    patched.flat[changed] = values.flat[changed]
    np.testing.assert_array_equal(patched, values)
    assert len(changed) == np.count_nonzero(previous != values)
