"""What charts by price need of every window while it is scored: realised USD by decile, and some whole windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forcedmove_kernels.fixed_point import LONG
from forcedmove_server.scorecard.distance import band_of
from forcedmove_server.scorecard.placement import Placed
from forcedmove_server.scorecard.report.deciles import DECILES, DecileSums
from forcedmove_server.scorecard.report.result import DecileLift, RealisedExample
from forcedmove_server.scorecard.resampling import Resampling
from forcedmove_server.scorecard.tables import MarketName

#: examples of one source
_MOST_OF_A_SOURCE = 4


@dataclass(frozen=True, slots=True)
class _Kept:
    """A window that may become an example: what it realised in USD, and itself."""

    usd: float
    placed: Placed


class ReportPlacements:
    """An observer of a scorecard that keeps deciles of all horizons, and examples of one.

    An example is, of each market, side and source, the window in which most USD fell on at least ten touched bins:
    chosen by what happened, not by how well it was foretold. Memory: one window for each of them, and the sums of
    :class:`~forcedmove_server.scorecard.report.deciles.DecileSums`.
    """

    def __init__(self, maps: Sequence[str], baseline: str, horizon_ns: int) -> None:
        """``maps`` are all maps of a window's profiles in their order, the distance prior among them."""
        self._maps, self._baseline, self._horizon_ns = tuple(maps), tuple(maps).index(baseline), horizon_ns
        self._deciles = DecileSums()
        self._kept: dict[tuple[str, int, int], _Kept] = {}

    def __call__(self, placed: Placed) -> None:
        """Take one side of one window."""
        view, horizon_ns = placed.view, placed.outcome.horizon_ns
        here, band = view.profiles[:, : view.touched], band_of(view.axis, view.side)[: view.touched]
        events = int(placed.events.sum())
        for name, profile in zip(self._maps, here, strict=True):
            self._deciles.add(name, horizon_ns, placed.source, placed.cluster, profile, placed.usd, band, events)
        if horizon_ns != self._horizon_ns or view.touched < DECILES:
            return
        key, usd = (placed.source, placed.market, view.side), float(placed.usd.sum())
        if key not in self._kept or usd > self._kept[key].usd:
            self._kept[key] = _Kept(usd, placed)

    def deciles(self, resampling: Resampling) -> tuple[DecileLift, ...]:
        """Return lifts by decile with intervals."""
        return self._deciles.lifts(resampling)

    def examples(self, name_of: Callable[[int], MarketName]) -> tuple[RealisedExample, ...]:
        """Return the examples in which most fell, four of each source at most, liquidations first."""
        found = []
        for source in ("liquidations", "positions"):
            ordered = sorted(
                ((key, kept) for key, kept in self._kept.items() if key[0] == source),
                key=lambda item: (-item[1].usd, item[0]),
            )
            found += [self._example(kept.placed, name_of) for _, kept in ordered[:_MOST_OF_A_SOURCE]]
        return tuple(found)

    def _example(self, placed: Placed, name_of: Callable[[int], MarketName]) -> RealisedExample:
        view, outcome, name = placed.view, placed.outcome, name_of(placed.market)
        upward = slice(None, None, -1) if view.side == LONG else slice(None)
        lowest = (view.axis.prices(view.side)[: view.touched] - view.axis.bin_width_usd / 2)[upward]
        edges = np.append(lowest, lowest[-1] + view.axis.bin_width_usd)
        usd = view.profiles[:, : view.touched][:, upward] * view.usd_per_unit
        return RealisedExample(
            venue=name.venue,
            symbol=name.symbol,
            side=view.side,
            begin_ns=outcome.at_ns,
            end_ns=outcome.at_ns + outcome.horizon_ns,
            edges_usd=tuple(edges.tolist()),
            predicted=tuple(usd[0].tolist()),
            naive=tuple(usd[self._baseline].tolist()),
            realised=tuple(placed.usd.sum(axis=1)[upward].tolist()),
            unit="USD",
            realised_from=placed.source,
        )
