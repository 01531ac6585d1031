"""The engine process' end: ticks to every gateway, as far as it watches them, and renderings that it asks for.

The engine thread hands over a reference per tick and goes on. Everything else happens on the event loop, and what a
gateway does not take waits in a queue of its own: a few ticks whole, beyond them the newest of every symbol and view.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any

import grpc
import msgspec

from forcedmove_server.engine.frames import MarginInfo, RenderedView, SymbolMap, Tick
from forcedmove_server.engine.service import ViewService
from forcedmove_server.errors import ForcedMoveError, GoingAwayError, NotReadyError
from forcedmove_server.gateway import wire
from forcedmove_server.gateway.totals import GatewayTotals
from forcedmove_server.gateway.wire import Moment, Rendered, ViewKey
from forcedmove_server.rpc.status import guarded

logger = logging.getLogger(__name__)

#: ticks that wait whole for a gateway; a gap of a second or two passes without loss
BACKLOG = 16


class _Follower:
    """What one gateway wants, knows and has yet to be sent."""

    def __init__(self) -> None:
        self.watched: set[ViewKey] = set()
        self.ticks: deque[Tick] = deque()
        #: the newest of views that others watched before
        self.late: dict[ViewKey, tuple[SymbolMap, RenderedView]] = {}
        self.news = asyncio.Event()
        self.symbols: set[str] = set()
        self.instruments = 0
        self.margins: dict[str, MarginInfo] = {}

    def add(self, tick: Tick) -> int:
        """Queue a tick; return how many were merged into it for want of room."""
        merged = 0
        if len(self.ticks) >= BACKLOG:
            merged = len(self.ticks)
            changed, views = set(tick.changed), dict[ViewKey, RenderedView]()
            for each in self.ticks:
                changed |= each.changed
                views |= each.views
            tick = replace(tick, changed=frozenset(changed), views=views | dict(tick.views))
            self.ticks.clear()
        self.ticks.append(tick)
        self.news.set()
        return merged

    def new_margins(self, maps: Iterable[SymbolMap]) -> dict[str, MarginInfo]:
        """Return the margins that the gateway does not have, which it has from now on."""
        new = {
            each.market: each.margin
            for newest in maps
            for each in newest.markets
            if self.margins.get(each.market) is not each.margin
        }
        self.margins |= new
        return new


class TickFeed:
    """Made on the event loop of the engine process, whose internal server has its ``handler``.

    A gateway that takes nothing for ``stalled_after_s`` is cut.
    """

    def __init__(self, engine: ViewService, totals: GatewayTotals, stalled_after_s: float) -> None:
        self._engine, self._totals, self._stalled_after_s = engine, totals, stalled_after_s
        self._loop = asyncio.get_running_loop()
        self._tick: Tick | None = None
        self._followers: set[_Follower] = set()
        #: gateways that watch a view, how the engine is told that none does, and its newest rendering
        self._watchers: Counter[ViewKey] = Counter()
        self._stops: dict[ViewKey, Callable[[], None]] = {}
        self._newest: dict[ViewKey, tuple[SymbolMap, RenderedView]] = {}
        #: what was encoded, so that gateways share it
        self._map_bytes: dict[str, tuple[SymbolMap, msgspec.Raw]] = {}
        self._view_bytes: dict[ViewKey, tuple[RenderedView, msgspec.Raw]] = {}
        self._stop_ticks = engine.on_tick(self._hand_over)
        with contextlib.suppress(NotReadyError):
            self._tick = engine.latest()

    def handler(self) -> grpc.GenericRpcHandler:
        """What the internal server registers."""
        return grpc.method_handlers_generic_handler(
            wire.SERVICE,
            {
                "Follow": grpc.stream_stream_rpc_method_handler(self.follow),
                "Render": grpc.unary_unary_rpc_method_handler(self.render),
            },
        )

    def close(self) -> None:
        """Let go of the engine."""
        self._stop_ticks()

    def _hand_over(self, tick: Tick) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be gone when the engine ends after it
            self._loop.call_soon_threadsafe(self._publish, tick)

    def _publish(self, tick: Tick) -> None:
        self._tick = tick
        for key, view in tick.views.items():
            if key in self._watchers:
                self._newest[key] = tick.maps[key[0]], view
        for follower in self._followers:
            if merged := follower.add(tick):
                self._totals.merged_ticks += merged

    @guarded
    async def render(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        """Render one view of the newest map; the answer may be a refusal."""
        key = wire.decode_key(request)
        try:
            newest, view = await asyncio.wrap_future(self._engine.render(*key))
        except ForcedMoveError as error:
            return wire.encode(Rendered(wire.refusal_of(error)))
        margins = {each.market: each.margin for each in newest.markets}
        return wire.encode(Rendered(None, wire.map_message(newest), margins, wire.view_message(key, view)))

    @guarded
    async def follow(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        """Send ticks until the gateway leaves."""
        number = int(str(dict(context.invocation_metadata() or ())[wire.GATEWAY_KEY]))
        follower = _Follower()
        if self._tick is not None:  # all maps are new to it; views come as they are wished for
            follower.add(replace(self._tick, views={}))
        self._followers.add(follower)
        place = self._totals.joined(number)
        try:
            # the first message is there before the first map: it has the epoch
            await context.write(self._greeting(follower))
            async with asyncio.TaskGroup() as tasks:
                sender = tasks.create_task(self._send(follower, context, number))
                async for told in requests:
                    self._hear(follower, place, wire.decode_told(told))
                sender.cancel()
        finally:
            self._followers.discard(follower)
            self._totals.left(place)
            for key in follower.watched:
                self._unwatch(key)

    def _hear(self, follower: _Follower, place: tuple[int, int], told: wire.Told) -> None:
        if told.report is not None:
            self._totals.report(place, told.report)
        for wish in told.wishes:
            key = wish.symbol, wish.spec
            if not wish.watched:
                follower.watched.remove(key)
                follower.late.pop(key, None)
                self._unwatch(key)
                continue
            if key not in follower.watched:
                follower.watched.add(key)
                self._watchers[key] += 1
                if self._watchers[key] == 1:
                    self._stops[key] = self._engine.watch(*key)
            found = self._newest.get(key)
            # where its symbol has changed since without it, there is no such view just now
            if found is not None and self._tick is not None and self._tick.maps.get(key[0]) is found[0]:
                follower.late[key] = found
                follower.news.set()

    def _unwatch(self, key: ViewKey) -> None:
        self._watchers[key] -= 1
        if not self._watchers[key]:
            del self._watchers[key]
            self._newest.pop(key, None)
            self._view_bytes.pop(key, None)
            self._stops.pop(key)()

    async def _send(self, follower: _Follower, context: grpc.aio.ServicerContext[bytes, bytes], number: int) -> None:
        while True:
            await follower.news.wait()
            follower.news.clear()
            while (message := self._next(follower)) is not None:
                try:
                    async with asyncio.timeout(self._stalled_after_s):
                        await context.write(message)
                except TimeoutError:
                    logger.error("gateway %d has taken nothing for %g s and is cut", number, self._stalled_after_s)
                    raise GoingAwayError(f"nothing was taken for {self._stalled_after_s:g} s") from None

    def _next(self, follower: _Follower) -> bytes | None:
        """Return the next message; late views come with the newest tick, so that no map is followed by an older one."""
        if follower.ticks:
            tick = follower.ticks.popleft()
        elif follower.late and self._tick is not None:
            tick = replace(self._tick, changed=frozenset(), views={})
        else:
            return None
        views = {key: view for key, view in tick.views.items() if key in follower.watched}
        if not follower.ticks:
            late, follower.late = follower.late, {}
            views |= {key: view for key, (_, view) in late.items()}
        wanted = {symbol for symbol, _ in follower.watched}
        named = {symbol for symbol, _ in views}
        named |= {symbol for symbol in tick.changed if symbol in wanted} | (tick.maps.keys() - follower.symbols)
        follower.symbols |= named
        maps = [newest for symbol, newest in tick.maps.items() if symbol in named]  # in the engine's order
        return self._message(follower, tick, maps, views)

    def _message(
        self, follower: _Follower, tick: Tick, maps: list[SymbolMap], views: dict[ViewKey, RenderedView]
    ) -> bytes:
        return wire.encode(
            Moment(
                tick.epoch,
                tick.number,
                tick.event_time_ns,
                tick.published_ns,
                self._engine.missed_ticks,
                self._new_instruments(follower),
                follower.new_margins(maps),
                tuple(map(self._encoded_map, maps)),
                tuple(self._encoded_view(key, view) for key, view in views.items()),
            )
        )

    def _greeting(self, follower: _Follower) -> bytes:
        instruments = self._new_instruments(follower)
        return wire.encode(Moment(self._engine.epoch, 0, 0, 0, self._engine.missed_ticks, instruments, {}, (), ()))

    def _new_instruments(self, follower: _Follower) -> tuple[Any, ...]:
        registry, known = self._engine.registry, follower.instruments
        follower.instruments = len(registry)
        return tuple(registry[market] for market in range(known, follower.instruments))

    def _encoded_map(self, newest: SymbolMap) -> msgspec.Raw:
        found = self._map_bytes.get(newest.symbol)
        if found is None or found[0] is not newest:
            found = self._map_bytes[newest.symbol] = newest, msgspec.Raw(wire.encode(wire.map_message(newest)))
        return found[1]

    def _encoded_view(self, key: ViewKey, view: RenderedView) -> msgspec.Raw:
        found = self._view_bytes.get(key)
        if found is None or found[0] is not view:
            found = self._view_bytes[key] = view, msgspec.Raw(wire.encode(wire.view_message(key, view)))
        return found[1]
