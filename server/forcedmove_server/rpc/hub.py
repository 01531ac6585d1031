"""From the engine's ticks to the readers.

Two threads meet here, and each owns its part. The engine thread encodes: once per (symbol, view, format) and tick,
whatever the number of readers. The event loop owns the readers, the topics and everything a reader can see. They
exchange one callback per tick. Snapshots for late joiners are serialised on a thread of their own: neither waits for
them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from forcedmove_server.engine.frames import Tick, ViewSpec
from forcedmove_server.engine.service import ViewService
from forcedmove_server.engine.stages import StageTimes
from forcedmove_server.errors import (
    GoingAwayError,
    LimitError,
    NotReadyError,
    QuotaError,
    ServerFailedError,
    UnknownNameError,
)
from forcedmove_server.rpc.encoding import EncodedFrame, EncodingCounts, SymbolPart, ViewEncoder
from forcedmove_server.rpc.flock import Flock, FlockKey
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.requests import Subscription
from forcedmove_server.rpc.responses import heartbeat
from forcedmove_server.rpc.subscriber import Subscriber
from forcedmove_server.rpc.topics import Sendable, Topic, TopicKey, resumed
from forcedmove_server.rpc.traffic import IngestCounts, TrafficCounts

logger = logging.getLogger(__name__)

#: part of the time between heartbeats after which they go along with maps
_EARLY = 0.75

T = TypeVar("T")
Args = TypeVarTuple("Args")


class Hub:
    """Keeps a topic for every view that is read, and a place for every reader. Made on the event loop.

    ``failure`` is set to an exception by a bug that nobody waits for. There are no streams from then on.
    """

    def __init__(self, engine: ViewService, limits: Limits, on_first_map: Callable[[], None]) -> None:
        self.counts = EncodingCounts()
        self.traffic = TrafficCounts()
        self.ingest = IngestCounts()
        #: the first is the engine thread's, the second the event loop's
        self.encoding_times, self.publish_times = StageTimes("encode"), StageTimes("publish")
        self.tick: Tick | None = None
        #: of responses with maps, whichever stream they are on
        self.numbers = itertools.count(1)
        self._engine, self._limits, self._on_first_map = engine, limits, on_first_map
        self._loop = asyncio.get_running_loop()
        self._topics: dict[TopicKey, Topic] = {}
        #: the same by what the engine renders; tuples, because the engine thread looks while the loop changes them
        self._rendered: dict[tuple[str, ViewSpec], tuple[Topic, ...]] = {}
        self._flocks: dict[FlockKey, Flock] = {}
        self._readers: set[Subscriber] = set()
        #: calls that have not ended, also where their reader is gone: what was written last may still wait for the peer
        self._places = 0
        #: are told once why streams end, those that the hub does not keep
        self.on_end: list[Callable[[Exception], None]] = []
        self._closed = False
        self.failure: asyncio.Future[None] = self._loop.create_future()
        self._snapshots = ThreadPoolExecutor(1, thread_name_prefix="forcedmove-snapshots")
        self._heartbeat_due = 0.0
        self._pulse_s = min(0.25, limits.heartbeat_s / 4, limits.stalled_after_s / 8)
        self._pulse = self._loop.call_later(self._pulse_s, self._beat)
        self._stop_ticks = engine.on_tick(self._encode_tick)
        try:
            self._deliver(engine.latest(), [])
        except NotReadyError:
            logger.info("waiting for the first map")

    # --- engine thread -----------------------------------------------------------------------------------------------

    def _encode_tick(self, tick: Tick) -> None:
        news = self.encoding_times.timed("encode", self._encoded, tick)
        self.encoding_times.end_tick()
        try:
            self._loop.call_soon_threadsafe(self._deliver_or_fail, tick, news)
        except RuntimeError:
            if not self._closed:  # a loop that ended after close() has nobody left to deliver to
                raise

    def _encoded(self, tick: Tick) -> list[tuple[Topic, EncodedFrame | LimitError]]:
        """Return the new frame of every topic that has one, or why there is none."""
        parts: dict[str, SymbolPart] = {}
        news: list[tuple[Topic, EncodedFrame | LimitError]] = []
        for (symbol, spec), view in tick.views.items():
            # a single lookup: safe beside the loop's inserts; nothing there: the last reader has just left
            for topic in self._rendered.get((symbol, spec), ()):
                part = parts.get(symbol)
                if part is None:
                    part = parts[symbol] = SymbolPart(tick.maps[symbol], tick.epoch, tick.published_ns, self.counts)
                try:
                    frame = topic.encoder.encode(part, view)
                except LimitError as error:
                    news.append((topic, error))
                else:
                    if frame is not None:
                        news.append((topic, frame))
        return news

    # --- event loop --------------------------------------------------------------------------------------------------

    def _deliver_or_fail(self, tick: Tick, news: Iterable[tuple[Topic, EncodedFrame | LimitError]]) -> None:
        """``_deliver``, run by the loop itself, which would only log what it raises."""
        try:
            self.publish_times.timed("publish", self._deliver, tick, news)
            self.publish_times.end_tick()
        except Exception as error:  # noqa: BLE001  reported by fail()
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Report a bug that left the hub in an unknown state: end every stream, and refuse new ones."""
        if self.failure.done():
            return
        logger.critical("the streams have ended: a bug", exc_info=error)
        self.failure.set_exception(error)
        self._end(self._failed())

    def _failed(self) -> ServerFailedError:
        kind = type(self.failure.exception()).__name__
        return ServerFailedError(f"a bug ended the streams ({kind}); the server's log has the traceback")

    def _deliver(self, tick: Tick, news: Iterable[tuple[Topic, EncodedFrame | LimitError]]) -> None:
        known = self.tick.maps if self.tick else {}
        appeared = tick.maps.keys() - known.keys()
        self.tick = tick
        if appeared and not known:
            self._on_first_map()
        frames: dict[Topic, EncodedFrame] = {}
        for topic, frame in news:
            if isinstance(frame, LimitError):
                for flock in topic.flocks:
                    for reader in flock.readers:
                        reader.fail(frame)
            else:
                topic.publish(frame)
                frames[topic] = frame
        is_due = self._loop.time() >= self._heartbeat_due
        if is_due:  # somewhat early, so that nobody in step needs one of its own
            self._heartbeat_due = self._loop.time() + _EARLY * self._limits.heartbeat_s
        for flock in self._flocks.values():
            if own := [frames[topic] for topic in flock.topics.values() if topic in frames]:
                flock.advance(own)
                flock.heartbeat = self.heartbeat(flock) if is_due else b""
                for reader in flock.readers:
                    reader.notify()
        if appeared:
            self._extend(appeared, tick)

    def _extend(self, appeared: Iterable[str], tick: Tick) -> None:
        """Let flocks of all symbols have those that have appeared, unless that is too many."""
        for (symbols, spec, written), flock in list(self._flocks.items()):
            if symbols is not None:
                continue
            try:
                self._check_quota(flock, {(symbol, spec, written) for symbol in tick.maps})
            except LimitError as error:
                for reader in flock.readers:
                    reader.fail(error)
            else:
                self._join(flock, ((symbol, spec, written) for symbol in appeared))

    @property
    def streams(self) -> int:
        """Streams of maps that are open."""
        return self._places

    @property
    def subscribers(self) -> int:
        """Streams that have asked for symbols."""
        return sum(reader.subscription is not None for reader in tuple(self._readers))

    @property
    def views(self) -> int:
        """Views of symbols that somebody reads, or has just read."""
        return len(self._topics)

    def add_reader(self) -> Subscriber:
        """Make room for a reader, until ``give_place_back``.

        Raises GoingAwayError, ServerFailedError, or QuotaError when there are too many.
        """
        if self._closed:
            raise GoingAwayError("the server is going away")
        if self.failure.done():
            raise self._failed()
        if self._places >= self._limits.max_streams:
            raise QuotaError(f"{self._limits.max_streams} streams are open, which is this server's limit (max_streams)")
        reader = Subscriber(time.monotonic, self.traffic, self._limits.stalled_after_s)
        self._readers.add(reader)
        self._places += 1
        return reader

    def give_place_back(self) -> None:
        """Note that a reader's call has ended."""
        self._places -= 1

    def remove_reader(self, reader: Subscriber) -> None:
        """Forget a reader, and the topics that only it read."""
        self._readers.discard(reader)
        self._leave(reader)

    async def subscribe(self, reader: Subscriber, subscription: Subscription) -> None:
        """Give a reader what it wants from now on, instead of what it wanted before.

        Raises NotReadyError before the first map, GoneError where not every frame since a resume is kept, LimitError or
        QuotaError for too many views, and whatever makes the view impossible.
        """
        tick = self._engine.latest()
        symbols = tick.maps.keys() if subscription.symbols is None else subscription.symbols
        await self._try_view([symbol for symbol in symbols if symbol in tick.maps], subscription)
        if reader not in self._readers:
            return  # it left meanwhile
        if subscription.symbols is None and self.tick is not None:
            symbols = self.tick.maps.keys()
        names = subscription.symbols and tuple(sorted(subscription.symbols))  # those in another order want the same
        key = (names, subscription.spec, subscription.written)
        flock = self._flocks.get(key)
        if flock is None:
            flock = Flock()
            wanted = [(symbol, subscription.spec, subscription.written) for symbol in symbols]
            self._check_quota(reader.flock if reader.flock.readers == {reader} else flock, set(wanted))
            positions = resumed(symbols, subscription, self._engine.epoch, self._topics)
            self._flocks[key] = flock
            self._join(flock, wanted)
        else:
            positions = resumed(symbols, subscription, self._engine.epoch, self._topics)
        if subscription.delivery == "every":
            for topic in flock.topics.values():
                topic.keeps = True
        flock.readers.add(reader)
        if reader.flock is not flock:
            self._leave(reader, may_come_back=False)
        reader.restart(subscription, flock, positions)

    def heartbeat(self, flock: Flock) -> bytes:
        """Return the field that tells where the engine and the symbols of a flock are; nothing before the first map."""
        return heartbeat(self.tick, self._engine.missed_ticks, flock.positions) if self.tick is not None else b""

    async def encode(self, frames: list[tuple[Sendable, int]]) -> list[bytes]:
        """Return the chunk of every frame for a reader at the position beside it."""
        late = [frame for frame, position in frames if not frame.is_ready(position)]
        if late:
            await self.off_loop(lambda: [frame.encode_snapshot() for frame in late])
        return [frame.chunk(position) for frame, position in frames]

    async def off_loop(self, work: Callable[[*Args], T], *args: *Args) -> T:
        """Run ``work`` on the one thread that serialises snapshots."""
        return await self._loop.run_in_executor(self._snapshots, work, *args)

    def _beat(self) -> None:
        """One timer for all readers: a timer for each would cost more than what it watches over."""
        now = time.monotonic()
        for reader in self._readers:
            reader.pulse(now)
        self._pulse = self._loop.call_later(self._pulse_s, self._beat)

    def end_streams(self) -> None:
        """End every stream, and refuse new ones."""
        self._closed = True
        self._end(GoingAwayError("the server is going away; reconnect and resume"))

    def _end(self, error: Exception) -> None:
        for reader in self._readers:
            reader.fail(error)
        for end in self.on_end:
            end(error)

    def close(self) -> None:
        """Let go of the engine. A second call does nothing."""
        self._closed = True
        self._pulse.cancel()
        stop_ticks, self._stop_ticks = self._stop_ticks, lambda: None
        stop_ticks()
        for reader in list(self._readers):
            self.remove_reader(reader)
        for key in list(self._topics):
            self._drop(key)
        self._snapshots.shutdown(wait=False, cancel_futures=True)

    async def _try_view(self, symbols: list[str], subscription: Subscription) -> None:
        """Render a view nobody reads yet, so that an impossible one is refused before its stream begins.

        One symbol is enough, except that a venue may lack some: symbols that were named must all be there, of "all
        symbols" any.
        """
        spec = subscription.spec
        if not symbols or (not spec.venues and any(known == spec for _, known in self._rendered)):
            return
        missing: UnknownNameError | None = None
        for symbol in symbols:
            try:
                _, view = await asyncio.wrap_future(self._engine.render(symbol, spec))
            except UnknownNameError as error:
                if subscription.symbols is not None:
                    raise
                missing = error
                continue
            self._limits.check_frame(symbol, spec, view)
            if subscription.symbols is None or not spec.venues:
                return
        if missing is not None:
            raise missing

    def _check_quota(self, flock: Flock, wanted: set[TopicKey]) -> None:
        """Raise LimitError where ``wanted`` alone is too much, QuotaError where what others read leaves no room."""
        allowed = self._limits.max_views
        if len(wanted) > allowed:
            raise LimitError(
                f"the view of {len(wanted)} symbols is {len(wanted)} views; this server has at most {allowed} "
                "(max_views): ask for fewer symbols"
            )
        if len(self._topics) + len(wanted) > allowed:
            for key in [key for key, topic in self._topics.items() if not topic.flocks and key not in wanted]:
                self._drop(key)  # kept for readers that may come back
        others = sum(key not in wanted and topic.flocks != {flock} for key, topic in self._topics.items())
        if others + len(wanted) > allowed:
            raise QuotaError(
                f"{others} other views are being read and {len(wanted)} more are too many for this server's limit of "
                f"{allowed} (max_views)"
            )

    def _join(self, flock: Flock, keys: Iterable[TopicKey]) -> None:
        """Enter a flock into topics."""
        for key in keys:
            topic = self._topics.get(key) or self._new_topic(key)
            topic.flocks.add(flock)
            topic.keeps = topic.keeps or any(reader.wants_every for reader in flock.readers)
            flock.add(topic)
        for reader in flock.readers:
            reader.notify()

    def _new_topic(self, key: TopicKey) -> Topic:
        symbol, spec, written = key
        topic = Topic(key, ViewEncoder(spec, self._limits, self.counts, written), self._limits)
        self._topics[key] = topic
        self._rendered[symbol, spec] = (*self._rendered.get((symbol, spec), ()), topic)
        topic.stop_watching = self._engine.watch(symbol, spec)
        return topic

    def _leave(self, reader: Subscriber, may_come_back: bool = True) -> None:
        """Take a reader out of its flock, and with the last one the flock out of its topics."""
        flock = reader.flock
        flock.readers.discard(reader)
        key = next((key for key, known in self._flocks.items() if known is flock), None)
        if flock.readers or key is None:
            return
        del self._flocks[key]
        for topic in flock.topics.values():
            topic.flocks.discard(flock)
            if topic.flocks:
                continue
            topic_key = topic.symbol, key[1], key[2]
            if topic.keeps and may_come_back and not self._closed:
                # whoever lost its connection may come back for the frames since
                topic.unread_until = self._loop.time() + self._limits.resume_window_s
                self._loop.call_at(topic.unread_until, self._drop_unread, topic_key, topic)
            else:
                self._drop(topic_key)

    def _drop_unread(self, key: TopicKey, topic: Topic) -> None:
        if self._topics.get(key) is topic and not topic.flocks and self._loop.time() >= topic.unread_until:
            self._drop(key)

    def _drop(self, key: TopicKey) -> None:
        topic = self._topics.pop(key)
        others = tuple(other for other in self._rendered[key[:2]] if other is not topic)
        if others:
            self._rendered[key[:2]] = others
        else:
            del self._rendered[key[:2]]
        topic.stop_watching()
