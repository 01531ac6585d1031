"""The server's configuration: one TOML file, read strictly into frozen dataclasses.

Every default stands here and nowhere else; units are in the names. ``docs/CONFIG.md`` lists the same keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from forcedmove_server.errors import ConfigError
from forcedmove_server.recovery_config import RecoveryConfig as RecoveryConfig
from forcedmove_server.server_config import IngestConfig as IngestConfig
from forcedmove_server.server_config import LogFormat as LogFormat
from forcedmove_server.server_config import OverloadConfig as OverloadConfig
from forcedmove_server.server_config import SecurityConfig as SecurityConfig
from forcedmove_server.server_config import ServerConfig as ServerConfig
from forcedmove_server.server_config import server_errors
from forcedmove_server.source_config import SOURCE_KINDS as SOURCE_KINDS
from forcedmove_server.source_config import LiveSourceConfig as LiveSourceConfig
from forcedmove_server.source_config import RecordingFormat as RecordingFormat
from forcedmove_server.source_config import ReplaySourceConfig as ReplaySourceConfig
from forcedmove_server.source_config import SimulateSourceConfig as SimulateSourceConfig
from forcedmove_server.source_config import SimulationRegime as SimulationRegime
from forcedmove_server.source_config import SourceConfig as SourceConfig
from forcedmove_server.typed_toml import Key, fill, parse_file, unknown_key

#: names the config file where no path is given
CONFIG_VARIABLE = "FORCEDMOVE_CONFIG"

_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")
_MOST_ACCOUNTS = 500

BackendName = Literal["auto", "cuda", "cpu", "reference"]


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How the map is computed, and how much memory it may take."""

    backend: Annotated[BackendName, Key("", "which kernels compute; auto takes the fastest that runs here")] = "auto"
    device: Annotated[int, Key("", "number of the GPU, for cuda", 0, 255)] = 0
    threads: Annotated[int, Key("threads", "threads of the CPU's kernels; 0 means one per core", 0, 1_024)] = 0
    tick_interval_ms: Annotated[int, Key("ms", "time between two maps", 10, 60_000)] = 250
    bins: Annotated[int, Key("bins", "price bins of a symbol's window", 64, 65_536)] = 2_048
    max_markets: Annotated[int, Key("markets", "markets the store has room for", 1, 65_536)] = 512
    max_cohorts_per_market: Annotated[
        int, Key("cohorts", "cohorts one market may have; older ones are merged before it is full", 2_048, 1_048_576)
    ] = 2_048


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What the model takes for granted."""

    turnover: Annotated[
        float, Key("share", "share of ordinary volume that replaces positions instead of adding any", 0, 0.5)
    ] = 0.5
    freshness_half_life_hours: Annotated[
        float, Key("h", "age at which the fresh map counts a position half", 0, 87_600, above=True)
    ] = 24.0
    freshness_step_s: Annotated[int, Key("s", "ages are counted in steps of this length", 1, 86_400)] = 60
    initial_entry_spread: Annotated[
        float,
        Key("share of price", "scatter of entries for open interest that was there before the first event", 0, 0.5),
    ] = 0.05
    assumed_volume_per_oi_day: Annotated[
        float,
        Key(
            "1/day",
            "daily volume in units of open interest, for markets without a trade feed, or less than ten minutes of it",
            0,
            1_000,
        ),
    ] = 12.0
    tape_memory_hours: Annotated[
        float,
        Key(
            "h",
            "a market's own volume per open interest, a mean that fades over this time, stands in while its "
            "trades are missing; 0: the assumed one does",
            0,
            8_760,
        ),
    ] = 1.0
    tape_silence_chance: Annotated[
        float,
        Key(
            "",
            "chance of a silence from which on trades count as missing, where nobody tells whether they are fed",
            0,
            0.1,
            above=True,
        ),
    ] = 1e-6
    typical_position_usd: Annotated[
        float, Key("USD", "position size that chooses the maintenance tier", 0, 1e9, above=True)
    ] = 20_000.0
    tier_width: Annotated[
        float,
        Key("share", "share of a leverage tier's interval over which its levels are spread; 0: one leverage", 0, 1),
    ] = 1.0
    level_width: Annotated[
        float,
        Key(
            "share",
            "how far a level may be off either way, as a share of its distance from the mark; 0: not at all",
            0,
            1,
        ),
    ] = 0.5
    level_width_near: Annotated[
        float,
        Key("share of price", "distance from the mark at which levels may be off by half of that share", 0, 1),
    ] = 0.0075
    impact_y: Annotated[
        float, Key("", "factor Y of the square-root impact law beyond the visible book", 0, 100, above=True)
    ] = 1.0
    depth_withdrawal_fraction: Annotated[
        float, Key("share of price", "move over which resting depth falls to 1/e", 0, 10, above=True)
    ] = 0.043
    impact_recovery_s: Annotated[
        float, Key("s", "time in which what recovers of an impact falls to 1/e", 0, 86_400, above=True)
    ] = 65.0
    impact_permanent_share: Annotated[float, Key("share", "what of an impact does not recover", 0, 1, above=True)] = (
        0.65
    )
    cluster_half_width: Annotated[
        int, Key("bins", "a bin is compared with this many bins on either side", 1, 65_536)
    ] = 30
    cluster_ratio_percent: Annotated[
        int, Key("%", "a bin stands above its surroundings at this percentage of their mean", 101, 100_000)
    ] = 150
    cluster_minimum_share: Annotated[
        float, Key("share", "least share of its side's notional that makes a bin part of a cluster", 0, 1)
    ] = 0.0005
    stale_after_s: Annotated[
        int,
        Key(
            "s",
            "a market whose price or open interest is older is left out of the map, unless all of its symbol are, and "
            "of coverage; live, open interest is as old as the loss of its feed",
            1,
            86_400,
        ),
    ] = 600
    lost_after_s: Annotated[
        float,
        Key("s", "live, a market is left out too when its feeds of prices have been lost for this long", 0, 86_400),
    ] = 30.0


@dataclass(frozen=True, slots=True)
class MarginConfig:
    """Where maintenance ladders come from, and when they count as old."""

    tiers_dir: Annotated[
        str | None, Key("", "folder of fetched and imported tier tables; without it the user's cache folder")
    ] = None
    tiers_stale_after_days: Annotated[
        int, Key("days", "a tier table further from the market's time than this is called stale", 1, 36_500)
    ] = 90


@dataclass(frozen=True, slots=True)
class ScorecardConfig:
    """Whether the server holds its maps against what happens, and where it keeps what it learns."""

    enabled: Annotated[bool, Key("", "freeze maps every five minutes and score them")] = True
    state: Annotated[
        str | None, Key("", "file that keeps the score across restarts; without it a restart begins anew")
    ] = None


@dataclass(frozen=True, slots=True)
class CalibrationConfig:
    """Whether leverage weights are learnt while the server runs."""

    enabled: Annotated[bool, Key("", "learn leverage weights from liquidations and from open interest that leaves")] = (
        True
    )
    frozen: Annotated[bool, Key("", "use what was learnt before, and learn nothing more")] = False
    state: Annotated[
        str | None, Key("", "file that keeps the weights across restarts; without it they begin at the prior")
    ] = None
    every_s: Annotated[
        int, Key("s", "time between two changes of the weights; every change redraws the maps", 300, 86_400)
    ] = 3_600


@dataclass(frozen=True, slots=True)
class ExactConfig:
    """Positions whose liquidation price is known: where they come from beside clients, and how many there may be."""

    file: Annotated[
        str | None, Key("", "file of positions, Parquet or CSV (FORMATS.md); read again whenever it changes")
    ] = None
    hyperliquid_accounts: Annotated[
        tuple[str, ...], Key("", "addresses (0x and 40 hexadecimal digits) whose positions are public; at most 500")
    ] = ()
    hyperliquid_url: Annotated[str, Key("", "where they are asked for")] = "https://api.hyperliquid.xyz/info"
    hyperliquid_interval_s: Annotated[
        float, Key("s", "time between two looks at an account; many accounts take longer", 5, 3_600)
    ] = 60.0
    max_age_s: Annotated[
        float, Key("s", "a producer that was not heard of for longer has no positions any more", 10, 604_800)
    ] = 3_600.0
    max_markets: Annotated[
        int, Key("markets", "markets that may have any; each takes two rows of the store", 0, 65_536)
    ] = 64
    max_positions: Annotated[int, Key("positions", "positions of one producer", 1, 1_000_000)] = 10_000
    max_producers: Annotated[int, Key("producers", "clients that may tell of positions at a time", 1, 100_000)] = 64


@dataclass(frozen=True, slots=True)
class ArmingConfig:
    """When a chain counts as armed, how clusters keep their identity, and what counts as a cascade."""

    enabled: Annotated[bool, Key("", "follow clusters and log what arms, triggers and comes of it")] = True
    distance_fraction: Annotated[
        float, Key("share of price", "a chain is armed when its cluster begins within this of the mark", 0, 0.1, True)
    ] = 0.02
    min_levels: Annotated[int, Key("levels", "and it fires at least so many levels", 1, 1_000)] = 4
    min_notional_usd: Annotated[float, Key("USD", "and at least this notional", 0, 1e12)] = 50e6
    min_volume_share: Annotated[
        float, Key("share", "or this share of what the symbol trades in a day, where that is less", 0, 1)
    ] = 0.01
    min_venues: Annotated[int, Key("venues", "on at least so many venues", 1, 100)] = 2
    hysteresis: Annotated[
        float, Key("x", "conditions are left where they are missed by this factor (counts rounded down)", 1, 10)
    ] = 1.25
    rung_factor: Annotated[
        float,
        Key("x", "an armed chain escalates when depth, notional or nearness has grown by this factor", 1, 100, True),
    ] = 1.5
    min_run_fraction: Annotated[
        float, Key("share of price", "and carries the mark at least this far beyond the cluster's near edge", 0, 1)
    ] = 0.01
    dwell_s: Annotated[float, Key("s", "conditions have to be met for this long in event time", 0, 3_600)] = 10.0
    leave_dwell_s: Annotated[
        float, Key("s", "and missed for this long, so that a chain on the brink does not flap", 0, 86_400)
    ] = 600.0
    horizon_s: Annotated[
        float, Key("s", "an armed chain that has not been triggered for this long expires", 1, 604_800)
    ] = 14_400.0
    cluster_share: Annotated[
        float, Key("share", "share of its side's notional from which a cluster gets an identity", 0, 1)
    ] = 0.001
    cascade_window_s: Annotated[float, Key("s", "a cascade moves the mark within this time ...", 1, 86_400)] = 300.0
    cascade_move_fraction: Annotated[float, Key("share of price", "... by at least this ...", 0, 1, above=True)] = 0.005
    cascade_sigmas: Annotated[
        float, Key("standard deviations", "... and so many times what the symbol usually moves in it ...", 0, 100)
    ] = 4.0
    cascade_released_share: Annotated[
        float,
        Key(
            "share",
            "... while this share of open interest is liquidated, or leaves where liquidations are not told",
            0,
            1,
            True,
        ),
    ] = 0.003
    kept_events: Annotated[int, Key("events", "events that can be asked for again", 16, 1_000_000)] = 10_000


@dataclass(frozen=True, slots=True)
class ScanConfig:
    """How much `forcedmove scan` may compute beside the engine."""

    threads: Annotated[
        int, Key("threads", "threads of all scans together, one symbol on each; a GPU takes one call at a time", 1, 256)
    ] = 1
    max_running: Annotated[int, Key("scans", "scans that run at a time; others are told to retry", 1, 1_000)] = 2
    max_shocks: Annotated[int, Key("shocks", "shocks of one scan", 1, 4_096)] = 256
    max_chains: Annotated[int, Key("chains", "symbols times shocks of one scan", 1, 10_000_000)] = 200_000
    max_paths: Annotated[int, Key("paths", "random paths of one scan, over all its chains", 1, 10_000_000_000)] = (
        100_000_000
    )
    max_paths_per_chain: Annotated[int, Key("paths", "random paths of one chain", 1, 1_000_000)] = 20_000


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a server can be told."""

    server: ServerConfig = field(default_factory=ServerConfig)
    security: SecurityConfig = field(default_factory=SecurityConfig)
    overload: OverloadConfig = field(default_factory=OverloadConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    margin: MarginConfig = field(default_factory=MarginConfig)
    scorecard: ScorecardConfig = field(default_factory=ScorecardConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    exact: ExactConfig = field(default_factory=ExactConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    recovery: RecoveryConfig = field(default_factory=RecoveryConfig)
    arming: ArmingConfig = field(default_factory=ArmingConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    sources: tuple[SourceConfig, ...] = (SimulateSourceConfig(),)


SECTIONS: dict[str, type] = {
    "server": ServerConfig,
    "security": SecurityConfig,
    "overload": OverloadConfig,
    "engine": EngineConfig,
    "model": ModelConfig,
    "margin": MarginConfig,
    "scorecard": ScorecardConfig,
    "calibration": CalibrationConfig,
    "exact": ExactConfig,
    "ingest": IngestConfig,
    "recovery": RecoveryConfig,
    "arming": ArmingConfig,
    "scan": ScanConfig,
}


def load_config(path: str | Path | None = None, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """Read a config file: ``path``, else what FORCEDMOVE_CONFIG names, else the defaults.

    ``overrides`` are keys by section that come from a command line and win over the file. Raises ConfigError naming
    key, value and file; with several errors it tells the first one and how many there are.
    """
    config, errors = read_config(path, overrides)
    if not errors:
        return config
    first = errors[0]
    if len(errors) == 1:
        raise first
    more = f"{first.reason} (and {len(errors) - 1} more; see forcedmove check-config)"
    raise ConfigError(first.field, first.value, more, first.place)


def read_config(
    path: str | Path | None = None, overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Config, list[ConfigError]]:
    """Like load_config, but return every error; where there are any, their keys have defaults in the config."""
    chosen = path or os.environ.get(CONFIG_VARIABLE) or None
    errors: list[ConfigError] = []
    raw: dict[str, Any] = {}
    if chosen is not None:
        try:
            raw = parse_file(Path(chosen))
        except ConfigError as error:
            errors.append(error)
    place = str(chosen or "defaults")
    known = (*SECTIONS, "sources")
    errors += [ConfigError(name, raw[name], unknown_key(name, known), place) for name in raw if name not in known]
    sections: dict[str, Any] = {}
    for name, table in SECTIONS.items():
        values = fill(table, raw.get(name, {}), name, place, errors)
        values |= fill(table, (overrides or {}).get(name, {}), name, "command line", errors)
        sections[name] = table(**values)
    errors += server_errors(sections["server"], sections["security"], place)
    errors += [
        ConfigError("exact.hyperliquid_accounts", address, "must be 0x and 40 hexadecimal digits", place)
        for address in sections["exact"].hyperliquid_accounts
        if not _ADDRESS.fullmatch(address)
    ]
    if (count := len(sections["exact"].hyperliquid_accounts)) > _MOST_ACCOUNTS:
        errors.append(ConfigError("exact.hyperliquid_accounts", count, f"at most {_MOST_ACCOUNTS} addresses", place))
    sources = _sources(raw["sources"], place, errors) if "sources" in raw else Config().sources
    return Config(**sections, sources=sources), errors


def _sources(raw: object, place: str, errors: list[ConfigError]) -> tuple[SourceConfig, ...]:
    if not isinstance(raw, list) or not raw:
        errors.append(ConfigError("sources", raw, "must be at least one [[sources]] table", place))
        return ()
    sources: list[SourceConfig] = []
    for number, table in enumerate(raw, 1):
        where = f"sources[{number}]"
        kind = table.get("kind") if isinstance(table, dict) else None
        if kind not in SOURCE_KINDS:
            reason = f"must be one of {', '.join(map(repr, SOURCE_KINDS))}"
            errors.append(ConfigError(f"{where}.kind", kind, reason, place))
            continue
        before = len(errors)
        values = fill(SOURCE_KINDS[kind], table, where, place, errors)
        if len(errors) > before:
            continue
        source = SOURCE_KINDS[kind](**values)
        if any(source.name == other.name for other in sources):
            errors.append(ConfigError(f"{where}.name", source.name, "another source has this name", place))
        elif isinstance(source, ReplaySourceConfig) and source.start and source.end and source.end <= source.start:
            errors.append(ConfigError(f"{where}.until", source.end.isoformat(), "must be later than from", place))
        elif isinstance(source, ReplaySourceConfig) and (problem := source.at_problem()):
            errors.append(ConfigError(f"{where}.at", str(source.at), problem, place))
        else:
            sources.append(source)
    return tuple(sources)
