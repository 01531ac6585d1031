"""An EngineService that is deterministic and has a real thread, for tests and benchmarks of what lies in front of it.

``step()`` makes one tick and returns when its callbacks are done; ``run(interval_s)`` lets it tick by itself.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from forcedmove.v1 import heatmap_pb2
from forcedmove_kernels.backend import select_backend
from forcedmove_server.engine.cascade.answer import Forecast
from forcedmove_server.engine.cascade.forecast import ShockQuestion
from forcedmove_server.engine.cascade.sweeps import Tipping
from forcedmove_server.engine.clusters.log import EventLog
from forcedmove_server.engine.frames import (
    SIDES,
    AssumptionInfo,
    AxisName,
    ChainInfo,
    ClusterInfo,
    CredibleBand,
    LevelInfo,
    MarginInfo,
    MarketStatus,
    RenderedView,
    SymbolMap,
    Tick,
    ViewSpec,
)
from forcedmove_server.engine.scan.books import Snapshot
from forcedmove_server.errors import InputError, NotReadyError, UnknownNameError
from forcedmove_server.market.instruments import Instrument, InstrumentRegistry
from forcedmove_server.rpc.limits import Limits
from forcedmove_server.rpc.server import RpcServer, serve
from forcedmove_server.scorecard.scorecard import Scorecard
from forcedmove_server.scorecard.summary import MarketRow, ShortScore, Summary, Where
from tests.unit.watched_views import WatchedViews

LEVERAGES = (2.0, 5.0, 10.0, 25.0, 50.0)
BIN_WIDTH_USD = 50.0
START_NS = 1_700_000_000_000_000_000
T = TypeVar("T")


async def eventually(check: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return once ``check()`` is true; fail when that does not happen."""
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.002)


def subscribe_request(request_id: int = 1, **wanted: Any) -> heatmap_pb2.SubscribeRequest:
    """A request for the subscription that ``wanted`` describes."""
    return heatmap_pb2.SubscribeRequest(request_id=request_id, subscription=heatmap_pb2.Subscription(**wanted))


async def next_frames(call: Any) -> heatmap_pb2.SubscribeResponse:
    """Read a call until a response that has frames: heartbeats come whenever they are due."""
    while not (response := await call.read()).frames:
        pass
    return response


@asynccontextmanager
async def serving(
    engine: FakeEngine, limits: Limits | None = None, port: int = 0, **access: Any
) -> AsyncIterator[RpcServer]:
    """A real server in front of ``engine``; both are gone afterwards."""
    try:
        server = await serve(engine, port=port, limits=limits, **access)
        try:
            yield server
        finally:
            await server.drain(grace_s=0.2)
    finally:
        engine.close()


MARGIN = MarginInfo(
    "L1", "DOC", False, "mark", 0.0, 125.0, "shipped table of 2026-09-29", "2026-09-29", True, 0.4, 0.1, "a help page"
)


class FakeUncertainty(NamedTuple):
    """Bands as wide as their level."""

    view: RenderedView

    def band(self, level: float) -> CredibleBand:
        return CredibleBand(level, *(self.view.values * np.float32(1 + way * level) for way in (-1, 1)))


class FakeQuestion(NamedTuple):
    """A question whose answer is known."""

    answer: Forecast

    def forecast(self) -> Forecast:
        return self.answer


