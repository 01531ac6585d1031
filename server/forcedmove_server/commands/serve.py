"""``forcedmove serve``: the server itself."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
from pathlib import Path

from forcedmove_server.app import exit_status, run_server
from forcedmove_server.commands import reports_errors
from forcedmove_server.commands.arguments import (
    add_at_argument,
    add_backend_argument,
    add_config_argument,
    add_live_arguments,
    add_replay_arguments,
    add_simulation_arguments,
    backend_override,
    live_config,
    replay_config,
)
from forcedmove_server.config import Config, SimulateSourceConfig, load_config
from forcedmove_server.errors import ForcedMoveError, InputError
from forcedmove_server.gateway.supervisor import Supervisor
from forcedmove_server.log_format import configure_logging

HELP = "run the server"
#: what a supervisor starts
PROCESS = "forcedmove_server.process"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Serve liquidation maps over gRPC. Without arguments: a simulated market on 127.0.0.1:7878."
    parser.epilog = (
        "examples:\n"
        "  forcedmove serve\n"
        "  forcedmove serve --config forcedmove.toml\n"
        "  forcedmove serve --source live --symbols top:20\n"
        "  forcedmove serve --source replay --input recordings/ --speed 60\n"
        "  forcedmove serve --source replay --input recordings/ --at 2026-06-13T14:30 --speed 1"
    )
    add_config_argument(parser)
    add_backend_argument(parser)
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes any free one (default: 7878)")
    parser.add_argument(
        "--gateways",
        type=int,
        metavar="N",
        help="serve from N processes apart from the engine's (default: 0, from one)",
    )
    parser.add_argument("--source", choices=("simulate", "replay", "live"), help="replaces the sources of the config")
    parser.add_argument("--speed", type=float, help="event seconds per second; 0 as fast as possible")
    parser.add_argument("--warmup-hours", type=float, help="simulated history played at once before the stream starts")
    add_at_argument(parser, "play up to this event time at once, then at --speed (replay and simulate)")
    parser.add_argument("--ready-file", type=Path, metavar="FILE", help="written with host:port once there is a map")
    parser.add_argument("--log-format", choices=("text", "json"), help="replaces server.log_format")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    add_simulation_arguments(parser)
    add_replay_arguments(parser, live=True)
    add_live_arguments(parser)


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    config = _config(args)
    configure_logging(config.server.log_format, args.log_level.upper())
    try:
        if config.server.gateways:
            return asyncio.run(Supervisor(PROCESS, config, args.log_level.upper(), args.ready_file).run())
        asyncio.run(run_server(config, args.ready_file))
    except ForcedMoveError:
        raise
    except Exception as error:
        logging.getLogger(__name__).exception("the server failed")
        return exit_status(error)
    return 0


def _config(args: argparse.Namespace) -> Config:
    keys = ("host", "port", "gateways", "log_format")
    server = {key: value for key in keys if (value := getattr(args, key)) is not None}
    config = load_config(args.config, {"server": server, **backend_override(args)})
    if args.source == "replay":
        if args.input is None:
            raise InputError("input", None, "a replay needs --input")
        return dataclasses.replace(config, sources=(replay_config(args, 1.0 if args.speed is None else args.speed),))
    if args.input is not None:
        raise InputError("input", args.input, "goes with --source replay")
    if args.at is not None and args.source != "simulate":
        raise InputError("at", args.at.isoformat(), "goes with --source replay or simulate")
    if args.source == "live":
        return dataclasses.replace(config, sources=(live_config(args, config),))
    if args.venues:
        raise InputError("venues", args.venues, "goes with --source live")
    if args.source == "simulate":
        given = {"speed": args.speed, "warmup_hours": args.warmup_hours}
        chosen = {key: value for key, value in given.items() if value is not None}
        source = SimulateSourceConfig(
            seed=args.seed, regime=args.regime, symbols=tuple(args.symbols), at=args.at, **chosen
        )
        return dataclasses.replace(config, sources=(source,))
    return config
