"""The whole state of an engine's core: taken between two ticks, and put into a core that was made anew.

A core is wired when it is made: who watches what, which backend computes, what was configured. Its *state* is
everything else: of every component all attributes but those that are named here as wiring, so that an attribute that
somebody adds is kept unless it is said to be wiring. Components refer to each other by name in a snapshot, cohorts and
tables go through the host arrays of :class:`~forcedmove_kernels.store.ResidentStore`, whichever backend holds them, and
standing totals are rebuilt, which gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forcedmove_kernels.arrays import Cohorts
from forcedmove_server.engine.clusters.events import ArmEvent
from forcedmove_server.engine.clusters.log import EventLog
from forcedmove_server.engine.core import EngineCore
from forcedmove_server.engine.frames import SymbolMap
from forcedmove_server.engine.maps import SymbolState
from forcedmove_server.engine.recovery.pickling import packed, unpacked
from forcedmove_server.engine.rules import rules_of
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.market.instruments import Instrument

#: attributes of components that are not state: made from the configuration, or by whoever put the core together
WIRING: dict[str, frozenset[str]] = {
    name: frozenset(attributes.split())
    for name, attributes in {
        "core": "registry pipeline exact learner scores clusters changes stages maps states _unfinished _taking",
        "clock": "_began_s",
        "pipeline": "registry model book tiers_stale_after_days backend backend_choice store inference exact "
        "feed_states books withdrawal activity observers readers _leverage_shares",
        "store": "resident _book remainders",
        "remainders": "_store",
        "spreads": "",
        "inference": "markets coverage _rate defects _model _backend",
        "markets": "registry capacity",
        "coverage": "",
        "rate": "",
        "defects": "_noting",
        "exact_rows": "_store _table _registry",
        "feed_states": "_markets",
        "books": "_registry",
        "withdrawal": "",
        "activity": "_registry",
        "exact": "_pipeline _config _clock _ingest",
        "ingest": "_exact",
        "learner": "_pipeline _path _every_ns _turnover",
        "turnover": "_table",
        "scores": "_pipeline _path _learner _forecasts",
        "forecasts": "pipeline scorecard _learner _truth baselines watchers",
        "scorecard": "_observer",
        "naive": "_ratios_of",
        "naive_maintenance": "_ratios_of",
        "watch": "log _pipeline _config _total_p95 _on_alarm _on_cascade _observer _tracking _cascade",
        "observer": "_pipeline",
    }.items()
}


@dataclass(frozen=True, slots=True)
class Captured:
    """A core as it was between two ticks. ``working`` is pickled already; the rest never changes and may be later.

    ``buffers`` are the arrays of ``working``, in its order.
    """

    instruments: tuple[Instrument, ...]
    event_time_ns: int
    working: bytes
    buffers: tuple[bytes, ...]
    events: tuple[ArmEvent, ...]
    next_event: int
    maps: dict[str, SymbolMap]
    states: dict[str, SymbolState]

    def published(self) -> Iterator[bytes]:
        """Yield what was published, pickled piece by piece, so that other threads get their turn."""
        for begin in range(0, len(self.events), _EVENTS_AT_ONCE):
            yield packed(self.events[begin : begin + _EVENTS_AT_ONCE])
        for symbol, found in self.maps.items():
            yield packed((symbol, found, self.states[symbol]))


_EVENTS_AT_ONCE = 200


def components(core: EngineCore) -> dict[str, Any]:
    """Return the parts of a core that are wired to each other, by name."""
    pipeline, learner = core.pipeline, core.learner
    inference = pipeline.inference
    found: dict[str, Any] = {
        "core": core,
        "clock": core.clock,
        "pipeline": pipeline,
        "store": pipeline.store,
        "remainders": pipeline.store.remainders,
        "spreads": pipeline.store.resident.spreads,
        "inference": inference,
        "markets": inference.markets,
        "coverage": inference.coverage,
        "rate": inference._rate,
        "defects": inference.defects,
        "exact_rows": pipeline.exact,
        "feed_states": pipeline.feed_states,
        "books": pipeline.books,
        "withdrawal": pipeline.withdrawal,
        "activity": pipeline.activity,
        "exact": core.exact,
        "ingest": core.exact._ingest,
        "learner": learner,
        "turnover": learner._turnover,
        "watch": core.clusters,
        "observer": core.clusters._observer,
    }
    if core.scores is not None:
        forecasts = core.scores._forecasts
        found |= {"scores": core.scores, "forecasts": forecasts, "scorecard": forecasts.scorecard}
        found |= forecasts.baselines
    return found


def capture(core: EngineCore) -> Captured:
    """Take a core's state, between two batches; what it returns shares nothing with the core that may change.

    Raises ValueError inside a batch.
    """
    if not core.between_batches:
        raise ValueError("a core has no state that can be kept inside a batch")
    working, buffers = packed_working(core)
    events, next_event = core.clusters.log.kept()
    return Captured(
        instruments=tuple(core.registry),
        event_time_ns=core.pipeline.newest_event_ns,
        working=working,
        buffers=buffers,
        events=events,
        next_event=next_event,
        maps=dict(core.maps),
        states=dict(core.states),
    )


def packed_working(core: EngineCore) -> tuple[bytes, tuple[bytes, ...]]:
    """Return what of a core's state changes in place, pickled, and the arrays in it."""
    buffers: list[bytes] = []
    parts = components(core)
    state = {name: attributes(part, WIRING[name]) for name, part in parts.items()}
    whole = state, list(resident_rows(core.pipeline.store))
    return packed(whole, parts, lambda buffer: buffers.append(bytes(buffer.raw()))), tuple(buffers)


