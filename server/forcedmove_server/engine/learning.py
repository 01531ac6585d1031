"""Leverage weights that follow the evidence: what frozen maps had at crossed levels, beside what came of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Updates
from forcedmove_kernels.fixed_point import LONG, PRICE_BITS, SHORT
from forcedmove_server.config import CalibrationConfig
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.rules import LEVERAGES
from forcedmove_server.errors import FileFormatError
from forcedmove_server.inference.calibration import Calibration, Prints, Window
from forcedmove_server.market.events import Records
from forcedmove_server.market.liquidation_feeds import liquidations_complete
from forcedmove_server.scorecard.frozen import bin_of

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_LOG = logging.getLogger(__name__)

#: what is kept of a frozen grid reaches this far from the mark: few markets move further in one step
_NEAR = 0.06
#: bins on either side that a print's price may be off by
_BLUR = 3
#: a market's weights are set anew when one of them has changed by this much
_LEAST_CHANGE = 1e-4


class _Held(NamedTuple):
    """One market's grid as it was frozen."""

    first_bin: int
    mark_bin: int
    cells: NDArray[np.float32]  # [2, T, B] lots
    weights: F64  # [2, T]
    open_interest: float
    mark: float
    lot: float


class Learner:
    """Fits the weights of a pipeline's markets; grids come from :class:`~.forecasts.Forecasts`."""

    def __init__(self, pipeline: Pipeline, config: CalibrationConfig) -> None:
        """Raise FileFormatError where ``config.state`` names a file that holds no weights of this version."""
        self._pipeline = pipeline
        self._path = Path(config.state).expanduser() if config.state else None
        self._every_ns = config.every_s * 10**9
        self.calibration = Calibration(LEVERAGES)
        if self._path is not None and self._path.exists():
            self.calibration.restore(self._path)
        if config.frozen:
            self.calibration.freeze()
        self._held: dict[int, _Held] = {}
        self._prints: list[Records] = []
        self._rows: dict[int, int] = {}
        self._priors: dict[int, F64] = {}
        capacity = pipeline.inference.markets.capacity
        self._low, self._high = np.full(capacity, np.inf), np.zeros(capacity)
        self._applied_ns = 0

    def observe(self, updates: Updates) -> None:
        """Note the trigger-price extremes that a lifecycle step saw."""
        np.minimum.at(self._low, updates.market, updates.low)
        np.maximum.at(self._high, updates.market, updates.high)

    def liquidations(self, rows: Records) -> None:
        """Note forced closes."""
        self._prints.append(rows)

    def resolve(self, at_ns: int) -> None:
        """Learn from what happened since the grids were frozen, and let the weights follow when it is time."""
        held = [market for market in self._held if np.isfinite(self._low[market])]
        if held and not self.calibration.frozen:
            self.calibration.observe(self._window(at_ns, held))
        self._held.clear()
        self._prints.clear()
        self._low[:], self._high[:] = np.inf, 0.0
        if self._rows and at_ns - self._applied_ns >= self._every_ns:
            self._applied_ns = at_ns
            self._apply()
            self.save()

    def freeze(self, market: int, first_bin: int, grid: NDArray[np.uint64]) -> None:
        """Keep a market's grid u64 ``[2, T, B]`` near its mark until the next grid time."""
        table = self._pipeline.inference.markets
        if market not in self._rows:
            self._admit(market)
        mark = int(table.price[market])
        mark_bin = mark >> PRICE_BITS
        reach = int(mark_bin * _NEAR) + 1
        begin = max(mark_bin - reach - first_bin, 0)
        self._held[market] = _Held(
            first_bin=first_bin + begin,
            mark_bin=mark_bin,
            cells=grid[:, :, begin : mark_bin + reach - first_bin].astype(np.float32),
            weights=self._pipeline.store.weights(np.array([market]))[0],
            open_interest=float(table.open_interest[market]),
            mark=float(mark),
            lot=float(table.lot[market]),
        )

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

    def _admit(self, market: int) -> None:
        instrument = self._pipeline.registry[market]
        prior = self._priors[market] = self._pipeline.store.weights(np.array([market]))[0]
        complete = liquidations_complete(instrument.venue)
        self._rows[market] = self.calibration.new_market(instrument.key, instrument.venue, prior, complete)

    def _apply(self) -> None:
        markets = np.array(sorted(self._rows), np.int64)
        if not len(markets):
            return
        wanted = self.calibration.weights(np.array([self._rows[m] for m in markets.tolist()]))
        change = np.abs(wanted - self._pipeline.store.weights(markets)).max((1, 2))
        for k in np.flatnonzero(change > _LEAST_CHANGE).tolist():
            self._pipeline.store.set_weights(int(markets[k]), wanted[k])

    def _window(self, at_ns: int, markets: list[int]) -> Window:
        table = self._pipeline.inference.markets
        exposure = np.zeros((len(markets), 2, len(LEVERAGES)))
        released, move = np.full((2, len(markets)), np.nan)
        for k, market in enumerate(markets):
            held = self._held[market]
            here = held.mark_bin - held.first_bin
            low = max((int(self._low[market]) >> PRICE_BITS) - held.first_bin, 0)
            high = (int(self._high[market]) >> PRICE_BITS) - held.first_bin
            if low <= here:
                exposure[k, LONG] = held.cells[LONG, :, low : here + 1].sum(-1, dtype=np.float64)
            if high >= here:
                exposure[k, SHORT] = held.cells[SHORT, :, here : high + 1].sum(-1, dtype=np.float64)
            if table.lot[market] == held.lot:  # a lot that grew meanwhile counts another unit
                released[k] = held.open_interest - float(table.open_interest[market])
            down, up = np.log(self._low[market] / held.mark), np.log(self._high[market] / held.mark)
            move[k] = down if -down > up else up
        weights = np.stack([self._held[market].weights for market in markets])
        return Window(
            until_ns=at_ns,
            market=np.array([self._rows[market] for market in markets]),
            exposure=np.where(weights > 0, exposure, 0.0),
            weights=weights,
            prints=self._printed(set(markets)),
            released=released,
            open_interest=np.array([self._held[market].open_interest for market in markets]),
            move=move,
        )

    def _printed(self, markets: set[int]) -> Prints:
        rows = [row for part in self._prints for row in part if int(row["market"]) in markets]
        if not rows:
            return Prints()
        table = self._pipeline.inference.markets
        likelihood = np.zeros((len(rows), len(LEVERAGES)))
        quantity = np.zeros(len(rows))
        for k, row in enumerate(rows):
            market, side = int(row["market"]), int(row["side"])
            held = self._held[market]
            quantity[k] = float(row["quantity"]) / held.lot
            cell = int(bin_of(float(row["price"]), float(table.bin_width[market]))) - held.first_bin
            near = held.cells[side, :, max(cell - _BLUR, 0) : max(cell + _BLUR + 1, 0)]
            likelihood[k] = near.sum(-1, dtype=np.float64)
        return Prints(
            market=np.array([self._rows[int(row["market"])] for row in rows]),
            side=np.array([int(row["side"]) for row in rows]),
            quantity=quantity,
            likelihood=likelihood,
        )
