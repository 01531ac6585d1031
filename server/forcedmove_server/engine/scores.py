"""The scorecard of a running server: kept up by the engine's thread, summarised on another, saved across restarts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from forcedmove_server.config import Config
from forcedmove_server.engine.forecasts import MAPS, NAIVE, Forecasts
from forcedmove_server.engine.learning import Learner
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.errors import FileFormatError
from forcedmove_server.market.events import EventBatch
from forcedmove_server.scorecard.measures.cascades import CascadeAlarm, CascadeSeen
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.scorecard.summary import MarketRow, ShortScore, Summary, Where

_LOG = logging.getLogger(__name__)
_T = TypeVar("_T")

#: event time between two savings
_SAVE_NS = 3600 * 10**9


class Scores:
    """What was scored so far. All but what :meth:`summary` and :meth:`rows` return belongs to the engine's thread."""

    def __init__(self, pipeline: Pipeline, config: Config, learner: Learner) -> None:
        """Raise FileFormatError where ``config.scorecard.state`` names a file that is no scorecard of this version."""
        self._pipeline = pipeline
        self._path = Path(config.scorecard.state).expanduser() if config.scorecard.state else None
        self._learner = learner
        self._forecasts = Forecasts(pipeline, Scorecard(maps=MAPS, baseline=NAIVE), learner)
        self._saved_ns = 0
        if self._path is not None and self._path.exists():
            self._scorecard.restore(self._path)

    @property
    def _scorecard(self) -> Scorecard:
        return self._forecasts.scorecard

    def steps(self, batch: EventBatch) -> Iterator[None]:
        """Process one batch with the pipeline, scoring and freezing on the way; see :meth:`Forecasts.steps`."""
        yield from self._forecasts.steps(batch)
        now_ns = self._pipeline.now_ns
        if not self._saved_ns:
            self._saved_ns = now_ns
        elif now_ns - self._saved_ns >= _SAVE_NS:
            self.save()

    def short(self, symbol: str | None) -> ShortScore | None:
        """Return the headline figures of a symbol, or of all for None; None while there is nothing to say."""
        found = self._scorecard.short(Where() if symbol is None else Where(symbol=symbol))
        return None if found.bits is None and found.released is None else found

    def summary(self, where: Where) -> Callable[[], Summary]:
        """Return what makes a summary of this moment; to be called on any thread, since it draws its intervals."""
        return self._detached(lambda scorecard: scorecard.summary(where))

    def rows(self) -> Callable[[], tuple[MarketRow, ...]]:
        """Return what lists point values by venue, symbol, side, horizon and map; to be called on any thread."""
        return self._detached(lambda scorecard: tuple(scorecard.markets()))

    def alarm(self, alarm: CascadeAlarm) -> None:
        """Note a chain that was armed, once that has ended."""
        self._scorecard.alarm(alarm)

    def cascade(self, cascade: CascadeSeen) -> None:
        """Note a cascade that happened."""
        self._scorecard.cascade(cascade)

    def save(self) -> None:
        """Keep score and weights, where files for them are configured; a full disk is told, and ends nothing."""
        self._scorecard.catch_up()
        self._saved_ns = self._pipeline.now_ns
        self._learner.save()
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._scorecard.save(self._path)
        except (OSError, FileFormatError) as error:
            _LOG.error("the scorecard cannot be saved: %s", error)

    def _detached(self, ask: Callable[[Scorecard], _T]) -> Callable[[], _T]:
        taken = self._scorecard.detached()
        return lambda: ask(taken)