class FakeEngine:
    """See the module. ``quiet`` symbols do not change; ``watched`` counts the views that are wanted."""

    def __init__(
        self,
        symbols: tuple[str, ...] = ("BTC", "ETH"),
        venues: tuple[str, ...] = ("binance", "bybit", "okx"),
        *,
        seed: int = 1,
        epoch: int = 1,
        bins: int = 64,
        changed_share: float = 0.02,
    ) -> None:
        self.epoch = epoch
        self.events = EventLog(epoch)
        self.missed_ticks = 0
        self.registry = InstrumentRegistry()
        self.venues, self.bins, self.changed_share = venues, bins, changed_share
        self.quiet: set[str] = set()
        self.delisted: set[str] = set()
        #: None where none is kept
        self.scored: Callable[[Where], Summary] | None = Scorecard().summary
        self.scored_rows: tuple[MarketRow, ...] = ()
        self.watched: Counter[tuple[str, ViewSpec]] = Counter()
        self._random = np.random.default_rng(seed)
        self._grids: dict[str, np.ndarray] = {}
        self._maps: dict[str, SymbolMap] = {}
        self._first_bins: dict[str, int] = {}
        self._new_watches: set[tuple[str, ViewSpec]] = set()
        self._callbacks: list[Callable[[Tick], None]] = []
        self._renderings = WatchedViews()
        self._tick: Tick | None = None
        self._number = 0
        self._interval_s: float | None = None
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        for symbol in symbols:
            self.add_symbol(symbol)
        self._thread = threading.Thread(target=self._work, name="fake engine", daemon=True)
        self._thread.start()

    # --- EngineService -----------------------------------------------------------------------------------------------

    def latest(self) -> Tick:
        if self._tick is None:
            raise NotReadyError("no map yet")
        return self._tick

    def on_tick(self, callback: Callable[[Tick], None]) -> Callable[[], None]:
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    def at_tick(self, look: Callable[[Any], T]) -> Future[T]:
        """There are maps, but nothing that they were made from."""
        return self._submit(lambda: look(Snapshot(self.latest(), {}, select_backend("reference")[0])))

    def watch(self, symbol: str, spec: ViewSpec) -> Callable[[], None]:
        self.watched[symbol, spec] += 1
        self._new_watches.add((symbol, spec))

        def stop() -> None:
            self.watched[symbol, spec] -= 1
            self.watched += Counter()  # drop zeros

        return stop

    def render(self, symbol: str, spec: ViewSpec) -> Future[tuple[SymbolMap, RenderedView]]:
        return self._submit(lambda: (self._map(symbol), self.view(symbol, spec)))

    def uncertainty(self, symbol: str, spec: ViewSpec) -> Future[tuple[SymbolMap, FakeUncertainty]]:
        return self._submit(lambda: (self._map(symbol), FakeUncertainty(self.view(symbol, spec))))

    def simulate(
        self, symbol: str, question: Callable[[SymbolMap], ShockQuestion]
    ) -> Future[tuple[SymbolMap, FakeQuestion]]:
        def take() -> tuple[SymbolMap, FakeQuestion]:
            newest = self._map(symbol)
            chain = _chain(newest.mark_price_usd, question(newest).shock_usd)
            return newest, FakeQuestion(Forecast(chain, (Tipping(0), Tipping(1)), None, None, (), (), ()))

        return self._submit(take)

    def scorecard(self, where: Where) -> Future[Summary]:
        return self._submit(lambda: self._scored()(where))

    def scorecard_rows(self) -> Future[tuple[MarketRow, ...]]:
        return self._submit(lambda: (self._scored(), self.scored_rows)[1])

    # --- what a test may do ------------------------------------------------------------------------------------------

    def step(self, ticks: int = 1, changed_share: float | None = None) -> None:
        for _ in range(ticks):
            self._submit(lambda: self._step(changed_share)).result(10)

    def run(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._jobs.put(lambda: None)  # wake the thread

    def add_symbol(self, symbol: str) -> None:
        for venue in self.venues:
            self.registry.add(Instrument(venue, f"{symbol}USDT", symbol, "USDT"))
        shape = (len(self.venues), len(SIDES), len(LEVERAGES), self.bins + 2)
        self._first_bins[symbol] = 1_000
        self._grids[symbol] = self._random.integers(0, 10**6, shape).astype(np.float64)

    def stamp(self, symbol: str, score: ShortScore | None) -> None:
        """Have the symbol's next map carry this score."""
        self._maps[symbol] = replace(self._maps[symbol], score=score)

    def recentre(self, symbol: str, bins: int) -> None:
        self._first_bins[symbol] += bins

    def close(self) -> None:
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join(10)
        assert not self._thread.is_alive()

    def view(self, symbol: str, spec: ViewSpec) -> RenderedView:
        listed = self.venues[1:] if symbol in self.delisted else self.venues  # the first venue lacks these
        venues = [k for k, venue in enumerate(self.venues) if not spec.venues or venue in spec.venues]
        if spec.venues and not set(spec.venues) <= set(listed):
            raise UnknownNameError("venue", spec.venues[0], list(listed))
        sides = [k for k, side in enumerate(SIDES) if not spec.sides or side in spec.sides]
        tiers = [k for k, x in enumerate(LEVERAGES) if spec.leverage_min <= x <= (spec.leverage_max or float("inf"))]
        if not tiers:
            raise InputError("view.leverage_min", spec.leverage_min, "selects no leverage tier")
        grid = self._grids[symbol][np.ix_(venues, sides, tiers)]
        first_bin, bins = self._first_bins[symbol], self.bins
        if spec.price_range_fraction:
            folded = min(int(bins * (1 - spec.price_range_fraction) / 2), bins // 2 - 1)
            low, high = grid[..., : folded + 1].sum(-1), grid[..., bins + 1 - folded :].sum(-1)
            inner = grid[..., folded + 1 : bins + 1 - folded]
            grid = np.concatenate((low[..., None], inner, high[..., None]), -1)
            first_bin, bins = first_bin + folded, bins - 2 * folded
        names: tuple[AxisName, ...] = ("venue", "side", "leverage", "price")
        grid = grid.sum(axis=tuple(k for k, name in enumerate(names) if name not in spec.keep))
        return RenderedView(
            axes=tuple(name for name in names if name in spec.keep),
            venues=tuple(self.venues[k] for k in venues) if "venue" in spec.keep else (),
            sides=tuple(SIDES[k] for k in sides) if "side" in spec.keep else (),
            leverages=tuple(LEVERAGES[k] for k in tiers) if "leverage" in spec.keep else (),
            first_bin=first_bin,
            bin_count=bins,
            bin_width_usd=BIN_WIDTH_USD,
            values=(grid * (0.5 if spec.weighting == "fresh" else 1.0)).astype(np.float32),
        )

    # --- the thread --------------------------------------------------------------------------------------------------

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001  the future carries it
                future.set_exception(error)

        self._jobs.put(job)
        return future

    def _work(self) -> None:
        due = 0.0
        while True:
            try:
                wait_s = None if self._interval_s is None else max(0.0, due - time.monotonic())
                job = self._jobs.get(timeout=wait_s)
            except queue.Empty:
                due = time.monotonic() + (self._interval_s or 0.0)
                self._step(None)
                continue
            if job is None:
                return
            job()

    def _scored(self) -> Callable[[Where], Summary]:
        if self.scored is None:
            raise NotReadyError("no scorecard is kept: scorecard.enabled = false")
        return self.scored

    def _map(self, symbol: str) -> SymbolMap:
        if symbol not in self._grids:
            raise UnknownNameError("symbol", symbol, list(self._grids))
        if symbol not in self._maps:
            raise NotReadyError(f"{symbol}: no map yet")
        return self._maps[symbol]

    def _step(self, changed_share: float | None) -> None:
        self._number += 1
        event_time_ns = START_NS + self._number * 250_000_000
        changed = [symbol for symbol in self._grids if symbol not in self.quiet or symbol not in self._maps]
        for symbol in changed:
            cells = self._grids[symbol].reshape(-1)
            count = int(cells.size * (self.changed_share if changed_share is None else changed_share))
            chosen = self._random.integers(0, cells.size, count)
            cells[chosen] = self._random.integers(0, 10**6, count)
            self._maps[symbol] = self._symbol_map(symbol, event_time_ns)
        new, self._new_watches = self._new_watches, set()
        wanted = {key for key in list(self.watched) if key[0] in changed or key in new}
        tick = Tick(
            epoch=self.epoch,
            number=self._number,
            event_time_ns=event_time_ns,
            published_ns=time.time_ns(),
            maps=dict(self._maps),
            changed=frozenset(changed),
            views=self._views(wanted),
        )
        self._tick = tick
        for callback in list(self._callbacks):
            callback(tick)

    def _views(self, wanted: set[tuple[str, ViewSpec]]) -> dict[tuple[str, ViewSpec], RenderedView]:
        views = {}
        for key in wanted:
            with suppress(UnknownNameError):
                views[key] = self._renderings.next(self.view(*key), key)
        return views

    def _symbol_map(self, symbol: str, event_time_ns: int) -> SymbolMap:
        previous = self._maps.get(symbol)
        mark = (self._first_bins[symbol] + self.bins / 2) * BIN_WIDTH_USD
        if previous is not None:
            return replace(previous, seq=previous.seq + 1, event_time_ns=event_time_ns, mark_price_usd=mark)
        return SymbolMap(
            symbol=symbol,
            seq=1,
            event_time_ns=event_time_ns,
            mark_price_usd=mark,
            bin_width_usd=BIN_WIDTH_USD,
            markets=tuple(
                MarketStatus(
                    f"{venue}:{symbol}USDT", venue, mark, 10.0, 10.0 * mark, 10.0, 10.0, 120, 900, True, MARGIN, 7, 3
                )
                for venue in self.venues
            ),
            coverage=0.75,
            clusters=(
                ClusterInfo("long", mark * 0.97, mark * 0.98, mark * 0.975, 2e6, -0.02, ((self.venues[0], 2e6),)),
                ClusterInfo("short", mark * 1.02, mark * 1.03, mark * 1.025, 1e6, 0.02, ((self.venues[-1], 1e6),)),
            ),
            next_down=_chain(mark, mark * 0.98),
            next_up=None,
            assumptions=(
                AssumptionInfo("turnover", "share of volume that replaces positions", 0.2),
                AssumptionInfo("prior", "leverage mixture before there is evidence"),
            ),
        )


def _chain(mark: float, shock: float) -> ChainInfo:
    terminal = shock * (0.99 if shock < mark else 1.01)
    return ChainInfo(
        side="long" if shock < mark else "short",
        start_price_usd=mark,
        shock_price_usd=shock,
        levels=(LevelInfo(shock, 1e6, ("binance", "okx"), 1e6, terminal),),
        total_usd=1e6,
        terminal_price_usd=terminal,
        amplification=1.5,
        beyond_window=False,
    )
