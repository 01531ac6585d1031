"""Backends that are wrong in one bit, to see that the checks notice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from forcedmove_kernels.arrays import Rendering
from forcedmove_kernels.backend import Backend


class Fault(NamedTuple):
    """One wrong bit in what a method of a backend (``store.`` first: of its stores) returns or writes."""

    check: str  # that has to notice
    method: str
    pick: Callable[[Any, Any], Any]  # (answer, arguments) -> the array that is wrong, or None for a wrong number


class Faulty:
    """A backend, or a store, that answers like another one but for a fault."""

    def __init__(self, sound: Any, fault: Fault) -> None:
        self.sound = sound
        self.fault = fault

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.sound, name)
        if name == "open_store" and self.fault.method.startswith("store."):
            fault = self.fault._replace(method=self.fault.method.removeprefix("store."))
            return lambda *args: Faulty(attribute(*args), fault)
        return attribute if name != self.fault.method else partial(self.wrong, attribute)

    def wrong(self, method: Callable[..., Any], *args: Any) -> Any:
        """What the method answers, or refuses, and a wrong bit."""
        try:
            answer = method(*args)
        except OverflowError:
            flipped(None, args, self.fault)
            raise
        return flipped(answer, args, self.fault)


def flipped(answer: Any, args: Any, fault: Fault) -> Any:
    """The answer, after the last bit of the last element of the picked array has been turned over."""
    array = fault.pick(answer, args)
    if array is None:
        return answer ^ 1
    if array.size:
        last = np.unravel_index(array.size - 1, array.shape)
        array.view(f"u{array.dtype.itemsize}")[last] ^= 1
    return answer


def last_market_in_use(field: Any, cohorts: Any) -> Any:
    """The part of a field ``[2, N]`` of cohorts that belongs to the last market's cohorts."""
    return field[:, cohorts.start[-2] : cohorts.start[-2] + cohorts.used[-1]]


def last_rendering(drawn: Any) -> Any:
    """Of all the views that were rendered together; an empty one where there are none."""
    nothing = Rendering(np.zeros(0, np.float32), 0, 0, np.zeros(0, np.uint32))
    return [nothing, *drawn.values()][-1]


def number(answer: Any, args: Any) -> None:
    return None


def whole(answer: Any, args: Any) -> Any:
    return answer


FAULTS = (
    Fault("accumulate_volume", "accumulate_volume", number),
    Fault("accumulate_volume", "accumulate_volume", lambda _, args: args[4]),
    Fault("accumulate_volume", "accumulate_volume", lambda _, args: args[5]),
    *(
        Fault("apply_updates", "apply_updates", lambda outcome, _, field=field: getattr(outcome, field))
        for field in ("opened", "closed", "liquidated", "overkill", "live")
    ),
    Fault("apply_updates", "apply_updates", lambda _, args: args[0].used),
    Fault("apply_updates", "apply_updates", lambda _, args: last_market_in_use(args[0].lots, args[0])),
    Fault("apply_updates", "apply_updates", lambda _, args: last_market_in_use(args[0].live_tiers, args[0])),
    *(
        Fault("apply_updates", "apply_updates", lambda _, args, field=field: getattr(args[4], field))
        for field in ("stale", "totals", "fresh", "live", "frontier")
    ),
    Fault("apply_updates", "apply_updates", lambda _, args: last_market_in_use(args[4].trigger, args[0])),
    *(
        Fault("rebuild", "rebuild", lambda _, args, field=field: getattr(args[4], field))
        for field in ("stale", "totals", "fresh", "live", "frontier")
    ),
    Fault("rebuild", "rebuild", lambda _, args: last_market_in_use(args[4].trigger, args[0])),
    Fault("too_many_lots", "apply_updates", lambda _, args: args[0].lots),
    Fault("standing_totals", "standing_totals", lambda _, args: args[5]),
    Fault("leverage_grid", "leverage_grid", whole),
    Fault("spread_levels", "spread_levels", whole),
    Fault("compact", "compact", number),
    Fault("compact", "compact", lambda _, args: args[0].opened_at),
    Fault("profiles", "profiles", lambda found, _: found[0]),
    Fault("profiles", "profiles", lambda found, _: found[1]),
    Fault("render", "render", whole),
    Fault("changed_cells", "changed_cells", whole),
    *(
        Fault("clusters", "clusters", lambda found, _, field=field: getattr(found, field))
        for field in ("first", "begin", "end", "peak", "notional")
    ),
    *(
        Fault("cascade_chain", "cascade_chain", lambda chain, _, field=field: getattr(chain, field))
        for field in ("near", "far", "notional", "reached")
    ),
    *(
        Fault("cascade_chains", "cascade_chains", lambda found, _, field=field: getattr(found, field))
        for field in ("terminal", "fired", "levels")
    ),
    Fault("shock_curves", "shock_curves", lambda curves, _: curves[0]),
    Fault("shock_curves", "shock_curves", lambda curves, _: curves[1]),
    Fault("wide_shock_curves", "shock_curves", lambda curves, _: curves[0]),
    Fault("cascade_paths", "cascade_paths", lambda paths, _: paths.terminal),
    Fault("cascade_paths", "cascade_paths", lambda paths, _: paths.fired),
    Fault("many_cascade_paths", "cascade_paths", lambda paths, _: paths.terminal),
    *(Fault("resident_store", f"store.{method}", whole) for method in ("totals", "leverage_grid", "render")),
    *(
        Fault("resident_store", "store.profiles", lambda found, _, field=field: getattr(found, field))
        for field in ("markets", "symbols")
    ),
    Fault("resident_store", "store.profiles", lambda found, _: found.clusters.notional),
    Fault("watched_views", "store.render_watched", lambda drawn, _: last_rendering(drawn).values),
    Fault("watched_views", "store.render_watched", lambda drawn, _: last_rendering(drawn).changed),
    Fault("resident_store", "store.apply", lambda outcome, _: outcome.live),
    Fault("resident_store", "store.compact", number),
    Fault("resident_store", "store.cohorts", lambda cohorts, _: cohorts.entry),
)


def faulty(sound: Backend, check: str) -> Any:
    """``sound`` with the first of the faults that ``check`` has to notice."""
    return Faulty(sound, next(fault for fault in FAULTS if fault.check == check))
