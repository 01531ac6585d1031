"""Whatever comes in, weights are weights: they sum to one, keep their bounds, and are offered."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from forcedmove_server.inference.calibration import Calibration, CalibrationSettings, Prints, Window, credible_band

TIERS = np.array([2.0, 5, 10, 25, 50, 100])
T = len(TIERS)


@st.composite
def priors(draw: st.DrawFn) -> np.ndarray:
    offered = draw(st.integers(1, T))
    parts = np.array(draw(st.lists(st.floats(1e-4, 1.0), min_size=offered, max_size=offered)))
    return np.append(parts / parts.sum(), np.zeros(T - offered))


@settings(max_examples=60)
@given(
    prior=st.lists(priors(), min_size=2, max_size=4),
    publishes_all=st.sampled_from([True, False]),
    seed=st.integers(0, 2**32 - 1),
    scale=st.floats(1e-6, 1e9),
    noise=st.floats(0, 1e3),
    change=st.floats(1.1, 20.0),
)
def test_weights_stay_weights(
    prior: list[np.ndarray], publishes_all: bool, seed: int, scale: float, noise: float, change: float
) -> None:
    rng = np.random.default_rng(seed)
    calibration = Calibration(TIERS, CalibrationSettings(most_change=change, refresh_ns=1))
    both = np.stack([np.stack([p, p]) for p in prior])
    rows = np.array([calibration.new_market(f"v:{i}", "v", p, publishes_all) for i, p in enumerate(both)])
    markets = len(rows)
    for window in range(8):
        weights = calibration.weights(rows)
        hazard = scale * rng.lognormal(0, 3, (markets, 2, T)) * (rng.random((markets, 2, T)) < 0.6)
        number = int(rng.integers(0, 12))
        prints = Prints(
            rng.choice(rows, number),
            rng.integers(0, 2, number),
            scale * rng.lognormal(0, 4, number),
            rng.lognormal(0, 3, (number, T)) * (rng.random((number, T)) < 0.5) * (weights[0, 0] > 0),
        )
        released, interest = scale * noise * rng.normal(size=markets), np.full(markets, 100 * scale)
        move = rng.normal(0, 0.01, markets)
        calibration.observe(
            Window(window * 10**13, rows, weights * hazard, weights, prints, None, released, interest, move)
        )
        found = calibration.weights(rows)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found.sum(2), 1.0, rtol=1e-12)
        assert (found[both == 0] == 0).all()
        ratio = found[both > 0] / both[both > 0]
        assert ratio.max() <= change * (1 + 1e-6)
        assert ratio.min() >= (1 - 1e-6) / change
        shape = calibration.shape(rows)
        assert (shape > 0).all()
        low, high = credible_band((weights * hazard)[..., None], shape, scale, 0.9, calibration.phi("v"), found)
        assert (low <= high).all()
        assert (low >= 0).all()
