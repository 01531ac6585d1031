"""Holes in recorded feeds, told by their cadence and announced as STREAM_GAP rows.

A channel that ticks regularly (open interest every minute, a book every two seconds) has a hole when a step is longer
than five typical ones. Trades, and whatever else comes irregularly, are silent now and then by nature: there a hole is
a silence longer than 120 s and twenty times the mean step of the last two hours. A venue's trades are watched as a
whole as well, for a recorder's restart silences all markets, and in a thin one alone it could not be told from a lull.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.defects import Defects
from forcedmove_server.market.events import STREAM_GAP, Channel, EventBatch, Records
from forcedmove_server.market.instruments import InstrumentRegistry
from forcedmove_server.sources.replay.blocks import SECOND_NS, Floats, Mask, Times

_MEMORY_S = 7200.0
_REGULAR_STEPS, _REGULAR_FLOOR_S = 5.0, 10.0
_IRREGULAR_STEPS, _IRREGULAR_FLOOR_S = 20.0, 120.0
_CHANNELS = {
    "trades": Channel.TRADES,
    "mark_prices": Channel.MARK_PRICES,
    "open_interest": Channel.OPEN_INTEREST,
    "depth": Channel.DEPTH,
}


class _Holes(NamedTuple):
    group: NDArray[np.int64]
    begin_ns: Times
    end_ns: Times


class _Cadence:
    """Typical steps of the groups (markets, or venues) of one channel, as sums that fade over two hours."""

    def __init__(self, may_be_regular: bool, warm_up: int) -> None:
        self._may_be_regular, self._warm_up = may_be_regular, warm_up
        self.last_ns = np.empty(0, np.int64)
        self._steps, self._sum, self._squares = np.empty(0), np.empty(0), np.empty(0)

    def see(self, group: NDArray[np.int64], time_ns: Times, groups: int) -> _Holes:
        """Take in rows in time order, judge their steps by what was typical before, return the holes."""
        self._grow(groups)
        order = np.argsort(group.astype(np.uint16) if groups < 1 << 16 else group, kind="stable")
        group, time_ns = group[order], time_ns[order]
        first = np.concatenate(([True], group[1:] != group[:-1]))
        previous = np.concatenate(([0], time_ns[:-1]))
        previous[first] = self.last_ns[group[first]]
        step_s = (time_ns - previous) / SECOND_NS
        known = previous > 0
        longest = self._longest()[group]
        hole = known & (step_s > longest)
        self._learn(group[known], np.minimum(step_s[known], longest[known]), hole[known], groups, time_ns)
        last = np.concatenate((first[1:], [True]))
        self.last_ns[group[last]] = time_ns[last]
        return _Holes(group[hole], previous[hole], time_ns[hole])

    def _grow(self, groups: int) -> None:
        more = groups - len(self.last_ns)
        if more > 0:
            self.last_ns = np.concatenate((self.last_ns, np.zeros(more, np.int64)))
            self._steps, self._sum, self._squares = (
                np.concatenate((values, np.zeros(more))) for values in (self._steps, self._sum, self._squares)
            )

    def _longest(self) -> Floats:
        """Longest step, in seconds, that is no hole; infinite until enough was seen."""
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = self._sum / self._steps
            spread = np.sqrt(np.maximum(self._squares / self._steps - mean**2, 0.0))
        regular = (spread <= 0.5 * mean) & self._may_be_regular
        longest = np.where(
            regular,
            np.maximum(_REGULAR_STEPS * mean, _REGULAR_FLOOR_S),
            np.maximum(_IRREGULAR_STEPS * mean, _IRREGULAR_FLOOR_S),
        )
        return np.where(self._steps >= self._warm_up, longest, np.inf)

    def _learn(self, group: NDArray[np.int64], step_s: Floats, hole: Mask, groups: int, time_ns: Times) -> None:
        if not len(group):
            return
        fading = np.exp(-float(time_ns.max() - time_ns.min()) / SECOND_NS / _MEMORY_S)
        used, steps = group[~hole], step_s[~hole]
        # a hole moves the mean a little, so that a feed whose cadence changed for good is believed in the end
        used, steps = np.concatenate((used, group[hole])), np.concatenate((steps, step_s[hole]))
        self._steps = self._steps * fading + np.bincount(used, minlength=groups)
        self._sum = self._sum * fading + np.bincount(used, weights=steps, minlength=groups)
        self._squares = self._squares * fading + np.bincount(used, weights=steps**2, minlength=groups)


class GapWatch:
    """Adds STREAM_GAP rows to the batches of a replay. Channels of markets in ``muted`` know their gaps themselves."""

    def __init__(self, registry: InstrumentRegistry, defects: Defects) -> None:
        self.muted: set[tuple[int, Channel]] = set()
        self._registry, self._defects = registry, defects
        self._venues: list[str] = []
        self._venue_of = np.empty(0, np.int64)
        self._watches = {kind: _Cadence(kind != "trades", 3 if kind != "trades" else 30) for kind in _CHANNELS}
        self._venue_trades = _Cadence(False, 30)

    def see(self, batch: EventBatch) -> Records:
        """Return the holes that end in this batch, in time order."""
        found: list[tuple[int, int, int, int]] = []
        for kind, channel in _CHANNELS.items():
            rows = batch.by_kind()[kind]
            if not len(rows):
                continue
            market, time_ns = rows["market"].astype(np.int64), np.ascontiguousarray(rows["time_ns"])
            if channel is Channel.DEPTH:  # the levels of a snapshot are one tick
                snapshot = np.concatenate(([True], (market[1:] != market[:-1]) | (time_ns[1:] != time_ns[:-1])))
                market, time_ns = market[snapshot], time_ns[snapshot]
            common = self._whole_venues(market, time_ns) if channel is Channel.TRADES else []
            holes = self._watches[kind].see(market, time_ns, len(self._registry))
            for group, begin, end in zip(*(column.tolist() for column in holes), strict=True):
                if not any(begin < gap[0] and gap[1] < end and gap[2] == group for gap in common):
                    common.append((end, begin, group, int(channel)))
            common = [gap for gap in common if (gap[2], channel) not in self.muted]
            if common:
                place = f"{self._registry[common[0][2]].key} from {common[0][1]} to {common[0][0]}"
                self._defects.note(f"{kind}.gap", len(common), place)
            found += common
        return np.array(sorted(found), STREAM_GAP)

    def _whole_venues(self, market: NDArray[np.int64], time_ns: Times) -> list[tuple[int, int, int, int]]:
        """Holes in all trades of a venue, one row for each of its markets that has traded."""
        for instrument in list(self._registry)[len(self._venue_of) :]:
            if instrument.venue not in self._venues:
                self._venues.append(instrument.venue)
            self._venue_of = np.append(self._venue_of, self._venues.index(instrument.venue))
        holes = self._venue_trades.see(self._venue_of[market], time_ns, len(self._venues))
        traded = self._watches["trades"].last_ns
        return [
            (end, begin, int(member), int(Channel.TRADES))
            for venue, begin, end in zip(*(column.tolist() for column in holes), strict=True)
            for member in np.flatnonzero(self._venue_of[: len(traded)] == venue)
            if traded[member] > 0
        ]
