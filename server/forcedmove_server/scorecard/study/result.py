"""What a study measured, as frozen dataclasses of plain numbers: seed by seed, hour by hour."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from forcedmove_server.errors import InputError
from forcedmove_server.scorecard.report.result import Setting

#: maps that are compared with the true one: ours with the default prior, with weights learnt online, with those that
#: the simulated traders draw from; then the baselines
PRIOR, CALIBRATED, TRUE = "prior", "calibrated", "true"
OURS = (PRIOR, CALIBRATED, TRUE)
BASELINES = ("naive", "naive_maintenance", "distance")
MAPS = (*OURS, *BASELINES)


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a map: its field, its name, decimals to show, and whether more is better."""

    field: str
    name: str
    digits: int
    more_is_better: bool = True


MEASURES = (
    Measure("spearman", "Spearman", 3),
    Measure("wasserstein_bp", "W1, bp", 0, more_is_better=False),
    Measure("top_decile_overlap", "top decile overlap", 3),
    Measure("top_decile_share", "mass in top decile", 3),
    Measure("bits", "bits per position", 3),
)

#: how much of its liquidations a venue's feed carries
FEEDS = ("full", "sampled", "none")


@dataclass(frozen=True, slots=True)
class MapScore:
    """One side of one symbol's map at one hour against the true one, in the bins within 20 % of the mark.

    ``bits`` is the mean over true positions of log2 of the map's density over that of the same map made flat inside
    each distance band (``measures.bits``); 0 where there is no position. The others as in
    ``inference.comparison.SideComparison``.
    """

    hour: int
    symbol: str
    side: str
    map: str
    spearman: float
    wasserstein_bp: float
    top_decile_overlap: float
    top_decile_share: float
    bits: float


@dataclass(frozen=True, slots=True)
class WeightScore:
    """How far the leverage weights of one market are from the true ones: total-variation distances in [0, 1].

    Means of both sides. ``prior`` and ``calibrated`` are weights against the shares of *opened* notional, which is what
    is calibrated; the ``live_`` ones are the tiers of what a map has live against those of what truly is, market makers
    in the lowest.
    """

    hour: int
    market: str
    feed: str
    prior: float
    calibrated: float
    live_prior: float
    live_calibrated: float
    live_true: float


@dataclass(frozen=True, slots=True)
class BandScore:
    """How many bins of the true map lay inside the credible band; sums, see ``measures.coverage.coverage_sums``.

    ``scope`` is ``"market"`` (all markets of a symbol, each with its own band) or ``"symbol"``; ``"market_sized"`` and
    ``"symbol_sized"`` are the same with the true sizes of positions in place of those of printed liquidations.
    """

    hour: int
    symbol: str
    scope: str
    bins: float
    inside: float
    below: float
    above: float
    usd: float
    usd_inside: float


Score = MapScore | WeightScore | BandScore


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One seed of one regime."""

    regime: str
    seed: int
    maps: tuple[MapScore, ...]
    weights: tuple[WeightScore, ...]
    bands: tuple[BandScore, ...]


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study: what ran, and every score. Hours up to ``skip_hours`` are in ``runs``, and in no mean.

    Raises InputError for a study without runs, or with one seed of a regime twice.
    """

    title: str
    symbols: tuple[str, ...]
    hours: float
    skip_hours: int
    level: float
    settings: tuple[Setting, ...]
    runs: tuple[StudyRun, ...]

    def __post_init__(self) -> None:
        keys = [(run.regime, run.seed) for run in self.runs]
        if not keys or len(set(keys)) != len(keys):
            raise InputError("runs", keys, "needs at least one run, each seed of a regime once")

    @property
    def regimes(self) -> tuple[str, ...]:
        """Regimes in the order in which they ran."""
        return tuple(dict.fromkeys(run.regime for run in self.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds in the order in which they ran."""
        return tuple(dict.fromkeys(run.seed for run in self.runs))

    def to_json(self) -> str:
        """Return the summary and every score as JSON, scores as rows under the names of their columns."""
        from forcedmove_server.scorecard.study.summary import summarise

        told = {
            "title": self.title,
            "symbols": self.symbols,
            "regimes": self.regimes,
            "seeds": self.seeds,
            "hours": self.hours,
            "skip_hours": self.skip_hours,
            "level": self.level,
            "settings": [asdict(setting) for setting in self.settings],
            "summary": asdict(summarise(self)),
            "columns": {
                kind: [field.name for field in fields(row)]
                for kind, row in (("maps", MapScore), ("weights", WeightScore), ("bands", BandScore))
            },
            "runs": [
                {
                    "regime": run.regime,
                    "seed": run.seed,
                    "maps": _rows(run.maps),
                    "weights": _rows(run.weights),
                    "bands": _rows(run.bands),
                }
                for run in self.runs
            ],
        }
        return json.dumps(told, allow_nan=False) + "\n"


def _rows(scores: tuple[Score, ...]) -> list[list[Any]]:
    return [[_short(getattr(score, field.name)) for field in fields(score)] for score in scores]


def _short(value: Any) -> Any:
    """Six significant digits are more than any score is worth."""
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value
