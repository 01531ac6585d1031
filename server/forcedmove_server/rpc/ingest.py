"""IngestService: streams of changes, one per producer; a request is answered when its change is published and kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

import grpc

from forcedmove.v1 import ingest_pb2
from forcedmove_server.access.usage import Bucket
from forcedmove_server.config import IngestConfig
from forcedmove_server.engine.exact.positions import check_producer
from forcedmove_server.engine.service import EngineService
from forcedmove_server.errors import ForcedMoveError, InputError, OutOfTurnError, QuotaError
from forcedmove_server.margin.ladder_book import LadderBook
from forcedmove_server.market.ingest import IngestAck, IngestRequest
from forcedmove_server.market.positions import PositionChange
from forcedmove_server.rpc.hub import Hub
from forcedmove_server.rpc.ingest_requests import OUTCOME_NAMES, IngestReader, result_of
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.status import guarded

if TYPE_CHECKING:  # the stubs are generic, the classes are not
    from grpc.aio import ServicerContext

    Context = ServicerContext[ingest_pb2.IngestRequest, ingest_pb2.IngestResponse]

#: least time after which what stands behind a request that was held back is worth sending again
_RETRY_S = 0.01

T = TypeVar("T")

SERVICE = ingest_pb2.DESCRIPTOR.services_by_name["IngestService"].full_name

logger = logging.getLogger(__name__)

#: producers of which something is remembered when their stream has ended
_REMEMBERED = 4_096


class IngestStream:
    """One open stream: its requests that are not answered, oldest first. Belongs to the event loop."""

    def __init__(self, producer: str, window: int) -> None:
        self.producer = producer
        #: newest sequence that is known to be settled, and that of the newest request that was read
        self.settled = self.newest = 0
        #: the oldest request that was more than its producer may send; those behind it are not taken in before it
        self.held_back: int | None = None
        self.ended: Exception | None = None
        self._window = window
        self._loop = asyncio.get_running_loop()
        self._unanswered: deque[tuple[int, Future[IngestAck]]] = deque()
        self._room, self._answers = asyncio.Event(), asyncio.Event()
        self._finished = False

    def begin(self, last: int) -> None:
        """Go on behind the last sequence that is settled."""
        self.settled = self.newest = last

    def follows(self, sequence: int) -> int:
        """Return what has to be settled before a request: the one read before it, unless it is sent again."""
        after = self.newest if sequence > self.newest else min(self.settled, sequence - 1)
        self.newest = sequence
        return after

    def add(self, sequence: int, answer: Future[IngestAck]) -> None:
        """Wait for the answer to a request."""
        self._unanswered.append((sequence, answer))
        answer.add_done_callback(self._answered)

    def finish(self) -> None:
        """No request follows."""
        self._finished = True
        self._answers.set()

    def fail(self, error: Exception) -> None:
        """End the stream with ``error``; what is under way goes on, and nobody is told."""
        self.ended = self.ended or error
        self._answers.set()
        self._room.set()

    async def has_room(self) -> bool:
        """Wait until another request may be read; False when the stream has ended meanwhile."""
        while len(self._unanswered) >= self._window and self.ended is None:
            self._room.clear()
            await self._room.wait()
        return self.ended is None

    async def answers(self, timeout_s: float) -> list[tuple[int, Future[IngestAck]]] | None:
        """Wait for the oldest request and return those answered with it; nothing when that takes longer.

        None when all are answered and none follows. Raises what the stream was ended with.
        """
        deadline = self._loop.time() + timeout_s
        while True:
            if self.ended is not None:
                raise self.ended
            found = []
            while self._unanswered and self._unanswered[0][1].done():
                found.append(self._unanswered.popleft())
            if found:
                self._room.set()
                return found
            if self._finished and not self._unanswered:
                return None
            self._answers.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._answers.wait()
            except TimeoutError:
                return []

    def _answered(self, _: Future[IngestAck]) -> None:
        with contextlib.suppress(RuntimeError):  # the engine may outlive the loop by a moment
            self._loop.call_soon_threadsafe(self._answers.set)


class _Rate:
    """What one producer may send: requests, and deltas and positions in them; of both a second's worth at once."""

    def __init__(self, limits: IngestConfig) -> None:
        rates = (limits.max_requests_per_s, limits.max_changes_per_s)
        self._buckets = [Bucket(rate, max(rate, 1.0), time.monotonic) for rate in rates]

    def take(self, changes: int) -> float:
        """Take one request with so many changes; where it is more than there may be now, return seconds to wait.

        One with more changes than a second allows waits for a whole second's, and overdraws them.
        """
        wanted = (1.0, min(float(changes), self._buckets[1].capacity))
        if wait_s := max(bucket.wait_s(units) for bucket, units in zip(self._buckets, wanted, strict=True)):
            return wait_s
        self._buckets[0].take(1.0)
        self._buckets[1].take(changes)
        return 0.0


