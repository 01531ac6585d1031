"""``forcedmove ingest``: tell a server changes of positions, line by line, each counted once."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from typing import IO, Any

import numpy as np

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.arguments import add_server, describe
from forcedmove_client.cli.failures import BAD_INPUT, DONE, FAILED, CommandError, tell
from forcedmove_client.cli.running import with_client
from forcedmove_client.errors import ForcedMoveClientError
from forcedmove_client.ingest import Acknowledgement
from forcedmove_client.ingest_requests import IngestStats, PositionDelta
from forcedmove_client.positions import Position, PositionKey

HELP = "stream changes of positions from JSON lines"

#: keys of a line, and of what it lists; times are ISO 8601
_LINE = ("sequence", "deltas", "positions", "removed", "replace", "representative")
_DELTA = tuple(field.name for field in dataclasses.fields(PositionDelta))
_KEY = tuple(field.name for field in dataclasses.fields(PositionKey))
_POSITION = tuple(field.name for field in dataclasses.fields(Position) if field.name != "key")
#: refusals that are told one by one, and changes that are under way at most
_MOST_REFUSALS, _AT_ONCE = 10, 1_024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Each line is one change, applied as a whole or not at all: deltas of cohorts, or positions. Lines with a\n"
        "sequence of their own can be told again, and count once; others are numbered on from the producer's last.\n"
        '  {"sequence": 1, "deltas": [{"venue": "binance", "symbol": "BTCUSDT", "side": "long", "quantity": 2.5,\n'
        '    "entry_price": 95000, "leverage": 20, "time": "2026-11-26T12:00:00"}]}\n'
        '  {"positions": [{"venue": "okx", "symbol": "BTC-USDT-SWAP", "side": "short", "account": "a",\n'
        '    "quantity": 1, "liquidation_price": 120000}], "removed": [], "replace": true}',
        "forcedmove ingest changes.jsonl --producer desk-7f3a",
        "tail -f changes.jsonl | forcedmove ingest - --producer desk-7f3a",
    )
    parser.add_argument("file", metavar="FILE", help="JSON lines; - reads what comes in")
    parser.add_argument("--producer", required=True, metavar="NAME", help="who tells; hard to guess, where others ask")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    add_server(parser)


def run(args: argparse.Namespace) -> int:
    """Send every line and print what became of them."""
    with contextlib.ExitStack() as stack:
        try:
            source = sys.stdin.buffer if args.file == "-" else stack.enter_context(open(args.file, "rb"))
        except OSError as error:
            raise CommandError(f"{args.file}: {error.strerror}", BAD_INPUT) from None
        stats, refused = with_client(args.server, lambda client: _send(client, args.producer, args.file, source))
    for text in refused[:_MOST_REFUSALS]:
        tell(text)
    if len(refused) > _MOST_REFUSALS:
        tell(f"and {len(refused) - _MOST_REFUSALS} more were refused")
    if args.json:
        print(json.dumps(dataclasses.asdict(stats)))
    else:
        print(f"{stats.applied} applied, {stats.repeated} had been applied before, {stats.refused} refused")
    return FAILED if refused else DONE


async def _send(client: AsyncClient, producer: str, name: str, source: IO[bytes]) -> tuple[IngestStats, list[str]]:
    """Send the lines of a file; return the counts, and why which of them were refused."""
    sent: deque[tuple[int, Acknowledgement]] = deque()
    refused: list[str] = []

    async def settle(keep: int) -> None:
        while len(sent) > keep:
            number, told = sent.popleft()
            try:
                await told
            except ForcedMoveClientError as error:  # one that ended the stream is raised by whatever comes next
                refused.append(f"{name}: line {number}: {error}")

    async with client.ingest(producer) as stream:
        try:
            async for number, line in _lines(source):
                if line.strip():
                    sent.append((number, await stream.send(**change_of(line, f"{name}: line {number}"))))
                    await settle(_AT_ONCE)
        except CommandError:  # a line that cannot be read loses none before it
            await settle(0)
            raise
        await settle(0)
    return stream.stats, refused


async def _lines(source: IO[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Yield lines with their numbers; a thread reads, which nothing waits for when the command is interrupted."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes](_AT_ONCE)

    def read() -> None:
        with contextlib.suppress(RuntimeError, CancelledError):  # the command has ended
            for line in source:
                if loop.is_closed():
                    return
                asyncio.run_coroutine_threadsafe(queue.put(line), loop).result()
            asyncio.run_coroutine_threadsafe(queue.put(b""), loop).result()

    threading.Thread(target=read, name="lines", daemon=True).start()
    number = 0
    while line := await queue.get():
        number += 1
        yield number, line


def change_of(line: bytes, place: str) -> dict[str, Any]:
    """Return what a line asks ``IngestStream.send`` for. Raises CommandError saying what is wrong, and where."""
    try:
        told = _known(json.loads(line), _LINE)
        change: dict[str, Any] = {
            name: told[name] for name in ("sequence", "replace", "representative") if name in told
        }
        for name, kind in (("sequence", int), ("replace", bool), ("representative", bool)):
            if name in change and type(change[name]) is not kind:
                raise ValueError(f"{name} is no {kind.__name__}")
        change["deltas"] = [PositionDelta(**_timed(_known(one, _DELTA), "time")) for one in told.get("deltas", ())]
        change["positions"] = [_position(one) for one in told.get("positions", ())]
        change["removed"] = [PositionKey(**_known(one, _KEY)) for one in told.get("removed", ())]
    except (ValueError, TypeError) as error:
        raise CommandError(f"{place}: {error}", BAD_INPUT) from None
    return change


def _position(told: Any) -> Position:
    values = _timed(_known(told, (*_KEY, *_POSITION)), "opened_at")
    key = PositionKey(**{name: values.pop(name) for name in _KEY if name in values})
    return Position(key, **values)


def _known(told: Any, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(told, dict):
        raise ValueError(f"{told!r} is no JSON object")
    if unknown := told.keys() - set(names):
        raise ValueError(f"{min(unknown)!r} is unknown; known: {', '.join(names)}")
    return told


def _timed(values: dict[str, Any], name: str) -> dict[str, Any]:
    if values.get(name) is None:
        return values
    return values | {name: np.datetime64(values[name].removesuffix("Z"), "ns")}
