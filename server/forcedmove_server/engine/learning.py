"""Leverage weights that follow the evidence: what frozen maps had at crossed levels, beside what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Updates
from forcedmove_kernels.fixed_point import LONG, PRICE_BITS, SHORT
from forcedmove_server.config import CalibrationConfig
from forcedmove_server.engine.bands import Certainty
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.engine.touched import HeldGrid, touched_bins
from forcedmove_server.engine.turnover import Turnover
from forcedmove_server.errors import FileFormatError
from forcedmove_server.inference.calibration import Calibration, Prints, Window, credible_band, weight_variance
from forcedmove_server.inference.leverage_prior import prior_for, tail_membership
from forcedmove_server.market.events import Records
from forcedmove_server.market.liquidation_feeds import liquidations_complete

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_LOG = logging.getLogger(__name__)

#: what is kept of a frozen grid reaches this far from the mark: few markets move further in one step
_NEAR = 0.06
#: bins on either side that a print's price may be off by
_BLUR = 3
#: shape of weights that nobody doubts
_SURE = 1e18
#: a market's weights are set anew when one of them has changed by this much
_LEAST_CHANGE = 1e-4


class BandCheck(NamedTuple):
    """Touched bins of markets whose liquidations are all known, arrays ``[n]``: band and what came, in USD.

    The band is that of the level which the calibration watches, as it was known before.
    """

    market: I64
    side: I64
    low: F64
    high: F64
    liquidated: F64


class Learner:
    """Fits the weights of a pipeline's markets; grids come from :class:`~.forecasts.Forecasts`.

    It also knows how sure the weights are, whether they are learnt or not, and checks bands against what came.
    """

    def __init__(self, pipeline: Pipeline, config: CalibrationConfig) -> None:
        """With ``config.enabled`` false weights stay what they are.

        Raises FileFormatError where ``config.state`` names a file that holds no weights of this version.
        """
        self._pipeline = pipeline
        self._path = Path(config.state).expanduser() if config.state and config.enabled else None
        self._every_ns = config.every_s * 10**9
        self.calibration = Calibration(LEVERAGES)
        if self._path is not None and self._path.exists():
            self.calibration.restore(self._path)
        if config.frozen or not config.enabled:
            self.calibration.freeze()
        else:  # a file may hold weights that were frozen then
            self.calibration.thaw()
        self._held: dict[int, HeldGrid] = {}
        self._prints: list[Records] = []
        #: markets whose feed of liquidations lost something since the grids were frozen
        self._unheard: set[int] = set()
        self._rows: dict[int, int] = {}
        self._priors: dict[int, F64] = {}
        capacity = pipeline.inference.markets.capacity
        self._low, self._high = np.full(capacity, np.inf), np.zeros(capacity)
        self._turnover = Turnover(pipeline.inference.markets)
        self._applied_ns = 0
        #: exact positions that had been crossed when a market's grid was frozen, in model units
        self._crossed = np.zeros(capacity)
        #: markets in which positions were visible
        self._visible: set[int] = set()

    def observe(self, updates: Updates) -> None:
        """Note the trigger-price extremes that a lifecycle step saw, and what opened."""
        self._turnover.observe(updates)
        np.minimum.at(self._low, updates.market, updates.low)
        np.maximum.at(self._high, updates.market, updates.high)

    def liquidations(self, rows: Records) -> None:
        """Note forced closes."""
        self._prints.append(rows)

    def lost_liquidations(self, markets: list[int]) -> None:
        """Note that the feed of liquidations of some markets is not whole: in this step they say nothing."""
        self._unheard.update(markets)

    def resolve(self, at_ns: int) -> BandCheck:
        """Learn from what happened since the grids were frozen, and let the weights follow when it is time.

        Returns how the bands fared.
        """
        self._measure_openings()
        held = [market for market in self._held if np.isfinite(self._low[market])]
        check = self._check_bands(held)
        if held and not self.calibration.frozen:
            self.calibration.observe(self._window(at_ns, held))
        self._held.clear()
        self._prints.clear()
        self._unheard.clear()
        self._low[:], self._high[:] = np.inf, 0.0
        if self._rows and at_ns - self._applied_ns >= self._every_ns:
            self._applied_ns = at_ns
            self._see_positions(at_ns)
            self._apply()
            self.save()
        return check

    def freeze(self, market: int, first_bin: int, grid: NDArray[np.uint64]) -> None:
        """Keep a market's grid u64 ``[2, T, B]`` near its mark until the next grid time."""
        table = self._pipeline.inference.markets
        if market not in self._rows:
            self._admit(market)
        mark = int(table.price[market])
        mark_bin = mark >> PRICE_BITS
        self._crossed[market] = self._pipeline.exact.crossed_quantity[market]
        reach = int(mark_bin * _NEAR) + 1
        begin = max(mark_bin - reach - first_bin, 0)
        self._held[market] = HeldGrid(
            first_bin=first_bin + begin,
            mark_bin=mark_bin,
            cells=(grid[:, :, begin : mark_bin + reach - first_bin] * table.lot[market]).astype(np.float32),
            weights=self._pipeline.store.weights(np.array([market]))[0],
            open_interest=float(table.open_interest[market] * table.lot[market]),
            mark=float(mark),
            bin_width_usd=float(table.bin_width[market]),
        )

    def certainty(self, markets: I64) -> Certainty:
        """Return how sure what is said of rows of the store is; of one that holds exact positions, quite sure."""
        markets = self._pipeline.exact.owners(markets)
        weights = self._pipeline.store.weights(markets)
        typical, opened, stood, displacement = np.zeros((4, len(markets)))
        phi, shape, common = np.ones(len(markets)), np.full(weights.shape, _SURE), np.zeros(weights.shape)
        inferred = [k for k, market in enumerate(markets.tolist()) if market < len(self._pipeline.registry)]
        own = markets[inferred]
        self.admit(own.tolist())
        if len(own):
            rows = np.array([self._rows[market] for market in own.tolist()])
            shape[inferred] = self.calibration.shape(rows)
            common[inferred] = self.calibration.common_deviation(rows)
            table = self._pipeline.inference.markets
            typical[inferred] = self._typical(own) / table.lot[own]
            opened[inferred] = self._opened(own) / table.lot[own]
            phi[inferred] = [self.calibration.phi(self._pipeline.registry[market].venue) for market in own.tolist()]
            stood[inferred] = self._turnover.stood[own]
            displacement[inferred] = self._pipeline.model.initial_entry_spread * table.price[own] / (1 << PRICE_BITS)
        return Certainty(weights, shape, typical, phi, opened, common, stood, displacement)

    def priors(self, markets: I64) -> F64:
        """Weights that markets began with: float64 ``[K, 2, T]``; those they have now where nothing was frozen yet."""
        now = self._pipeline.store.weights(markets)
        return np.stack([self._priors.get(market, now[k]) for k, market in enumerate(markets.tolist())])

    def save(self) -> None:
        """Keep the weights, where a file for them is configured; a full disk is told, and ends nothing."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.calibration.save(self._path)
        except (OSError, FileFormatError) as error:
            _LOG.error("the weights cannot be saved: %s", error)

    def admit(self, markets: Iterable[int]) -> None:
        """Learn of markets from now on, those that are new; to be called with markets that have rules."""
        for market in markets:
            if market not in self._rows:
                self._admit(market)

    def _admit(self, market: int) -> None:
        instrument = self._pipeline.registry[market]
        prior = self._priors[market] = self._pipeline.store.weights(np.array([market]))[0]
        complete = liquidations_complete(instrument.venue)
        tail = tail_membership(prior_for(instrument.venue), LEVERAGES, instrument.max_leverage)
        row = self.calibration.new_market(instrument.key, instrument.venue, prior, complete, tail)
        self._rows[market] = row
        learnt = self.calibration.weights(np.array([row]))[0]
        if np.abs(learnt - prior).max() > _LEAST_CHANGE:
            self._pipeline.store.set_weights(market, learnt)

    def _apply(self) -> None:
        markets = np.array(sorted(self._rows), np.int64)
        if not len(markets):
            return
        wanted = self.calibration.weights(np.array([self._rows[m] for m in markets.tolist()]))
        change = np.abs(wanted - self._pipeline.store.weights(markets)).max((1, 2))
        for k in np.flatnonzero(change > _LEAST_CHANGE).tolist():
            self._pipeline.store.set_weights(int(markets[k]), wanted[k])

    def _see_positions(self, at_ns: int) -> None:
        """Learn from positions that can be seen and stand for others."""
        market, side, quantity, tier = self._pipeline.exact.visible()
        seen = {found for found in market.tolist() if found in self._rows}
        told = np.array([self._rows[found] for found in sorted(seen | self._visible)], np.int64)
        self._visible = seen
        if len(told):
            known = np.isin(market, list(seen))
            rows = np.array([self._rows[found] for found in market[known].tolist()], np.int64)
            self.calibration.observe_positions(at_ns, told, rows, side[known], quantity[known], tier[known])

    def _window(self, at_ns: int, markets: list[int]) -> Window:
        table = self._pipeline.inference.markets
        exposure = np.zeros((len(markets), 2, len(LEVERAGES)))
        released, move = np.full((2, len(markets)), np.nan)
        for k, market in enumerate(markets):
            held = self._held[market]
            for side in (LONG, SHORT):
                bins = held.touched(side, self._low[market], self._high[market])
                exposure[k, side] = held.cells[side, :, bins].sum(-1, dtype=np.float64)
            released[k] = held.open_interest - float(table.open_interest[market] * table.lot[market])
            # what known positions left says nothing about leverage
            released[k] -= self._pipeline.exact.crossed_quantity[market] - self._crossed[market]
            down, up = np.log(self._low[market] / held.mark), np.log(self._high[market] / held.mark)
            move[k] = down if -down > up else up
        weights = np.stack([self._held[market].weights for market in markets])
        return Window(
            until_ns=at_ns,
            market=np.array([self._rows[market] for market in markets]),
            exposure=np.where(weights > 0, exposure, 0.0),
            weights=weights,
            prints=self._printed(set(markets)),
            heard=np.array([market not in self._unheard for market in markets]),
            released=released,
            open_interest=np.array([self._held[market].open_interest for market in markets]),
            move=move,
        )

    def _check_bands(self, markets: list[int]) -> BandCheck:
        """Hold bands against what came where all liquidations are known, and let their width follow."""
        registry = self._pipeline.registry
        known = [m for m in markets if m not in self._unheard and liquidations_complete(registry[m].venue)]
        held = {market: self._held[market] for market in known}
        bins = touched_bins(held, self._low, self._high, self._prints, len(LEVERAGES))
        rows = np.array([self._rows[market] for market in bins.market.tolist()], np.int64)
        cells, shape = bins.tier_cells[..., None], self.calibration.shape(rows)[np.arange(len(rows)), bins.side]
        common = self.calibration.common_deviation(rows)[np.arange(len(rows)), bins.side]
        typical, venues = self._typical(bins.market), np.array([registry[m].venue for m in bins.market.tolist()])
        factors = {venue: self.calibration.phi(venue) for venue in np.unique(venues).tolist()}
        phi = np.array([factors[venue] for venue in venues.tolist()])
        quantity = np.maximum(phi * typical, self._opened(bins.market))
        level = self.calibration.settings.level
        low, high = credible_band(cells, shape, quantity[:, None], level, weights=bins.weights, common=common)
        mean, variance = cells.sum(1)[:, 0], weight_variance(cells, shape, bins.weights, common)[:, 0]
        for venue in factors:
            own = venues == venue
            self.calibration.observe_bins(venue, mean[own], variance[own], bins.liquidated[own], typical[own])
        usd = self._unit_usd(bins.market)
        return BandCheck(bins.market, bins.side, low[:, 0] * usd, high[:, 0] * usd, bins.liquidated * usd)

    def _measure_openings(self) -> None:
        markets = np.array(sorted(self._rows), np.int64)
        if len(markets):
            rows = np.array([self._rows[market] for market in markets.tolist()])
            self.calibration.observe_openings(rows, *self._turnover.taken(markets))

    def _typical(self, markets: I64) -> F64:
        """Size-biased mean quantity of a liquidation, in model units, float64 ``[K]``: from what was printed."""
        return self._sizes(markets, self.calibration.printed_sizes)

    def _opened(self, markets: I64) -> F64:
        """Size-biased mean quantity of a position that opens, in model units, float64 ``[K]``."""
        return self._sizes(markets, self.calibration.opened_sizes)

    def _sizes(self, markets: I64, sums: Callable[[I64], tuple[F64, F64]]) -> F64:
        """Size-biased mean quantities in model units, float64 ``[K]``; ``sums`` gives those of rows and their squares.

        That of the market's own, which begins at that of all markets of its symbol, in USD, and that at a position of
        typical size.
        """
        registry, expected = self._pipeline.registry, self._pipeline.model.typical_position_usd
        symbols = [registry[market].symbol for market in markets.tolist()]
        of_symbol = {}
        for symbol in set(symbols):
            own = np.array([market for market in registry.markets_of(symbol) if market in self._rows])
            total, squares = sums(np.array([self._rows[market] for market in own.tolist()]))
            unit = self._unit_usd(own)
            of_symbol[symbol] = self.calibration.size_from((total * unit).sum(), (squares * unit**2).sum(), expected)
        begun = np.array([of_symbol[symbol] for symbol in symbols]) / self._unit_usd(markets)
        return self.calibration.size_from(*sums(np.array([self._rows[m] for m in markets.tolist()], np.int64)), begun)

    def _unit_usd(self, markets: I64) -> F64:
        """What a model unit is worth at the mark, float64 ``[K]``."""
        table = self._pipeline.inference.markets
        mark = table.price[markets] * table.bin_width[markets] / (1 << PRICE_BITS)
        unit: F64 = np.where(table.inverse[markets], 1.0, mark)
        return unit

    def _printed(self, markets: set[int]) -> Prints:
        rows = [row for part in self._prints for row in part if int(row["market"]) in markets]
        if not rows:
            return Prints()
        likelihood = np.zeros((len(rows), len(LEVERAGES)))
        quantity = np.zeros(len(rows))
        for k, row in enumerate(rows):
            market, side = int(row["market"]), int(row["side"])
            held = self._held[market]
            quantity[k] = float(row["quantity"])
            cell = held.cell_of(float(row["price"]))
            near = held.cells[side, :, max(cell - _BLUR, 0) : max(cell + _BLUR + 1, 0)]
            likelihood[k] = near.sum(-1, dtype=np.float64)
        return Prints(
            market=np.array([self._rows[int(row["market"])] for row in rows]),
            side=np.array([int(row["side"]) for row in rows]),
            quantity=quantity,
            likelihood=likelihood,
        )
