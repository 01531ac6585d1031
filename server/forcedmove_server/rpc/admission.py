"""Which calls are let in when there are more than can be answered: what matters least is refused first.

Every queue that calls wait in has a gate, and a gate has a threshold per class of calls that rises with what the class
is worth. Once per window a gate looks at the *standing* wait of its queue, the least that was seen in two windows: a
burst that drains is none (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012). Neither is a wait
without a queue: by Little's law the calls that wait are their rate times the wait, and where these are few a slow
machine is the cause, which refusing calls would not help. Above a class's threshold the share of its calls that are let
in falls by a factor, below it rises by a step; so the wait settles at the threshold of the class in between, classes
below it are shut out and those above it are whole.

A share is learnt, and late by the wait itself. Where a wait can be told beforehand it is: what-ifs take turns of known
length, and reads that are being answered leave at the rate at which they last left while there were many.
"""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, get_args

from forcedmove_server.config import OverloadConfig
from forcedmove_server.errors import QuotaError

logger = logging.getLogger(__name__)

Kind = Literal["scan", "simulate", "read", "stream", "ingest"]
QueueName = Literal["calls", "engine", "snapshots"]
#: what is refused first comes first
KINDS: tuple[Kind, ...] = get_args(Kind)

WINDOW_S = 0.1
#: a class is refused from so many times the queue's delay on
_TIMES_DELAY: Mapping[Kind, float] = {"scan": 1.0, "simulate": 1.5, "read": 2.0, "stream": 3.0, "ingest": 4.0}
#: and when so much of max_in_flight is taken
_ROOM: Mapping[Kind, float] = {"scan": 0.5, "simulate": 0.6, "read": 0.75, "stream": 0.9, "ingest": 1.0}
#: which classes wait in a queue
_WHO: Mapping[QueueName, tuple[Kind, ...]] = {
    "calls": KINDS,
    "engine": KINDS,
    "snapshots": ("read", "stream"),
}
#: and so are scans, which take the same cores
_TAKE_TURNS: tuple[Kind, ...] = ("scan", "simulate")
#: and these are what fills a server; what else there is takes none of its time
_TAKE_TIME: tuple[Kind, ...] = ("scan", "simulate", "read")
#: calls that must be waiting for a wait to be a queue
_LEAST_QUEUE = 8.0
#: what is left of a share after one window above the threshold, by how far, and what a window below it adds
_LEAST_CUT, _MOST_CUT, _STEP = 0.05, 0.5, 0.05
#: busy seconds that tell the rate of answers, and how much the last of them count in it
_TELLING_S, _NEWEST = 1.0, 0.5
#: seconds after which it is worth while to ask again: at least, and at most
_RETRY_S = 0.5, 10.0


class Gate:
    """One queue: how long it makes callers wait, and which share of each class that is short enough for."""

    def __init__(self, name: QueueName, delay_s: float) -> None:
        self.name = name
        self.thresholds_s = {kind: delay_s * _TIMES_DELAY[kind] for kind in _WHO[name]}
        self.shares: dict[Kind, float] = dict.fromkeys(_WHO[name], 1.0)
        #: the least wait of the last window, and of the last one in which there was a wait
        self.wait_s = self.last_wait_s = 0.0
        self._least: float | None = None

    def saw(self, wait_s: float) -> None:
        """Take note of a wait that is over."""
        self._least = wait_s if self._least is None else min(self._least, wait_s)

    def end_window(self, calls_hz: float, so_far_s: float = 0.0) -> None:
        """Judge the window that ends, in which so many calls came a second.

        ``so_far_s`` is how long one waits already, which counts where no wait ended.
        """
        before_s = self.wait_s
        self.wait_s = self._least if self._least is not None else max(self.wait_s if so_far_s else 0.0, so_far_s)
        if self._least is not None or so_far_s:
            self.last_wait_s = self.wait_s
        self._least = None
        standing_s = min(self.wait_s, before_s)
        if calls_hz * standing_s < _LEAST_QUEUE:
            standing_s = 0.0
        for kind, threshold_s in self.thresholds_s.items():
            share = self.shares[kind]
            if standing_s > threshold_s:
                cut = min(max(_MOST_CUT * (1 - threshold_s / standing_s), _LEAST_CUT), _MOST_CUT)
                self.shares[kind] = share * (1 - cut)
                if share == 1.0:
                    logger.warning("overload: %s wait %.0f ms, %s calls are shed", self.name, 1e3 * self.wait_s, kind)
            elif share < 1.0:
                self.shares[kind] = min(share + _STEP, 1.0)
                if self.shares[kind] == 1.0:
                    logger.info("overload: %s wait %.0f ms, %s calls are let in", self.name, 1e3 * self.wait_s, kind)


