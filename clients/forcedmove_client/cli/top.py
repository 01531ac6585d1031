"""``forcedmove top``: how a server is doing, live."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import time

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from forcedmove_client.aio import AsyncClient
from forcedmove_client.cli.arguments import add_server, describe, duration
from forcedmove_client.cli.running import with_client
from forcedmove_client.cli.tables import output, table
from forcedmove_client.errors import UnavailableError
from forcedmove_client.frames import Feed
from forcedmove_client.server_status import Health, JournalStatus, ServerStatus
from forcedmove_client.terminal import figures

HELP = "show ticks, stages, feeds, streams and memory of a server, live"


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a server at one moment; ``at_s`` is a monotonic time, ``feeds`` are by venue."""

    at_s: float
    health: Health
    status: ServerStatus
    feeds: dict[str, tuple[Feed, ...]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    describe(
        parser,
        "Show how a server is doing, anew every second: health, ticks, the stages of a tick, live feeds by venue,\n"
        "streams, questions and memory. Rates are those of the time between two looks.",
        "forcedmove top --server 10.0.0.5:7878",
        "forcedmove top --once",
    )
    add_server(parser)
    parser.add_argument("--every", type=duration, default=1.0, metavar="TIME", help="time between looks (default: 1s)")
    parser.add_argument("--once", action="store_true", help="look twice, print once")
    parser.add_argument("--json", action="store_true", help="look once and print JSON")


def run(args: argparse.Namespace) -> int:
    """Show it until interrupted."""
    if args.json:
        status = with_client(args.server, lambda client: client.server_status())
        print(json.dumps(dataclasses.asdict(status), indent=2, default=str))
        return 0
    with_client(args.server, lambda client: _show(client, args.every, args.once))
    return 0


async def _show(client: AsyncClient, every_s: float, once: bool) -> None:
    before = await _look(client)
    if once:
        await asyncio.sleep(every_s)
        output().print(view(client.target, before, await _look(client)))
        return
    with Live(view(client.target, before, before), console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            await asyncio.sleep(every_s)
            try:
                now = await _look(client)
            except UnavailableError as error:
                live.update(Group(view(client.target, before, before), Text(str(error), "red")), refresh=True)
                continue
            live.update(view(client.target, before, now), refresh=True)
            before = now


async def _look(client: AsyncClient) -> Look:
    health, status = await client.health(), await client.server_status()
    try:
        venues = await client.venues()
    except UnavailableError:  # before the first map
        venues = []
    return Look(time.monotonic(), health, status, {info.venue: info.feeds for info in venues if info.feeds})


def view(target: str, before: Look, now: Look) -> Group:
    """Return what is shown, with rates from ``before`` to ``now``; equal looks have none."""
    status, earlier, seconds = now.status, before.status, now.at_s - before.at_s

    def rate(count: int, count_before: int) -> float:
        # a server that was restarted counts from 0
        return max(count - count_before, 0) / seconds if seconds > 0 else 0.0

    colour = "green" if now.health is Health.SERVING else "red"
    missed = f"[yellow]{status.missed_ticks:,}[/]" if status.missed_ticks else "0"
    lag = "–" if str(status.event_time) == "NaT" else figures.utc(status.event_time)
    heads = Table.grid(padding=(0, 2))
    heads.add_column(style="dim")
    heads.add_column()
    heads.add_row(
        target, f"[{colour}]{now.health.name}[/]  {status.version}, {status.backend}, up {figures.age(status.uptime_s)}"
    )
    heads.add_row(
        "ticks",
        f"{status.ticks:,} ({rate(status.ticks, earlier.ticks):.1f}/s), {missed} missed, "
        f"{status.symbols:,} symbols, map of {lag}",
    )
    heads.add_row(
        "streams",
        f"{status.streams:,} open, {status.subscribers:,} subscribed, {status.views:,} views; "
        f"{_bytes(rate(status.sent_bytes, earlier.sent_bytes))}/s, "
        f"{rate(status.sent_frames, earlier.sent_frames):.1f} maps/s, "
        f"{rate(status.conflated_frames, earlier.conflated_frames):.1f} conflated/s",
    )
    heads.add_row("memory", _memory(status))
    if status.journal is not None:
        heads.add_row("journal", _journal(status.journal))
    parts: list[Table | str] = [heads, "", _stages(before, now)]
    if status.gateways:
        parts += ["", _gateways(before, now)]
    if status.questions:
        parts += ["", _questions(status)]
    if now.feeds:
        parts += ["", _venues(now.feeds)]
    return Group(*parts)


def _memory(status: ServerStatus) -> str:
    host = _bytes(status.resident_bytes) if status.resident_bytes else "unknown"
    if not status.device_total_bytes:
        return f"{host} host"
    return f"{host} host, {_bytes(status.device_used_bytes)} of {_bytes(status.device_total_bytes)} on the GPU"


def _journal(journal: JournalStatus) -> str:
    if journal.problem:
        return f"[red]degraded[/]: {escape(journal.problem)}"
    return (
        f"record {journal.kept_record:,} kept, {journal.waiting_records:,} wait; "
        f"snapshot of {journal.snapshot_record:,}, {_bytes(journal.snapshot_bytes)}, "
        f"{figures.age(journal.snapshot_age_s)} old, paused {_milliseconds(journal.snapshot_pause_s)}"
    )


def _stages(before: Look, now: Look) -> Table:
    rows = table("stage", "last", "mean", "now", "ticks", left=("stage",))
    earlier = {each.stage: each for each in before.status.stages}
    for each in now.status.stages:
        then = earlier.get(each.stage)
        recent = each.count - then.count if then else 0
        rows.add_row(
            each.stage,
            _milliseconds(each.last_s) if each.count else "–",
            _milliseconds(each.sum_s / each.count) if each.count else "–",
            _milliseconds((each.sum_s - then.sum_s) / recent) if then and recent > 0 else "–",
            f"{each.count:,}",
        )
    return rows


def _gateways(before: Look, now: Look) -> Table:
    rows = table("gateway", "streams", "subscribed", "views", "sent", "memory", left=("gateway",))
    earlier = {each.number: each.sent_bytes for each in before.status.gateways}
    seconds = now.at_s - before.at_s
    for each in now.status.gateways:
        sent = each.sent_bytes - earlier.get(each.number, each.sent_bytes)
        rows.add_row(
            f"{each.number}",
            f"{each.streams:,}",
            f"{each.subscribers:,}",
            f"{each.views:,}",
            f"{_bytes(sent / seconds)}/s" if seconds > 0 else "–",
            _bytes(each.resident_bytes),
        )
    return rows


def _questions(status: ServerStatus) -> Table:
    rows = table("questions", "running", "waiting", "refused", left=("questions",))
    for each in status.questions:
        rows.add_row(each.kind, f"{each.running:,}", f"{each.waiting:,}", f"{each.refused:,}")
    return rows


def _venues(feeds: dict[str, tuple[Feed, ...]]) -> Table:
    """One line per venue: sums of its channels, and the worst lag and age."""
    rows = table(
        "venue", "markets", "msg/s", "age", "lag", "gaps", "drops", "lost", "trouble", left=("venue", "trouble")
    )
    for venue, own in feeds.items():
        live, wanted = sum(feed.live for feed in own), sum(feed.wanted for feed in own)
        colour = "green" if live == wanted else "yellow" if live else "red"
        ages = [feed.age_ms for feed in own if feed.age_ms is not None]
        lags = [feed.lag_ms for feed in own if feed.lag_ms is not None]
        rows.add_row(
            venue,
            f"[{colour}]{live}/{wanted}[/]",
            f"{sum(feed.messages_per_second for feed in own):.1f}",
            figures.age(max(ages) / 1000) if ages else "–",
            f"{max(lags):.0f} ms" if lags else "–",
            f"{sum(feed.gaps for feed in own):,}",
            f"{sum(feed.drops for feed in own):,}",
            f"{sum(feed.reconnects for feed in own):,}",
            Text(own[0].trouble),
        )
    return rows


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
