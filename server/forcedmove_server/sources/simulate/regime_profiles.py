"""The named regimes of the simulated market: what each of them fixes, in one table."""

from __future__ import annotations

from dataclasses import dataclass

from forcedmove_server.config import SimulationRegime
from forcedmove_server.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Crashes:
    """Crashes on a schedule: the first at ``first_hour``, then every ``every_hours``.

    The news of one moves a symbol with beta 1 by a log return drawn evenly from ``log_move`` (signed), over a time
    drawn evenly from ``lasts_s``, in which volatility is 3 times and activity 4 times the ordinary; forced orders take
    it further. In the 40 minutes of twice the volatility after it 30 % of the news is given back.
    """

    first_hour: float
    every_hours: float
    log_move: tuple[float, float]
    lasts_s: tuple[float, float] = (480.0, 1_200.0)

    @property
    def mean_s(self) -> float:
        """How long a crash lasts on average."""
        return sum(self.lasts_s) / 2


@dataclass(frozen=True, slots=True)
class RegimeProfile:
    """Weather that does not change but for its crashes.

    ``volatility`` and ``activity`` are factors on those of an ordinary day; ``drift_per_day`` is the log return per day
    of a symbol with beta 1, whose direction the seed draws once. ``depth`` is a factor on the resting notional
    (``SimulationConfig.depth_share_1_percent``). ``crowd`` leans who opens towards long (+) or short (-): market makers
    hold the other side, ``|crowd| / 8`` of the open interest, where funding balances the lean.
    """

    meaning: str
    volatility: float = 1.0
    drift_per_day: float = 0.0
    activity: float = 1.0
    depth: float = 1.0
    crowd: float = 0.0
    crashes: Crashes | None = None


#: where the weather changes by itself: see :class:`~.regimes.Regimes`
MIXED = RegimeProfile("calm, trends, crashes and aftershocks as the seed draws them")

REGIMES: dict[SimulationRegime, RegimeProfile] = {
    "mixed": MIXED,
    "calm": RegimeProfile("little happens", volatility=0.6, activity=0.7),
    "trend": RegimeProfile(
        "prices drift one way all day", volatility=1.1, drift_per_day=0.08, activity=1.4
    ),
    "crash": RegimeProfile(
        "crowded longs are flushed every few hours",
        volatility=1.1, activity=1.2, crowd=0.8, crashes=Crashes(2.0, 5.0, (-0.06, -0.035)),
    ),
    "squeeze": RegimeProfile(
        "crowded shorts are flushed every few hours",
        volatility=1.1, activity=1.2, crowd=-1.6, crashes=Crashes(3.0, 5.0, (0.035, 0.06)),
    ),
    "low-liquidity": RegimeProfile(
        "thin books, few traders: flow itself moves prices", volatility=0.9, activity=0.5, depth=0.2
    ),
}  # fmt: skip


def regime_profile(name: str) -> RegimeProfile:
    """Return a regime by its name. Raises UnknownNameError."""
    for known, profile in REGIMES.items():
        if known == name:
            return profile
    raise UnknownNameError("regime", name, list(REGIMES))
