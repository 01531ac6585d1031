"""What a state is made with: only a core that is made with the same can take it over."""

from __future__ import annotations

import functools
import hashlib
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

import forcedmove_kernels
from forcedmove_server.config import Config, LiveSourceConfig, SourceConfig

#: how a source is played, which does not change what it plays
_PACING = ("speed", "at")
#: packages of the server that a state follows from
_DECIDING = ("engine", "inference", "margin", "market", "scorecard")
_SERVER = Path(__file__).parents[2]


def fingerprint(config: Config) -> dict[str, str]:
    """Return what has to be the same, by the name that it is told by.

    Which backend computes, on how many threads and how often makes no difference, nor do limits and files.
    """
    engine = config.engine
    return {
        "version": version("forcedmove"),
        "program": program(),
        "libraries": f"python {platform.python_version_tuple()[:2]}, numpy {np.__version__.split('.')[:2]}",
        "[engine] bins, max_markets, max_cohorts_per_market": repr(
            (engine.bins, engine.max_markets, engine.max_cohorts_per_market)
        ),
        "[exact] max_markets": repr(config.exact.max_markets),
        "[model]": repr(config.model),
        "[arming]": repr(config.arming),
        "[scorecard] enabled": repr(config.scorecard.enabled),
        "[calibration] enabled, frozen, every_s": repr(
            (config.calibration.enabled, config.calibration.frozen, config.calibration.every_s)
        ),
        "[[sources]]": repr(sorted(_market(source) for source in config.sources)),
    }


def misfits(have: dict[str, str], need: dict[str, str]) -> list[str]:
    """Return the names of what is not the same."""
    return [name for name in sorted(have.keys() | need.keys()) if have.get(name) != need.get(name)]


@functools.cache
def program() -> str:
    """Digest of the sources that a state follows from: with others, the same inputs may lead somewhere else."""
    state = hashlib.sha256()
    for folder in (*(_SERVER / name for name in _DECIDING), Path(forcedmove_kernels.__file__).parent):
        for path in sorted(folder.rglob("*.py")):
            state.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return state.hexdigest()[:16]


def _market(source: SourceConfig) -> str:
    """What a source plays. A live one plays what comes, whatever it is asked for."""
    if isinstance(source, LiveSourceConfig):
        return f"live {source.name}"
    return repr(sorted((name, value) for name, value in asdict(source).items() if name not in _PACING))