class Admission:
    """Lets calls in or refuses them. Belongs to the event loop.

    ``answer_wait_s`` tells how long a question that comes now would wait for its turn; ``jitter`` draws from 0 .. 1.
    ``shed`` counts refusals by class, ``in_flight`` calls that are being answered, streams aside, ``reads`` the reads
    among them.
    """

    def __init__(
        self,
        config: OverloadConfig,
        answer_wait_s: Callable[[], float] = lambda: 0.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.gates: dict[QueueName, Gate] = {
            "calls": Gate("calls", config.call_delay_ms / 1e3),
            "engine": Gate("engine", config.engine_delay_ms / 1e3),
            "snapshots": Gate("snapshots", config.snapshot_delay_ms / 1e3),
        }
        self.shed: Counter[Kind] = Counter(dict.fromkeys(KINDS, 0))
        self.in_flight = self.reads = 0
        self._asked: Counter[Kind] = Counter()
        #: reads answered a second while there are many, and what the next estimate of it is made from
        self._answers_hz, self._busy_answers, self._busy_s = math.inf, 0, 0.0
        #: of this window: reads answered, and the fewest at a time
        self._answered, self._fewest = 0, 0
        self._room = {kind: share * config.max_in_flight for kind, share in _ROOM.items()}
        self._answers_s = {kind: config.answer_delay_ms / 1e3 * _TIMES_DELAY[kind] for kind in _TAKE_TURNS}
        self._answer_wait_s, self._jitter = answer_wait_s, jitter
        #: of each class, the part of a call that may still be let in
        self._credit: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)

    @property
    def waits_s(self) -> dict[str, float]:
        """The wait of every queue in seconds, as it was when somebody last waited there."""
        return {**{name: gate.last_wait_s for name, gate in self.gates.items()}, "answers": self._answer_wait_s()}

    @property
    def is_idle(self) -> bool:
        """Whether nobody has called in this window, nor waits for an answer."""
        return not self._asked and not self.in_flight

    def admit(self, kind: Kind) -> None:
        """Return where a call may come in. Raises QuotaError with the time after which to ask again."""
        self._asked[kind] += 1
        if self.in_flight >= self._room[kind]:
            self._refuse(kind, f"{self.in_flight} calls are being answered (overload.max_in_flight)", _RETRY_S[0])
        wait_s, most_s = self.reads / self._answers_hz, self.gates["engine"].thresholds_s[kind]
        if kind in _TAKE_TIME and self.reads >= _LEAST_QUEUE and wait_s > most_s:
            self._refuse(kind, _too_long(f"{self.reads} reads", wait_s, most_s), wait_s - most_s)
        if kind in self._answers_s and (wait_s := self._answer_wait_s()) > self._answers_s[kind]:
            self._refuse(kind, _too_long("answers", wait_s, self._answers_s[kind]), wait_s)
        gate = min((gate for gate in self.gates.values() if kind in gate.shares), key=lambda gate: gate.shares[kind])
        share = gate.shares[kind]
        # deterministic thinning: of every 1 / share calls one is let in, evenly
        credit = self._credit[kind] + share
        self._credit[kind] = credit - 1.0 if credit >= 1.0 else credit
        if credit < 1.0:
            # of those who ask again every 1 / share of a time, one is let in each time
            retry_s = _RETRY_S[0] / max(share, _RETRY_S[0] / _RETRY_S[1])
            self._refuse(kind, _too_long(gate.name, gate.wait_s, gate.thresholds_s[kind]), retry_s)

    def end_window(self, elapsed_s: float, so_far_s: Mapping[QueueName, float]) -> None:
        """Let every gate judge a window of that length; ``so_far_s`` is how long one waits already, by queue."""
        for name, gate in self.gates.items():
            calls = sum(self._asked[kind] for kind in gate.shares)
            gate.end_window(calls / elapsed_s, so_far_s.get(name, 0.0))
        self._asked.clear()
        if self._fewest >= _LEAST_QUEUE:
            self._busy_answers += self._answered
            self._busy_s += elapsed_s
        if self._busy_s >= _TELLING_S:  # answers come in bursts, after ticks
            hz = max(self._busy_answers, 1) / self._busy_s
            known_hz = hz if math.isinf(self._answers_hz) else self._answers_hz
            self._answers_hz = known_hz + (hz - known_hz) * _NEWEST
            self._busy_answers, self._busy_s = 0, 0.0
        self._answered, self._fewest = 0, self.reads

    def _refuse(self, kind: Kind, why: str, retry_s: float) -> None:
        self.shed[kind] += 1
        # those refused together shall not come back together
        retry_s = min(max(retry_s, _RETRY_S[0]), _RETRY_S[1]) * (0.75 + 0.5 * self._jitter())
        raise QuotaError(f"the server is overloaded: {why}; {kind} calls are shed", "OVERLOADED", retry_s)

    @contextmanager
    def answering(self, kind: Kind) -> Iterator[None]:
        """Count a call while it is being answered."""
        is_read = kind == "read"
        self.in_flight += 1
        self.reads += is_read
        try:
            yield
        finally:
            self.in_flight -= 1
            self.reads -= is_read
            self._answered += is_read
            self._fewest = min(self._fewest, self.reads)


def _too_long(queue: str, wait_s: float, most_s: float) -> str:
    return f"{queue} wait {1e3 * wait_s:.0f} ms, at most {1e3 * most_s:.0f} ms are meant for this"
