"""``forcedmove check-stream``: hold a running server's streams against what they promise."""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass, field

from forcedmove_client.aio import AsyncClient
from forcedmove_client.checking import CopiesChecker, StreamChecker
from forcedmove_client.cli.arguments import add_server, describe, duration
from forcedmove_client.cli.failures import DONE, FAILED
from forcedmove_client.cli.tables import output, table
from forcedmove_client.errors import HistoryGoneError
from forcedmove_client.subscription import DeliveryName, Subscription

HELP = "check that a server's streams keep what they promise"

_SNAPSHOT_EVERY_S = 1.0


@dataclass(slots=True)
class _Watched:
    """One of the streams: ``pauses`` has it stop reading now and then, in seconds at most."""

    name: str
    delivery: DeliveryName
    compress: bool = False
    pauses: float = 0.0
    checker: StreamChecker = field(default_factory=StreamChecker)
    gone: int = 0
    stream: Subscription | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Open several streams of the same maps at once (every frame, the newest, compressed, one that stops reading\n"
        "now and then), take snapshots beside them, and check: no frame is lost without being told, none comes twice,\n"
        "and all copies of a map are the same. Exit status 0 where all is well, 1 where something is not.",
        "forcedmove check-stream",
        "forcedmove check-stream BTC ETH --duration 1m",
    )
    parser.add_argument("symbols", nargs="*", metavar="SYMBOL", help="BTC, binance:BTCUSDT ... (default: all)")
    add_server(parser)
    parser.add_argument("--duration", type=duration, default=10.0, metavar="TIME", help="how long (default: 10s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the pauses (default: 0)")


def run(args: argparse.Namespace) -> int:
    """Check for a while, then print what was seen."""
    return asyncio.run(check(args.server, args.symbols, args.duration, args.seed))


async def check(server: str, symbols: list[str], duration_s: float, seed: int) -> int:
    """Check, print what was seen, and return the exit status. Raises what the client does."""
    copies = CopiesChecker()
    streams = [
        _Watched("every frame", "every"),
        _Watched("the newest", "latest"),
        _Watched("every frame, compressed", "every", compress=True),
        _Watched("the newest, read with pauses", "latest", pauses=1.0),
    ]
    async with AsyncClient(server) as client:

        async def follow(watched: _Watched) -> None:
            draw = random.Random(seed)
            watched.stream = client.subscribe(
                symbols,
                delivery=watched.delivery,
                compress=watched.compress,
                max_unacked=1 if watched.pauses else None,  # so that pauses leave frames out
                checker=watched.checker,
            )
            while True:
                try:
                    copies.note(await anext(watched.stream), watched.name)
                except HistoryGoneError:
                    watched.gone += 1
                if watched.pauses and draw.random() < 0.2:
                    await asyncio.sleep(draw.uniform(0, watched.pauses))

        async def take() -> None:
            while True:
                for frame in (await client.snapshot(symbols)).values():
                    copies.note(frame, "snapshot")
                await asyncio.sleep(_SNAPSHOT_EVERY_S)

        try:
            async with asyncio.timeout(duration_s), asyncio.TaskGroup() as tasks:
                for watched in streams:
                    tasks.create_task(follow(watched))
                tasks.create_task(take())
        except TimeoutError:
            pass
    return _told(streams, copies)


def _told(streams: list[_Watched], copies: CopiesChecker) -> int:
    console = output()
    shown = table("stream", "frames", "skipped", "reconnects", "cut off", "history gone", "problems", left=("stream",))
    for watched in streams:
        assert watched.stream is not None
        stats, found = watched.stream.stats, watched.checker
        numbers = found.frames, stats.skipped, stats.reconnects, stats.cut_offs, watched.gone, len(found.problems)
        shown.add_row(watched.name, *map(str, numbers))
    console.print(shown)
    console.print(f"{copies.compared} copies of maps compared, {len(copies.problems)} differ")
    problems = [f"{watched.name}: {problem}" for watched in streams for problem in watched.checker.problems]
    for problem in (*problems, *copies.problems):
        console.print(problem)
    if not all(watched.checker.frames for watched in streams):
        console.print("a stream brought nothing: nothing was checked there")
        return FAILED
    return FAILED if problems or copies.problems else DONE
