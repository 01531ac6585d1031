"""The engine: one thread that owns the pipeline, takes batches from a bounded queue and publishes a tick at a time."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from forcedmove_server.config import Config
from forcedmove_server.engine.asked import Changes, Questions
from forcedmove_server.engine.bands import Uncertainty, uncertainty_of
from forcedmove_server.engine.cascade.forecast import ShockQuestion
from forcedmove_server.engine.core import INGEST, SET_POSITIONS, EngineCore
from forcedmove_server.engine.frames import RenderedView, SymbolMap, Tick, ViewSpec
from forcedmove_server.engine.promises import computed
from forcedmove_server.engine.recovery.journal import Journal, JournalStatus
from forcedmove_server.engine.recovery.record import TickRecord
from forcedmove_server.engine.recovery.state import capture
from forcedmove_server.engine.scan.books import Snapshot
from forcedmove_server.engine.scores import Scores
from forcedmove_server.engine.taken import TakenQuestion, take_question
from forcedmove_server.engine.views import plan_view, render_view
from forcedmove_server.engine.watched import WatchedViews
from forcedmove_server.errors import NotReadyError, UnknownNameError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.ingest import IngestAck, IngestRequest
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import HeldPositions, PositionAck, PositionChange
from forcedmove_server.scorecard.summary import MarketRow, ShortScore, Summary, Where

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

#: batches waiting for the engine at most; a full queue holds a replay back
QUEUE_LIMIT = 64


class Engine:
    """Implements :class:`~forcedmove_server.engine.service.EngineService` on a thread of its own.

    Ticks happen at a fixed monotonic interval; an overrun skips deadlines and counts them in ``missed_ticks``, ticks
    never queue. A bug on the engine thread is kept in ``failure``, stops the thread and calls ``on_failure``.
    """

    def __init__(
        self, config: Config, registry: InstrumentRegistry, on_failure: Callable[[], None] | None = None
    ) -> None:
        self.epoch = time.time_ns()
        self.registry = registry
        self.core = EngineCore(config, registry, self.epoch)
        self.pipeline = self.core.pipeline
        self.stages = self.core.stages
        #: what armed, triggered and came of it; any thread may read it
        self.events = self.core.clusters.log
        self._exact, self._learner, self._scores = self.core.exact, self.core.learner, self.core.scores
        self._states = self.core.states
        #: draws the intervals of scorecards, beside the engine's thread
        self._summaries = ThreadPoolExecutor(1, "scorecard")
        self.failure: BaseException | None = None
        self.missed_ticks = 0
        self._interval_s = config.engine.tick_interval_ms / 1000
        self._on_failure = on_failure or (lambda: None)
        self._batches: queue.Queue[tuple[str, EventBatch]] = queue.Queue(QUEUE_LIMIT)
        self._questions = Questions()
        #: what changes the map: done where a tick begins, answered when it has been published and can outlast a crash
        self._changes = Changes()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._listeners: list[Callable[[Tick], None]] = []
        self._watched = WatchedViews(self.pipeline.store)
        #: nothing has been taken in since the last tick: what readers ask for belongs to the maps it published
        self._at_tick = True
        self._latest: Tick | None = None
        #: where inputs are written down, None where nothing outlasts this process; and those since the last tick
        self._journal: Journal | None = None
        self._record = TickRecord()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def ticks(self) -> int:
        """Maps published, those before a restart too."""
        return self.core.ticks

    def keep(self, journal: Journal) -> None:
        """Write every input to a journal from now on; to be called before :meth:`start`."""
        self._journal = journal

    def journal_status(self) -> JournalStatus | None:
        """Return how the journal is doing, from any thread; None where nothing is kept."""
        return None if self._journal is None else self._journal.status()

    def fail(self, error: BaseException) -> None:
        """Stop because of a bug on another thread that the engine cannot do without."""
        self.failure = error
        self._stopping.set()
        self._wake.set()
        self._on_failure()

    def start(self) -> None:
        """Start the engine thread."""
        self.core.clock.resume()
        self._thread.start()

    def stop(self) -> None:
        """Finish the tick in progress and stop the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()
        elif self._journal is not None and self._thread.ident is None:
            self._journal.close()

    def put(self, batch: EventBatch, source: str = "") -> bool:
        """Hand over a source's next batch, waiting while the queue is full; False when the engine has stopped."""
        while not self._stopping.is_set():
            try:
                self._batches.put((source, batch), timeout=0.1)
            except queue.Full:
                continue
            self._wake.set()
            return True
        return False

    def latest(self) -> Tick:
        """Return the newest tick. Raises NotReadyError before the first one that has a map."""
        if self._latest is None:
            raise NotReadyError("no map yet: no market has both a price and an open interest")
        return self._latest

    def on_tick(self, callback: Callable[[Tick], None]) -> Callable[[], None]:
        """Call ``callback`` on the engine thread after every tick; returns the function that stops it."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def watch(self, symbol: str, spec: ViewSpec) -> Callable[[], None]:
        """Have ticks carry this view of ``symbol``; returns the function that gives the wish back."""
        return self._watched.add(symbol, spec)

    def render(self, symbol: str, spec: ViewSpec) -> Future[tuple[SymbolMap, RenderedView]]:
        """Render one view of the newest tick."""
        return self._ask(lambda: (self._map(symbol), self._render(symbol, spec)))

    def uncertainty(self, symbol: str, spec: ViewSpec) -> Future[tuple[SymbolMap, Uncertainty]]:
        """Render one view of the newest tick, with what its bands are made of."""

        def take() -> tuple[SymbolMap, Uncertainty]:
            newest, store = self._map(symbol), self.pipeline.store
            planned = plan_view(store, self._states[symbol].rows, spec)
            view = planned.filled(store.resident.render(planned.asked))
            certainty = self._learner.certainty(planned.asked.markets.astype(np.int64))
            return newest, uncertainty_of(store, planned, view, certainty)

        return self._ask(take)

    def simulate(
        self, symbol: str, question: Callable[[SymbolMap], ShockQuestion]
    ) -> Future[tuple[SymbolMap, TakenQuestion]]:
        """Take what a question about a shock is answered with from the newest tick's map and book."""

        def take() -> tuple[SymbolMap, TakenQuestion]:
            newest, state = self._map(symbol), self._states[symbol]
            asked = question(newest)
            certainty = self._learner.certainty(state.rows.rows.astype(np.int64))
            return newest, take_question(self.pipeline, state, certainty, asked)

        return self._ask(take)

    def at_tick(self, look: Callable[[Snapshot], _T]) -> Future[_T]:
        """Look at what the newest tick was made from, on the engine's thread."""
        return self._ask(lambda: look(Snapshot(self.latest(), self._states, self.pipeline.backend)))

    def scorecard(self, where: Where) -> Future[Summary]:
        """Summarise what was scored so far. The future raises NotReadyError where no score is kept."""
        return self._summarise(lambda scores: scores.summary(where))

    def headline(self) -> Future[ShortScore | None]:
        """Return the headline of all that was scored, as of the newest tick; None where there is none."""
        return self._ask(lambda: self._scores.short(None) if self._scores else None)

    def scorecard_rows(self) -> Future[tuple[MarketRow, ...]]:
        """List point values by venue, symbol, side, horizon and map. Raises as :meth:`scorecard` does."""
        return self._summarise(lambda scores: scores.rows())

    def set_positions(self, change: PositionChange) -> Future[PositionAck]:
        """Take in a change of exact positions with the next tick; done when that has been published, and kept."""
        return self.change(SET_POSITIONS, change)

    def ingest(self, request: IngestRequest) -> Future[IngestAck]:
        """Settle a request of a stream with the next tick; done when that has been published, and kept."""
        return self.change(INGEST, request)

    def change(self, name: str, change: object) -> Future[Any]:
        """Make a change of :attr:`EngineCore.changes` where the next tick begins.

        Done when that tick has been published and, where there is a journal, what was changed outlasts a crash. The
        future raises NotReadyError while the journal cannot be written, and what the change itself raises.
        """
        problem = self._journal.problem if self._journal is not None else None
        return _refused(problem) if problem is not None else self._queued(lambda: self._changes.put(name, change))

    def positions(self, producer: str) -> Future[HeldPositions]:
        """Return the positions that a producer told of, as of the newest tick."""
        return self._ask(lambda: self._exact.held(producer))

    def _summarise(self, ask: Callable[[Scores], Callable[[], _T]]) -> Future[_T]:
        """Take a copy on the engine's thread, and summarise it on another."""

        def take_copy() -> Callable[[], _T]:
            if self._scores is None:
                raise NotReadyError("this server keeps no score: scorecard.enabled is false")
            return ask(self._scores)

        return computed(self._ask(take_copy), self._summaries, NotReadyError("the engine has stopped"))

    def _ask(self, work: Callable[[], _T]) -> Future[_T]:
        return self._queued(lambda: self._questions.put(work))

    def _queued(self, put: Callable[[], Future[_T]]) -> Future[_T]:
        if self._stopping.is_set():
            return _refused("the engine has stopped")
        future = put()
        self._wake.set()
        if self._stopping.is_set():  # it may have ended in between, and nobody would answer
            self._refuse()
        return future

    def _refuse(self) -> None:
        self._questions.refuse()
        self._changes.refuse()

    def _map(self, symbol: str) -> SymbolMap:
        found = self.latest().maps.get(symbol)
        if found is not None:
            return found
        if symbol in self.registry.symbols():
            raise NotReadyError(f"{symbol}: no market has both a price and an open interest yet")
        raise UnknownNameError("symbol", symbol, self.registry.symbols())

    def _render(self, symbol: str, spec: ViewSpec) -> RenderedView:
        return render_view(self.pipeline.store, self._states[symbol].rows, spec)

    def _run(self) -> None:
        try:
            deadline = time.monotonic() + self._interval_s
            while not self._stopping.is_set():
                if self._at_tick:
                    # for half of an interval at most: those who ask for more keep no tick waiting
                    self._questions.answer(time.monotonic() + self._interval_s / 2)
                if time.monotonic() >= deadline:
                    self._tick()
                    deadline = self._next_deadline(deadline)
                elif not self.stages.timed("inference", self._take_one):
                    self._wake.wait(max(deadline - time.monotonic(), 0))
                    self._wake.clear()
            self._finish()
        except Exception as error:  # noqa: BLE001  whatever it is, the server must go down and say so
            self.failure = error
            _LOG.exception("the engine failed")
            self._on_failure()
        finally:
            self._stopping.set()
            self._refuse()
            if self._journal is not None:
                self._journal.close()
            self.core.save()
            self._summaries.shutdown(wait=False)  # what was asked is still answered

    def _next_deadline(self, deadline: float) -> float:
        late = int((time.monotonic() - deadline) / self._interval_s)
        self.missed_ticks += late
        return deadline + (late + 1) * self._interval_s

    def _take_one(self) -> bool:
        """Take a batch in, or a bit more of one that takes long; False when there is none."""
        if self.core.between_batches:
            try:
                source, batch = self._batches.get_nowait()
            except queue.Empty:
                return False
            self.core.begin(source, batch)
            self._record.batch(source, batch)
        self._at_tick = False
        self.core.step()
        self._record.step()
        return True

    def _finish(self) -> None:
        """End between two ticks, with a snapshot of that: a stop on purpose leaves nothing to repeat."""
        if self._journal is not None:
            while not self.core.between_batches:
                self._take_one()
            self._tick(is_last=True)

    def _tick(self, is_last: bool = False) -> None:
        self._at_tick = True
        clock_s = self.core.clock.read()
        self.core.begin_tick(clock_s)
        answers = self._changes.make(self.core, self._record)
        number = self._write_down(clock_s)
        try:
            self._publish()
        finally:
            if self._journal is not None:
                self._journal.when_kept(number, answers)
            else:
                for answer in answers:
                    answer(None)
        journal = self._journal
        if journal and self.core.between_batches and (is_last or journal.wants_snapshot(self.core.worked_s)):
            began_s = time.perf_counter()
            captured = capture(self.core)
            journal.snapshot(captured, self.core.worked_s, time.perf_counter() - began_s)

    def _write_down(self, clock_s: float) -> int:
        """Hand what came since the last tick to the journal; return its number there."""
        record, self._record = self._record, TickRecord()
        return 0 if self._journal is None else self._journal.append(record.sealed(clock_s), self.registry)

    def _publish(self) -> None:
        changed = self.core.publish()
        if changed is None:
            return
        maps = self.core.maps
        tick = Tick(
            epoch=self.epoch,
            number=self.core.ticks,
            event_time_ns=self.pipeline.newest_event_ns,
            published_ns=time.time_ns(),
            maps=maps,
            changed=frozenset(changed),
            views=self.stages.timed("render", self._watched.render, self._states, maps, changed),
        )
        self.stages.end_tick()
        self._latest = tick
        for listener in list(self._listeners):
            listener(tick)


def _refused(why: str) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(NotReadyError(why))
    return future