def restore(core: EngineCore, captured: Captured) -> None:
    """Put a state into a core that was made anew, of the same configuration and with an empty registry.

    Its log of events goes on where that one ended, under its own epoch. Raises FileFormatError for a state that is not
    one of this program's.
    """
    for instrument in captured.instruments:
        core.registry.add(instrument)
    parts = components(core)
    state, rows = unpacked(captured.working, parts, captured.buffers)
    for name, values in state.items():
        for attribute, value in values.items():
            setattr(parts[name], attribute, value)
    _restore_resident(core.pipeline.store, rows)
    core.maps = dict(captured.maps)
    core.states.clear()
    core.states.update(captured.states)
    log: EventLog = core.clusters.log
    log.restore((replace(event, epoch=log.epoch) for event in captured.events), captured.next_event)


def attributes(part: object, wiring: frozenset[str]) -> dict[str, Any]:
    """Return the state of a component by attribute."""
    names = [*getattr(part, "__dict__", ())]
    for kind in type(part).__mro__:
        names += [name for name in getattr(kind, "__slots__", ()) if hasattr(part, name)]
    return {name: getattr(part, name) for name in names if name not in wiring and name not in _PYTHON}


_PYTHON = frozenset({"__dict__", "__weakref__"})


def resident_rows(store: CohortStore) -> Iterator[tuple[int, int, Cohorts]]:
    """Yield row, first bin of its window and cohorts of every row that has a window or cohorts."""
    resident = store.resident
    for row in np.flatnonzero((resident.used > 0) | (resident.first_bin > 0)).tolist():
        yield row, int(resident.first_bin[row]), resident.cohorts(row)


def _restore_resident(store: CohortStore, rows: list[tuple[int, int, Cohorts]]) -> None:
    resident = store.resident
    for row in np.flatnonzero(store.rules.tiers > 0).tolist():
        resident.set_rules(row, rules_of(store.rules, row))
    windows: dict[int, list[int]] = {}
    for row, first_bin, cohorts in rows:
        windows.setdefault(first_bin, []).append(row)
        resident.replace(row, cohorts)
    for first_bin, group in windows.items():
        resident.move_window(np.array(group, np.int32), first_bin)
    weights = store.clock.weights()
    if weights is not None:
        resident.set_freshness(weights)
    resident.refresh()
