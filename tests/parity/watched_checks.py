"""Views that are rendered again and again, and what is told of their changes; see :mod:`tests.parity.checks`."""

from __future__ import annotations

from collections.abc import Sequence

from forcedmove_kernels.arrays import F32, Rendering, View
from forcedmove_kernels.backend import Backend
from forcedmove_kernels.renderings import LISTED_PART
from tests.parity import builders
from tests.parity.builders import Size
from tests.parity.compare import assert_array
from tests.parity.draws import Draws, subset
from tests.parity.store_checks import Pair, first_bin_of, gathered, opened, stacked, view

NAMES = ("one", "two", "three")


def watched_views(backend: Backend, draws: Draws, size: Size) -> None:
    """Who knows the rendering before can make the next one, and what was handed out stays as it is."""
    pair, rules = opened(backend, draws, size)
    watcher = Watcher(pair, rules[0].multiplier.shape[3])
    watcher.watch(draws, NAMES)
    for _ in range(draws.integers(2, 5)):
        deed = draws.sampled(("little", "little", "step", "step", "nothing", "window", "forget"))
        if deed == "little":
            watcher.take_one_cohort(draws)
        elif deed == "step":
            pair.both("apply", builders.updates(draws, gathered(pair.expected), stacked(rules), size))
        elif deed == "window":
            first_bin = first_bin_of(draws, builders.first_bins(size, pair.expected.bins))
            pair.both("move_window", subset(draws, len(rules)), first_bin)
        elif deed == "forget":
            watcher.forget([name for name in (*NAMES, "unknown") if draws.sampled((True, False))])
        if draws.sampled((True, True, True, False)):  # else rows may be stale, which both refuse
            pair.both("refresh")
        watcher.watch(draws, [name for name in NAMES if draws.sampled((True, True, False))])


class Watcher:
    """Renders views by name, and follows what it is told of their changes."""

    def __init__(self, pair: Pair, tiers: int) -> None:
        self.pair, self.tiers = pair, tiers
        self.views: dict[str, View] = {}
        self.last: dict[str, Rendering] = {}
        self.seen: list[tuple[F32, F32]] = []

    def watch(self, draws: Draws, names: Sequence[str]) -> None:
        """Render views, most of them the same as before."""
        for name in names:
            if not self.is_still_possible(name) or draws.sampled((False, False, False, False, True)):
                tiers = draws.sampled((None, subset(draws, self.tiers)))
                self.views[name] = view(draws, self.pair.expected, tiers)
        drawn = self.pair.both("render_watched", {name: self.views[name] for name in names})
        if drawn is None:
            self.forgotten(names)
            return
        for name, rendering in drawn.items():
            self.follow(name, rendering)
        for values, copied in self.seen:
            assert_array(values, copied, "a rendering that was handed out")

    def is_still_possible(self, name: str) -> bool:
        """Whether there is a view whose markets share a window."""
        return name in self.views and len(set(self.pair.expected.first_bin[self.views[name].markets].tolist())) == 1

    def follow(self, name: str, rendering: Rendering) -> None:
        if rendering.since:
            before = self.last[name]
            assert rendering.since == before.revision
            assert len(rendering.changed) * LISTED_PART <= before.values.size
            made = before.values.copy()
            made.flat[rendering.changed] = rendering.values.flat[rendering.changed]
            assert_array(made, rendering.values, name)
        self.seen.append((rendering.values, rendering.values.copy()))
        self.last[name] = rendering

    def forget(self, names: Sequence[str]) -> None:
        self.pair.both("forget", names)
        self.forgotten(names)

    def forgotten(self, names: Sequence[str]) -> None:
        for name in names:
            self.last.pop(name, None)

    def take_one_cohort(self, draws: Draws) -> None:
        """Let a market have a cohort less, so that few cells change."""
        market = draws.integers(0, len(self.pair.expected.used) - 1)
        cohorts = self.pair.expected.cohorts(market)
        if not cohorts.used[0]:
            return
        cohorts.lots[:, draws.integers(0, int(cohorts.used[0]) - 1)] = 0
        self.pair.both("replace", market, cohorts)
