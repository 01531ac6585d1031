"""Maps frozen on a fixed grid of event time, and held against what happened then: ours, and the baselines beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import NOT_OBSERVED, Updates, Window
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.engine.learning import BandCheck, Learner
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.inference.naive_map import NAIVE_LEVERAGES, NaiveMaps
from forcedmove_server.margin.multipliers import liquidation_multipliers
from forcedmove_server.market.events import Channel, EventBatch
from forcedmove_server.market.instruments import ContractType
from forcedmove_server.market.liquidation_feeds import liquidations_complete
from forcedmove_server.scorecard.frozen import FrozenMap, KnownPositions
from forcedmove_server.scorecard.measures.invariants import flow_error
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.scorecard.tables import MarketName
from forcedmove_server.sources.batching import cut_at

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

Truth = Callable[[int, int], KnownPositions | None]
MapWatcher = Callable[[FrozenMap], None]

#: a frozen map reaches this far from the mark on either side, as a share of it
REACH = 0.25
#: markets whose grids are computed at once
_AT_ONCE = 64
#: grid times of one batch, a day of them, above which those without events are left out
_MOST_TIMES = 288
#: windows that are scored at once
_SCORED_AT_ONCE = 200
OURS, NAIVE, NAIVE_MAINTENANCE = "ours", "naive", "naive_maintenance"
#: what a scorecard of these forecasts is made for, in its order
MAPS = (OURS, NAIVE, NAIVE_MAINTENANCE)


class Forecasts:
    """Feeds a pipeline and its scorecard: :meth:`take` stands in for the pipeline's own.

    The trigger-price extremes and the open interest that are scored are those that the model itself saw.
    """

    def __init__(
        self, pipeline: Pipeline, scorecard: Scorecard, learner: Learner | None = None, truth: Truth | None = None
    ) -> None:
        """``learner`` is given every frozen grid; ``truth`` says which positions of a market are known at a time."""
        self.pipeline, self.scorecard = pipeline, scorecard
        self._learner, self._truth = learner, truth
        if learner is not None:
            pipeline.observers.append(learner.observe)
        #: by name; fed with what the model itself saw
        self.baselines = {NAIVE: NaiveMaps(), NAIVE_MAINTENANCE: NaiveMaps(self._maintained)}
        #: told of every map of ours that is frozen
        self.watchers: list[MapWatcher] = []
        #: the first grid time of this scorecard
        self._first_ns: int | None = None
        self._known: set[int] = set()
        #: markets whose feed of liquidations is down
        self._unfed: set[int] = set()
        #: lots that the baselines count in, NaN before a market's first open interest
        self._lot = np.full(pipeline.inference.markets.capacity, np.nan)
        pipeline.observers.append(self._observe)

    def take(self, batch: EventBatch) -> None:
        """Process one batch, stopping at every grid time in it to score and to freeze."""
        for _ in self.steps(batch):
            pass

    def steps(self, batch: EventBatch) -> Iterator[None]:
        """Do what :meth:`take` does bit by bit: a tick may come wherever this yields, but no other event.

        Thousands of markets take seconds to score and to freeze.
        """
        for part, at_ns in self._parts(batch):
            self.pipeline.take(part)
            self._watch(part)
            if at_ns is not None:
                yield from self._freeze(at_ns)

    def restart(self, scorecard: Scorecard) -> None:
        """Go on with another scorecard, which knows nothing of what was scored before."""
        self.scorecard, self._first_ns = scorecard, None
        self._known.clear()

    def _parts(self, batch: EventBatch) -> Iterator[tuple[EventBatch, int | None]]:
        """Cut a batch behind every grid time; a row at exactly that time still belongs to what ends there."""
        step, next_ns = self.scorecard.rules.step_ns, self.scorecard.next_ns or self._first_ns
        if next_ns is None:  # the grid begins with the first event
            first = min((int(rows["time_ns"][0]) for rows in batch.by_kind().values() if len(rows)), default=None)
            if first is None:
                yield batch, None
                return
            # what a restored scorecard has scored is not scored again where event time begins anew
            next_ns = self._first_ns = -(-max(first, self.scorecard.scored_until_ns) // step) * step
        last = (batch.until_ns - 1) // step * step
        if last < next_ns:
            yield batch, None
            return
        times: Sequence[int] = range(next_ns, last + 1, step)
        if len(times) > _MOST_TIMES:  # in a hole of days all maps would be the same
            times = self._occupied(batch, next_ns, last)
        cuts = [*(at_ns + 1 for at_ns in times), batch.until_ns]
        yield from zip(cut_at(batch, cuts), (*times, None), strict=True)

    def _occupied(self, batch: EventBatch, next_ns: int, last: int) -> list[int]:
        """Return the next grid time and those around cells that hold events: what lies between is jumped over."""
        step = self.scorecard.rules.step_ns
        stamps = np.concatenate([rows["time_ns"] for rows in batch.by_kind().values()])
        ends = -(-np.unique(stamps) // step) * step
        found = np.unique(np.concatenate(([next_ns, last], ends, ends - step)))
        times: list[int] = found[(found >= next_ns) & (found <= last)].tolist()
        return times

    def _observe(self, updates: Updates) -> None:
        """Take what the model saw of some markets: extremes since it looked last, the price now, open interest."""
        table, outcomes = self.pipeline.inference.markets, self.scorecard.outcomes
        markets = updates.market.astype(np.int64)
        for market in markets.tolist():
            if market not in self._known:
                self._admit(market)
        for baseline in self.baselines.values():
            for market in markets[table.lot[markets] > self._lot[markets]].tolist():
                baseline.coarsen(market)
            baseline.apply(updates)
        self._lot[markets] = table.lot[markets]
        unit_usd = table.bin_width[markets] / (1 << PRICE_BITS)
        time_ns = np.maximum(table.price_ns[markets], 0)
        observed = updates.open_interest[:, 0] != NOT_OBSERVED
        time_ns[observed] = table.open_interest_ns[markets[observed]]
        for price in (updates.low, updates.high, updates.price):
            outcomes.prices(markets, time_ns, price * unit_usd)
        quantity = table.open_interest[markets[observed]] * table.lot[markets[observed]]
        outcomes.interest(markets[observed], time_ns[observed], quantity)

    def _watch(self, part: EventBatch) -> None:
        rows = part.liquidations
        rows = rows[np.isin(rows["market"], list(self._known))] if len(rows) else rows
        if len(rows):
            if self._learner is not None:
                self._learner.liquidations(rows)
            self.scorecard.outcomes.liquidations(
                rows["market"], rows["time_ns"], rows["price"], rows["quantity"], rows["side"]
            )
        gaps, states = part.gaps, part.feed_states
        self._lost_liquidations(set(gaps["market"][gaps["channel"] == Channel.LIQUIDATIONS].tolist()))
        for row in states[states["channel"] == Channel.LIQUIDATIONS]:
            if row["live"]:
                self._unfed.discard(int(row["market"]))
            else:
                self._unfed.add(int(row["market"]))
                self._lost_liquidations({int(row["market"])})

    def _lost_liquidations(self, markets: set[int]) -> None:
        """The gap of a lost connection is told when it ends; until then the windows that begin are not whole either."""
        known = sorted(markets & self._known)
        if known:
            self.scorecard.outcomes.lost_liquidations(known)
            if self._learner is not None:
                self._learner.lost_liquidations(known)

    def _admit(self, market: int) -> None:
        instrument = self.pipeline.registry[market]
        self.scorecard.add_market(
            market,
            MarketName(instrument.venue, instrument.native_id, instrument.symbol),
            float(self.pipeline.inference.markets.bin_width[market]),
            inverse=instrument.contract_type is ContractType.INVERSE,
            liquidations_complete=liquidations_complete(instrument.venue),
            max_leverage=instrument.max_leverage,
        )
        self._known.add(market)

    def _maintained(self, market: int) -> F64:
        """Levels over entry of the baseline with maintenance, by the market's own rule."""
        pipeline = self.pipeline
        instrument = pipeline.registry[market]
        price = float(pipeline.inference.markets.price[market]) * pipeline.inference.markets.bin_width[market]
        offered = np.minimum(NAIVE_LEVERAGES, pipeline.store.margins[market].rule.leverage_limit)
        made = liquidation_multipliers(
            instrument,
            np.unique(offered),
            pipeline.model.typical_position_usd,
            price / (1 << PRICE_BITS),
            pipeline.book,
        )
        return made.ratio[:, np.searchsorted(np.unique(offered), offered)]

    def _freeze(self, at_ns: int) -> Iterator[None]:
        """Score the windows that end at a grid time and freeze the maps that begin new ones."""
        pipeline = self.pipeline
        pipeline.sweep()  # also tells the extremes that have been seen since the last open interest
        pipeline.store.remainders.follow()
        left = self.scorecard.advance(at_ns, _SCORED_AT_ONCE)
        while left:
            yield
            left = self.scorecard.catch_up(_SCORED_AT_ONCE)
        if self._learner is not None:
            self._check_bands(at_ns, self._learner.resolve(at_ns))
        self._lost_liquidations(self._unfed)
        fresh = self._fresh_markets()
        for begin in range(0, len(fresh), _AT_ONCE):
            some = fresh[begin : begin + _AT_ONCE]
            positions = {m: found for m in some if (found := self._positions(m, at_ns)) is not None}
            self.scorecard.freeze(self._frozen(np.array(some, np.int64), at_ns), positions)
            yield
        # what is told beyond the open interest has been told of, and is no fault of the model's
        live = pipeline.exact.whole(fresh) - pipeline.exact.excess(fresh)
        self.scorecard.check_interest(at_ns, fresh, live, pipeline.inference.markets.open_interest[fresh])
        ledger = pipeline.store.ledger
        flows = (ledger.opened, ledger.overkill, ledger.live, ledger.closed, ledger.liquidated)
        self.scorecard.check_flows(float(flow_error(*(column[fresh] for column in flows)).max(initial=0.0)))

    def _check_bands(self, at_ns: int, check: BandCheck) -> None:
        mine = np.isin(check.market, list(self._known))
        self.scorecard.check_bands(at_ns, *(column[mine] for column in check))

    def _positions(self, market: int, at_ns: int) -> KnownPositions | None:
        return self._truth(market, at_ns) if self._truth is not None else None

    def _fresh_markets(self) -> list[int]:
        pipeline, found = self.pipeline, []
        for symbol in pipeline.registry.symbols():
            mapped = pipeline.mapped_markets(symbol)
            is_fresh = pipeline.fresh(mapped).tolist()
            found += [market for market, own in zip(mapped, is_fresh, strict=True) if own and market in self._known]
        return found

    def _frozen(self, markets: I64, at_ns: int) -> Iterator[FrozenMap]:
        """Yield all maps of some markets, in model units."""
        table = self.pipeline.inference.markets
        mark = (table.price[markets] >> PRICE_BITS).astype(np.int64)
        # levels are spread from as far away as they may be off
        half = int(mark.max() * REACH / max(1 - self.pipeline.model.level_width, 0.25)) + 1
        first = np.maximum(mark - half, 0)
        window = Window(first.astype(np.uint32), 2 * half + 1)
        rows = np.array(self.pipeline.exact.shown(markets.tolist()), np.int32)
        grid = self.pipeline.store.resident.leverage_grid(rows, weighted=False, window=window)
        ours = grid[..., 1:-1].sum(2, dtype=np.uint64).astype(np.float64)
        ours += self.pipeline.exact.levels(markets, window)
        for k, market in enumerate(markets.tolist()):
            if self._learner is not None:
                self._learner.freeze(market, int(first[k]), grid[k, :, :, 1:-1])
            # markets of one call have windows as wide as the one with the most bins needs; each keeps its own reach
            reach = int(mark[k] * REACH) + 1
            first_bin = max(int(mark[k]) - reach, 0)
            bins = int(mark[k]) + reach - first_bin
            begin = first_bin - int(first[k])
            levels = {OURS: ours[k, :, begin : begin + bins]}
            for name, baseline in self.baselines.items():
                levels[name] = baseline.levels(market, first_bin, bins)
            lot, width = float(table.lot[market]), float(table.bin_width[market])
            for name in MAPS:
                frozen = FrozenMap(
                    name=name,
                    market=market,
                    at_ns=at_ns,
                    mark_usd=float(table.price[market]) * width / (1 << PRICE_BITS),
                    bin_width_usd=width,
                    first_bin=first_bin,
                    levels=levels[name] * lot,
                    open_interest=float(table.open_interest[market]) * lot,
                )
                if name == OURS:
                    for watch in self.watchers:
                        watch(frozen)
                yield frozen
