"""The engine: one thread that owns the pipeline, takes batches from a bounded queue and publishes a tick at a time."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import Config
from forcedmove_server.engine.bands import Uncertainty, uncertainty_of
from forcedmove_server.engine.cascade.forecast import ShockQuestion
from forcedmove_server.engine.clusters.configured import configured_watch
from forcedmove_server.engine.exact.positions import ExactPositions
from forcedmove_server.engine.frames import RenderedView, SymbolMap, Tick, ViewSpec
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.maps import SymbolState, build_map, symbol_states
from forcedmove_server.engine.pipeline import configured_pipeline
from forcedmove_server.engine.promises import Asked, answer_until, computed
from forcedmove_server.engine.scan.books import Snapshot
from forcedmove_server.engine.scores import Scores
from forcedmove_server.engine.stages import StageTimes
from forcedmove_server.engine.taken import TakenQuestion, take_question
from forcedmove_server.engine.views import plan_view, render_view
from forcedmove_server.errors import ForcedMoveError, NotReadyError, UnknownNameError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.ingest import IngestAck, IngestRequest
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.market.positions import HeldPositions, PositionAck, PositionChange
from forcedmove_server.scorecard.summary import MarketRow, ShortScore, Summary, Where

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

#: batches waiting for the engine at most; a full queue holds a replay back
QUEUE_LIMIT = 64
_DONE = object()


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
        self.pipeline = configured_pipeline(registry, config, config.exact.max_markets)
        self._exact = ExactPositions(self.pipeline, config.exact)
        #: knows how sure the weights are; it learns from frozen maps, which only a scorecard has
        self._learner = Learner(self.pipeline, config.calibration)
        self._scores = Scores(self.pipeline, config, self._learner) if config.scorecard.enabled else None
        self._clusters = configured_watch(self.pipeline, config, self.epoch, self._learner, self._scores)
        #: what armed, triggered and came of it; any thread may read it
        self.events = self._clusters.log
        #: draws the intervals of scorecards, beside the engine's thread
        self._summaries = ThreadPoolExecutor(1, "scorecard")
        self.failure: BaseException | None = None
        self.missed_ticks = 0
        self.ticks = 0
        self.stages = StageTimes("inference", "map", "chains", "render")
        self._interval_s = config.engine.tick_interval_ms / 1000
        self._on_failure = on_failure or (lambda: None)
        self._batches: queue.Queue[EventBatch] = queue.Queue(QUEUE_LIMIT)
        self._requests: Asked = queue.SimpleQueue()
        #: what changes the map: done where a tick begins, answered when it has been published
        self._changes: Asked = queue.SimpleQueue()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._listeners: list[Callable[[Tick], None]] = []
        self._watched: Counter[tuple[str, ViewSpec]] = Counter()
        self._unrendered: set[tuple[str, ViewSpec]] = set()
        self._released: set[tuple[str, ViewSpec]] = set()
        self._watch_lock = threading.Lock()
        #: nothing has been taken in since the last tick: what readers ask for belongs to the maps it published
        self._at_tick = True
        self._latest: Tick | None = None
        #: what is left to do of a batch
        self._unfinished: Iterator[None] | None = None
        #: events of a symbol and which of its markets were fresh, when its map was built
        self._seen: dict[str, tuple[int, bytes]] = {}
        self._states: dict[str, SymbolState] = {}
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the engine thread."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the tick in progress and stop the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def put(self, batch: EventBatch) -> bool:
        """Hand over a batch, waiting while the queue is full; False when the engine has stopped."""
        while not self._stopping.is_set():
            try:
                self._batches.put(batch, timeout=0.1)
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
        key = (symbol, spec)
        with self._watch_lock:
            self._watched[key] += 1
            self._unrendered.add(key)
        released = threading.Event()

        def release() -> None:
            with self._watch_lock:
                if released.is_set():
                    return
                released.set()
                self._watched[key] -= 1
                if not self._watched[key]:
                    del self._watched[key]
                    self._unrendered.discard(key)
                    self._released.add(key)

        return release

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
        """Take in a change of exact positions with the next tick; done when that has been published."""
        return self._ask(lambda: self._exact.change(change), self._changes)

    def ingest(self, request: IngestRequest) -> Future[IngestAck]:
        """Settle a request of a stream with the next tick; done when that has been published."""
        return self._ask(lambda: self._exact.ingest(request), self._changes)

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

    def _ask(self, work: Callable[[], _T], of: Asked | None = None) -> Future[_T]:
        future: Future[_T] = Future()
        if self._stopping.is_set():
            future.set_exception(NotReadyError("the engine has stopped"))
            return future
        (of or self._requests).put((work, future))
        self._wake.set()
        if self._stopping.is_set():  # it may have ended in between, and nobody would answer
            self._refuse()
        return future

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
                    self._answer()
                if time.monotonic() >= deadline:
                    self._tick()
                    deadline = self._next_deadline(deadline)
                elif not self.stages.timed("inference", self._take_one):
                    self._wake.wait(max(deadline - time.monotonic(), 0))
                    self._wake.clear()
        except Exception as error:  # noqa: BLE001  whatever it is, the server must go down and say so
            self.failure = error
            _LOG.exception("the engine failed")
            self._on_failure()
        finally:
            self._stopping.set()
            self._refuse()
            if self._scores is not None:
                self._scores.save()
            self._summaries.shutdown(wait=False)  # what was asked is still answered

    def _next_deadline(self, deadline: float) -> float:
        late = int((time.monotonic() - deadline) / self._interval_s)
        self.missed_ticks += late
        return deadline + (late + 1) * self._interval_s

    def _take_one(self) -> bool:
        """Take a batch in, or a bit more of one that takes long; False when there is none."""
        if self._unfinished is None:
            try:
                batch = self._batches.get_nowait()
            except queue.Empty:
                return False
            if self._scores is None:
                self._at_tick = False
                self.pipeline.take(batch)
                return True
            self._unfinished = self._scores.steps(batch)
        self._at_tick = False
        if next(self._unfinished, _DONE) is _DONE:
            self._unfinished = None
        return True

    def _answer(self) -> None:
        """Answer what readers asked, for half of an interval at most: those who ask for more keep no tick waiting."""
        answer_until(time.monotonic() + self._interval_s / 2, self._requests)

    def _refuse(self) -> None:
        for requests in (self._requests, self._changes):
            with contextlib.suppress(queue.Empty):
                while True:
                    _, future = requests.get_nowait()
                    if future.set_running_or_notify_cancel():
                        future.set_exception(NotReadyError("the engine has stopped"))

    def _tick(self) -> None:
        self._at_tick = True
        self.stages.timed("inference", self.pipeline.sweep)
        self._exact.refresh()
        answers = self._change()
        try:
            self._publish()
        finally:
            for answer in answers:
                answer()

    def _change(self) -> list[Callable[[], None]]:
        """Do what was asked for; return what tells those who asked."""
        answers: list[Callable[[], None]] = []
        while True:
            try:
                work, future = self._changes.get_nowait()
            except queue.Empty:
                self._exact.fill()
                return answers
            if not future.set_running_or_notify_cancel():
                continue
            try:
                answers.append(partial(future.set_result, work()))
            except ForcedMoveError as error:
                answers.append(partial(future.set_exception, error))

    def _publish(self) -> None:
        pipeline = self.pipeline
        symbols = [s for s in self.registry.symbols() if pipeline.mapped_markets(s)]
        for symbol in symbols:
            pipeline.centre(symbol)
        with self.stages.timing("map"):
            store_changed = pipeline.store.refresh(pipeline.now_s)
        maps = dict(self._latest.maps) if self._latest else {}
        changed = [symbol for symbol in symbols if self._has_changed(symbol, symbol not in maps, store_changed)]
        states = self.stages.timed("map", symbol_states, pipeline, changed, pipeline.notional())
        for symbol, state in states.items():
            self._states[symbol] = state
            seq = maps[symbol].seq + 1 if symbol in maps else 1
            score = self._scores.short(symbol) if self._scores else None
            ids = self._clusters.track(state)
            maps[symbol] = self.stages.timed("chains", build_map, pipeline, state, seq, score, ids)
        if not maps:
            return
        self.ticks += 1
        self.stages.timed("chains", self._clusters.tick, self._states, maps, changed, self.ticks)
        tick = Tick(
            epoch=self.epoch,
            number=self.ticks,
            event_time_ns=pipeline.newest_event_ns,
            published_ns=time.time_ns(),
            maps=maps,
            changed=frozenset(changed),
            views=self.stages.timed("render", self._views, maps, changed),
        )
        self.stages.end_tick()
        self._latest = tick
        for listener in list(self._listeners):
            listener(tick)

    def _has_changed(self, symbol: str, new: bool, store_changed: NDArray[np.bool_]) -> bool:
        """Whether a symbol needs another map: its cohorts changed, or what it has seen, or which markets are fresh."""
        table = self.pipeline.inference.markets
        own = [m for m in self.registry.markets_of(symbol) if m < table.capacity]
        seen = int(table.events[own].sum()), self.pipeline.fresh(own).tobytes()
        before, self._seen[symbol] = self._seen.get(symbol), seen
        exact = self.pipeline.exact
        return new or seen != before or bool(store_changed[[*exact.shown(own), *exact.known(own)]].any())

    def _views(self, maps: dict[str, SymbolMap], changed: list[str]) -> dict[tuple[str, ViewSpec], RenderedView]:
        with self._watch_lock:
            wanted = [k for k in self._watched if k[0] in maps and (k[0] in changed or k in self._unrendered)]
            self._unrendered.difference_update(wanted)
            released, self._released = self._released, set()
        store = self.pipeline.store
        store.resident.forget(released)
        planned = {}
        for symbol, spec in wanted:
            try:
                planned[symbol, spec] = plan_view(store, self._states[symbol].rows, spec)
            except ForcedMoveError:
                # for example a venue filter that names no market of this symbol: its reader sees the other symbols
                continue
        drawn = store.resident.render_watched({key: view.asked for key, view in planned.items()})
        return {key: view.continued(drawn[key]) for key, view in planned.items()}
