"""The simulated market as a source of events."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.errors import NotReadyError
from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import EventBatch, Records
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.simulate.config import STEP_NS, STEP_S, SimulationConfig
from forcedmove_server.sources.simulate.emission import Emission
from forcedmove_server.sources.simulate.world import World


class SimulatedSource:
    """A :class:`~forcedmove_server.sources.source.Source` that needs no network and no files.

    The same configuration gives the same bytes. Pacing is the caller's work: event times begin at the configuration's
    epoch, and everything before :attr:`warm_until_ns` is history to be played at once.
    """

    def __init__(self, config: SimulationConfig | None = None, name: str = "simulate") -> None:
        self.config = SimulationConfig() if config is None else config
        self.name = name
        self.defects = Defects()
        self._world: World | None = None
        self._ids: NDArray[np.int32] = np.empty(0, np.int32)

    @property
    def warm_until_ns(self) -> int:
        """Event time at which the warm-up ends."""
        return self.config.epoch_ns + self.config.warmup_steps * STEP_NS

    @property
    def _last_step(self) -> int | None:
        hours = self.config.duration_hours
        return None if hours is None else max(1, round(hours * 3_600 / STEP_S))

    def batches(self, registry: InstrumentRegistry) -> Iterator[EventBatch]:
        """Register the markets and yield their events from the beginning; every call starts the same market anew."""
        world = World(self.config)
        self._ids = np.array([registry.add(instrument) for instrument in world.instruments], np.int32)
        self._world = world
        emission = Emission(world, self._ids, self.config.seed)
        warmup, last = self.config.warmup_steps, self._last_step
        while last is None or world.steps_done < last:
            warming = world.steps_done < warmup
            steps = self.config.warmup_batch_s if warming else self.config.batch_s
            ends = [end for end in (last, warmup if warming else None) if end is not None]
            steps = min([steps // STEP_S, *(end - world.steps_done for end in ends)])
            yield emission.batch([world.step() for _ in range(steps)])

    def progress(self) -> float | None:
        """Share of the configured duration simulated so far; None without an end."""
        last = self._last_step
        if last is None:
            return None
        return 0.0 if self._world is None else self._world.steps_done / last

    def undisturbed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What no feed shows of each configured symbol, since the beginning, copies of ``[S]`` and ``[S, 2]``.

        The log return of its news alone, which is what its price would have done without any flow, and the USD
        liquidated by side. Raises NotReadyError before the first batch.
        """
        if self._world is None:
            raise NotReadyError("the simulation has not started: take a batch first")
        return self._world.news.copy(), self._world.forced_usd.copy()

    def truth(self) -> Records:
        """Every position that is open after the last batch, as TRUTH records: what the feeds do not show.

        ``market`` indexes the registry that ``batches`` was given; ``quantity`` is in model units. Raises NotReadyError
        before the first batch.
        """
        if self._world is None:
            raise NotReadyError("the simulation has not started: take a batch first")
        return self._world.truth(self._ids)
