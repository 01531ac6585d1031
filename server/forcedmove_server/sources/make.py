"""From a source's configuration to the source."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np

from forcedmove_server.collectors.hosts import check_hosts
from forcedmove_server.collectors.network import Addresses
from forcedmove_server.collectors.selection import Selection
from forcedmove_server.collectors.supervisor import LiveSettings
from forcedmove_server.collectors.venues import venue_class
from forcedmove_server.config import (
    EngineConfig,
    LiveSourceConfig,
    ReplaySourceConfig,
    SimulateSourceConfig,
    SimulationRegime,
    SourceConfig,
)
from forcedmove_server.errors import ConfigError, InputError, UnknownNameError
from forcedmove_server.margin.venues import VENUES
from forcedmove_server.market.events import Channel
from forcedmove_server.sources.live import LiveSource
from forcedmove_server.sources.replay import ReplaySource
from forcedmove_server.sources.simulate import SimulatedSource, SimulationConfig
from forcedmove_server.sources.simulate.config import STEP_NS, STEP_S
from forcedmove_server.sources.source import Source


class MadeSource(NamedTuple):
    """A source, and how fast to play it: ``speed`` event seconds per second (None: as fast as possible)."""

    source: Source
    speed: float | None
    pace_from_ns: int  # event time before which everything is played at once


def make_source(config: SourceConfig, max_markets: int = EngineConfig().max_markets) -> MadeSource:
    """Build the source that ``config`` describes; a live one collects at most ``max_markets``.

    Raises InputError or UnknownNameError for what it cannot be.
    """
    if isinstance(config, LiveSourceConfig):
        return MadeSource(LiveSource(config.name, live_settings(config, max_markets)), None, 0)
    speed = config.speed or None
    if isinstance(config, SimulateSourceConfig):
        source = SimulatedSource(simulation_config(config), config.name)
        at_ns = time_ns(config.at)
        return MadeSource(source, speed, source.warm_until_ns if at_ns is None else at_ns)
    if problem := config.at_problem():
        raise InputError("at", str(config.at), problem)
    replay, at_ns = replay_source(config), time_ns(config.at)
    if at_ns is not None and replay.begins_ns is not None and at_ns < replay.begins_ns:
        raise InputError("at", str(config.at), f"lies before the recording begins, {_shown(replay.begins_ns)}")
    return MadeSource(replay, speed, at_ns or 0)


def live_settings(config: LiveSourceConfig, max_markets: int) -> LiveSettings:
    """Return what a configured live source collects. Raises UnknownNameError or ConfigError for what nobody has."""
    for place, venue in enumerate(config.venues):
        venue_class(venue)
        if venue in config.venues[:place]:
            raise ConfigError("venues", venue, "is named twice")
    channels = [channel.name.lower() for channel in Channel]
    for name in config.channels:
        if name not in channels:
            raise UnknownNameError("channel", name, channels)
    Selection(config.symbols)
    Addresses(config.urls)
    venues = config.venues or tuple(venue.name for venue in VENUES)
    check_hosts(config.urls, venues)
    return LiveSettings(
        venues=venues,
        symbols=config.symbols,
        channels=tuple(Channel[name.upper()] for name in config.channels) or tuple(Channel),
        urls=config.urls,
        max_markets=max_markets,
        hold_ms=config.hold_ms,
        discovery_interval_s=config.discovery_interval_s,
        silence_s=config.silence_s or None,
    )


def simulation_config(config: SimulateSourceConfig) -> SimulationConfig:
    """Return the simulation a source's configuration describes; its warm-up ends at ``at`` at the latest.

    Raises InputError for an ``at`` before the market begins, and as SimulationConfig does.
    """
    symbols = tuple(symbol.upper() for symbol in config.symbols) or SimulationConfig().symbols
    made = SimulationConfig(seed=config.seed, regime=config.regime, symbols=symbols, warmup_hours=config.warmup_hours)
    at_ns = time_ns(config.at)
    if at_ns is None:
        return made
    if at_ns < made.epoch_ns:
        raise InputError("at", str(config.at), f"lies before the simulated market begins, {_shown(made.epoch_ns)}")
    steps = min(made.warmup_steps, (at_ns - made.epoch_ns) // STEP_NS)
    return dataclasses.replace(made, warmup_hours=steps * STEP_S / 3_600)


def bounded_simulation(
    seed: int, symbols: tuple[str, ...], hours: float, regime: SimulationRegime = "mixed"
) -> SimulatedSource:
    """Return a simulation that ends after ``hours``, in minute batches. Raises InputError where it would not end."""
    if not (math.isfinite(hours) and hours > 0):
        raise InputError("hours", hours, "a simulation needs an end: a positive number of hours")
    if not 0 <= seed < 1 << 63:
        raise InputError("seed", seed, "must lie in 0..2^63 - 1")
    config = simulation_config(SimulateSourceConfig(seed=seed, regime=regime, symbols=symbols, warmup_hours=hours))
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


def _shown(time_ns: int) -> str:
    return f"{np.datetime64(time_ns, 'ns').astype('datetime64[s]')}Z"
