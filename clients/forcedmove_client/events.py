"""Events of armed chains: what they say, and a stream of them that outlives its connection."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import numpy as np

from forcedmove.v1 import events_pb2
from forcedmove_client.decoding import SIDE_NAMES, chain_of, named
from forcedmove_client.frames import Chain, SideName
from forcedmove_client.requests import Names, names_of, number_of
from forcedmove_client.resuming import Patience, ResumingStream

EventName = Literal["armed", "escalated", "triggered", "disarmed", "expired", "resolved"]
EVENT_NAMES: dict[events_pb2.EventType.ValueType, EventName] = {
    events_pb2.EVENT_TYPE_ARMED: "armed",
    events_pb2.EVENT_TYPE_ESCALATED: "escalated",
    events_pb2.EVENT_TYPE_TRIGGERED: "triggered",
    events_pb2.EVENT_TYPE_DISARMED: "disarmed",
    events_pb2.EVENT_TYPE_EXPIRED: "expired",
    events_pb2.EVENT_TYPE_RESOLVED: "resolved",
}
#: types after which an arm does not stand any more
ENDINGS = frozenset({"triggered", "disarmed", "expired", "resolved"})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What really came of a chain that was triggered; see events.proto. Money and prices are USD."""

    cascade: bool
    began_at: np.datetime64
    ended_at: np.datetime64
    floor_price: float
    floor_at: np.datetime64
    liquidated_usd: float
    released_usd: float
    total_usd: float
    levels: int
    lead_time_s: float | None


@dataclass(frozen=True, slots=True)
class Event:
    """One event of an arm; ``arm`` is the ``seq`` of its first. Money and prices are USD, times UTC.

    ``touch`` maps horizons in seconds to the probability that the mark touches the cluster's near edge within them;
    ``distance`` is that edge's from the mark, negative below it.
    """

    event_id: str
    epoch: int
    seq: int
    type: EventName
    arm: int
    symbol: str
    side: SideName
    cluster_id: int
    time: np.datetime64
    tick: int
    mark_price: float
    price_low: float
    price_high: float
    distance: float
    notional_usd: float
    venues: dict[str, float]
    leverages: dict[float, float]
    mean_age_s: float | None
    chain: Chain
    total_p95_usd: float | None
    touch: dict[float, float]
    volatility_day: float
    reason: str
    outcome: Outcome | None

    @property
    def chain_venues(self) -> tuple[str, ...]:
        """Venues on which the chain fires, in the order they are hit."""
        return tuple(dict.fromkeys(venue for level in self.chain.levels for venue in level.venues))


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events that were asked for, and which ones the server keeps: ``first_seq`` to ``last_seq`` of ``epoch``."""

    events: tuple[Event, ...]
    epoch: int
    next_seq: int
    first_seq: int
    last_seq: int


@dataclass(slots=True)
class EventStreamStats:
    """What happened on a stream so far; ``restarts`` of the server begin a new epoch, with numbers from 1."""

    events: int = 0
    reconnects: int = 0
    restarts: int = 0


class EventStream(ResumingStream[Event, events_pb2.WatchEventsResponse]):
    """An asynchronous iterator of Event; made by ``AsyncClient.events``.

    A lost connection is taken up where it ended. After a restart of the server it goes on with all events of the new
    epoch. Raises HistoryGoneError where events are not kept any more, UnavailableError or LimitExceededError when the
    connection has been lost for too long, and whatever the server refuses the request with.
    """

    _kind = "events"

    def __init__(
        self,
        open_call: Callable[[events_pb2.WatchEventsRequest], Any],
        ask_epoch: Callable[[], Awaitable[int]],
        wanted: events_pb2.WatchEventsRequest,
        target: str,
        patience: Patience,
    ) -> None:
        self.stats = EventStreamStats()
        super().__init__(target, patience, self.stats)
        self._open_call, self._ask_epoch, self._wanted = open_call, ask_epoch, wanted

    @property
    def next_seq(self) -> int:
        """Where to resume; 0 before the first message."""
        return self._wanted.from_seq if not self._ready else self._ready[0].seq

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        self.stats.events += 1
        return event

    async def _open(self) -> None:
        self._call = self._open_call(self._wanted)

    async def _accept(self, response: events_pb2.WatchEventsResponse) -> None:
        self._wanted.epoch, self._wanted.from_seq = response.epoch, response.next_seq
        self._ready.extend(map(event_of, response.events))

    async def _goes_on(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether the server has restarted: then its events begin anew."""
        if error.code() is not grpc.StatusCode.OUT_OF_RANGE or not self._wanted.epoch:
            return False
        epoch = await self._ask_epoch()
        if epoch == self._wanted.epoch:
            return False
        logger.warning("%s: the server has restarted; events begin anew", self._target)
        self.stats.restarts += 1
        self._wanted.epoch, self._wanted.from_seq = epoch, 1
        return True


