"""Paths of two seeds have nothing in common, however near the seeds are."""

from __future__ import annotations

import numpy as np
import pytest

from forcedmove_kernels.reference.cascade import draw
from forcedmove_server.engine.cascade.noise import PathNoise, Spreads, path_noise

SPREADS = Spreads(0.7, 0.5, 0.3)
PATHS = 4_096
#: by which seeds differ: a path's number, the width of all of them, a chain's number, and both
APART = [1, PATHS - 1, 1 << 32, 3 << 32 | 5]


def drawn(noise: PathNoise) -> np.ndarray:
    """Factors of the paths of four chains, sorted: what distributions are made of."""
    return np.sort(np.concatenate([noise.factors(chain, PATHS) for chain in range(4)]))


@pytest.mark.parametrize("apart", APART)
def test_seeds_that_differ_by_numbers_of_paths_or_chains_draw_other_paths(apart: int) -> None:
    seed = 7
    assert not np.array_equal(drawn(path_noise(SPREADS, seed)), drawn(path_noise(SPREADS, seed ^ apart)))
    one, other = path_noise(SPREADS, seed).kernel, path_noise(SPREADS, seed ^ apart).kernel
    assert one.seed ^ other.seed >= 1 << 40, "far apart in what the kernels combine with numbers of paths and chains"


@pytest.mark.parametrize("apart", APART)
def test_the_kernels_themselves_would_draw_the_same_ones_again(apart: int) -> None:
    """Why the seed is mixed before they get it: theirs is combined with a path's number bit by bit."""
    noise = path_noise(SPREADS, 7).kernel
    chain, path = apart >> 32, apart & 0xFFFF_FFFF
    there = noise._replace(seed=noise.seed ^ apart)
    assert draw(there, chain, path, [3, 9]) == draw(noise, 0, 0, [3, 9])


def test_every_seed_of_64_bits_has_paths() -> None:
    for seed in (0, (1 << 64) - 1):
        assert path_noise(SPREADS, seed).factors(0, 8).shape == (8,)
