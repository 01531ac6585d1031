"""One websocket connection to a venue, kept up: subscriptions, pings, watchdogs, and a new one when it is lost.

Only faults of the network and of the venue end a connection and are followed by another; anything else is a bug and
ends the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterable, Mapping

import aiohttp

from forcedmove_server.collectors.feed import Feed
from forcedmove_server.collectors.fields import MOST_BYTES
from forcedmove_server.collectors.intake import channel_of
from forcedmove_server.collectors.listing import Listing
from forcedmove_server.collectors.liveness import ConnectionLostError, Liveness
from forcedmove_server.collectors.network import (
    Backoff,
    Network,
    RateLimit,
    describe_failure,
    first_of,
    in_batches,
    is_cancelled,
    send,
)
from forcedmove_server.collectors.records import (
    Event,
    Record,
    Refused,
    Reply,
    Reset,
    Subscribed,
    Unknown,
    Unlisted,
)
from forcedmove_server.collectors.silence import Silence
from forcedmove_server.collectors.venue import Stream, Topic, Venue
from forcedmove_server.errors import MalformedMessage
from forcedmove_server.market.events import Channel

#: a subscription that nobody answered is taken for granted after this long, if anything came meanwhile
_UNANSWERED_S = 10.0
#: a refused topic is asked for again after this long
_REFUSED_S = 60.0
_CHECK_S = 0.25
_CONNECT_S = 15.0
_CLOSE_S = 1.0
#: a book that is out of step is not asked for again more often than this
_RESYNC_S = 1.0
#: what unreadable messages may have held is announced this often
_UNREAD_NS = 1_000_000_000

_ONCE = frozenset({Channel.TRADES, Channel.LIQUIDATIONS})
_FRAMES = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.PING, aiohttp.WSMsgType.PONG)
_TRANSPORT = (ConnectionLostError, MalformedMessage, aiohttp.ClientError, OSError, TimeoutError)


class Connection:
    """One connection and the topics it should carry. ``run`` keeps it up until it is cancelled."""

    def __init__(
        self,
        venue: type[Venue],
        stream: Stream,
        listings: Mapping[str, Listing],
        feed: Feed,
        network: Network,
        opening: RateLimit,
        silence_s: float | None = None,
    ) -> None:
        """``opening`` limits how often connections to this venue are opened; ``silence_s`` replaces the stream's."""
        self.stream = stream
        self.topics: dict[str, Topic] = {}
        self._venue, self._listings, self._feed, self._network, self._opening = venue, listings, feed, network, opening
        self._silence_s = min(silence_s or stream.silence_s, stream.silence_s)
        self._liveness = Liveness(self._silence_s)
        self._silence = Silence(stream.channel_silence_s)
        self._parser = venue(listings)
        self._sending = RateLimit(stream.messages_per_s)
        self._changed = asyncio.Event()
        self._requests = 0
        self._asked: dict[str, float] = {}  # topics that were asked for, and when
        self._requested: dict[int, tuple[str, ...]] = {}
        self._pending: dict[str, Topic] = {}
        self._refused: dict[str, float] = {}  # and when
        self._alone: set[str] = set()  # to be asked for one by one
        self._blamed = True  # every refusal named what it refused
        self._lost_ns: dict[str, int] = {}
        self._resynced: dict[str, float] = {}
        self._anew: set[str] = set()  # asked for, to be asked for again
        self._unread_ns = 0
        self._socket: aiohttp.ClientWebSocketResponse[bool] | None = None
        self._opened = math.inf  # when the connection was there; later than any time while it is not

    @property
    def room(self) -> int:
        """How many more topics it may carry."""
        return self.stream.topics_per_connection - len(self.topics)

    def add(self, topics: Iterable[Topic]) -> None:
        """Carry more topics from now on, or such of the whole market that have grown."""
        for topic in topics:
            known = self.topics.get(topic.name)
            self.topics[topic.name] = topic
            if topic.name in self._pending:
                self._pending[topic.name] = topic
            elif known != topic and topic.name in self._asked and topic.name not in self._refused:
                self._feed.live(topic, 0, time.time_ns())  # is fed already, with what has grown
        self._changed.set()

    def remove(self, names: Iterable[str]) -> None:
        """Carry some topics no more."""
        for name in names:
            self.topics.pop(name, None)
            self._pending.pop(name, None)
            self._lost_ns.pop(name, None)
            self._refused.pop(name, None)
            self._alone.discard(name)
            self._resynced.pop(name, None)
            self._anew.discard(name)
        self._changed.set()

    async def run(self) -> None:
        """Keep the connection up."""
        backoff = Backoff()
        while True:
            await self._opening.take()
            self._opened = math.inf
            reason = "closed"
            try:
                try:
                    await self._session()
                except* _TRANSPORT as group:
                    reason = describe_failure(first_of(group))
                if is_cancelled():  # at the moment of a failure, which a TaskGroup raises in its place
                    raise asyncio.CancelledError
                self._end(reason, time.time_ns())
            finally:  # after the loss is announced: a dead peer lets a close wait
                await self._close()
            await asyncio.sleep(backoff.wait_s(max(0.0, time.monotonic() - self._opened)))

    async def _session(self) -> None:
        self._parser = self._venue(self._listings)  # what it learned of the wire ends with the connection
        async with asyncio.timeout(_CONNECT_S):
            url = await self._url()
            socket = await self._network.session.ws_connect(
                self._network.addresses.of(url),
                autoping=False,
                max_msg_size=MOST_BYTES,
                decode_text=False,
                headers=self.stream.headers,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
            )
        self._socket = socket
        self._opened = time.monotonic()
        self._liveness.opened()
        self._silence.opened()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._subscribe(socket))
            tasks.create_task(self._watch(socket))
            await self._read(socket)  # not a third task: in Python 3.11 a group that only waits miscounts cancels

    async def _close(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            with contextlib.suppress(*_TRANSPORT):
                await asyncio.shield(socket.close())

    async def _url(self) -> str:
        if not self.stream.ticket:
            return self.stream.url
        async with self._network.session.post(self._network.addresses.of(self.stream.ticket)) as answer:
            content = await answer.read()
            if answer.status != 200:
                raise ConnectionLostError(f"{self.stream.ticket} answered {answer.status}")
        return self._parser.connect_to(self.stream, content)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        while True:
            message = await socket.receive()
            # the news that a connection is gone is none from the venue
            now_ns = self._liveness.heard() if message.type in _FRAMES else 0
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    for reply in self._message(message.data, now_ns):
                        await send(socket, reply)
                case aiohttp.WSMsgType.PING:
                    await socket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    pass
                case aiohttp.WSMsgType.ERROR:
                    raise ConnectionLostError(f"websocket error: {socket.exception()}")
                case _:
                    raise ConnectionLostError(
                        f"closed by the venue ({socket.close_code}) {message.extra or ''}".rstrip()
                    )

    def _message(self, content: bytes, now_ns: int) -> list[str | bytes]:
        """Hand on the events of a message; returns what has to be answered."""
        try:
            records = self._parser.parse(content)
        except MalformedMessage as error:
            self._feed.malformed(error)
            self._may_have_held_events(now_ns)
            return []
        replies: list[str | bytes] = []
        for record in records:
            if isinstance(record, Event):
                if record.time_ns:
                    self._liveness.stamped(record.time_ns)
                self._silence.fed(channel_of(record), record.listing.native_id, self._liveness.last)
                if not self._feed.event(record, now_ns):
                    self._out_of_step(record.listing)
                elif self._pending:
                    self._fed(record, now_ns)
            elif isinstance(record, Reply):
                replies.append(record.content)
            else:
                self._told(record, now_ns)
        return replies

    def _may_have_held_events(self, now_ns: int) -> None:
        """Announce what an unreadable message may have held; of states the next one makes good."""
        if now_ns - self._unread_ns >= _UNREAD_NS:
            self._unread_ns = now_ns
            for topic in [t for t in self._confirmed() if _ONCE.intersection(t.channels)]:
                self._feed.live(topic, self._liveness.since_ns(now_ns), self._liveness.until_ns(now_ns))

    def _confirmed(self) -> list[Topic]:
        """Topics that are fed."""
        return [t for name, t in self.topics.items() if name in self._asked and name not in self._pending]

    def _told(self, record: Record, now_ns: int) -> None:
        match record:
            case Subscribed():
                for name in self._names(record):
                    self._became_live(name, now_ns)
            case Refused():
                if not record.topics and record.request_id < 0:
                    self._blamed = False  # somebody was refused, nobody knows who: silence is no consent any more
                self._were_refused(record)
            case Reset():
                raise ConnectionLostError(f"the venue asks for a new connection: {record.reason}")
            case Unknown():
                self._feed.unknown(record.kind)
            case Unlisted():
                self._feed.unlisted(record.native_id)

    def _were_refused(self, answer: Refused) -> None:
        """Leave out what was refused for a while; of a request as a whole, ask for each alone: one is to blame."""
        topics = [topic for name in self._names(answer) if (topic := self.topics.get(name))]
        divided = not answer.topics and len(topics) > 1
        for topic in topics:
            self._pending.pop(topic.name, None)
            if divided:
                self._asked.pop(topic.name, None)
                self._alone.add(topic.name)
            else:
                self._refused[topic.name] = time.monotonic()
        self._changed.set()
        self._feed.refused(() if divided else topics, answer.reason)

    def _ask_again(self, now: float) -> None:
        """What was refused may be granted later."""
        for name in [name for name, refused in self._refused.items() if now - refused > _REFUSED_S]:
            del self._refused[name]
            self._asked.pop(name, None)
            self._changed.set()

    def _names(self, answer: Subscribed | Refused) -> Iterable[str]:
        return answer.topics or self._requested.pop(answer.request_id, ())

    def _fed(self, event: Event, now_ns: int) -> None:
        """An event is as good as an answer to the subscription that it belongs to."""
        channel, native_id = channel_of(event), event.listing.native_id
        for name, topic in list(self._pending.items()):
            if channel in topic.channels and (not topic.native_ids or native_id in topic.native_ids):
                self._became_live(name, now_ns)

    def _became_live(self, name: str, now_ns: int) -> None:
        topic = self._pending.pop(name, None)
        if topic is not None:
            self._silence.expects(topic)
            self._feed.live(topic, self._lost_ns.pop(name, 0), self._liveness.until_ns(now_ns))

    def _out_of_step(self, listing: Listing) -> None:
        """Ask anew for a book of which something is missing."""
        now = time.monotonic()
        for name, topic in self.topics.items():
            if Channel.DEPTH in topic.channels and listing.native_id in topic.native_ids and name not in self._pending:
                if now - self._resynced.get(name, -_RESYNC_S) < _RESYNC_S:
                    continue
                self._resynced[name] = now
                self._begin_anew(topic, self._liveness.since_ns(time.time_ns()), "a message of the book is missing")

    def _begin_anew(self, topic: Topic, since_ns: int, reason: str) -> None:
        """End a subscription and ask for it again; until it is confirmed its markets are not fed."""
        self._feed.lost([topic], since_ns, time.time_ns(), reason)
        self._lost_ns[topic.name] = since_ns
        self._pending[topic.name] = topic
        self._anew.add(topic.name)
        self._changed.set()

    def _ask_silent_anew(self) -> None:
        """Ask anew for topics that fell silent, or for everything when all that never pause did."""
        watched = [
            topic for topic in self._confirmed() if topic.name not in self._refused and self._silence.watches(topic)
        ]
        silent = self._silence.silent(watched)
        for topic, seconds in silent.items():
            self._lost_ns.setdefault(topic.name, time.time_ns() - round(seconds * 1e9))
        if silent and len(silent) == len(watched):
            raise ConnectionLostError(_silent(max(silent, key=lambda topic: silent[topic]), max(silent.values())))
        for topic, seconds in silent.items():
            self._begin_anew(topic, self._lost_ns[topic.name], _silent(topic, seconds))

    async def _subscribe(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        """Ask for what is wanted, and only that, again whenever it changes."""
        self._asked.clear()
        self._requested.clear()
        while True:
            self._changed.clear()
            surplus = [name for name in self._asked if name not in self.topics or name in self._anew]
            for names in in_batches(surplus, self.stream.topics_per_message):
                requests = self._parser.unsubscribe(names, self._next_request(()))
                if not requests and not self._anew.isdisjoint(names):
                    raise ConnectionLostError(f"{names[0]} has to begin anew, and only a new connection does that")
                for request in requests:
                    await self._sending.take()
                    await send(socket, request)
                for name in names:
                    self._asked.pop(name, None)
                self._anew.difference_update(names)
            wanted = [name for name in self.topics if name not in self._asked and name not in self._refused]
            together = [name for name in wanted if name not in self._alone]
            apart = [[name] for name in wanted if name in self._alone]
            for names in [*in_batches(together, self.stream.topics_per_message), *apart]:
                for name in names:
                    self._asked[name] = time.monotonic()
                    if name in self.topics:
                        self._pending[name] = self.topics[name]
                for request in self._parser.subscribe(names, self._next_request(tuple(names))):
                    await self._sending.take()
                    await send(socket, request)
            await self._changed.wait()

    def _next_request(self, names: tuple[str, ...]) -> int:
        self._requests += 1
        if names:
            self._requested[self._requests] = names
        return self._requests

    async def _watch(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        """Send pings; raise ConnectionLostError when nothing comes any more."""
        while True:
            await asyncio.sleep(min(_CHECK_S, self._silence_s / 4))
            self._liveness.check()
            if self._liveness.ping_is_due(self.stream.ping_s):
                ping = self._parser.ping()
                await (send(socket, ping) if ping else socket.ping())
            if self._liveness.probe_is_due():
                await socket.ping()
            self._ask_silent_anew()
            self._take_for_granted(time.monotonic())
            self._ask_again(time.monotonic())

    def _take_for_granted(self, now: float) -> None:
        """Some venues answer nothing, and nothing happens on a quiet topic."""
        if not self._blamed:
            return
        for name in [n for n, asked in self._asked.items() if n in self._pending and now - asked > _UNANSWERED_S]:
            if self._liveness.last > self._asked[name]:
                self._became_live(name, time.time_ns())

    def _end(self, reason: str, now_ns: int) -> None:
        """Announce what is not fed any more."""
        since_ns = self._liveness.since_ns(now_ns)
        fed = self._confirmed()
        for topic in fed:  # one that was mute before the end has missed more than the others
            quiet_ns = round(self._silence.quiet_s(topic) * 1e9)
            self._lost_ns.setdefault(topic.name, min(since_ns, now_ns - quiet_ns))
        lost = [topic for topic in fed if topic.name not in self._refused]
        self._feed.lost(lost, since_ns, self._liveness.until_ns(now_ns), reason)
        self._asked.clear()
        self._pending.clear()
        self._refused.clear()
        self._blamed = True
        self._anew.clear()


def _silent(topic: Topic, seconds: float) -> str:
    return f"{topic.name} silent for {seconds:.1f} s"
