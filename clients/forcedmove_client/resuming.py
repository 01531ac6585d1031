"""Streams that outlive their connection: when one is lost, how long is waited, and when it is given up."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import grpc

from forcedmove_client.ending import CORE_FAULT, Ending
from forcedmove_client.errors import ForcedMoveClientError, HistoryGoneError, UnavailableError, is_quota, translated

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Response = TypeVar("Response")

_BACKOFF_BASE_S, _BACKOFF_CAP_S = 0.1, 5.0
#: what a lost connection looks like; CANCELLED because a server that stops at once cancels its streams
_TRANSPORT_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a stream waits: ``reconnect_timeout_s`` None never gives up; ``silence_timeout_s`` between messages."""

    reconnect_timeout_s: float | None
    silence_timeout_s: float


class Reconnects(Protocol):
    """Statistics that count how often a connection was taken up again."""

    reconnects: int


class ResumingStream(ABC, Generic[Item, Response]):
    """An asynchronous iterator that opens its call anew where it has ended.

    Who derives from it opens calls from where the stream is, and puts what a response holds into ``_ready``. Raises
    UnavailableError or LimitExceededError when ``reconnect_timeout_s`` has passed, and whatever the server refuses the
    request with.
    """

    #: for the log
    _kind: str

    def __init__(self, target: str, patience: Patience, stats: Reconnects) -> None:
        self._call: Any = None
        self._responses: Any = None
        #: of the call, where something is written to it
        self._ending: Ending | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._target, self._patience, self._counts = target, patience, stats
        self._ready: deque[Item] = deque()
        self._lost_at: float | None = None
        self._attempts = 0
        self._closed = False

    @abstractmethod
    async def _open(self) -> None:
        """Set ``_call`` to a new call, and ask for what comes next."""

    @abstractmethod
    async def _accept(self, response: Response) -> None:
        """Put what a response holds into ``_ready``."""

    async def _goes_on(self, error: grpc.aio.AioRpcError) -> bool:
        """Whether the stream goes on at once, though a call has ended so."""
        return False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while not self._ready:
            if self._closed:
                raise StopAsyncIteration
            try:
                await self._accept(await self._read())
            except HistoryGoneError:
                raise  # it goes on behind what is gone
            except ForcedMoveClientError:
                await self.aclose()
                raise
            except grpc.aio.AioRpcError as error:
                await self._recover(error)
            except asyncio.CancelledError:
                # Cancelling a read cancels its call, which may also be given up elsewhere. The next read opens another
                # one and resumes.
                self._call = None
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise
        return self._ready.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _no_connection(self) -> UnavailableError:
        return UnavailableError(f"{self._target}: no connection")

    async def aclose(self) -> None:
        """End the stream."""
        self._closed = True
        if self._call is not None:
            self._call.cancel()

    def __del__(self) -> None:
        # after a break out of the loop nobody calls aclose(), and gRPC keeps a call alive that nobody refers to
        if self._call is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._call.cancel)

    async def _read(self) -> Response:
        try:
            async with asyncio.timeout(self._patience.silence_timeout_s):
                if self._call is None:
                    self._loop = asyncio.get_running_loop()
                    await self._open()
                    opened: Any = self._call
                    self._responses = aiter(opened)
                call = self._call
                # call.read() gives up once a write has failed, and what the server had to say is not heard
                response: Response = await anext(self._responses)
        except TimeoutError:
            silence = f"no message for {self._patience.silence_timeout_s:g} s, not even a heartbeat"
            raise _lost(silence) from None
        except StopAsyncIteration:
            code, details = await call.code(), await call.details()
            raise _lost(details or "the server ended the stream", code) from None
        except grpc.aio.AioRpcError as error:
            raise (error if self._ending is None else await self._ending.of(error)) from None
        self._lost_at, self._attempts = None, 0
        return response

    async def _recover(self, error: grpc.aio.AioRpcError) -> None:
        """Wait before the next attempt to connect. Raises where that is of no use any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._closed or await self._goes_on(error):
            return
        full = is_quota(error)
        if error.code() not in _TRANSPORT_CODES and not full and error.details() != CORE_FAULT:
            self._closed = True
            raise translated(error, self._target) from None
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
            reason = "no room there yet" if full else "connection lost"
            logger.warning("%s: %s: %s (%s)", self._target, self._kind, reason, error.details())
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
        self._counts.reconnects += 1
        await asyncio.sleep(delay)


def _lost(details: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.aio.AioRpcError:
    """Return a stream's end in the form that broken connections have; an end without a reason counts as one."""
    if code is grpc.StatusCode.OK:
        code = grpc.StatusCode.UNAVAILABLE
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
