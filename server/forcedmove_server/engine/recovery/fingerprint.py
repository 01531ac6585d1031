"""What a state is made with: only a core that is made with the same can take it over."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from importlib.metadata import version

from forcedmove_server.config import Config, LiveSourceConfig, SourceConfig
from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.recovery.state import WIRING, attributes, components

#: how a source is played, which does not change what it plays
_PACING = ("speed", "at")


def fingerprint(config: Config, core: EngineCore) -> dict[str, str]:
    """Return what has to be the same, by the name that it is told by.

    Which backend computes, on how many threads and how often makes no difference, nor do limits and files.
    """
    engine = config.engine
    return {
        "version": version("forcedmove"),
        "classes": _layout(core),
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


def _layout(core: EngineCore) -> str:
    """Digest of the attributes of all components: a program whose state has others cannot read it."""
    names = [(name, sorted(attributes(part, WIRING[name]))) for name, part in components(core).items()]
    return hashlib.sha256(repr(names).encode()).hexdigest()[:16]


def _market(source: SourceConfig) -> str:
    """What a source plays. A live one plays what comes, whatever it is asked for."""
    if isinstance(source, LiveSourceConfig):
        return f"live {source.name}"
    return repr(sorted((name, value) for name, value in asdict(source).items() if name not in _PACING))
