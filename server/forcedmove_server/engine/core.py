"""What the engine's thread computes, as a machine: the same inputs in the same order give the same maps, bit for bit.

Inputs are batches and how far each was taken in, changes, and ticks with what the clock said. Everything else follows
from them, which is what a restart rests on: see :mod:`forcedmove_server.engine.recovery`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.config import Config
from forcedmove_server.engine.clusters.configured import configured_watch
from forcedmove_server.engine.exact.positions import ExactPositions
from forcedmove_server.engine.frames import SymbolMap
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.maps import SymbolState, build_map, symbol_states
from forcedmove_server.engine.pipeline import Pipeline, configured_pipeline
from forcedmove_server.engine.scores import Scores
from forcedmove_server.engine.stages import StageTimes
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry

#: name of the change that tells of exact positions
SET_POSITIONS = "set_positions"
#: and of the one that settles a request of a stream
INGEST = "ingest"
_DONE = object()


class TickClock:
    """Seconds that a server has run, as of its last tick. The time it was down does not count."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._began_s = time.monotonic()

    def __call__(self) -> float:
        """Return what the last tick said."""
        return self.now_s

    def read(self) -> float:
        """Return what the next tick is to say; never less than the last one."""
        return max(time.monotonic() - self._began_s, self.now_s)

    def resume(self) -> None:
        """Go on from :attr:`now_s`, whenever that was."""
        self._began_s = time.monotonic() - self.now_s


class EngineCore:
    """The deterministic part of an engine. Belongs to one thread, except for ``clusters.log``."""

    def __init__(self, config: Config, registry: InstrumentRegistry, epoch: int) -> None:
        self.registry = registry
        self.pipeline: Pipeline = configured_pipeline(registry, config, config.exact.max_markets)
        self.clock = TickClock()
        self.exact = ExactPositions(self.pipeline, config.exact, self.clock)
        #: knows how sure the weights are; it learns from frozen maps, which only a scorecard has
        self.learner = Learner(self.pipeline, config.calibration)
        self.scores = Scores(self.pipeline, config, self.learner) if config.scorecard.enabled else None
        self.clusters = configured_watch(self.pipeline, config, epoch, self.learner, self.scores)
        #: what can be asked to be done where a tick begins, by name
        self.changes: dict[str, Callable[[Any], Any]] = {SET_POSITIONS: self.exact.change, INGEST: self.exact.ingest}
        self.stages = StageTimes("inference", "map", "chains", "render")
        self.ticks = 0
        #: the newest map of every symbol, and what it was made from
        self.maps: dict[str, SymbolMap] = {}
        self.states: dict[str, SymbolState] = {}
        #: event time up to which each source's batches have been taken in
        self.taken_ns: dict[str, int] = {}
        #: events of a symbol and which of its markets were fresh, when its map was built
        self._seen: dict[str, tuple[int, bytes]] = {}
        #: what is left to do of a batch
        self._unfinished: Iterator[None] | None = None
        self._taking: tuple[str, int] = "", 0

    @property
    def between_batches(self) -> bool:
        """Whether nothing is left to do of a batch."""
        return self._unfinished is None

    @property
    def worked_s(self) -> float:
        """Seconds that its inputs have taken so far, which is about what it takes to repeat them."""
        return sum(stage.sum_s for stage in self.stages.read() if stage.stage != "render")

    def begin(self, source: str, batch: EventBatch) -> None:
        """Begin to take in the next batch of a source; :meth:`step` does it."""
        self._taking = source, batch.until_ns
        self._unfinished = self.scores.steps(batch) if self.scores is not None else self._whole(batch)

    def step(self) -> None:
        """Take in a bit more of the batch."""
        if self._unfinished is not None and next(self._unfinished, _DONE) is _DONE:
            self._unfinished = None
            source, until_ns = self._taking
            self.taken_ns[source] = max(until_ns, self.taken_ns.get(source, 0))

    def begin_tick(self, clock_s: float) -> None:
        """Let time pass: levels that were crossed die, and positions that nobody renewed go."""
        self.clock.now_s = clock_s
        self.stages.timed("inference", self.pipeline.sweep)
        self.exact.refresh()

    def change(self, name: str, change: object) -> Any:
        """Make a change, all of it or nothing, and return its answer. Raises ForcedMoveError where it cannot be."""
        return self.changes[name](change)

    def publish(self) -> list[str] | None:
        """Bring every map up to date; return the symbols that have changed, or None while there is no map at all."""
        pipeline = self.pipeline
        self.exact.fill()
        symbols = [s for s in self.registry.symbols() if pipeline.mapped_markets(s)]
        for symbol in symbols:
            pipeline.centre(symbol)
            # here, so that it does not depend on what readers ask for, nor makes a row stale that they are shown
            self.learner.admit(pipeline.mapped_markets(symbol))
        with self.stages.timing("map"):
            store_changed = pipeline.store.refresh(pipeline.now_s)
        changed = [symbol for symbol in symbols if self._has_changed(symbol, store_changed)]
        states = self.stages.timed("map", symbol_states, pipeline, changed, pipeline.notional())
        maps = dict(self.maps)
        for symbol, state in states.items():
            self.states[symbol] = state
            seq = maps[symbol].seq + 1 if symbol in maps else 1
            score = self.scores.short(symbol) if self.scores else None
            ids = self.clusters.track(state)
            maps[symbol] = self.stages.timed("chains", build_map, pipeline, state, seq, score, ids)
        self.maps = maps
        if not maps:
            return None
        self.ticks += 1
        self.stages.timed("chains", self.clusters.tick, self.states, maps, changed, self.ticks)
        return changed

    def save(self) -> None:
        """Keep score and weights, where files for them are configured."""
        if self.scores is not None:
            self.scores.save()

    def _whole(self, batch: EventBatch) -> Iterator[None]:
        self.pipeline.take(batch)
        yield from ()

    def _has_changed(self, symbol: str, store_changed: NDArray[np.bool_]) -> bool:
        """Whether a symbol needs another map: its cohorts changed, or what it has seen, or which markets are fresh."""
        table = self.pipeline.inference.markets
        own = [m for m in self.registry.markets_of(symbol) if m < table.capacity]
        seen = int(table.events[own].sum()), self.pipeline.fresh(own).tobytes()
        before, self._seen[symbol] = self._seen.get(symbol), seen
        exact = self.pipeline.exact
        moved = store_changed[[*exact.shown(own), *exact.known(own)]].any()
        return symbol not in self.maps or seen != before or bool(moved)
