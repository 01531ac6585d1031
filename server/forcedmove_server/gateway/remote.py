"""The gateway's end: an engine in another process, as far as streams of maps need one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import grpc

from forcedmove_server.engine.frames import MarginInfo, RenderedView, SymbolMap, Tick, ViewSpec
from forcedmove_server.errors import GoingAwayError, NotReadyError, ServerFailedError
from forcedmove_server.gateway import wire
from forcedmove_server.gateway.wire import Report, Told, ViewKey, Wish
from forcedmove_server.market.instruments import InstrumentRegistry

_GONE = "the engine does not answer: it is going away, or starts anew"


class RemoteEngine:
    """A :class:`~forcedmove_server.engine.service.ViewService` fed by a TickFeed. ``connect`` makes it.

    Ticks are taken, and their callbacks called, on one thread of its own, in order; the next one is read when that is
    done. Of symbols that nobody here watches, ``latest().maps`` has the map they had when they were last sent.
    """

    def __init__(self, channel: grpc.aio.Channel, call: Any, greeting: wire.Moment) -> None:
        self.epoch, self.missed_ticks = greeting.epoch, greeting.missed_ticks
        self.registry = InstrumentRegistry(greeting.instruments)
        #: when the tick was begun that is being taken; None between ticks. Monotonic seconds
        self.taking_since: float | None = None
        self._call = call
        self._render_call: Any = channel.unary_unary(wire.RENDER)
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forcedmove-ticks")
        self._listeners: list[Callable[[Tick], None]] = []
        self._tick: Tick | None = None
        self._margins: dict[str, MarginInfo] = {}
        self._watched: Counter[ViewKey] = Counter()
        self._wishes: list[Wish] = []
        self._report: Report | None = None
        self._speak = asyncio.Event()

    @classmethod
    async def connect(cls, channel: grpc.aio.Channel, number: int) -> RemoteEngine:
        """Begin to follow as gateway ``number``. Raises GoingAwayError where nobody answers."""
        call: Any = channel.stream_stream(wire.FOLLOW)(metadata=((wire.GATEWAY_KEY, str(number)),))
        try:
            greeting = await call.read()
        except grpc.aio.AioRpcError:
            greeting = grpc.aio.EOF
        if greeting is grpc.aio.EOF:
            raise GoingAwayError(_GONE)
        return cls(channel, call, wire.decode_moment(greeting))

    # --- ViewService -------------------------------------------------------------------------------------------------

    def latest(self) -> Tick:
        """Return the newest tick. Raises NotReadyError before the first one that has a map."""
        if self._tick is None:
            raise NotReadyError("no map yet: no market has both a price and an open interest")
        return self._tick

    def on_tick(self, callback: Callable[[Tick], None]) -> Callable[[], None]:
        """Call ``callback`` on the thread that takes ticks, after each; returns the function that stops it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def watch(self, symbol: str, spec: ViewSpec) -> Callable[[], None]:
        """Have ticks carry this view, starting with its newest rendering; from the event loop only."""
        key = symbol, spec
        self._watched[key] += 1
        # also where it is watched already: whoever watches anew has no rendering yet
        self._tell(Wish(True, *key))
        released = False

        def release() -> None:
            nonlocal released
            if released:
                return
            released = True
            self._watched[key] -= 1
            if not self._watched[key]:
                del self._watched[key]
                self._tell(Wish(False, *key))

        return release

    def render(self, symbol: str, spec: ViewSpec) -> Future[tuple[SymbolMap, RenderedView]]:
        """Have one view rendered now. The future raises what the engine refuses it with, or GoingAwayError."""
        return asyncio.run_coroutine_threadsafe(self._render(symbol, spec), self._loop)

    # --- the gateway -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take ticks until the feed is lost, then raise GoingAwayError."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._talk(), name="wishes")
            try:
                while (raw := await self._call.read()) is not grpc.aio.EOF:
                    await self._loop.run_in_executor(self._thread, self._take, raw)
            except grpc.aio.AioRpcError as error:
                raise GoingAwayError(f"{_GONE} ({error.details()})") from None
            raise GoingAwayError(_GONE)

    def report(self, report: Report) -> None:
        """Tell the engine process how this gateway is doing."""
        self._report = report
        self._speak.set()

    def close(self) -> None:
        """Follow no more."""
        self._call.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _tell(self, wish: Wish) -> None:
        self._wishes.append(wish)
        self._speak.set()

    async def _talk(self) -> None:
        while True:
            await self._speak.wait()
            self._speak.clear()
            told = Told(tuple(self._wishes), self._report)
            self._wishes, self._report = [], None
            try:
                await self._call.write(wire.encode(told))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the feed has ended, which its reader tells

    async def _render(self, symbol: str, spec: ViewSpec) -> tuple[SymbolMap, RenderedView]:
        try:
            answer = wire.decode_rendered(await self._render_call(wire.encode((symbol, spec))))
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                raise GoingAwayError(_GONE) from None
            raise ServerFailedError(f"in the engine process: {error.details()}") from error
        if answer.refusal is not None:
            raise wire.error_of(answer.refusal)
        assert answer.map is not None and answer.view is not None  # noqa: PT018  one answer
        return wire.map_of(answer.map, answer.margins), wire.view_of(answer.view)

    # --- the thread of ticks -----------------------------------------------------------------------------------------

    def _take(self, raw: bytes) -> None:
        self.taking_since = time.monotonic()
        moment = wire.decode_moment(raw)
        self.missed_ticks = moment.missed_ticks
        for instrument in moment.instruments:
            self.registry.add(instrument)
        self._margins.update(moment.margins)
        new = {message.symbol: message for message in map(wire.decode_map, moment.maps)}
        if new or self._tick is not None:  # else there is no map yet
            maps = dict(self._tick.maps) if self._tick else {}
            maps |= {symbol: wire.map_of(message, self._margins) for symbol, message in new.items()}
            views = map(wire.decode_view, moment.views)
            self._tick = Tick(
                moment.epoch,
                moment.number,
                moment.event_time_ns,
                moment.published_ns,
                maps,
                frozenset(new),
                {(message.symbol, message.spec): wire.view_of(message) for message in views},
            )
            for listener in list(self._listeners):
                listener(self._tick)
        self.taking_since = None
