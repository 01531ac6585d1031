"""From a source's configuration to the source."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from forcedmove_server.config import ReplaySourceConfig, SimulateSourceConfig, SourceConfig
from forcedmove_server.sources.replay import ReplaySource
from forcedmove_server.sources.simulate import SimulatedSource, SimulationConfig
from forcedmove_server.sources.source import Source


class MadeSource(NamedTuple):
    """A source, and how fast to play it: ``speed`` event seconds per second (None: as fast as possible)."""

    source: Source
    speed: float | None
    pace_from_ns: int  # event time before which everything is played at once


def make_source(config: SourceConfig) -> MadeSource:
    """Build the source that ``config`` describes. Raises InputError or UnknownNameError for what it cannot be."""
    speed = config.speed or None
    if isinstance(config, SimulateSourceConfig):
        simulation = simulation_config(config)
        warm_ns = round(simulation.warmup_hours * 3600 * 10**9)
        return MadeSource(SimulatedSource(simulation, config.name), speed, simulation.epoch_ns + warm_ns)
    return MadeSource(replay_source(config), speed, 0)


def simulation_config(config: SimulateSourceConfig) -> SimulationConfig:
    """Return the simulation a source's configuration describes."""
    symbols = tuple(symbol.upper() for symbol in config.symbols) or SimulationConfig().symbols
    return SimulationConfig(seed=config.seed, symbols=symbols, warmup_hours=config.warmup_hours)


def replay_source(config: ReplaySourceConfig) -> ReplaySource:
    """Return the replay a source's configuration describes."""
    return ReplaySource(
        config.name,
        config.path,
        format=config.format,
        symbols=config.symbols or None,
        from_ns=time_ns(config.start),
        until_ns=time_ns(config.end),
    )


def time_ns(when: datetime | None) -> int | None:
    """UTC nanoseconds of a time; one without a zone is UTC."""
    if when is None:
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return round(aware.timestamp() * 10**6) * 1000
