"""What a scan is asked, what it comes to before anything is allocated for it, and what is too much."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from forcedmove_server.config import ScanConfig
from forcedmove_server.errors import InputError, LimitError

#: moves of the mark beyond these are mistakes
LEAST_SHOCK, MOST_SHOCK = -0.95, 5.0
#: and closer than this none can be told from the mark
NEAREST_SHOCK = 1e-9
DEFAULT_HORIZON_S = 86_400.0

#: seconds that one thread of this code took on a server's core, by make bench: per cell of a chain's book and per path
_PER_CELL_S, _PER_PATH_S = 14e-9, 0.5e-6
#: the same per symbol: what is done once, the search for tipping shocks above all
_PER_SYMBOL_S = 0.7e-3
#: arrays that are made per cell of a chain's book (u64 or f64), and bytes per path
_ARRAYS, _PATH_BYTES = 6, 36
#: elements of such an array at most; books of more shocks are made block by block
BLOCK_CELLS = 1 << 19


class Measure(StrEnum):
    """What symbols are ranked by."""

    TIPPING_DISTANCE = "tipping"
    AMPLIFICATION = "amplification"
    FRAGILITY = "fragility"
    EXPECTED_LOSS = "loss"


@dataclass(frozen=True, slots=True)
class ScanQuestion:
    """A scan. ``symbols`` None: all that have a map; ``venues`` empty: all; ``top`` 0: everything is ranked.

    ``shocks`` are moves of the mark as fractions, below zero for longs, above for shorts. ``min_notional_usd`` and
    ``max_distance`` (0: none) leave symbols out; ``horizon_s`` is the time of touch probabilities.
    """

    shocks: tuple[float, ...]
    symbols: tuple[str, ...] | None = None
    paths: int = 0
    seed: int = 0
    min_notional_usd: float = 0.0
    venues: tuple[str, ...] = ()
    max_distance: float = 0.0
    measure: Measure = Measure.FRAGILITY
    top: int = 0
    horizon_s: float = DEFAULT_HORIZON_S

    def __post_init__(self) -> None:
        """Raise InputError for shocks that no map could have."""
        if not self.shocks:
            raise InputError("shock_fractions", [], "give at least one move of the mark, for example -0.02")
        for shock in self.shocks:
            if not LEAST_SHOCK <= shock <= MOST_SHOCK or abs(shock) < NEAREST_SHOCK:
                reason = f"must lie in {LEAST_SHOCK:g} .. {MOST_SHOCK:g} and be {NEAREST_SHOCK:g} at least, either way"
                raise InputError("shock_fractions", shock, reason)


@dataclass(frozen=True, slots=True)
class ScanEstimate:
    """What a scan comes to: counts, memory in bytes, seconds."""

    symbols: int
    chains: int
    paths: int
    working_bytes: int
    seconds: float


def estimate(question: ScanQuestion, symbols: int, cells: int, workers: int, pace: float = 1.0) -> ScanEstimate:
    """Estimate a scan of ``symbols`` symbols whose axes have ``cells`` cells, on ``workers`` threads.

    ``pace`` multiplies the time: what this machine took so far over what was estimated.
    """
    shocks = len(question.shocks)
    chains = symbols * shocks
    paths = chains * question.paths
    half = cells / 2  # chains run on the cells of one side
    seconds = chains * half * _PER_CELL_S + paths * _PER_PATH_S + symbols * _PER_SYMBOL_S
    at_once = min(shocks * cells, max(BLOCK_CELLS, cells))
    working = workers * (at_once * _ARRAYS * 8 + shocks * question.paths * _PATH_BYTES) + symbols * 4 * cells * 8
    return ScanEstimate(symbols, chains, paths, working, seconds * pace / workers)


def check(question: ScanQuestion, found: ScanEstimate, limits: ScanConfig, left_s: float) -> None:
    """Raise LimitError with the numbers for a scan that is too much, or takes longer than the ``left_s`` it has."""
    for what, wanted, most, name in (
        ("shocks", len(question.shocks), limits.max_shocks, "scan.max_shocks"),
        ("paths of each shock", question.paths, limits.max_paths_per_chain, "scan.max_paths_per_chain"),
        ("chains", found.chains, limits.max_chains, "scan.max_chains"),
        ("paths", found.paths, limits.max_paths, "scan.max_paths"),
    ):
        if wanted > most:
            raise LimitError(
                f"{found.symbols} symbols, {len(question.shocks)} shocks and {question.paths} paths of each are "
                f"{wanted:,} {what}; this server takes {most:,} ({name})"
            )
    if found.seconds > left_s:
        raise LimitError(
            f"{found.chains:,} chains and {found.paths:,} paths take about {found.seconds:.1f} s and "
            f"{found.working_bytes / 2**20:.0f} MiB, and the call's deadline is in {max(left_s, 0):.1f} s: "
            "ask for fewer symbols, shocks or paths, or set a later deadline"
        )