def watch_request(
    symbols: Names, types: EventName | Iterable[EventName], from_seq: int, epoch: int
) -> events_pb2.WatchEventsRequest:
    """The request of a stream. Raises InvalidArgumentError for a type that is none."""
    return events_pb2.WatchEventsRequest(
        symbols=names_of(symbols), types=_numbers(types), from_seq=from_seq, epoch=epoch
    )


def list_request(
    symbols: Names, types: EventName | Iterable[EventName], from_seq: int, epoch: int, limit: int
) -> events_pb2.ListEventsRequest:
    """The request of a page. Raises InvalidArgumentError for a type that is none."""
    return events_pb2.ListEventsRequest(
        symbols=names_of(symbols), types=_numbers(types), from_seq=from_seq, epoch=epoch, limit=limit
    )


def _numbers(types: EventName | Iterable[EventName]) -> list[events_pb2.EventType.ValueType]:
    return [number_of("types", name, EVENT_NAMES) for name in names_of(types)]


def page_of(response: events_pb2.ListEventsResponse) -> EventPage:
    """A page of events."""
    events = tuple(map(event_of, response.events))
    return EventPage(events, response.epoch, response.next_seq, response.first_seq, response.last_seq)


def event_of(event: events_pb2.Event) -> Event:
    """One event. Raises ServerError for a type or side that this client does not know."""
    outcome = event.outcome
    return Event(
        event_id=event.event_id,
        epoch=event.epoch,
        seq=event.seq,
        type=named("event.type", event.type, EVENT_NAMES),
        arm=event.arm,
        symbol=event.symbol,
        side=named("event.side", event.side, SIDE_NAMES),
        cluster_id=event.cluster_id,
        time=np.datetime64(event.event_time_ns, "ns"),
        tick=event.tick,
        mark_price=event.mark_price_usd,
        price_low=event.price_low_usd,
        price_high=event.price_high_usd,
        distance=event.distance_fraction,
        notional_usd=event.notional_usd,
        venues={venue.venue: venue.notional_usd for venue in event.venues},
        leverages={tier.leverage: tier.notional_usd for tier in event.leverages},
        mean_age_s=event.mean_age_s if event.HasField("mean_age_s") else None,
        chain=chain_of(event.chain),
        total_p95_usd=event.total_p95_usd if event.HasField("total_p95_usd") else None,
        touch={touch.horizon_s: touch.probability for touch in event.touch},
        volatility_day=event.volatility_day,
        reason=event.reason,
        outcome=Outcome(
            cascade=outcome.cascade,
            began_at=np.datetime64(outcome.began_time_ns, "ns"),
            ended_at=np.datetime64(outcome.ended_time_ns, "ns"),
            floor_price=outcome.floor_price_usd,
            floor_at=np.datetime64(outcome.floor_time_ns, "ns"),
            liquidated_usd=outcome.liquidated_usd,
            released_usd=outcome.released_usd,
            total_usd=outcome.total_usd,
            levels=outcome.levels,
            lead_time_s=outcome.lead_time_s if outcome.HasField("lead_time_s") else None,
        )
        if event.HasField("outcome")
        else None,
    )
