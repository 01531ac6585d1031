"""EventService: the log of armed chains, as a stream that resumes and as pages."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import events_pb2, model_pb2
from forcedmove_server.engine.clusters.events import ArmEvent, EventKind, Outcome
from forcedmove_server.engine.clusters.log import Wanted
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import InputError, QuotaError
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.messages import chain_message
from forcedmove_server.rpc.requests import MOST_CHOICES, SIDE_NUMBERS, few, symbols_of
from forcedmove_server.rpc.status import guarded

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    WatchContext = ServicerContext[events_pb2.WatchEventsRequest, events_pb2.WatchEventsResponse]
    ListContext = ServicerContext[events_pb2.ListEventsRequest, events_pb2.ListEventsResponse]

SERVICE = events_pb2.DESCRIPTOR.services_by_name["EventService"].full_name

KIND_NUMBERS: dict[EventKind, events_pb2.EventType.ValueType] = {
    EventKind.ARMED: events_pb2.EVENT_TYPE_ARMED,
    EventKind.ESCALATED: events_pb2.EVENT_TYPE_ESCALATED,
    EventKind.TRIGGERED: events_pb2.EVENT_TYPE_TRIGGERED,
    EventKind.DISARMED: events_pb2.EVENT_TYPE_DISARMED,
    EventKind.EXPIRED: events_pb2.EVENT_TYPE_EXPIRED,
    EventKind.RESOLVED: events_pb2.EVENT_TYPE_RESOLVED,
}
_KINDS = {number: kind for kind, number in KIND_NUMBERS.items()}
#: events of one message: each has a few kilobytes
_AT_ONCE = 64
_DEFAULT_LIMIT, _MOST_LISTED = 500, 1_000


class EventHandlers:
    """Handlers of one server. A reader has a place in the log and nothing else: no queue that could overflow."""

    def __init__(self, engine: EngineService, hub: Hub, limits: Limits) -> None:
        self._engine, self._limits = engine, limits
        self._waiting: set[asyncio.Event] = set()
        self._ended: Exception | None = None
        hub.on_end.append(self._end)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "WatchEvents": grpc.unary_stream_rpc_method_handler(
                    self.watch_events,
                    events_pb2.WatchEventsRequest.FromString,
                    events_pb2.WatchEventsResponse.SerializeToString,
                ),
                "ListEvents": grpc.unary_unary_rpc_method_handler(
                    self.list_events,
                    events_pb2.ListEventsRequest.FromString,
                    events_pb2.ListEventsResponse.SerializeToString,
                ),
            },
        )

    @guarded
    async def watch_events(self, request: events_pb2.WatchEventsRequest, context: WatchContext) -> None:
        """Stream events until the reader leaves."""
        if len(self._waiting) >= self._limits.max_streams:
            raise QuotaError(f"{len(self._waiting)} streams of events are open, which is the limit (max_streams)")
        log, wanted = self._engine.events, self._wanted(request)
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:  # the engine may outlive the loop by a moment
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(news.set)

        self._waiting.add(news)
        stop = log.on_event(wake)
        try:
            page = log.read(request.from_seq or log.next_seq, _AT_ONCE, wanted, request.epoch)
            due = 0.0
            while True:
                if page.events or (self._ended is None and loop.time() >= due):
                    messages = [event_message(event) for event in page.events]
                    await context.write(
                        events_pb2.WatchEventsResponse(events=messages, epoch=log.epoch, next_seq=page.next_seq)
                    )
                    due = loop.time() + self._limits.heartbeat_s
                if page.next_seq == log.next_seq:
                    if self._ended is not None:
                        raise self._ended
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), max(due - loop.time(), 0.0))
                news.clear()
                page = log.read(page.next_seq, _AT_ONCE, wanted)
        finally:
            stop()
            self._waiting.discard(news)

    @guarded
    async def list_events(
        self, request: events_pb2.ListEventsRequest, context: ListContext
    ) -> events_pb2.ListEventsResponse:
        """List events that are kept."""
        if request.limit > _MOST_LISTED:
            raise InputError("limit", request.limit, f"at most {_MOST_LISTED}")
        log = self._engine.events
        page = log.read(request.from_seq, request.limit or _DEFAULT_LIMIT, self._wanted(request), request.epoch)
        return events_pb2.ListEventsResponse(
            events=[event_message(event) for event in page.events],
            epoch=log.epoch,
            next_seq=page.next_seq,
            first_seq=log.first_seq,
            last_seq=log.next_seq - 1,
        )

    def _wanted(self, request: events_pb2.WatchEventsRequest | events_pb2.ListEventsRequest) -> Wanted:
        """Return what a request wants. Raises InputError or UnknownNameError."""
        symbols = symbols_of(request.symbols, self._engine.registry, self._limits)
        few("types", request.types, MOST_CHOICES)
        for number in request.types:
            if number not in _KINDS:
                known = ", ".join(f"{kind.name} ({known})" for known, kind in _KINDS.items())
                raise InputError("types", number, f"must be among {known}")
        kinds = frozenset(_KINDS[number] for number in request.types)
        return Wanted(None if symbols is None else frozenset(symbols), kinds or None)

    def _end(self, error: Exception) -> None:
        self._ended = error
        for news in self._waiting:
            news.set()


def event_message(event: ArmEvent) -> events_pb2.Event:
    """One event."""
    return events_pb2.Event(
        event_id=event.event_id,
        epoch=event.epoch,
        seq=event.seq,
        type=KIND_NUMBERS[event.kind],
        arm=event.arm,
        symbol=event.symbol,
        side=SIDE_NUMBERS[event.side],
        cluster_id=event.cluster,
        event_time_ns=event.time_ns,
        tick=event.tick,
        mark_price_usd=event.mark_usd,
        price_low_usd=event.price_low_usd,
        price_high_usd=event.price_high_usd,
        distance_fraction=event.distance_fraction,
        notional_usd=event.notional_usd,
        venues=[model_pb2.VenueNotional(venue=venue, notional_usd=usd) for venue, usd in event.facts.venues],
        leverages=[events_pb2.LeverageNotional(leverage=x, notional_usd=usd) for x, usd in event.facts.leverages],
        mean_age_s=event.facts.mean_age_s,
        chain=chain_message(event.chain),
        total_p95_usd=event.total_p95_usd,
        touch=[events_pb2.EventTouch(horizon_s=horizon, probability=p) for horizon, p in event.touch],
        volatility_day=event.volatility_day,
        reason=event.reason,
        outcome=None if event.outcome is None else _outcome_message(event.outcome),
    )


def _outcome_message(outcome: Outcome) -> events_pb2.ArmOutcome:
    return events_pb2.ArmOutcome(
        cascade=outcome.cascade,
        began_time_ns=outcome.began_ns,
        ended_time_ns=outcome.ended_ns,
        floor_price_usd=outcome.floor_usd,
        floor_time_ns=outcome.floor_ns,
        liquidated_usd=outcome.liquidated_usd,
        released_usd=outcome.released_usd,
        total_usd=outcome.total_usd,
        levels=outcome.levels,
        lead_time_s=outcome.lead_time_s,
    )
