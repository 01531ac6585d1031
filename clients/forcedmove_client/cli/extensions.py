"""Commands that other packages bring: modules named by entry points of the group ``forcedmove.commands``.

Each module has ``HELP: str``, ``add_arguments(parser)`` and ``run(args) -> int``. The server's commands come
this way, so that the client works without what the server needs.
"""

from __future__ import annotations

import argparse
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from forcedmove_client.cli.failures import BAD_INPUT, CommandError

GROUP = "forcedmove.commands"
#: part of another command, not one of its own
HIDDEN = frozenset({"simulate-scenario"})


def found() -> dict[str, EntryPoint]:
    """Return the installed commands by name."""
    return {point.name: point for point in entry_points(group=GROUP)}


def load(name: str) -> ModuleType:
    """Import a command's module. Raises CommandError saying what to install where something it needs is missing."""
    point = found().get(name)
    if point is None:
        raise CommandError(f"{name}: this installation has no such command; reinstall forcedmove", BAD_INPUT)
    try:
        module = point.load()
    except ModuleNotFoundError as error:
        raise missing(name, error) from None
    assert isinstance(module, ModuleType)
    return module


def run(module: ModuleType, name: str, args: argparse.Namespace) -> int:
    """Run a command; imports it puts off until then may fail in the same way."""
    try:
        return int(module.run(args))
    except ModuleNotFoundError as error:
        raise missing(name, error) from None


def missing(name: str, error: ModuleNotFoundError) -> CommandError:
    """Return the error for a command whose requirements are not installed."""
    return CommandError(f"{name} needs {error.name}: pip install 'forcedmove[server]'", BAD_INPUT)
