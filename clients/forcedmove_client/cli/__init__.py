"""The command line: ``forcedmove``."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from types import FrameType, ModuleType

from forcedmove_client.cli import extensions
from forcedmove_client.cli.arguments import describe
from forcedmove_client.cli.failures import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    CommandError,
    Terminated,
    causes,
    status_of,
    tell,
)

__all__ = ["main"]

#: commands that need a server to talk to, but nothing of it installed; modules beside this one
CLIENT_COMMANDS = (
    "demo",
    "watch",
    "snapshot",
    "simulate",
    "scan",
    "whatif",
    "symbols",
    "venues",
    "events",
    "score",
    "positions",
    "ingest",
    "top",
    "check-stream",
    "health",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; see ``failures`` for what it means."""
    arguments = joined(sys.argv[1:] if argv is None else argv)
    previous = {number: signal.signal(number, _terminate) for number in _ending_signals()}
    try:
        args = _parser(arguments).parse_args(arguments)
        status = int(args.run(args))
        sys.stdout.flush()  # a full disk or a closed pipe is said here, not by Python at exit
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated as ended:
        return int(ended.code or FAILED)
    except Exception as error:
        told = status_of(error)
        if told is None:
            raise
        if any(isinstance(cause, OSError) for cause in causes(error)):
            _discard_output()
        return told
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _discard_output() -> None:
    """Keep Python from complaining at exit, once more, that what is still buffered cannot be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def joined(argv: Sequence[str]) -> list[str]:
    """Attach a move such as ``-2%`` to its option: argparse takes it for another option otherwise."""
    result: list[str] = []
    for argument in argv:
        if (
            result
            and result[-1] in ("--shock", "--shocks")
            and argument[:1] == "-"
            and argument[1:2] in tuple(".0123456789")
        ):
            result[-1] = f"{result[-1]}={argument}"
        else:
            result.append(argument)
    return result


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="forcedmove", allow_abbrev=False)
    describe(
        parser,
        "Liquidation maps of crypto derivatives: who would be forced to close, where, and what that sets off.",
        "forcedmove demo                          a server on a simulated market, and its live map",
        "forcedmove watch BTC ETH --server host:7878",
        "forcedmove snapshot BTC --format csv --output btc.csv",
        "forcedmove simulate BTC --shock -2%",
        "forcedmove scan --shocks -1%,-2%,-5% --sort fragility --top 20",
        "forcedmove liqprice --entry 98000 --leverage 50 --side long --mmr 0",
    )
    parser.add_argument("--version", action="version", version=f"forcedmove {version('forcedmove')}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in CLIENT_COMMANDS:
        module = import_module(f"{__name__}.{name.replace('-', '_')}")
        _add(commands, name, module)
    installed = [name for name in extensions.found() if name not in extensions.HIDDEN]
    named = next((argument for argument in arguments if not argument.startswith("-")), None)
    if named in CLIENT_COMMANDS:
        return parser  # the others would be imported for nothing
    for name in [named] if named in installed else installed:
        _add_extension(commands, name)
    return parser


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, module: ModuleType
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=module.HELP, allow_abbrev=False)
    module.add_arguments(parser)
    parser.set_defaults(run=module.run)
    return parser


def _add_extension(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> None:
    try:
        module = extensions.load(name)
    except CommandError as error:
        message = str(error)

        def fail(_: argparse.Namespace) -> int:
            tell(message)
            return BAD_INPUT

        parser = commands.add_parser(name, help=message.partition(" ")[2], add_help=False, prefix_chars="\0")
        parser.add_argument("ignored", nargs="*")
        parser.set_defaults(run=fail)
        return
    _add(commands, name, module).set_defaults(run=lambda args: extensions.run(module, name, args))


def _ending_signals() -> list[signal.Signals]:
    names = ("SIGTERM", "SIGHUP")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _terminate(number: int, _: FrameType | None) -> None:
    raise Terminated(128 + number)