class IngestHandlers:
    """Handlers of one server."""

    def __init__(self, engine: EngineService, hub: Hub, book: LadderBook, limits: Limits) -> None:
        self._engine, self._limits, self._counts = engine, limits, hub.ingest
        self._reader = IngestReader(engine.registry, book, limits)
        self._streams: dict[str, IngestStream] = {}
        #: of each producer what it may send, and the session that opened a stream last
        self._rates: OrderedDict[str, _Rate] = OrderedDict()
        self._sessions: OrderedDict[str, int] = OrderedDict()
        self._ended: Exception | None = None
        hub.on_end.append(self._end)

    def handler(self) -> grpc.GenericRpcHandler:
        """What a gRPC server registers."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Ingest": grpc.stream_stream_rpc_method_handler(
                    self.ingest, ingest_pb2.IngestRequest.FromString, ingest_pb2.IngestResponse.SerializeToString
                )
            },
        )

    @guarded
    async def ingest(self, requests: AsyncIterator[ingest_pb2.IngestRequest], context: Context) -> None:
        """Take in what one producer tells until it has told all, or another stream takes over."""
        incoming = aiter(requests)
        first = await anext(incoming, None)
        if first is None:
            return
        check_producer(first.producer)
        stream = self._take_over(first.producer, first.open)
        self._counts.streams += 1
        try:
            await context.write(ingest_pb2.IngestResponse(opened=await self._begin(stream)))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(stream, first, incoming), name="ingest requests")
                await self._write(stream, context)
        finally:
            self._counts.streams -= 1
            if self._streams.get(stream.producer) is stream:
                del self._streams[stream.producer]
            logger.info("%s: the stream of %s has ended", context.peer(), stream.producer)

    def _take_over(self, producer: str, opening: ingest_pb2.IngestOpen) -> IngestStream:
        if self._ended is not None:
            raise self._ended
        told_since = self._sessions.get(producer, opening.session)
        if opening.resumes and told_since != opening.session:
            raise OutOfTurnError(f"another stream of {producer} was opened since and has taken over")
        before = self._streams.get(producer)
        if before is None and len(self._streams) >= self._limits.ingest.max_streams:
            raise QuotaError(f"{len(self._streams)} streams are open, which is the limit (ingest.max_streams)")
        if before is not None:
            before.fail(OutOfTurnError(f"another stream of {producer} has been opened and goes on from here"))
        _remember(self._sessions, producer, opening.session)
        stream = self._streams[producer] = IngestStream(producer, self._limits.ingest.window)
        return stream

    async def _begin(self, stream: IngestStream) -> ingest_pb2.IngestOpened:
        """Find out where the producer is, behind all that an earlier stream has handed over."""
        ack = await asyncio.wrap_future(self._engine.ingest(_sign_of_life(stream.producer)))
        held = await asyncio.wrap_future(self._engine.positions(stream.producer))
        stream.begin(ack.last)
        return ingest_pb2.IngestOpened(
            last_sequence=ack.last,
            window=self._limits.ingest.window,
            held=len(held.positions),
            max_age_s=self._limits.max_age_s,
        )

    async def _read(
        self,
        stream: IngestStream,
        first: ingest_pb2.IngestRequest,
        incoming: AsyncIterator[ingest_pb2.IngestRequest],
    ) -> None:
        request: ingest_pb2.IngestRequest | None = first
        if not first.sequence and first.WhichOneof("request") in (None, "open"):
            request = await anext(incoming, None)
        while request is not None and await stream.has_room():
            if request.producer not in ("", stream.producer):
                raise InputError("producer", request.producer[:80], f"this stream is that of {stream.producer}")
            stream.add(request.sequence, self._submit(stream, request))
            request = await anext(incoming, None)
        stream.finish()

    def _submit(self, stream: IngestStream, request: ingest_pb2.IngestRequest) -> Future[IngestAck]:
        """Hand a request to the engine; one that is not handed over is answered by an error."""
        try:
            if not request.sequence:
                if request.WhichOneof("request") is None:
                    return self._engine.ingest(_sign_of_life(stream.producer))
                raise InputError("sequence", 0, "must be above zero, and rise with every request")
            after = stream.follows(request.sequence)
            self._check_rate(stream, request)
            body = self._reader.body_of(stream.producer, request)
        except ForcedMoveError as error:
            refused: Future[IngestAck] = Future()
            refused.set_exception(error)
            return refused
        return self._engine.ingest(IngestRequest(stream.producer, request.sequence, after, body))

    def _check_rate(self, stream: IngestStream, request: ingest_pb2.IngestRequest) -> None:
        """Count a request, or raise QuotaError: also where one before it was more than there may be."""
        if stream.held_back is not None and request.sequence > stream.held_back:
            raise QuotaError(f"request {stream.held_back} comes first, which has to be sent again", retry_s=_RETRY_S)
        rate = self._rates.get(stream.producer) or _Rate(self._limits.ingest)
        _remember(self._rates, stream.producer, rate)
        told = request.positions
        wait_s = rate.take(len(request.deltas.deltas) + len(told.positions) + len(told.removed))
        stream.held_back = request.sequence if wait_s else None
        if wait_s:
            limits = self._limits.ingest
            raise QuotaError(
                f"{stream.producer} sends more than ingest.max_requests_per_s = {limits.max_requests_per_s:g} or "
                f"ingest.max_changes_per_s = {limits.max_changes_per_s:g}",
                retry_s=wait_s,
            )

    async def _write(self, stream: IngestStream, context: Context) -> None:
        while (answers := await stream.answers(self._limits.heartbeat_s)) is not None:
            results = [result_of(sequence, answer) for sequence, answer in answers]
            self._counts.outcomes.update(OUTCOME_NAMES[result.outcome] for result in results)
            for _, answer in answers:
                if answer.exception() is None:
                    stream.settled = max(stream.settled, answer.result().last)
            await context.write(
                ingest_pb2.IngestResponse(ack=ingest_pb2.IngestAck(acked_sequence=stream.settled, results=results))
            )

    def _end(self, error: Exception) -> None:
        self._ended = error
        for stream in self._streams.values():
            stream.fail(error)


def _sign_of_life(producer: str) -> IngestRequest:
    return IngestRequest(producer, 0, 0, PositionChange(producer, 0))


def _remember(known: OrderedDict[str, T], producer: str, value: T) -> None:
    """Keep a value of a producer; of too many those that were used longest ago are forgotten."""
    known[producer] = value
    known.move_to_end(producer)
    if len(known) > _REMEMBERED:
        known.popitem(last=False)
