"""What a stream promises, checked while it runs: nothing is lost in silence, and every copy of a map is the same."""

from __future__ import annotations

import zlib
from collections import OrderedDict, deque

from forcedmove.v1 import heatmap_pb2
from forcedmove_client.frames import MapFrame

#: maps of which the checksum is remembered, and problems that are kept in words
_REMEMBERED, _MOST_TOLD = 100_000, 100


class StreamChecker:
    """Checks one stream: give it to ``AsyncClient.subscribe`` as ``checker``, and read ``problems`` whenever you like.

    What is checked, of every call, request, response and frame:

    * the first response to a subscription has its terms; the numbers of responses with maps rise, and no more of
      them are unacknowledged than the terms allow;
    * the seq of a symbol rises within an epoch, and an epoch does not come back;
    * what is told as skipped is what is missing in the seq of symbols that stay subscribed, also where a lost
      connection or another request is the reason: no less, by the response with the frames behind the gap or one before
      it, and no more, by the time that one of the symbols comes again; with delivery "every" nothing is missing or
      skipped (a stream with ``max_rate_hz`` leaves out what it does not tell, and is not checked for gaps);
    * a heartbeat never tells a head behind what was sent.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.frames = self.gaps = self.skipped = 0
        self._seqs: dict[str, int] = {}
        self._epoch = 0
        self._past_epochs: set[int] = set()
        self._wanted = heatmap_pb2.Subscription()
        self._request_id = 0
        #: frames that were told as skipped since ``_told``, and whose gap has not been seen yet; symbols since then
        self._owed = self._told = 0
        self._symbols: set[str] = set()
        self._number = 0
        #: numbers of responses that were not acknowledged yet
        self._unacked: deque[int] = deque()
        #: the first request whose answers the server counts: until then it was asked for no window
        self._counted_from = 0
        self._owed_terms: set[int] = set()

    def opened(self) -> None:
        """Note a new call."""
        self._number = self._counted_from = 0
        self._unacked.clear()
        self._owed_terms.clear()

    def requested(self, request: heatmap_pb2.SubscribeRequest) -> None:
        """Note what was sent."""
        if request.HasField("ack"):
            while self._unacked and self._unacked[0] <= request.ack.number:
                self._unacked.popleft()
        if not request.HasField("subscription"):
            return
        self._wanted, self._request_id = request.subscription, request.request_id
        # what answers the request before does not count any more: the server counts again from what is resumed
        self._owed = 0
        if not self._wanted.max_unacked:
            self._unacked.clear()
            self._counted_from = request.request_id + 1
        self._owed_terms.add(request.request_id)
        resumes = self._wanted.resume_seq if self._wanted.resume_epoch == self._epoch else {}
        self._seqs = dict(resumes)

    def received(self, response: heatmap_pb2.SubscribeResponse) -> None:
        """Check a response as it came, before its frames."""
        is_current = response.request_id == self._request_id
        if is_current and response.skipped_frames:
            self._settle()
            self.skipped += response.skipped_frames
            self._owed, self._told = response.skipped_frames, response.number
            self._symbols.clear()
            if self._wanted.delivery == heatmap_pb2.DELIVERY_EVERY:
                self._tell(f"response {response.number} tells of {self._owed} skipped frames; none may be")
        if response.HasField("terms"):
            self._owed_terms.discard(response.request_id)
        if response.frames or response.zstd_frames or response.HasField("fragment"):
            if response.request_id in self._owed_terms:
                self._tell(f"maps of request {response.request_id} before its terms")
            if response.number <= self._number:
                self._tell(f"response {response.number} follows {self._number}")
            self._number = response.number
            if (window := self._wanted.max_unacked) and response.request_id >= self._counted_from:
                self._unacked.append(response.number)
                if is_current and len(self._unacked) > window:
                    self._tell(f"with response {self._number} {len(self._unacked)} are unacknowledged, not {window}")
        if response.HasField("heartbeat") and response.heartbeat.epoch == self._epoch:
            for symbol, seq in self._seqs.items():
                if response.heartbeat.head_seq.get(symbol, seq) < seq:
                    self._tell(f"{symbol}: the heartbeat's head is behind {seq}")

    def applied(self, frame: MapFrame) -> None:
        """Check a frame in the order of the stream."""
        self.frames += 1
        if frame.epoch != self._epoch:
            if frame.epoch in self._past_epochs:
                self._tell(f"epoch {frame.epoch} comes back")
            self._past_epochs.add(self._epoch)
            self._epoch = frame.epoch
            self._seqs.clear()
        if frame.symbol in self._symbols:  # what was told was told of frames before this one
            self._settle()
        self._symbols.add(frame.symbol)
        before = self._seqs.get(frame.symbol)
        self._seqs[frame.symbol] = frame.seq
        if before is None:
            return
        if frame.seq <= before:
            self._tell(f"{frame.symbol}: frame {frame.seq} follows {before}")
            return
        gap = frame.seq - before - 1
        self.gaps += gap
        if gap and self._wanted.delivery == heatmap_pb2.DELIVERY_EVERY:
            self._tell(f"{frame.symbol}: frames {before + 1} to {frame.seq - 1} are missing")
        elif not self._wanted.max_rate_hz:
            self._owed -= gap
            if self._owed < 0:
                self._owed = 0
                self._tell(f"{frame.symbol}: frames {before + 1} to {frame.seq - 1} were skipped and not told")

    def _settle(self) -> None:
        """Note that everything has come that could make up for what was told."""
        if self._owed:
            self._tell(f"response {self._told} told of {self._owed} skipped frames more than are missing")
        self._owed = 0

    def _tell(self, problem: str) -> None:
        if len(self.problems) < _MOST_TOLD:
            self.problems.append(problem)


class CopiesChecker:
    """Checks that all copies of a map are the same, whichever way they came: streams, snapshots, other clients.

    Copies are of one view and quantum. The newest 100 000 maps are remembered, by their checksums.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.compared = 0
        self._seen: OrderedDict[tuple[int, str, int], int] = OrderedDict()

    def note(self, frame: MapFrame, by: str) -> None:
        """Compare a copy with those seen before; ``by`` names where it comes from."""
        key = frame.epoch, frame.symbol, frame.seq
        facts = repr((frame.mark_price, frame.axes, frame.price_low[:2].tolist(), frame.markets, frame.clusters))
        checksum = zlib.crc32(facts.encode(), zlib.crc32(frame.grid.tobytes()))
        known = self._seen.setdefault(key, checksum)
        if known != checksum and len(self.problems) < _MOST_TOLD:
            self.problems.append(f"{by}: {frame.symbol} {frame.epoch}/{frame.seq} differs from another copy")
        self.compared += 1
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
