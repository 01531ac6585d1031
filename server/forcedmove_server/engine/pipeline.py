"""Events in, positions up to date: the part of the engine that a replay and the tick loop share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import Notional, Updates
from forcedmove_kernels.backend import Backend, BackendChoice, select_backend
from forcedmove_kernels.errors import BackendUnavailableError
from forcedmove_kernels.fixed_point import PRICE_BITS
from forcedmove_server.config import Config, EngineConfig, ModelConfig
from forcedmove_server.engine.activity import Activity
from forcedmove_server.engine.cascade.withdrawal import WithdrawalWatch
from forcedmove_server.engine.depth import BookTable
from forcedmove_server.engine.exact.rows import ExactRows
from forcedmove_server.engine.feed_states import FeedStates
from forcedmove_server.engine.frames import MarginInfo
from forcedmove_server.engine.rules import ladder_book
from forcedmove_server.engine.store import CohortStore
from forcedmove_server.engine.views import SymbolRows
from forcedmove_server.errors import ConfigError, NotReadyError
from forcedmove_server.inference.lifecycle import PositionInference
from forcedmove_server.margin.ladder_book import LadderBook, shipped_book
from forcedmove_server.margin.provenance import STALE_AFTER_DAYS
from forcedmove_server.market.events import Channel, EventBatch
from forcedmove_server.market.instruments import ContractType, InstrumentRegistry

F64 = NDArray[np.float64]


class Pipeline:
    """Inference, cohort store, books and activity of one run. Used from one thread."""

    def __init__(
        self,
        registry: InstrumentRegistry,
        engine: EngineConfig,
        model: ModelConfig,
        leverage_shares: dict[str, F64] | None = None,
        book: LadderBook | None = None,
        tiers_stale_after_days: int = STALE_AFTER_DAYS,
        exact_markets: int = 0,
    ) -> None:
        """``leverage_shares``: float64 ``[2, T]`` weights per side by market key; they replace the venue's prior.

        ``book`` has the maintenance ladders; default: the shipped ones. At most ``exact_markets`` may have positions
        whose liquidation price is known. Raises ConfigError when the configured backend cannot run here, or has not the
        memory for the configured store.
        """
        self.registry = registry
        self.model = model
        self.book = book or shipped_book()
        self.tiers_stale_after_days = tiers_stale_after_days
        #: what is told of a market's rule, and for which day; see engine.margins
        self.margin_infos: dict[int, tuple[date, MarginInfo]] = {}
        self.backend, self.backend_choice = chosen_backend(engine)
        self.store = CohortStore(
            self.backend,
            model,
            engine.max_markets,
            engine.max_cohorts_per_market,
            engine.bins,
            self.book,
            2 * exact_markets,
        )
        self.inference = PositionInference(registry, model, self.backend, engine.max_markets)
        self.exact = ExactRows(self.store, self.inference.markets, registry)
        self.feed_states = FeedStates(self.inference.markets, model)
        self.books = BookTable(registry)
        self.withdrawal = WithdrawalWatch()
        self.activity = Activity(registry)
        self.events: Counter[str] = Counter()
        #: are told of every lifecycle step, after the store has taken it
        self.observers: list[Callable[[Updates], None]] = []
        #: are told of every batch, after it has been taken in
        self.readers: list[Callable[[EventBatch], None]] = []
        #: the watermark: event time up to which everything has been seen; ages count from it
        self.now_ns = 0
        self.newest_event_ns = 0
        self._leverage_shares = leverage_shares or {}

    @property
    def now_s(self) -> int:
        """The watermark in Unix seconds."""
        return self.now_ns // 10**9

    def take(self, batch: EventBatch) -> None:
        """Process one batch completely. Raises InputError when there are more markets than the store has room for."""
        if len(self.registry) > self.inference.markets.capacity:
            self.inference.markets.refuse(len(self.registry) - 1)
        for update in self.inference.step(batch):
            self._apply(update)
        self.books.take(batch.depth)
        self.withdrawal.take(batch.depth)
        self.activity.take(batch)
        self.feed_states.take(batch.feed_states)
        states = batch.feed_states
        self.books.forget(states["market"][(states["channel"] == Channel.DEPTH) & (states["live"] == 0)].tolist())
        for kind, rows in batch.by_kind().items():
            self.events[kind] += len(rows)
            if len(rows):
                self.newest_event_ns = max(self.newest_event_ns, int(rows["time_ns"][-1]))
        self.now_ns = max(self.now_ns, batch.until_ns)
        for read in self.readers:
            read(batch)

    def sweep(self) -> None:
        """Kill the levels that the price has crossed since the last open interest."""
        update = self.inference.sweep()
        if update is not None:
            self._apply(update)

    def notional(self) -> Notional:
        """Cents per lot of every row of the store; see kernels.arrays.Notional. A market that is left out has none."""
        markets = self.inference.markets
        inverse = np.zeros(markets.capacity, bool)
        for market, instrument in zip(range(markets.capacity), self.registry, strict=False):
            inverse[market] = instrument.contract_type is ContractType.INVERSE
        cents = markets.lot * 100
        for symbol in self.registry.symbols():
            cents[self.left_out(symbol)] = 0.0
        base, slope = np.zeros((2, self.store.rows))
        base[: markets.capacity] = np.where(inverse, cents, 0.0)
        slope[: markets.capacity] = np.where(inverse, 0.0, cents * markets.bin_width)
        own = list(self.exact.by_market)
        for rows in (self.exact.known(own), self.exact.shown(own)):
            base[rows], slope[rows] = base[own], slope[own]
        return Notional(base, slope)

    def fresh(self, markets: list[int]) -> NDArray[np.bool_]:
        """Return which markets' feeds are fresh at the watermark; see :class:`FeedStates`."""
        return self.feed_states.fresh(markets, self.now_ns)

    def left_out(self, symbol: str) -> list[int]:
        """Markets of a symbol whose feeds are stale while others are fresh: what they show may be gone.

        They keep their place in a map, with nothing in it. Where no market is fresh, as after a replay, all stay.
        """
        markets = self.mapped_markets(symbol)
        fresh = self.fresh(markets)
        if not fresh.any() or fresh.all():
            return []
        return [market for market, is_fresh in zip(markets, fresh, strict=True) if not is_fresh]

    def mapped_markets(self, symbol: str) -> list[int]:
        """Indices of a symbol's markets that have a price and an open interest, and were not given up."""
        table = self.inference.markets
        mapped = [
            m
            for m in self.registry.markets_of(symbol)
            if m < table.capacity and table.price[m] > 0 and table.open_interest[m] >= 0 and self.store.has_market(m)
        ]
        gone = self.feed_states.gone(mapped, self.now_ns)
        return [m for m, is_gone in zip(mapped, gone.tolist(), strict=True) if not is_gone] if gone.any() else mapped

    def centre(self, symbol: str) -> None:
        """Re-centre the window of a symbol that has a map when its price nears the edge."""
        markets = self.mapped_markets(symbol)
        every = dict.fromkeys([*markets, *self.exact.shown(markets), *self.exact.known(markets)])
        rows = np.array(list(every), np.int64)
        self.store.centre(rows, int(self.inference.markets.price[markets[0]]))

    def symbol_rows(self, symbol: str, notional: Notional) -> SymbolRows:
        """Return a symbol's rows for rendering. Raises NotReadyError before its first open interest."""
        markets = self.mapped_markets(symbol)
        if not markets:
            raise NotReadyError(f"{symbol}: no market has both a price and an open interest yet")
        table = self.inference.markets
        exact_of = [k for k, market in enumerate(markets) if market in self.exact.by_market]
        return SymbolRows(
            symbol=symbol,
            markets=np.array(markets, np.int32),
            venues=tuple(self.registry[m].venue for m in markets),
            notional=Notional(notional.base[markets], notional.slope[markets]),
            bin_width_usd=float(table.bin_width[markets[0]]),
            mark_units=round(self.mean_units(markets)),
            exact=np.array(self.exact.known(markets), np.int32),
            exact_of=np.array(exact_of, np.int64),
            left=np.array(self.exact.shown(markets[k] for k in exact_of), np.int32),
        )

    def mean_units(self, markets: list[int], units: NDArray[np.uint32] | None = None) -> float:
        """Return the mean of prices of a symbol's markets, by default their marks, weighted by open interest in USD.

        ``units`` u32 ``[M]`` are price units of all markets. Stale markets have no say where there are fresh ones.
        """
        fresh = self.fresh(markets)
        if fresh.any():
            markets = [market for market, is_fresh in zip(markets, fresh, strict=True) if is_fresh]
        table = self.inference.markets
        price = table.price[markets].astype(np.float64)
        inverse = np.array([self.registry[m].contract_type is ContractType.INVERSE for m in markets])
        unit_usd = table.bin_width[markets[0]] / (1 << PRICE_BITS)
        weight = table.open_interest[markets] * table.lot[markets] * np.where(inverse, 1.0, price * unit_usd)
        shown = price if units is None else units[markets].astype(np.float64)
        return float(np.average(shown, weights=weight if weight.sum() > 0 else None))

    def _apply(self, updates: Updates) -> None:
        while self.inference.markets.coarsened:
            market = self.inference.markets.coarsened.pop()
            self.store.coarsen(market)
            self.exact.coarsen(market)
        for market, units in zip(updates.market.tolist(), updates.price.tolist(), strict=True):
            if not self.store.has_market(market):
                instrument = self.registry[market]
                price_usd = float(units) * self.inference.markets.bin_width[market] / (1 << PRICE_BITS)
                self.store.add_market(market, instrument, price_usd, self._leverage_shares.get(instrument.key))
        self.exact.apply(updates)
        for observe in self.observers:
            observe(updates)


def chosen_backend(engine: EngineConfig) -> tuple[Backend, BackendChoice]:
    """Return the configured backend, and what there is to say about it. Raises ConfigError when it cannot run here."""
    try:
        return select_backend(engine.backend, engine.threads or None, engine.device)
    except BackendUnavailableError as error:
        raise ConfigError("engine.backend", engine.backend, str(error)) from error


def configured_pipeline(registry: InstrumentRegistry, config: Config, exact_markets: int = 0) -> Pipeline:
    """Return a pipeline as the configuration has it, with the ladders that its folder holds.

    Only who takes in exact positions has room for those of ``exact_markets``.
    """
    return Pipeline(
        registry,
        config.engine,
        config.model,
        book=ladder_book(config.margin),
        tiers_stale_after_days=config.margin.tiers_stale_after_days,
        exact_markets=exact_markets,
    )
