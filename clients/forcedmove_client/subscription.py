"""A stream of maps that outlives its connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.assembly import OutOfStepError, SymbolState
from forcedmove_client.errors import ForcedMoveClientError, ServerError, UnavailableError, is_quota, translated
from forcedmove_client.frames import MapFrame

if TYPE_CHECKING:  # the stubs are generic, the class is not
    Call = grpc.aio.StreamStreamCall[heatmap_pb2.SubscribeRequest, heatmap_pb2.SubscribeResponse]

logger = logging.getLogger(__name__)

_BACKOFF_BASE_S, _BACKOFF_CAP_S = 0.1, 5.0
#: a server whose fresh snapshots do not match their own checksums this often is not going to get better
_MAX_RESYNCS_IN_A_ROW = 3
#: what a lost connection looks like; CANCELLED because a server that stops at once cancels its streams
_TRANSPORT_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a stream waits: ``reconnect_timeout_s`` None never gives up; ``silence_timeout_s`` between messages."""

    reconnect_timeout_s: float | None
    silence_timeout_s: float


@dataclass(slots=True)
class StreamStats:
    """What happened on a stream so far.

    ``resyncs`` counts frames that did not fit and were asked for again. ``missed_ticks`` is the server's own count, as
    of its last heartbeat: ticks it left out since its start because the ones before took too long.
    """

    frames: int = 0
    skipped: int = 0
    resyncs: int = 0
    reconnects: int = 0
    missed_ticks: int = 0


class Subscription:
    """An asynchronous iterator of MapFrame.

    A lost connection is taken up again where it ended: symbols that did not change meanwhile go on, others begin with a
    snapshot, and so does everything after a restart of the server. Frames are read when they are asked for: a consumer
    that is slow skips frames, which ``MapFrame.skipped`` and ``stats`` tell.

    Raises UnavailableError or LimitExceededError when ``reconnect_timeout_s`` has passed, and whatever the server
    refuses the request with.
    """

    def __init__(
        self, open_call: Callable[[], Call], wanted: heatmap_pb2.Subscription, target: str, patience: Patience
    ) -> None:
        self._call: Call | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.stats = StreamStats()
        self._open_call, self._wanted, self._target, self._patience = open_call, wanted, target, patience
        self._request_id = 0
        self._untold_skips = 0
        self._epoch = 0
        self._states: dict[str, SymbolState] = {}
        self._resyncs: dict[str, int] = {}
        self._ready: deque[MapFrame] = deque()
        self._lost_at: float | None = None
        self._attempts = 0
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MapFrame:
        while not self._ready:
            if self._closed:
                raise StopAsyncIteration
            try:
                await self._accept(await self._read())
            except ForcedMoveClientError:
                await self.aclose()
                raise
            except grpc.aio.AioRpcError as error:
                await self._recover(error)
            except asyncio.CancelledError:
                # Cancelling a read cancels its call. The next read opens another one and resumes.
                self._call = None
                task = asyncio.current_task()
                if self._closed and not (task and task.cancelling()):
                    raise StopAsyncIteration from None
                raise
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    def __del__(self) -> None:
        # after a break out of the loop nobody calls aclose(), and gRPC keeps a call alive that nobody refers to
        if self._call is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call.cancel)

    def _next_request(self) -> heatmap_pb2.SubscribeRequest:
        """Ask for the subscription again, from where it is. What still answers an earlier request is of no use then."""
        self._request_id += 1
        request = heatmap_pb2.SubscribeRequest(request_id=self._request_id, subscription=self._wanted)
        request.subscription.resume_epoch = self._epoch
        for symbol, state in self._states.items():
            if state.epoch == self._epoch:  # after a restart the states of before are of no use
                request.subscription.resume_seq[symbol] = state.seq
        return request

    async def _read(self) -> heatmap_pb2.SubscribeResponse:
        try:
            async with asyncio.timeout(self._patience.silence_timeout_s):
                if self._call is None:
                    self._loop = asyncio.get_running_loop()
                    self._call = self._open_call()
                    await self._send(self._call)
                response: Any = await self._call.read()
        except TimeoutError:
            silence = f"no message for {self._patience.silence_timeout_s:g} s, not even a heartbeat"
            raise _lost(silence) from None
        if response is grpc.aio.EOF:
            code, details = await self._call.code(), await self._call.details()
            raise _lost(details or "the server ended the stream", code)
        self._lost_at, self._attempts = None, 0
        return response  # type: ignore[no-any-return]

    async def _accept(self, response: heatmap_pb2.SubscribeResponse) -> None:
        if response.HasField("heartbeat"):
            self.stats.missed_ticks = response.heartbeat.missed_ticks
        self.stats.skipped += response.skipped_frames
        self._untold_skips += response.skipped_frames
        if response.request_id != self._request_id:
            return
        lost = False
        for frame in response.frames:
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
            self._ready.append(made)
        if lost and self._call is not None:
            await self._send(self._call)

    async def _send(self, call: Call) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # it has ended already; the next read says why
            await call.write(self._next_request())

    def _note_resync(self, symbol: str, error: OutOfStepError) -> None:
        self.stats.resyncs += 1
        self._resyncs[symbol] = self._resyncs.get(symbol, 0) + 1
        logger.warning("%s: asking for a snapshot (%s)", self._target, error)
        if self._resyncs[symbol] > _MAX_RESYNCS_IN_A_ROW:
            raise ServerError(f"{self._target}: {error}, {self._resyncs[symbol]} times in a row")

    async def _recover(self, error: grpc.aio.AioRpcError) -> None:
        """Wait before the next attempt to connect. Raises where that is of no use any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._closed:
            return
        full = is_quota(error)
        if error.code() not in _TRANSPORT_CODES and not full:
            self._closed = True
            raise translated(error, self._target) from None
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            logger.warning(
                "%s: %s (%s)", self._target, "no room there yet" if full else "connection lost", error.details()
            )
        delay = random.uniform(0, min(_BACKOFF_CAP_S, _BACKOFF_BASE_S * 2**self._attempts))
        if self._patience.reconnect_timeout_s is not None:
            left = self._lost_at + self._patience.reconnect_timeout_s - now
            if left <= 0:
                self._closed = True
                if full:
                    raise translated(error, self._target) from None
                raise UnavailableError(f"{self._target}: {error.details()}") from None
            delay = min(delay, left)
        self._attempts = min(self._attempts + 1, 16)
        self._resyncs.clear()
        self.stats.reconnects += 1
        await asyncio.sleep(delay)


def _lost(details: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.aio.AioRpcError:
    """Return a stream's end in the form that broken connections have; an end without a reason counts as one."""
    if code is grpc.StatusCode.OK:
        code = grpc.StatusCode.UNAVAILABLE
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
