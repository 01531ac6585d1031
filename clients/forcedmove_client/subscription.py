"""A stream of maps that outlives its connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.assembly import OutOfStepError, SymbolState
from forcedmove_client.errors import ServerError
from forcedmove_client.frames import MapFrame
from forcedmove_client.resuming import Patience, ResumingStream

if TYPE_CHECKING:  # the stubs are generic, the class is not
    Call = grpc.aio.StreamStreamCall[heatmap_pb2.SubscribeRequest, heatmap_pb2.SubscribeResponse]

logger = logging.getLogger(__name__)

#: a server whose fresh snapshots do not match their own checksums this often is not going to get better
_MAX_RESYNCS_IN_A_ROW = 3


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


class Subscription(ResumingStream[MapFrame, heatmap_pb2.SubscribeResponse]):
    """An asynchronous iterator of MapFrame.

    A lost connection is taken up again where it ended: symbols that did not change meanwhile go on, others begin with a
    snapshot, and so does everything after a restart of the server. Frames are read when they are asked for: a consumer
    that is slow skips frames, which ``MapFrame.skipped`` and ``stats`` tell.

    Raises UnavailableError or LimitExceededError when ``reconnect_timeout_s`` has passed, and whatever the server
    refuses the request with.
    """

    _kind = "maps"

    def __init__(
        self, open_call: Callable[[], Call], wanted: heatmap_pb2.Subscription, target: str, patience: Patience
    ) -> None:
        self.stats = StreamStats()
        super().__init__(target, patience, self.stats)
        self._open_call, self._wanted = open_call, wanted
        self._request_id = 0
        self._untold_skips = 0
        self._epoch = 0
        self._states: dict[str, SymbolState] = {}
        self._resyncs: dict[str, int] = {}

    async def _open(self) -> None:
        self._resyncs.clear()
        self._call = self._open_call()
        await self._send()

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
            await self._send()

    async def _send(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # it has ended already; the next read says why
            await self._call.write(self._next_request())

    def _note_resync(self, symbol: str, error: OutOfStepError) -> None:
        self.stats.resyncs += 1
        self._resyncs[symbol] = self._resyncs.get(symbol, 0) + 1
        logger.warning("%s: asking for a snapshot (%s)", self._target, error)
        if self._resyncs[symbol] > _MAX_RESYNCS_IN_A_ROW:
            raise ServerError(f"{self._target}: {error}, {self._resyncs[symbol]} times in a row")
