"""The client without asyncio: the asynchronous one, on a loop in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from forcedmove_client.access import Tls
from forcedmove_client.aio import DEFAULT_TARGET, AsyncClient
from forcedmove_client.events import Event, EventStream, EventStreamStats
from forcedmove_client.frames import MapFrame
from forcedmove_client.ingest import IngestStream
from forcedmove_client.ingest_requests import IngestResult, IngestStats, PositionDelta
from forcedmove_client.positions import Position, PositionKey
from forcedmove_client.scan import ScanEstimate, ScanStream, ScanSummary, SymbolScan
from forcedmove_client.subscription import StreamStats, Subscription

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Client, P], R]:
    """Give ``Client`` an asynchronous method of the same signature that waits for its result."""

    @functools.wraps(method)
    def call(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return client._wait(method(client._client, *args, **kwargs))

    return call


def _iterating(
    method: Callable[Concatenate[AsyncClient, P], Subscription],
) -> Callable[Concatenate[Client, P], BlockingSubscription]:
    """Give ``Client`` a stream of the same signature that blocks between frames."""

    @functools.wraps(method)
    def call(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> BlockingSubscription:
        return BlockingSubscription(client, method(client._client, *args, **kwargs))

    return call


def _watching(
    method: Callable[Concatenate[AsyncClient, P], EventStream],
) -> Callable[Concatenate[Client, P], BlockingEvents]:
    """Give ``Client`` a stream of events of the same signature that blocks between them."""

    @functools.wraps(method)
    def call(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> BlockingEvents:
        return BlockingEvents(client, method(client._client, *args, **kwargs))

    return call


def _scanning(
    method: Callable[Concatenate[AsyncClient, P], ScanStream],
) -> Callable[Concatenate[Client, P], BlockingScan]:
    """Give ``Client`` a scan of the same signature that blocks between symbols."""

    @functools.wraps(method)
    def call(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> BlockingScan:
        async def begin() -> ScanStream:
            return method(client._client, *args, **kwargs)

        return BlockingScan(client, client._wait(begin()))

    return call


def _ingesting(
    method: Callable[Concatenate[AsyncClient, P], IngestStream],
) -> Callable[Concatenate[Client, P], BlockingIngest]:
    """Give ``Client`` a stream of changes of the same signature that blocks."""

    @functools.wraps(method)
    def call(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> BlockingIngest:
        async def begin() -> IngestStream:
            return method(client._client, *args, **kwargs)

        return BlockingIngest(client, client._wait(begin()))

    return call


class Client:
    """A client of one server. Use as ``with Client() as client``; arguments are those of AsyncClient.

    Every call blocks; a client may be shared by threads.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float = 10.0,
        reconnect_timeout_s: float | None = 60.0,
        silence_timeout_s: float = 30.0,
        tls: Tls | bool | None = None,
        token: str | None = None,
        token_file: str | Path | None = None,
    ) -> None:
        self.target = target
        self._client = AsyncClient(
            target,
            timeout_s=timeout_s,
            reconnect_timeout_s=reconnect_timeout_s,
            silence_timeout_s=silence_timeout_s,
            tls=tls,
            token=token,
            token_file=token_file,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forcedmove client", daemon=True)
        self._thread.start()

    subscribe = _iterating(AsyncClient.subscribe)
    events = _watching(AsyncClient.events)
    list_events = _blocking(AsyncClient.list_events)
    snapshot = _blocking(AsyncClient.snapshot)
    symbols = _blocking(AsyncClient.symbols)
    venues = _blocking(AsyncClient.venues)
    simulate = _blocking(AsyncClient.simulate)
    forecast = _blocking(AsyncClient.forecast)
    liquidation_price = _blocking(AsyncClient.liquidation_price)
    scan = _blocking(AsyncClient.scan)
    iter_scan = _scanning(AsyncClient.iter_scan)
    estimate_scan = _blocking(AsyncClient.estimate_scan)
    what_if = _blocking(AsyncClient.what_if)
    scorecard = _blocking(AsyncClient.scorecard)
    set_positions = _blocking(AsyncClient.set_positions)
    positions = _blocking(AsyncClient.positions)
    clear_positions = _blocking(AsyncClient.clear_positions)
    ingest = _ingesting(AsyncClient.ingest)
    server_status = _blocking(AsyncClient.server_status)
    health = _blocking(AsyncClient.health)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all streams, the connection and the thread."""
        if self._loop.is_closed():
            return
        self._wait(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _finish(self) -> None:
        """Close the client and let gRPC's own tasks end before their loop does."""
        await self._client.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if rest:
            await asyncio.wait(rest, timeout=1.0)

    def _wait(self, work: Coroutine[Any, Any, R]) -> R:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("this client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # a KeyboardInterrupt must not leave the work behind
            raise


class BlockingSubscription:
    """An iterator of MapFrame over a Subscription."""

    def __init__(self, client: Client, subscription: Subscription) -> None:
        self._client, self._subscription = client, subscription

    @property
    def stats(self) -> StreamStats:
        """What happened on the stream so far."""
        return self._subscription.stats

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MapFrame:
        frame = self._client._wait(_next_of(self._subscription))
        if frame is None:
            raise StopIteration
        return frame

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream."""
        self._client._wait(self._subscription.aclose())


class BlockingScan:
    """An iterator of SymbolScan over a ScanStream."""

    def __init__(self, client: Client, stream: ScanStream) -> None:
        self._client, self._stream = client, stream

    @property
    def estimate(self) -> ScanEstimate | None:
        """What the scan comes to; there from the first symbol on."""
        return self._stream.estimate

    @property
    def summary(self) -> ScanSummary | None:
        """The ranking; there after the last symbol."""
        return self._stream.summary

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> SymbolScan:
        async def advance() -> SymbolScan | None:
            return await anext(self._stream, None)

        found = self._client._wait(advance())
        if found is None:
            raise StopIteration
        return found

    def close(self) -> None:
        """End the scan."""
        self._client._wait(self._stream.aclose())


class BlockingEvents:
    """An iterator of Event over an EventStream."""

    def __init__(self, client: Client, stream: EventStream) -> None:
        self._client, self._stream = client, stream

    @property
    def stats(self) -> EventStreamStats:
        """What happened on the stream so far."""
        return self._stream.stats

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        async def advance() -> Event | None:
            return await anext(self._stream, None)

        event = self._client._wait(advance())
        if event is None:
            raise StopIteration
        return event

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream."""
        self._client._wait(self._stream.aclose())


class BlockingIngest:
    """A stream of changes; use as ``with client.ingest("desk-7f3a") as stream``. Leaving it flushes."""

    def __init__(self, client: Client, stream: IngestStream) -> None:
        self._client, self._stream = client, stream

    @property
    def stats(self) -> IngestStats:
        """What happened on the stream so far."""
        return self._stream.stats

    @property
    def last_sequence(self) -> int:
        """The producer's last settled sequence when the stream was opened."""
        return self._stream.last_sequence

    def __enter__(self) -> Self:
        self._client._wait(self._stream.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client._wait(self._stream.__aexit__(kind, error, traceback))

    def send(
        self,
        *,
        deltas: Iterable[PositionDelta] = (),
        positions: Iterable[Position] = (),
        removed: Iterable[PositionKey] = (),
        replace: bool = False,
        representative: bool = False,
        sequence: int | None = None,
    ) -> Callable[[], IngestResult]:
        """Send one change, as IngestStream.send does; call what is returned to wait for what became of it."""
        told = self._client._wait(
            self._stream.send(
                deltas=deltas,
                positions=positions,
                removed=removed,
                replace=replace,
                representative=representative,
                sequence=sequence,
            )
        )

        async def result() -> IngestResult:
            return await told

        return lambda: self._client._wait(result())

    def flush(self) -> None:
        """Wait until all that was sent is settled, as IngestStream.flush does."""
        self._client._wait(self._stream.flush())


async def _next_of(subscription: Subscription) -> MapFrame | None:
    return await anext(subscription, None)
