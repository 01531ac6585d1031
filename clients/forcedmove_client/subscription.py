"""A stream of maps that outlives its connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import grpc

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.assembly import OutOfStepError, SymbolState
from forcedmove_client.checking import StreamChecker
from forcedmove_client.errors import HistoryGoneError, ServerError, is_slow_consumer, translated
from forcedmove_client.frames import MapFrame
from forcedmove_client.joining import FragmentJoiner, frames_of
from forcedmove_client.resuming import Patience, ResumingStream

if TYPE_CHECKING:  # the stubs are generic, the class is not
    Call = grpc.aio.StreamStreamCall[heatmap_pb2.SubscribeRequest, heatmap_pb2.SubscribeResponse]

DeliveryName = Literal["latest", "every"]

logger = logging.getLogger(__name__)

#: a server whose fresh snapshots do not match their own checksums this often is not going to get better
_MAX_RESYNCS_IN_A_ROW = 3
#: of what a server sends unacknowledged, the part after which it is told: each time costs it about as much as a map
_ACKNOWLEDGED_SHARE, _ACKNOWLEDGED_BYTES = 0.75, 512 << 10


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
    acknowledged when the next one is: a consumer that is slow skips frames, which ``MapFrame.skipped`` and ``stats``
    tell. With delivery "every" none is skipped: where the server has no longer all of them, HistoryGoneError is raised
    once, and iterating goes on with snapshots.

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
        self._received = self._unacknowledged = self._unacknowledged_bytes = 0
        self._untold_skips = 0
        self._epoch = 0
        self._states: dict[str, SymbolState] = {}
        self._resyncs: dict[str, int] = {}
        self._fragments = FragmentJoiner()
        self._heads: dict[str, int] = {}
        #: gRPC takes one message at a time, and acknowledgements meet what the consumer asks for
        self._one_write = asyncio.Lock()
        self._pings: dict[int, tuple[float, asyncio.Future[float]]] = {}

    @property
    def head_seq(self) -> Mapping[str, int]:
        """Seq of the newest frame of each symbol, as of the server's last heartbeat."""
        return MappingProxyType(self._heads)

    async def change(self, **arguments: Any) -> None:
        """Ask for something else from now on: arguments of ``AsyncClient.subscribe`` that are to differ.

        Frames of symbols that stay, under the same view and encoding, go on where they are. Raises
        InvalidArgumentError; the next frame raises whatever the server refuses it with.
        """
        changed = {**self._arguments, **arguments}
        wanted = self._make(**changed)
        if wanted.view != self._wanted.view or wanted.encoding != self._wanted.encoding:
            self._states.clear()
        elif wanted.symbols:
            self._states = {symbol: state for symbol, state in self._states.items() if symbol in wanted.symbols}
        self._arguments, self._wanted = changed, wanted
        self._ready.clear()
        await self._write(self._next_request())

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
        self._received = self._unacknowledged = self._unacknowledged_bytes = 0
        for _, answer in self._pings.values():
            if not answer.done():
                answer.set_exception(self._no_connection())
        if self._checker is not None:
            self._checker.opened()
        self._call = self._open_call()
        request = self._next_request()
        if self._checker is not None:
            self._checker.requested(request)
        with contextlib.suppress(asyncio.InvalidStateError):  # it has ended already; the next read says why
            async with self._one_write:
                await self._call.write(request)

    async def _read(self) -> heatmap_pb2.SubscribeResponse:
        """Read a response. Whoever asks for another one has consumed those before."""
        most = max(1, int(_ACKNOWLEDGED_SHARE * self._wanted.max_unacked))
        is_due = self._unacknowledged >= most or self._unacknowledged_bytes >= _ACKNOWLEDGED_BYTES
        if self._wanted.max_unacked and is_due:
            self._unacknowledged = self._unacknowledged_bytes = 0
            await self._write(heatmap_pb2.SubscribeRequest(ack=heatmap_pb2.Ack(number=self._received)))
        return await super()._read()

    def _next_request(self) -> heatmap_pb2.SubscribeRequest:
        """Ask for the subscription again, from where it is. What still answers an earlier request is of no use then."""
        self._request_id += 1
        request = heatmap_pb2.SubscribeRequest(request_id=self._request_id, subscription=self._wanted)
        request.subscription.resume_epoch = self._epoch
        for symbol, state in self._states.items():
            if state.epoch == self._epoch:  # after a restart the states of before are of no use
                request.subscription.resume_seq[symbol] = state.seq
        return request

    async def _accept(self, response: heatmap_pb2.SubscribeResponse) -> None:
        if self._checker is not None:
            self._checker.received(response)
        if response.number:
            self._received = response.number
            self._unacknowledged += 1
            self._unacknowledged_bytes += response.ByteSize()
        if response.HasField("heartbeat"):
            self.stats.missed_ticks = response.heartbeat.missed_ticks
            self._heads = dict(response.heartbeat.head_seq)
        elif response.HasField("pong"):
            sent_at, answer = self._pings.get(response.pong.nonce, (0.0, None))
            if answer is not None and not answer.done():
                answer.set_result(time.perf_counter() - sent_at)
        elif response.HasField("going_away"):
            logger.info("%s: the server is going away", self._target)
        self.stats.skipped += response.skipped_frames
        self._untold_skips += response.skipped_frames
        if response.request_id != self._request_id:
            return
        frames = self._fragments.frames(response.fragment) if response.HasField("fragment") else frames_of(response)
        lost = False
        for frame in frames:
            try:
                made = self._states.setdefault(frame.symbol, SymbolState()).apply(frame, self._untold_skips)
            except OutOfStepError as error:
                self._note_resync(frame.symbol, error)
                self._states.pop(frame.symbol)
                lost = True
                continue
            self._epoch = frame.epoch
            self._resyncs.pop(frame.symbol, None)
            self._untold_skips = 0
            self.stats.frames += 1
            if self._checker is not None:
                self._checker.applied(made)
            self._ready.append(made)
        if lost:
            await self._write(self._next_request())

    async def _goes_on(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether to resume at once. Raises HistoryGoneError where frames were lost that none should be of."""
        if is_slow_consumer(error):
            self.stats.cut_offs += 1
            logger.warning("%s: cut off: %s", self._target, error.details())
            return True
        if error.code() is grpc.StatusCode.OUT_OF_RANGE:
            self._states.clear()
            gone = translated(error, self._target)
            assert isinstance(gone, HistoryGoneError)
            raise gone from None
        return False

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
            pass  # it ended while this was written: the next read raises the same

    def _note_resync(self, symbol: str, error: OutOfStepError) -> None:
        self.stats.resyncs += 1
        self._resyncs[symbol] = self._resyncs.get(symbol, 0) + 1
        logger.warning("%s: asking for a snapshot (%s)", self._target, error)
        if self._resyncs[symbol] > _MAX_RESYNCS_IN_A_ROW:
            raise ServerError(f"{self._target}: {error}, {self._resyncs[symbol]} times in a row")
