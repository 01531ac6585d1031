"""The live view: one task reads the stream, one loop draws; keys change what is read and what is drawn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live

from forcedmove_client.aio import AsyncClient
from forcedmove_client.frames import AxisName, MapFrame, WeightingName
from forcedmove_client.terminal.armed import follow_events
from forcedmove_client.terminal.keys import pressed_keys
from forcedmove_client.terminal.plain import plain_text
from forcedmove_client.terminal.screen import REACHES, ViewState, draw

_FRAME_S = 0.1
#: with more symbols than this only the chosen one is streamed
_MOST_STREAMED = 8

#: called with every frame that arrives
Listener = Callable[[MapFrame], None]


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What to watch and for how long; ``duration_s`` None means until the reader leaves."""

    symbols: tuple[str, ...]
    duration_s: float | None = None
    reach: float = 0.05
    by: AxisName | None = "venue"
    weighting: WeightingName = "live"
    max_rate_hz: float = 0.0
    plain_every_s: float = 5.0


async def watch(client: AsyncClient, options: WatchOptions, console: Console, listener: Listener | None = None) -> None:
    """Show live maps until the duration is over or a key ends it: drawn on a terminal, else as text every few seconds.

    Raises what the client raises, for an unknown symbol or a server that stays away.
    """
    if options.symbols:  # the server knows what a name like binance:BTCUSDT means, and says which it does not know
        symbols = list(await client.snapshot(options.symbols, keep=("price",), price_range=REACHES[0]))
    else:
        symbols = [info.symbol for info in await client.symbols()]
    state = ViewState(symbols, symbols[0] if symbols else "", options.reach)
    view = _drawn if console.is_terminal and not console.is_dumb_terminal else _printed
    await view(_Feed(client, options, state, listener), console)


class _Feed:
    """The stream behind the view; asks anew when another symbol or another split is wanted."""

    def __init__(self, client: AsyncClient, options: WatchOptions, state: ViewState, listener: Listener | None) -> None:
        self.options, self.state = options, state
        self.by = options.by
        self.deadline = time.monotonic() + options.duration_s if options.duration_s is not None else None
        self.changed = asyncio.Event()
        self._client, self._listener = client, listener

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def wanted(self) -> tuple[tuple[str, ...], AxisName | None]:
        """What the stream should carry now."""
        streamed = self.state.symbols if len(self.state.symbols) <= _MOST_STREAMED else [self.state.chosen]
        return tuple(streamed), self.by

    async def follow(self) -> None:
        """Take events of armed chains until cancelled."""

        def changed() -> None:
            if self.state.frames:  # without a map there is nothing to draw yet
                self.changed.set()

        await follow_events(self._client, self.state.armed, changed)

    async def read(self) -> None:
        """Take frames until cancelled."""
        symbols, by = self.wanted()
        keep: list[AxisName] = ["side", "price"] if by is None else [by, "side", "price"]
        options = self.options
        stream = self._client.subscribe(
            symbols,
            keep=keep,
            weighting=options.weighting,
            price_range=max(REACHES) * 1.5,
            max_rate_hz=options.max_rate_hz,
        )
        async with stream:
            async for frame in stream:
                self.state.take(frame, time.monotonic())
                self.state.note = ""
                self.changed.set()
                if self._listener is not None:
                    self._listener(frame)

    def press(self, key: str) -> bool:
        """Do what a key means; False when it means to leave."""
        if key in ("right", "left"):
            self.state.step_symbol(1 if key == "right" else -1)
        elif key in ("+", "-", "up", "down"):
            self.state.zoom(-1 if key in ("+", "up") else 1)
        elif key in ("v", "l"):
            axis: AxisName = "venue" if key == "v" else "leverage"
            self.by = None if self.by == axis else axis
        self.changed.set()
        return key != "q"


async def _drawn(feed: _Feed, console: Console) -> None:
    leave = asyncio.Event()

    def press(key: str) -> None:
        if not feed.press(key):
            leave.set()

    async with asyncio.TaskGroup() as tasks:
        wanted, reader = feed.wanted(), tasks.create_task(feed.read())
        events = tasks.create_task(feed.follow())
        screen = Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop")
        with _noted(feed.state), screen, pressed_keys(press):
            while not leave.is_set() and not feed.over:
                if feed.wanted() != wanted:
                    reader.cancel()
                    wanted, reader = feed.wanted(), tasks.create_task(feed.read())
                screen.update(draw(feed.state, console, time.monotonic()), refresh=True)
                feed.changed.clear()
                await asyncio.sleep(_FRAME_S)
                # without news only the age has to be redrawn
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(feed.changed.wait(), 0.5)
        reader.cancel()
        events.cancel()


async def _printed(feed: _Feed, console: Console) -> None:
    printed: dict[str, tuple[int, int]] = {}
    async with asyncio.TaskGroup() as tasks:
        reader, events = tasks.create_task(feed.read()), tasks.create_task(feed.follow())
        await feed.changed.wait() if feed.deadline is None else await _first(feed)
        while not feed.over:
            for symbol in feed.state.symbols:
                frame = feed.state.frames.get(symbol)
                if frame is not None and printed.get(symbol) != (frame.epoch, frame.seq):
                    printed[symbol] = (frame.epoch, frame.seq)
                    console.file.write(
                        plain_text(frame, reach=feed.state.reach, armed=feed.state.armed.of(symbol)) + "\n"
                    )
            console.file.flush()
            rest = feed.options.plain_every_s
            if feed.deadline is not None:
                rest = min(rest, max(feed.deadline - time.monotonic(), 0.0))
            await asyncio.sleep(rest)
        reader.cancel()
        events.cancel()


async def _first(feed: _Feed) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(feed.changed.wait(), max((feed.deadline or 0.0) - time.monotonic(), 0.0))


@contextlib.contextmanager
def _noted(state: ViewState) -> Iterator[None]:
    """Show what the client logs (a lost connection) on the screen; on stderr it would tear the picture."""
    logger = logging.getLogger("forcedmove_client")

    class Noter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            state.note = record.getMessage()[:80]

    handler, propagate = Noter(level=logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
