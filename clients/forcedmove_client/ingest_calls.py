"""The client's call to tell changes as a stream."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from forcedmove.v1 import ingest_pb2_grpc
from forcedmove_client.calls import Calls
from forcedmove_client.events import EventStream
from forcedmove_client.ingest import IngestStream
from forcedmove_client.resuming import Patience
from forcedmove_client.subscription import Subscription


class IngestCalls(Calls):
    """What ``AsyncClient`` offers through the service of ingest."""

    _patience: Patience
    _subscriptions: WeakSet[Subscription | EventStream | IngestStream]

    def ingest(self, producer: str, *, buffer: int = 1_024) -> IngestStream:
        """Tell changes of positions as a stream: ``async with client.ingest("desk-7f3a") as stream``, then
        ``await stream.send(deltas=[...])``.

        At most ``buffer`` requests are not settled at a time; ``send`` waits beyond. There is one stream per producer:
        the newest. Raises InvalidArgumentError; opening raises as IngestStream says.
        """
        stream = IngestStream(lambda: self._ingest.Ingest(), producer, self.target, self._patience, buffer)
        self._subscriptions.add(stream)
        return stream

    @property
    def _ingest(self) -> Any:
        return ingest_pb2_grpc.IngestServiceStub(self._channel)
