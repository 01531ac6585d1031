"""``forcedmove check-config``: what a config file says, or everything that is wrong with it."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from forcedmove_server.commands import reports_errors
from forcedmove_server.config import CONFIG_VARIABLE, SECTIONS, Config, read_config
from forcedmove_server.errors import ConfigError, ForcedMoveError, InputError
from forcedmove_server.sources.make import make_source
from forcedmove_server.tracing.traces import require_packages
from forcedmove_server.typed_toml import keys_of

HELP = "check a config file and print what is in effect"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Print the effective configuration as TOML, defaults included; or list every error and exit with status 2."
    )
    parser.epilog = "example:\n  forcedmove check-config examples/forcedmove.toml"
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help=f"TOML file (default: ${CONFIG_VARIABLE}, else the defaults)"
    )


@reports_errors
def run(args: argparse.Namespace) -> int:
    """Print the configuration, or its errors."""
    config, errors = read_config(args.file)
    refused = errors or _unusable(config, args.file)
    for error in refused:
        sys.stderr.write(f"forcedmove: {error}\n")
    if refused:
        return 2
    sys.stdout.write(as_toml(config))
    return 0


def _unusable(config: Config, file: Path | None) -> list[ConfigError]:
    """Return what serve would refuse: sources whose files or symbols are not there, and what needs other packages."""
    errors = []
    if (endpoint := config.server.trace_endpoint) is not None:
        try:
            require_packages(endpoint)
        except InputError as error:
            errors.append(ConfigError(error.field, endpoint, error.reason, str(file or "")))
    for number, source in enumerate(config.sources):
        try:
            make_source(source)
        except ForcedMoveError as error:
            errors.append(ConfigError(f"sources[{number}]", source.name, str(error), str(file or "")))
    return errors


def as_toml(config: Config) -> str:
    """Return a config as the TOML that would give it; what has no value is left out."""
    lines: list[str] = []
    tables: list[tuple[str, Any]] = [(f"[{name}]", getattr(config, name)) for name in SECTIONS]
    tables += [("[[sources]]", source) for source in config.sources]
    for header, table in tables:
        lines += ["", header] if lines else [header]
        for key in keys_of(type(table)).values():
            value = getattr(table, key.field)
            if value is not None:
                lines.append(f"{key.name} = {_literal(value)}")
    return "\n".join(lines) + "\n"


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
