"""From a source's configuration to the source."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from typing import NamedTuple

from forcedmove_server.config import ReplaySourceConfig, SimulateSourceConfig, SourceConfig
from forcedmove_server.errors import InputError
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
        source = SimulatedSource(simulation_config(config), config.name)
        return MadeSource(source, speed, source.warm_until_ns)
    return MadeSource(replay_source(config), speed, 0)


def simulation_config(config: SimulateSourceConfig) -> SimulationConfig:
    """Return the simulation a source's configuration describes."""
    symbols = tuple(symbol.upper() for symbol in config.symbols) or SimulationConfig().symbols
    return SimulationConfig(seed=config.seed, symbols=symbols, warmup_hours=config.warmup_hours)


def bounded_simulation(seed: int, symbols: tuple[str, ...], hours: float) -> SimulatedSource:
    """Return a simulation that ends after ``hours``, in minute batches. Raises InputError where it would not end."""
    if not (math.isfinite(hours) and hours > 0):
        raise InputError("hours", hours, "a simulation needs an end: a positive number of hours")
    config = simulation_config(SimulateSourceConfig(seed=seed, symbols=symbols, warmup_hours=hours))
    return SimulatedSource(dataclasses.replace(config, duration_hours=hours))


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
