"""A stream of numbered changes of one producer that outlives its connection: each counts once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable
from types import TracebackType
from typing import Any, Self

import grpc

from forcedmove.v1 import ingest_pb2
from forcedmove_client.errors import ForcedMoveClientError, HistoryGoneError, InvalidArgumentError, refused
from forcedmove_client.ingest_requests import OUTCOMES, IngestResult, IngestStats, PositionDelta, change_request
from forcedmove_client.positions import Position, PositionKey
from forcedmove_client.resuming import Patience, ResumingStream

logger = logging.getLogger(__name__)

#: a silent producer is heard of so many times within the time after which it would be gone
_HEARTBEATS = 4
#: refusals that are kept for flush() to tell of one
_MOST_UNTOLD = 1_024
_LONGEST_WAIT_S = 86_400.0


class Acknowledgement:
    """What will become of a request: awaiting it returns an IngestResult, or raises what it was refused with."""

    def __init__(self, request: ingest_pb2.IngestRequest, future: asyncio.Future[IngestResult]) -> None:
        self.request = request
        self.sequence = request.sequence
        self._future = future
        #: whether somebody has seen, or will see, how it ended
        self.awaited = False

    def __await__(self) -> Generator[Any, None, IngestResult]:
        self.awaited = True
        return asyncio.shield(self._future).__await__()

    def done(self) -> bool:
        """Whether it is known."""
        return self._future.done()

    def settle(self, result: IngestResult | ForcedMoveClientError) -> None:
        """Say what became of it."""
        if self._future.done():
            return
        if isinstance(result, IngestResult):
            self._future.set_result(result)
        else:
            self._future.set_exception(result)
            self._future.exception()  # flush() tells of those that nobody awaits, not the garbage collector


class IngestStream(ResumingStream[None, ingest_pb2.IngestResponse]):
    """Tells changes of one producer: ``async with client.ingest("desk-7f3a") as stream``; leaving it flushes.

    What was not acknowledged when a connection is lost is sent again with the same numbers, and counts once. Opening,
    ``send`` and ``flush`` raise what ended the stream: TakenOverError, AccessDeniedError, HistoryGoneError where the
    server does not have what it had acknowledged, UnavailableError or LimitExceededError after ``reconnect_timeout_s``.
    """

    _kind = "ingest"

    def __init__(
        self, open_call: Callable[[], Any], producer: str, target: str, patience: Patience, buffer: int
    ) -> None:
        if buffer < 1:
            raise InvalidArgumentError(f"buffer = {buffer}: must be above zero")
        self.stats = IngestStats()
        super().__init__(target, patience, self.stats)
        self.producer = producer
        #: what the server said when the stream was opened: the producer's last settled sequence, and what it held
        self.last_sequence = self.held = 0
        self._open_call = open_call
        self._session = secrets.randbits(64)
        self._buffer = asyncio.Semaphore(buffer)
        #: by sequence, oldest first: what is not settled, and of that what this connection has still to be told
        self._unsettled: dict[int, Acknowledgement] = {}
        self._unsent: deque[int] = deque()
        #: requests that this connection may have unanswered, as many as seem worth sending, and that it has
        self._window = self._pace = self._unanswered = 0
        #: seconds after which to send again, where the server has asked for that
        self._again_s: float | None = None
        #: the newest number that is taken, the one sent last, and up to where the server has settled all
        self._newest = self._told = self._acked = 0
        self._max_age_s = _LONGEST_WAIT_S
        self._untold: deque[tuple[Acknowledgement, ForcedMoveClientError]] = deque(maxlen=_MOST_UNTOLD)
        self._opened, self._work, self._news = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._ended: ForcedMoveClientError | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        work = (self._run(self._receive), self._run(self._transmit))
        self._tasks = [asyncio.create_task(each, name=f"ingest {self.producer}") for each in work]
        try:
            await self._opened.wait()
            self._check()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            await self.aclose()

    async def send(
        self,
        *,
        deltas: Iterable[PositionDelta] = (),
        positions: Iterable[Position] = (),
        removed: Iterable[PositionKey] = (),
        replace: bool = False,
        representative: bool = False,
        sequence: int | None = None,
    ) -> Acknowledgement:
        """Send one change, deltas or positions: all of it is applied, or nothing. Waits while the buffer is full.

        ``await`` what is returned to know that it was applied and is kept. ``sequence`` None is the next one; your own
        have to rise, and one that was applied before is not applied again. An idle stream says by itself that its
        producer is there. Raises InvalidArgumentError, or what ended the stream.
        """
        await self._buffer.acquire()
        try:
            self._check()
            number = self._newest + 1 if sequence is None else sequence
            request = change_request(number, deltas, positions, removed, replace, representative)
            if number <= self._told:
                raise InvalidArgumentError(f"sequence = {number}: has to rise, and was {self._told}")
        except BaseException:
            self._buffer.release()
            raise
        self._newest, self._told = max(self._newest, number), number
        told = Acknowledgement(request, asyncio.get_running_loop().create_future())
        self._unsettled[number] = told
        self._unsent.append(number)
        self.stats.sent += 1
        self._work.set()
        return told

    async def flush(self) -> None:
        """Wait until all that was sent is settled.

        Raises the first refusal that nobody awaits, or what ended the stream.
        """
        while self._unsettled:
            self._check()
            self._news.clear()
            await self._news.wait()
        self._check()
        while self._untold:
            told, error = self._untold.popleft()
            if not told.awaited:
                self._untold.clear()
                raise error

    async def aclose(self) -> None:
        """End the stream; what is not settled is given up."""
        await super().aclose()
        if asyncio.current_task() in self._tasks:
            return  # the stream ends by itself, and says why
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._end(ForcedMoveClientError("the stream was closed"))

    # --- one connection ----------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._window = 0  # nothing is sent before the server has said where it is
        self._call = self._open_call()
        with contextlib.suppress(asyncio.InvalidStateError):  # it has ended already; the next read says why
            opening = ingest_pb2.IngestOpen(session=self._session, resumes=self._opened.is_set())
            await self._call.write(ingest_pb2.IngestRequest(producer=self.producer, open=opening))

    async def _accept(self, response: ingest_pb2.IngestResponse) -> None:
        if response.HasField("opened"):
            self._begin(response.opened)
            return
        self._acked = max(self._acked, response.ack.acked_sequence)
        for result in response.ack.results:
            self._unanswered -= 1
            if result.outcome == ingest_pb2.INGEST_OUTCOME_POSTPONED:
                self.stats.postponed += 1
                if self._again_s is None:  # what stands behind it is postponed too: fewer at a time from now on
                    self._pace = max(self._pace // 2, 1)
                self._again_s = max(self._again_s or 0.0, result.error.retry_delay_s)
            elif told := self._unsettled.pop(result.sequence, None):
                self._buffer.release()
                self._pace = min(self._pace + 1, self._window)
                self._settle(told, result)
        self._news.set()
        self._work.set()

    def _begin(self, opened: ingest_pb2.IngestOpened) -> None:
        if opened.last_sequence < self._acked:
            raise HistoryGoneError(
                f"{self._target}: the server knows what {self.producer} told up to {opened.last_sequence} and had "
                f"acknowledged {self._acked}: what it held is lost, tell it all again"
            )
        if not self._opened.is_set():
            self.last_sequence, self.held = opened.last_sequence, opened.held
            self._newest = self._acked = opened.last_sequence
            self._opened.set()
        self._max_age_s = opened.max_age_s or _LONGEST_WAIT_S
        self._window = self._pace = opened.window
        self._unanswered, self._again_s = 0, None
        self._unsent = deque(self._unsettled)
        self._work.set()

    def _settle(self, told: Acknowledgement, result: ingest_pb2.IngestResult) -> None:
        outcome = OUTCOMES.get(result.outcome)
        if outcome is not None:
            setattr(self.stats, outcome, getattr(self.stats, outcome) + 1)
            told.settle(IngestResult(result.sequence, outcome))
            return
        error = refused(result.error.code, result.error.message)
        self.stats.refused += 1
        self._untold.append((told, error))
        logger.warning("%s: request %d of %s was refused: %s", self._target, told.sequence, self.producer, error)
        told.settle(error)

    async def _recover(self, error: grpc.aio.AioRpcError) -> None:
        self._window = 0
        await super()._recover(error)

    # --- tasks of the stream -----------------------------------------------------------------------------------------

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do one half of the work; what it ends with is told to who uses the stream."""
        try:
            await work()
        except ForcedMoveClientError as error:
            self._end(error)
        except Exception as error:
            logger.exception("%s: the stream of %s failed", self._target, self.producer)
            self._end(ForcedMoveClientError(f"a bug in the client: {error!r}"))

    async def _receive(self) -> None:
        """Read until the stream ends; connections come and go."""
        await anext(self, None)

    async def _transmit(self) -> None:
        """Send what the connection may be sent; say that the producer is there when there is nothing to send."""
        while True:
            if self._again_s is not None and not self._unanswered:
                await asyncio.sleep(self._again_s)
                self._again_s, self._unsent = None, deque(self._unsettled)
            elif self._unsent and self._unanswered < min(self._pace, self._window) and self._again_s is None:
                told = self._unsettled.get(self._unsent.popleft())
                if told is not None:
                    await self._write(told.request)
            else:
                self._work.clear()
                try:
                    async with asyncio.timeout(self._max_age_s / _HEARTBEATS):
                        await self._work.wait()
                except TimeoutError:
                    if self._window and not self._unanswered:
                        await self._write(ingest_pb2.IngestRequest())

    async def _write(self, request: ingest_pb2.IngestRequest) -> None:
        self._unanswered += 1
        # whatever is wrong with the connection, reading tells; what was not answered is sent on the next one
        try:
            await self._call.write(request)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            pass
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # else it is the call that was cancelled

    def _check(self) -> None:
        if self._ended is not None:
            raise self._ended

    def _end(self, error: ForcedMoveClientError) -> None:
        self._ended = self._ended or error
        for told in self._unsettled.values():
            told.settle(self._ended)
            self._buffer.release()
        self._unsettled.clear()
        self._unsent.clear()
        for event in (self._opened, self._news):
            event.set()
