"""The scorecard: fed with what happens and with what the maps say, it tells how true they are.

At every grid time: :meth:`Scorecard.advance` scores the windows that end, then :meth:`Scorecard.freeze` takes the maps
that start new ones. In between, events are passed on as they come.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forcedmove_server.errors import InputError
from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.distance import DistancePrior
from forcedmove_server.scorecard.frozen import FrozenMap, KnownPositions, Outcome
from forcedmove_server.scorecard.measures.cascades import CascadeAlarm, CascadeSeen
from forcedmove_server.scorecard.measures.coverage import coverage_counts
from forcedmove_server.scorecard.measures.invariants import interest_error
from forcedmove_server.scorecard.measures.reach import REACH_DISTANCES, reach_probability, reach_sums
from forcedmove_server.scorecard.outcomes import Outcomes
from forcedmove_server.scorecard.placement import PlacementObserver
from forcedmove_server.scorecard.reporting import market_rows, short_score, summarise
from forcedmove_server.scorecard.rules import ScoringRules
from forcedmove_server.scorecard.saved import restored, save
from forcedmove_server.scorecard.scoring import Frozen, Scores, score_window
from forcedmove_server.scorecard.summary import MarketRow, ShortScore, Summary, Where
from forcedmove_server.scorecard.tables import COVERAGE_WIDTH, REACH_WIDTH, MarketName, Tables

F64 = NDArray[np.float64]

#: the null that every scorecard draws by itself
DISTANCE = "distance"
_DAY_NS = 86_400 * 10**9
_EVERYWHERE = Where()
#: parts of the markets whose short score is remembered
_MOST_SHORT = 1024


class _Due(NamedTuple):
    """Windows of one horizon (its index) that ended, and the maps that began them."""

    horizon: int
    outcomes: list[Outcome]
    pending: Mapping[int, Frozen]


class Scorecard:
    """Scores maps of many markets over fixed horizons, in bounded memory; see :class:`ScoringRules` for the bounds.

    ``maps`` names what :meth:`freeze` will be given of every market, the map to be judged first; the distance prior is
    added as the last. ``baseline`` is the map that gains are measured against, None for none.

    Not thread-safe: one thread feeds and asks. Memory: tables as bounded by the rules, and the pending maps, about
    ``4 B`` bytes per market, map and horizon for ``B`` bins of a map.
    """

    def __init__(
        self,
        rules: ScoringRules | None = None,
        maps: Sequence[str] = ("ours", "naive", "naive_maintenance"),
        baseline: str | None = "naive",
        observer: PlacementObserver | None = None,
    ) -> None:
        """Raise InputError for an empty or repeated list of maps, or a baseline that is not one of them.

        ``observer`` is told of every window what fell on which bins: see
        :class:`~forcedmove_server.scorecard.placement.Placed`.
        """
        self.rules = rules or ScoringRules()
        if not maps or len(set(maps)) < len(maps) or DISTANCE in maps:
            raise InputError("maps", maps, f"must be names, each once; {DISTANCE!r} is added by itself")
        if baseline is not None and baseline not in maps:
            raise InputError("baseline", baseline, f"must be one of {tuple(maps)}")
        self.map_names = tuple(maps)
        self.baseline = baseline
        self._observer = observer
        self.outcomes = Outcomes(self.rules)
        self._tables = Tables(self.rules, (*maps, DISTANCE))
        self._number: dict[int, int] = {}
        self._prior: dict[int, DistancePrior] = {}
        self._inverse: dict[int, bool] = {}
        self._pending: list[dict[int, Frozen]] = [{} for _ in self.rules.horizons_ns]
        self._due: deque[_Due] = deque()
        self._histories: dict[int, F64] = {}
        self._short: dict[Where, ShortScore] = {}

    @property
    def next_ns(self) -> int | None:
        """The grid time to stop at next; None before the first :meth:`advance`."""
        return self.outcomes.next_ns

    @property
    def scored_until_ns(self) -> int:
        """Grid time up to which it has scored, here or before it was saved; 0 before that."""
        return self._tables.end_ns or 0

    def add_market(
        self,
        market: int,
        name: MarketName,
        bin_width_usd: float,
        *,
        inverse: bool = False,
        liquidations_complete: bool | None = None,
        max_leverage: float = 100.0,
        prior: DistancePrior | None = None,
    ) -> None:
        """Admit a market by its index in the caller's registry; calling it again changes what is said of it.

        ``liquidations_complete`` None: it has no feed of liquidations; False: its feed is known to miss some.
        ``prior`` is its law of distance, by default that of the venue's leverage prior up to ``max_leverage``.
        """
        if not (np.isfinite(bin_width_usd) and bin_width_usd > 0):
            raise InputError("bin_width_usd", bin_width_usd, "must be a positive number")
        self.outcomes.add_market(market, bin_width_usd, inverse, liquidations_complete)
        number = self._number[market] = self._tables.number(name)
        self._prior[market] = prior or DistancePrior.of_venue(name.venue, max_leverage)
        self._inverse[market] = inverse
        if number in self._histories:
            self.outcomes.set_history(market, self._histories.pop(number))

    def advance(self, at_ns: int, at_most: int | None = None) -> int:
        """End the windows that end at a grid time, and score them; return how many are left to be scored.

        ``at_ns`` is :attr:`next_ns`, or a later grid time: the windows that it cuts are dropped. Scoring a window of
        one market and horizon takes about 0.1 ms; ``at_most`` limits how many are scored now, so that thousands of
        markets do not hold up a tick: :meth:`catch_up` scores the others, the next advance what is still left then.
        Raises InputError for another time.
        """
        self.catch_up()
        if self.next_ns is not None and at_ns > self.next_ns:
            self._drop("the clock jumped")
        for index, outcomes in self.outcomes.close(at_ns):
            self._score_reach(index, outcomes)
            self._due.append(_Due(index, outcomes, self._pending[index]))
        for index, horizon in enumerate(self.rules.horizons_ns):
            if at_ns % horizon == 0:
                self._pending[index] = {}
        tables = self._tables
        tables.begin_ns = at_ns if tables.begin_ns is None else tables.begin_ns
        tables.end_ns = at_ns
        self._short.clear()
        return self.catch_up(at_most)

    def catch_up(self, at_most: int | None = None) -> int:
        """Score windows that have come due, all or at most so many; return how many are left."""
        allowed = at_most
        while self._due and (allowed is None or allowed > 0):
            due = self._due[0]
            now = due.outcomes if allowed is None else due.outcomes[:allowed]
            self._score(due.horizon, now, due.pending)
            self._short.clear()
            allowed = None if allowed is None else allowed - len(now)
            if len(now) == len(due.outcomes):
                self._due.popleft()
            else:
                self._due[0] = _Due(due.horizon, due.outcomes[len(now) :], due.pending)
        return sum(len(due.outcomes) for due in self._due)

    def freeze(self, maps: Iterable[FrozenMap], positions: Mapping[int, KnownPositions] | None = None) -> None:
        """Take the maps of the grid time that :meth:`advance` was just called for, and positions known by market index.

        Every market needs all the maps that the scorecard was made for, on one axis; maps of other names are refused.
        Raises InputError for that, for another time, and for a market that was not added.
        """
        now = None if self.next_ns is None else self.next_ns - self.rules.step_ns
        by_market: dict[int, dict[str, FrozenMap]] = {}
        for frozen in maps:
            if frozen.at_ns != now:
                raise InputError("at_ns", frozen.at_ns, f"must be the grid time just advanced to, {now}")
            if frozen.name not in self.map_names:
                raise InputError("name", frozen.name, f"must be one of {self.map_names}")
            if frozen.market not in self._number:
                raise InputError("market", frozen.market, "was not added")
            by_market.setdefault(frozen.market, {})[frozen.name] = frozen
        starting = [
            index for index, horizon in enumerate(self.rules.horizons_ns) if now is not None and now % horizon == 0
        ]
        for market, named in by_market.items():
            kept = Frozen.of(named, self.map_names, (positions or {}).get(market))
            for index in starting:
                self._pending[index][market] = kept

    def check_interest(self, at_ns: int, market: ArrayLike, live: ArrayLike, open_interest: ArrayLike) -> float:
        """Check conservation on markets ``[M]``: ``live`` ``[M, 2]`` per side; return the worst relative error now."""
        index = np.asarray(market, np.int64)
        error = interest_error(live, open_interest)
        if not len(error):
            return 0.0
        tables, worst = self._tables, int(error.argmax())
        tables.invariant_checks += len(error)
        if tables.worst_interest is None or error[worst] > tables.worst_interest[0]:
            name = tables.names[self._number[int(index[worst])]]
            tables.worst_interest = float(error[worst]), f"{name.venue}:{name.instrument}", at_ns
        return float(error[worst])

    def check_flows(self, error: float) -> None:
        """Note a balance error of flows; see :func:`~forcedmove_server.scorecard.measures.invariants.flow_error`."""
        self._tables.worst_flow = max(error, self._tables.worst_flow or 0.0)

    def check_bands(
        self, at_ns: int, market: ArrayLike, side: ArrayLike, low: ArrayLike, high: ArrayLike, truth: ArrayLike
    ) -> None:
        """Compare credible bands with what came, on touched bins: arrays ``[n]``, the last three in USD."""
        of, which = np.unique(2 * np.asarray(market, np.int64) + np.asarray(side, np.int64), return_inverse=True)
        sums = np.zeros((len(of), COVERAGE_WIDTH))
        np.add.at(sums, which, coverage_counts(low, high, truth))
        keys = [(at_ns // _DAY_NS, self._number[one // 2], one % 2, 0) for one in of.tolist()]
        self._tables.coverage.add(np.array(keys, np.int64).reshape(-1, 4), sums)

    def alarm(self, alarm: CascadeAlarm) -> None:
        """Note a cascade that was announced, once it is known when the alarm ended."""
        self._tables.alarms.append(alarm)

    def cascade(self, cascade: CascadeSeen) -> None:
        """Note a cascade that happened."""
        self._tables.cascades.append(cascade)

    def summary(self, where: Where = _EVERYWHERE) -> Summary:
        """Return every measure with nulls and intervals for one part of the markets.

        Bootstraps: tens of milliseconds on a day of a few markets, seconds at the bounds of the tables.
        """
        return summarise(self._tables, where, self.baseline)

    def moves(self, horizon_ns: int) -> Records:
        """Return the moves of one horizon, as :mod:`.moves` keeps them. Raises InputError for another horizon."""
        if horizon_ns not in self.rules.horizons_ns:
            raise InputError("horizon_ns", horizon_ns, f"must be one of {self.rules.horizons_ns}")
        return self._tables.moves[self.rules.horizons_ns.index(horizon_ns)].moves()

    def name_of(self, number: int) -> MarketName:
        """Return what the market is called that the tables know by ``number``."""
        return self._tables.names[number]

    def short(self, where: Where = _EVERYWHERE) -> ShortScore:
        """Return the headline figures without intervals; remembered until something new is scored."""
        found = self._short.get(where)
        if found is None:
            if len(self._short) >= _MOST_SHORT:
                self._short.clear()
            found = self._short[where] = short_score(self._tables, where)
        return found

    def markets(self, where: Where = _EVERYWHERE) -> list[MarketRow]:
        """List point values by venue, symbol, side, horizon and map."""
        return market_rows(self._tables, where)

    def detached(self) -> Scorecard:
        """Return a copy of what was scored so far, to be asked on another thread while the original is fed.

        Called on the thread that feeds.
        """
        taken = copy.copy(self)
        taken._tables, taken._short = self._tables.copied(), {}
        return taken

    def save(self, path: Path) -> None:
        """Write everything that was scored, and what volatility is measured from, to an npz file, all or nothing.

        Windows that are open are not saved: nobody watches the price while a server is down.
        """
        histories = dict(self._histories)
        histories |= {number: self.outcomes.history(market) for market, number in self._number.items()}
        save(path, self._tables, histories)

    def restore(self, path: Path) -> None:
        """Take the place of a scorecard that was saved; markets are known by name, whatever their index is now.

        Raises FileFormatError for a file of another kind, other maps, or other rules.
        """
        self._due.clear()
        before = self._tables.names
        self._tables, self._histories = restored(path, self.rules, self._tables.maps)
        for market, number in self._number.items():
            self._number[market] = self._tables.number(before[number])
            if (history := self._histories.pop(self._number[market], None)) is not None:
                self.outcomes.set_history(market, history)
        self._short.clear()

    def _score(self, index: int, outcomes: list[Outcome], pending: Mapping[int, Frozen]) -> None:
        tables, rules = self._tables, self.rules
        scores = Scores(len(tables.maps))
        for outcome in outcomes:
            frozen = pending.get(outcome.market)
            if frozen is None:
                scores.unscored["no map at the start"] += 1
                continue
            market = outcome.market
            number, inverse = self._number[market], self._inverse[market]
            score_window(scores, frozen, outcome, number, self._prior[market], inverse, rules, self._observer)
        if scores.moves:
            rows = scores.move_rows()
            tables.moves[index].add(rows, tables.hashes(rows["market"]))
        tables.liquidations[index].add(*scores.liquidations())
        tables.positions[index].add(*scores.positions())
        tables.unscored.update(scores.unscored)

    def _score_reach(self, index: int, outcomes: list[Outcome]) -> None:
        """Score reach forecasts, which need no map: all markets at once."""
        rows = [
            (o.market, o.mark_usd, o.low_usd, o.high_usd, o.volatility)
            for o in outcomes
            if o.unscored is None and o.volatility
        ]
        if not rows:
            return
        table = np.array(rows, np.float64)
        mark, low, high, sigma = table.T[1:]
        horizon = self.rules.horizons_ns[index]
        day = outcomes[0].at_ns // _DAY_NS
        probability = reach_probability(REACH_DISTANCES, sigma[:, None], horizon / 1e9)
        keys = np.zeros((len(rows), 4), np.int64)
        keys[:, 0], keys[:, 1] = day, [self._number[row[0]] for row in rows]
        for side, excursion in enumerate((np.log(mark / low), np.log(high / mark))):
            keys[:, 2] = side
            sums = reach_sums(probability, excursion[:, None] >= REACH_DISTANCES)
            self._tables.reach[index].add(keys, sums.reshape(-1, REACH_WIDTH))

    def _drop(self, reason: str) -> None:
        self._tables.unscored[reason] += sum(len(pending) for pending in self._pending)
        self._pending = [{} for _ in self._pending]
