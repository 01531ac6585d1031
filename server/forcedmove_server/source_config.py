"""The tables of ``[[sources]]``: where market events come from. Part of :mod:`forcedmove_server.config`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

from forcedmove_server.typed_toml import Key

RecordingFormat = Literal["auto", "parquet", "tardis", "binance-archive", "jsonl", "oi-bars"]
SimulationRegime = Literal["mixed", "calm", "trend", "crash", "squeeze", "low-liquidity"]


def aware(when: datetime | None) -> datetime | None:
    """Return a time with its zone: without one UTC is meant."""
    return when if when is None or when.tzinfo else when.replace(tzinfo=UTC)


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
    at: Annotated[
        datetime | None,
        Key(
            "time",
            "event time up to which everything is played at once, and at which the warm-up ends if it would be longer; "
            "from there on at speed",
        ),
    ] = None


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
    at: Annotated[
        datetime | None, Key("time", "event time up to which everything is played at once; from there on at speed")
    ] = None

    def at_problem(self) -> str:
        """Say why ``at`` cannot be reached; empty where it can."""
        if self.at is None:
            return ""
        at, start, end = (aware(when) for when in (self.at, self.start, self.end))
        if start is not None and at is not None and at < start:
            return "lies before from"
        if end is not None and at is not None and at >= end:
            return "must lie before until"
        return ""


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
