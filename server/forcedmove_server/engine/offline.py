"""A source run through the pipeline as fast as it goes: replay, record and evaluation; no server, no ticks."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from forcedmove_kernels.fixed_point import LONG, SHORT
from forcedmove_server.config import Config
from forcedmove_server.engine.margins import margin_info
from forcedmove_server.engine.pipeline import Pipeline, configured_pipeline
from forcedmove_server.market.events import EventBatch
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.batching import coalesced
from forcedmove_server.sources.source import Source


@dataclass(slots=True)
class StageClock:
    """Wall seconds per stage of a run."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def timed(self, stage: str, batches: Iterator[EventBatch]) -> Iterator[EventBatch]:
        """Pass batches through, charging the time to make each of them to ``stage``."""
        while True:
            begin = time.perf_counter()
            batch = next(batches, None)
            self.seconds[stage] += time.perf_counter() - begin
            if batch is None:
                return
            yield batch


class OfflineRun:
    """One source, one pipeline, one pass. Iterate to advance; the pipeline can be looked at between batches."""

    def __init__(self, source: Source, config: Config, pipeline: Pipeline | None = None) -> None:
        registry = pipeline.registry if pipeline else InstrumentRegistry()
        self.source = source
        self.pipeline = pipeline or configured_pipeline(registry, config)
        self.clock = StageClock()

    def __iter__(self) -> Iterator[EventBatch]:
        """Process batch after batch; yields each one after it has been taken in.

        Levels crossed after a market's last open interest stay in its map, so that live quantities equal it at the end.
        """
        pipeline = self.pipeline
        batches = coalesced(self.source.batches(pipeline.registry))
        for batch in self.clock.timed("source", batches):
            begin = time.perf_counter()
            pipeline.take(batch)
            self.clock.seconds["inference and lifecycle"] += time.perf_counter() - begin
            yield batch

    def finish(self) -> None:
        """Run to the end."""
        for _ in self:
            pass

    def summary(self) -> dict[str, Any]:
        """Describe the run: events by kind, defects by kind, and what happened in each market, in model units."""
        pipeline = self.pipeline
        events = dict(sorted((kind, n) for kind, n in pipeline.events.items() if n))
        wall = sum(self.clock.seconds.values())
        defects = self.source.defects.counts + pipeline.inference.defects.counts
        return {
            "source": self.source.name,
            "backend": pipeline.backend_choice.name,
            "newest_event_ns": pipeline.newest_event_ns,
            "events": events,
            "events_total": sum(events.values()),
            "defects": dict(sorted(defects.items())),
            "defect_samples": dict(sorted((self.source.defects.samples | pipeline.inference.defects.samples).items())),
            "markets": {pipeline.registry[m].key: _market_summary(pipeline, m) for m in range(len(pipeline.registry))},
            "wall_seconds": wall,
            "stage_seconds": dict(self.clock.seconds),
            "events_per_second": sum(events.values()) / wall if wall else 0.0,
        }


def _market_summary(pipeline: Pipeline, market: int) -> dict[str, Any]:
    table, ledger = pipeline.inference.markets, pipeline.store.ledger
    lot = float(table.lot[market])
    interest = max(int(table.open_interest[market]), 0)
    sides = {"long": LONG, "short": SHORT}
    return {
        "symbol": pipeline.registry[market].symbol,
        "contract_type": str(pipeline.registry[market].contract_type),
        "lot": lot,
        "open_interest_lots": interest,
        "open_interest": interest * lot,
        "live": {name: int(ledger.live[market, side]) * lot for name, side in sides.items()},
        "live_lots": {name: int(ledger.live[market, side]) for name, side in sides.items()},
        "opened": {name: int(ledger.opened[market, side]) * lot for name, side in sides.items()},
        "closed": {name: int(ledger.closed[market, side]) * lot for name, side in sides.items()},
        "liquidated": {name: int(ledger.liquidated[market, side]) * lot for name, side in sides.items()},
        "overkill": {name: int(ledger.overkill[market, side]) * lot for name, side in sides.items()},
        "cohorts": int(pipeline.store.used[market]),
        "margin": asdict(margin_info(pipeline, market)) if pipeline.store.has_market(market) else None,
    }
