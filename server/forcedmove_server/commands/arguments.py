"""Arguments that several commands share, and what they mean."""

from __future__ import annotations

import argparse
import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forcedmove_kernels.backend import BACKENDS
from forcedmove_server.config import (
    Config,
    LiveSourceConfig,
    ReplaySourceConfig,
    SimulateSourceConfig,
    load_config,
)
from forcedmove_server.errors import InputError
from forcedmove_server.sources.make import bounded_simulation, make_source
from forcedmove_server.sources.replay.detect import FORMATS
from forcedmove_server.sources.simulate.regime_profiles import REGIMES
from forcedmove_server.sources.source import Source


def utc_time(text: str) -> datetime:
    """Read an ISO time for argparse; without a zone it is UTC."""
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--config``."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file; see docs/CONFIG.md")


def add_backend_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--backend``, which wins over the config's."""
    parser.add_argument("--backend", choices=BACKENDS, help="which kernels compute; replaces that of the config")


def backend_override(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what ``--backend`` changes, as load_config takes it."""
    return {} if args.backend is None else {"engine": {"backend": args.backend}}


def add_replay_arguments(parser: argparse.ArgumentParser, required: bool = False, live: bool = False) -> None:
    """Declare what a replay reads; ``live`` says that ``--symbols`` goes with a live source too."""
    parser.add_argument("--input", metavar="PATH", required=required, help="recorded file or folder")
    parser.add_argument(
        "--format", choices=("auto", *FORMATS), default="auto", help="format of the input (default: %(default)s)"
    )
    symbols = "BTC, binance:BTCUSDT or BTC/USDT:USDT"
    if live:
        symbols += "; with --source live also top:N, the N symbols with the most open interest"
    parser.add_argument("--symbols", nargs="+", default=[], metavar="S", help=symbols)
    parser.add_argument("--from", dest="start", type=utc_time, metavar="UTC", help="first event time to play")
    parser.add_argument("--until", type=utc_time, metavar="UTC", help="event time to stop before, 2026-06-13T12:00")


def add_at_argument(parser: argparse.ArgumentParser, text: str) -> None:
    """Declare ``--at``."""
    parser.add_argument("--at", type=utc_time, metavar="UTC", help=text)


def add_simulation_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a simulation is made from."""
    default = SimulateSourceConfig()
    parser.add_argument("--seed", type=int, default=default.seed, help="same seed, same market")
    parser.add_argument(
        "--regime", choices=list(REGIMES), default=default.regime, help="weather of the market (default: %(default)s)"
    )


def add_live_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a live source collects; ``--symbols`` comes with the replay's arguments."""
    parser.add_argument("--venues", nargs="+", default=[], metavar="V", help="venues to collect (default: all)")


def live_config(args: argparse.Namespace, config: Config) -> LiveSourceConfig:
    """Return the live source of the config, or the default one, with what the arguments replace."""
    base = next((one for one in config.sources if isinstance(one, LiveSourceConfig)), LiveSourceConfig())
    return dataclasses.replace(
        base, venues=tuple(args.venues) or base.venues, symbols=tuple(args.symbols) or base.symbols
    )


def replay_config(args: argparse.Namespace, speed: float = 0.0) -> ReplaySourceConfig:
    """Return the replay that the arguments describe. Raises InputError for a span of time that holds nothing."""
    if args.start is not None and args.until is not None and args.start >= args.until:
        raise InputError("until", args.until.isoformat(), f"must be later than --from {args.start.isoformat()}")
    return ReplaySourceConfig(
        name="replay",
        kind="replay",
        path=args.input,
        format=args.format,
        symbols=tuple(args.symbols),
        start=args.start,
        end=args.until,
        speed=speed,
        at=getattr(args, "at", None),
    )


def chosen_source(args: argparse.Namespace) -> Source:
    """Return the source of an offline command: ``--input`` if given, else the simulation of ``--hours``."""
    if args.input is not None:
        return make_source(replay_config(args)).source
    return bounded_simulation(args.seed, tuple(args.symbols), args.hours, args.regime)


def read_base_config(args: argparse.Namespace) -> Config:
    """Read ``--config``, or the defaults."""
    return load_config(args.config)
