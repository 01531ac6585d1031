"""The server's configuration: one TOML file, read strictly into frozen dataclasses.

Every default stands here and nowhere else; units are in the names. ``docs/CONFIG.md`` lists the same keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from forcedmove_server.errors import ConfigError
from forcedmove_server.typed_toml import Key, fill, parse_file, unknown_key

#: names the config file where no path is given
CONFIG_VARIABLE = "FORCEDMOVE_CONFIG"

_ADDRESS = re.compile("0x[0-9a-fA-F]{40}")
_MOST_ACCOUNTS = 500

BackendName = Literal["auto", "cuda", "cpu", "reference"]
RecordingFormat = Literal["auto", "parquet", "tardis", "binance-archive", "jsonl", "oi-bars"]
SimulationRegime = Literal["mixed", "calm", "trend", "crash", "squeeze", "low-liquidity"]


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server listens, and how it treats readers."""

    host: Annotated[str, Key("", "address to listen on")] = "127.0.0.1"
    port: Annotated[int, Key("", "TCP port; 0 takes any free one", 0, 65_535)] = 7878
    metrics_port: Annotated[
        int, Key("", "TCP port of the Prometheus endpoint, on the same address; 0 has none", 0, 65_535)
    ] = 0
    heartbeat_ms: Annotated[int, Key("ms", "a stream that has been silent this long gets a heartbeat", 100, 10_000)] = (
        1_000
    )


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
        float, Key("1/day", "daily volume in units of open interest, for markets without a trade feed", 0, 1_000)
    ] = 5.0
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
    cluster_half_width: Annotated[
        int, Key("bins", "a bin is compared with this many bins on either side", 1, 65_536)
    ] = 30
    cluster_ratio_percent: Annotated[
        int, Key("%", "a bin stands above its surroundings at this percentage of their mean", 101, 100_000)
    ] = 150
    cluster_minimum_share: Annotated[
        float, Key("share", "least share of its side's notional that makes a bin part of a cluster", 0, 1)
    ] = 0.002
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
    max_markets: Annotated[int, Key("markets", "markets that may have any; each has a row of the store", 0, 65_536)] = (
        64
    )
    max_positions: Annotated[int, Key("positions", "positions of one producer", 1, 1_000_000)] = 10_000
    max_producers: Annotated[int, Key("producers", "clients that may tell of positions at a time", 1, 100_000)] = 64


@dataclass(frozen=True, slots=True)
class SimulateSourceConfig:
    """A seeded market with agents that open, close and get liquidated; needs no network and no files."""

    name: Annotated[str, Key("", "name in logs and answers; unique")] = "simulate"
    kind: Annotated[Literal["simulate"], Key("", "a simulated market")] = "simulate"
    seed: Annotated[int, Key("", "the same seed gives the same market", 0, 2**63 - 1)] = 1
    speed: Annotated[float, Key("x", "event seconds per second; 0 means as fast as possible", 0, 1e6)] = 1.0
    warmup_hours: Annotated[float, Key("h", "history that is played at once before the stream starts", 0, 8_760)] = 8.0
    symbols: Annotated[tuple[str, ...], Key("", "symbols to simulate; empty means all it knows")] = ()
    regime: Annotated[SimulationRegime, Key("", "the market's weather; mixed changes by itself")] = "mixed"


@dataclass(frozen=True, slots=True)
class ReplaySourceConfig:
    """Recorded files, played again."""

    name: Annotated[str, Key("", "name in logs and answers; unique")]
    kind: Annotated[Literal["replay"], Key("", "recorded files")]
    path: Annotated[str, Key("", "file or folder; relative to the working directory")]
    format: Annotated[RecordingFormat, Key("", "format of the files; auto recognises it")] = "auto"
    symbols: Annotated[tuple[str, ...], Key("", "symbols to play; empty means all that are recorded")] = ()
    start: Annotated[
        datetime | None, Key("time", "first event time to play; without a zone UTC is meant", name="from")
    ] = None
    end: Annotated[datetime | None, Key("time", "event time to stop before", name="until")] = None
    speed: Annotated[float, Key("x", "event seconds per second; 0 means as fast as possible", 0, 1e6)] = 0.0


@dataclass(frozen=True, slots=True)
class LiveSourceConfig:
    """The venues' public feeds, as they come."""

    name: Annotated[str, Key("", "name in logs and answers; unique")] = "live"
    kind: Annotated[Literal["live"], Key("", "live public feeds")] = "live"
    venues: Annotated[tuple[str, ...], Key("", "venues to collect, each once; empty means all")] = ()
    symbols: Annotated[
        tuple[str, ...],
        Key(
            "",
            'symbols or markets to collect, or how many: "top:100" (1 to 10 000) are those with the most open '
            "interest; both may be mixed, case does not matter",
        ),
    ] = ("top:20",)
    channels: Annotated[
        tuple[str, ...],
        Key("", "trades, mark_prices, open_interest, liquidations, depth; empty means all of them"),
    ] = ()
    hold_ms: Annotated[int, Key("ms", "events wait this long for others that come out of order", 0, 10_000)] = 250
    discovery_interval_s: Annotated[
        float, Key("s", "time between two looks at which markets are listed", 10, 86_400)
    ] = 600.0
    silence_s: Annotated[
        float, Key("s", "a connection that is silent for longer is made anew; 0 leaves it to each venue", 0, 3_600)
    ] = 0.0
    urls: Annotated[
        dict[str, str],
        Key(
            "",
            'other addresses by host: {"fapi.binance.com" = "https://proxy.example/binance"}; a host that no '
            "venue calls is an error",
        ),
    ] = field(default_factory=dict)


SourceConfig = SimulateSourceConfig | ReplaySourceConfig | LiveSourceConfig
SOURCE_KINDS: dict[str, type[SourceConfig]] = {
    "simulate": SimulateSourceConfig,
    "replay": ReplaySourceConfig,
    "live": LiveSourceConfig,
}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a server can be told."""

    server: ServerConfig = field(default_factory=ServerConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    margin: MarginConfig = field(default_factory=MarginConfig)
    scorecard: ScorecardConfig = field(default_factory=ScorecardConfig)
    calibration: CalibrationConfig = field(default_factory=CalibrationConfig)
    exact: ExactConfig = field(default_factory=ExactConfig)
    sources: tuple[SourceConfig, ...] = (SimulateSourceConfig(),)


SECTIONS: dict[str, type] = {
    "server": ServerConfig,
    "engine": EngineConfig,
    "model": ModelConfig,
    "margin": MarginConfig,
    "scorecard": ScorecardConfig,
    "calibration": CalibrationConfig,
    "exact": ExactConfig,
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
        else:
            sources.append(source)
    return tuple(sources)
