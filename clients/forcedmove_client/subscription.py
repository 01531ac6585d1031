"""A stream of maps that outlives its connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import grpc

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.assembly import OutOfStepError, SymbolState
from forcedmove_client.checking import StreamChecker
from forcedmove_client.credit import Credit
from forcedmove_client.ending import Ending
from forcedmove_client.errors import HistoryGoneError, ServerError, is_slow_consumer, translated
from forcedmove_client.frames import MapFrame
from forcedmove_client.joining import FragmentJoiner, frames_of
from forcedmove_client.requests import stays
from forcedmove_client.resuming import Patience, ResumingStream

if TYPE_CHECKING:  # the stubs are generic, the class is not
    Call = grpc.aio.StreamStreamCall[heatmap_pb2.SubscribeRequest, heatmap_pb2.SubscribeResponse]

DeliveryName = Literal["latest", "every"]

logger = logging.getLogger(__name__)

#: a server whose fresh snapshots do not match their own checksums this often is not going to get better
_MAX_RESYNCS_IN_A_ROW = 3


@dataclass(slots=True)
class StreamStats:
    """What happened on a stream so far.

    ``resyncs`` counts frames that did not fit and were asked for again, ``cut_offs`` streams that the server ended
    because nothing was taken from them. ``missed_ticks`` is the server's own count, as of its last heartbeat: ticks it
    left out since its start because the ones before took too long.
    """

    frames: int = 0
    skipped: int = 0
    resyncs: int = 0
    reconnects: int = 0
    cut_offs: int = 0
    missed_ticks: int = 0


class Subscription(ResumingStream[MapFrame, heatmap_pb2.SubscribeResponse]):
    """An asynchronous iterator of MapFrame.

    A lost connection is taken up again where it ended: symbols that did not change meanwhile go on, others begin with a
    snapshot, and so does everything after a restart of the server. Frames are read when they are asked for, and
    acknowledged when later ones are: a consumer that is slow skips frames, which ``MapFrame.skipped`` and ``stats``
    tell. With delivery "every" none is skipped: where the server has no longer all of them, or one came damaged,
    HistoryGoneError is raised once, and iterating goes on with snapshots.

    Raises UnavailableError or LimitExceededError when ``reconnect_timeout_s`` has passed, and whatever the server
    refuses the request with.
    """

    _kind = "maps"

    def __init__(
        self,
        open_call: Callable[[], Call],
        make: Callable[..., heatmap_pb2.Subscription],
        arguments: Mapping[str, Any],
        target: str,
        patience: Patience,
        checker: StreamChecker | None = None,
    ) -> None:
        """``make`` turns ``arguments``, those of ``AsyncClient.subscribe``, into the request."""
        self.stats = StreamStats()
        super().__init__(target, patience, self.stats)
        self._open_call, self._make, self._arguments = open_call, make, dict(arguments)
        self._wanted = make(**arguments)
        self._checker = checker
        self._request_id = 0
        self._credit = Credit()
        self._epoch = 0
        self._states: dict[str, SymbolState] = {}
        #: seq of each symbol's newest frame, also where its state was lost
        self._seqs: dict[str, int] = {}
        self._resyncs: dict[str, int] = {}
        self._fragments = FragmentJoiner()
        self._heads: dict[str, int] = {}
        #: gRPC takes one message at a time, and acknowledgements meet what the consumer asks for
        self._one_write = asyncio.Lock()
        self._pings: dict[int, tuple[float, asyncio.Future[float]]] = {}

    @property
    def _is_every(self) -> bool:
        return self._wanted.delivery == heatmap_pb2.DELIVERY_EVERY

    @property
    def _adapts(self) -> bool:
        """Whether the window follows the consumer."""
        return not self._is_every and self._arguments["max_unacked"] is None

    @property
    def head_seq(self) -> Mapping[str, int]:
        """Seq of the newest frame of each symbol, as of the server's last heartbeat."""
        return MappingProxyType(self._heads)

    async def change(self, **arguments: Any) -> None:
        """Ask for something else from now on: arguments of ``AsyncClient.subscribe`` that are to differ.

        Symbols that stay, under the same view and encoding, go on where they are; those of their frames that came
        before this are told first. Raises InvalidArgumentError; the next frame raises whatever the server refuses it
        with.
        """
        changed = {**self._arguments, **arguments}
        wanted = self._make(**changed)
        is_same_view = wanted.view == self._wanted.view and wanted.encoding == self._wanted.encoding
        self._seqs = {
            symbol: seq
            for symbol, seq in self._seqs.items()
            if is_same_view and stays(symbol, self._wanted.symbols, wanted.symbols)
        }
        self._states = {symbol: state for symbol, state in self._states.items() if symbol in self._seqs}
        self._ready = deque(frame for frame in self._ready if frame.symbol in self._seqs)
        self._arguments, self._wanted = changed, wanted
        await self._write_all(self._next_requests())

    async def ping(self) -> float:
        """Return the seconds that a message takes to the server and back; frames have to be read meanwhile.

        Raises UnavailableError where there is no connection, or it is lost.
        """
        if self._call is None:
            raise self._no_connection()
        nonce = time.perf_counter_ns()
        answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._pings[nonce] = time.perf_counter(), answer
        try:
            await self._write(heatmap_pb2.SubscribeRequest(ping=heatmap_pb2.Ping(nonce=nonce)))
            return await answer
        finally:
            self._pings.pop(nonce, None)

    async def _open(self) -> None:
        self._resyncs.clear()
        self._fragments = FragmentJoiner()
        self._credit.opened()
        for _, answer in self._pings.values():
            if not answer.done():
                answer.set_exception(self._no_connection())
        if self._checker is not None:
            self._checker.opened()
        self._call = self._open_call()
        self._ending = Ending(self._call)
        # where it has ended already, or does so meanwhile, the next read says why
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            async with self._one_write:
                for request in self._next_requests():
                    if self._checker is not None:
                        self._checker.requested(request)
                    await self._call.write(request)

    async def _read(self) -> heatmap_pb2.SubscribeResponse:
        """Read a response. Whoever asks for another one has consumed those before."""
        if (ack := self._credit.consumed()) is not None:
            await self._write(heatmap_pb2.SubscribeRequest(ack=ack))
        return await super()._read()

    def _next_requests(self) -> Iterator[heatmap_pb2.SubscribeRequest]:
        """Ask for the subscription again, from where it is. What still answers an earlier request is of no use then."""
        self._request_id += 1
        request = heatmap_pb2.SubscribeRequest(request_id=self._request_id, subscription=self._wanted)
        request.subscription.resume_epoch = self._epoch
        for symbol, state in self._states.items():
            if state.epoch == self._epoch:  # after a restart the states of before are of no use
                request.subscription.resume_seq[symbol] = state.seq
        yield request
        ack = self._credit.asked(self._wanted.max_unacked, self._adapts)
        if ack is not None:
            yield heatmap_pb2.SubscribeRequest(ack=ack)

    async def _accept(self, response: heatmap_pb2.SubscribeResponse) -> None:
        if self._checker is not None:
            self._checker.received(response)
        self._credit.received(response)
        if response.HasField("heartbeat"):
            self.stats.missed_ticks = response.heartbeat.missed_ticks
            self._heads = dict(response.heartbeat.head_seq)
        elif response.HasField("pong"):
            sent_at, answer = self._pings.get(response.pong.nonce, (0.0, None))
            if answer is not None and not answer.done():
                answer.set_result(time.perf_counter() - sent_at)
        elif response.HasField("going_away"):
            logger.info("%s: the server is going away", self._target)
        if response.request_id != self._request_id:
            return
        frames = self._fragments.frames(response.fragment) if response.HasField("fragment") else frames_of(response)
        lost: list[str] = []
        for frame in frames:
            try:
                made = self._states.setdefault(frame.symbol, SymbolState()).apply(frame, self._skipped_before(frame))
            except OutOfStepError as error:
                self._note_resync(frame.symbol, error)
                self._states.pop(frame.symbol)
                lost.append(frame.symbol)
                continue
            if frame.epoch != self._epoch:
                self._epoch, self._seqs = frame.epoch, {}
            self._seqs[frame.symbol] = frame.seq
            self._resyncs.pop(frame.symbol, None)
            self.stats.frames += 1
            self.stats.skipped += made.skipped
            if self._checker is not None:
                self._checker.applied(made)
            self._ready.append(made)
        if self._ready:
            self._credit.handed_out()
        if lost:
            await self._write_all(self._next_requests())
            if self._is_every and (gone := [symbol for symbol in lost if self._seqs.pop(symbol, 0)]):
                raise HistoryGoneError(f"{', '.join(gone)}: a frame came damaged; what follows begins with a snapshot")

    def _skipped_before(self, frame: heatmap_pb2.Frame) -> int:
        """Return how many frames of its symbol were left out. What the server tells is checked, not used: a response
        tells of all its symbols at once, and what it told before a request took its place is told again.
        """
        before = self._seqs.get(frame.symbol)
        if before is None or frame.epoch != self._epoch or self._wanted.max_rate_hz:
            return 0  # what a rate holds back is no sign of slowness
        return max(0, frame.seq - before - 1)

    async def _goes_on(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether to resume at once. Raises HistoryGoneError where frames were lost that none should be of."""
        if is_slow_consumer(error):
            self.stats.cut_offs += 1
            logger.warning("%s: cut off: %s", self._target, error.details())
            return True
        if error.code() is grpc.StatusCode.OUT_OF_RANGE:
            self._states, self._seqs = {}, {}
            gone = translated(error, self._target)
            assert isinstance(gone, HistoryGoneError)
            raise gone from None
        return False

    async def _write_all(self, requests: Iterable[heatmap_pb2.SubscribeRequest]) -> None:
        for request in list(requests):  # all of them are made before anything else can happen
            await self._write(request)

    async def _write(self, request: heatmap_pb2.SubscribeRequest) -> None:
        """Send a request, if there is a call that goes on; of one that has ended the next read says why."""
        call = self._call  # a read may give it up meanwhile
        if call is None or call.done():
            return
        if self._checker is not None:
            self._checker.requested(request)
        try:
            async with self._one_write:
                await call.write(request)
        except (asyncio.InvalidStateError, asyncio.CancelledError):
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        except grpc.aio.AioRpcError:
            pass  # it ended while this was written: reads bring what came before, then say why

    def _note_resync(self, symbol: str, error: OutOfStepError) -> None:
        self.stats.resyncs += 1
        self._resyncs[symbol] = self._resyncs.get(symbol, 0) + 1
        logger.warning("%s: asking for a snapshot (%s)", self._target, error)
        if self._resyncs[symbol] > _MAX_RESYNCS_IN_A_ROW:
            raise ServerError(f"{self._target}: {error}, {self._resyncs[symbol]} times in a row")
