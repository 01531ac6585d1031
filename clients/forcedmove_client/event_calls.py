"""The client's calls about events of armed chains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

from forcedmove.v1 import events_pb2_grpc
from forcedmove_client.calls import Calls
from forcedmove_client.events import EventName, EventPage, EventStream, list_request, page_of, watch_request
from forcedmove_client.ingest import IngestStream
from forcedmove_client.requests import Names
from forcedmove_client.resuming import Patience
from forcedmove_client.subscription import Subscription


class EventCalls(Calls):
    """What ``AsyncClient`` offers through the service of events."""

    _patience: Patience
    _subscriptions: WeakSet[Subscription | EventStream | IngestStream]

    def events(
        self, symbols: Names = (), *, types: EventName | Iterable[EventName] = (), from_seq: int = 0, epoch: int = 0
    ) -> EventStream:
        """Stream events of armed chains: ``async for event in client.events("BTC")``; none is skipped.

        ``from_seq`` 0 begins now, 1 with all of the server's epoch, ``event.seq + 1`` behind that event; ``epoch`` is
        that of the number. Iterating raises as EventStream says. Raises InvalidArgumentError.
        """

        async def ask_epoch() -> int:
            return (await self.list_events(limit=1)).epoch

        stream = EventStream(
            lambda request: self._events.WatchEvents(request),
            ask_epoch,
            watch_request(symbols, types, from_seq, epoch),
            self.target,
            self._patience,
        )
        self._subscriptions.add(stream)
        return stream

    async def list_events(
        self,
        symbols: Names = (),
        *,
        types: EventName | Iterable[EventName] = (),
        from_seq: int = 0,
        epoch: int = 0,
        limit: int = 0,
    ) -> EventPage:
        """Return events that are kept, oldest first; ``from_seq`` 0 begins at the oldest, ``limit`` 0 is 500.

        Raises InvalidArgumentError, UnknownNameError, HistoryGoneError or UnavailableError.
        """
        request = list_request(symbols, types, from_seq, epoch, limit)
        return page_of(await self._ask(self._events.ListEvents, request))

    @property
    def _events(self) -> Any:
        return events_pb2_grpc.EventServiceStub(self._channel)
