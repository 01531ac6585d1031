"""One symbol's map at a tick: markets, coverage, clusters with their venues, the next cascades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.arrays import ClusterRule, Clusters, Notional
from forcedmove_kernels.fixed_point import LONG, PRICE_BITS, SHARE_ONE, SHORT
from forcedmove_server.config import ModelConfig
from forcedmove_server.engine.activity import DEFAULT_DAILY_VOLATILITY
from forcedmove_server.engine.assumptions import assumptions
from forcedmove_server.engine.cascade.forecast import point_forecast
from forcedmove_server.engine.cascade.withdrawal import Withdrawal
from forcedmove_server.engine.chains import cell_of, lower_edge
from forcedmove_server.engine.depth import ImpactLaw, VisibleBook
from forcedmove_server.engine.frames import SIDES, ChainInfo, ClusterInfo, MarketStatus, SymbolMap
from forcedmove_server.engine.margins import margin_info
from forcedmove_server.engine.pipeline import Pipeline
from forcedmove_server.engine.views import SymbolRows
from forcedmove_server.inference.markets import interest_usd
from forcedmove_server.market.instruments import ContractType
from forcedmove_server.scorecard.summary import ShortScore

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]

#: published clusters: the largest within this fraction of the mark
_CLUSTERS_SHOWN, _CLUSTERS_WITHIN = 12, 0.3
#: the next cascade is looked for within this fraction of the mark
_NEXT_WITHIN = 0.1


@dataclass(frozen=True, slots=True)
class SymbolState:
    """A symbol's profile, its clusters and its books: what a map and cascades are made from."""

    rows: SymbolRows
    venue_cents: dict[str, U64]  # u64 [2, C] per venue
    profile: U64  # u64 [2, C] cents, all venues
    visible: VisibleBook  # what rests in the books
    law: ImpactLaw
    first_bin: int
    books: int
    sigma_measured: bool
    volume_measured: bool
    clusters: tuple[Clusters, Clusters]  # of longs and of shorts
    withdrawal: Withdrawal

    def cell(self, price_usd: float) -> int:
        """Cell of a price; the outer cells stand for everything outside the window."""
        return cell_of(price_usd, self.first_bin, self.rows.bin_width_usd, self.profile.shape[1])

    def edge(self, cell: int) -> float:
        """Lower edge of a cell in USD."""
        return lower_edge(cell, self.first_bin, self.rows.bin_width_usd)


def symbol_states(pipeline: Pipeline, symbols: list[str], notional: Notional) -> dict[str, SymbolState]:
    """Return the states of some symbols; the store's totals must be up to date. Raises NotReadyError."""
    rows = [pipeline.symbol_rows(symbol, notional) for symbol in symbols]
    if not rows:
        return {}
    of_store = np.concatenate([row.rows for row in rows])
    first = np.cumsum([0, *(len(row.rows) for row in rows)], dtype=np.int64)
    money = Notional(notional.base[of_store], notional.slope[of_store])
    found = pipeline.store.resident.profiles(of_store, first, money, cluster_rule(pipeline.model))
    parts = np.split(found.markets, first[1:-1])
    states = {}
    for k, (row, part, profile) in enumerate(zip(rows, parts, found.symbols, strict=True)):
        clusters = found.clusters.of_row(2 * k + LONG), found.clusters.of_row(2 * k + SHORT)
        states[row.symbol] = _symbol_state(pipeline, row, part, profile, clusters)
    return states


def cluster_rule(model: ModelConfig) -> ClusterRule:
    """Return the configured rule in the kernels' numbers."""
    share = round(model.cluster_minimum_share * SHARE_ONE)
    return ClusterRule(model.cluster_half_width, model.cluster_ratio_percent, share)


def _symbol_state(
    pipeline: Pipeline, rows: SymbolRows, cents: U64, profile: U64, clusters: tuple[Clusters, Clusters]
) -> SymbolState:
    """Return one symbol's state; ``cents`` u64 ``[K, 2, C]`` are those of its rows, ``profile`` their sum."""
    store, model = pipeline.store, pipeline.model
    first_bin = store.first_bin(int(rows.markets[0]))
    venue_cents: dict[str, U64] = {}
    for place, row in zip(rows.places.tolist(), cents, strict=True):
        venue = rows.venues[place]
        venue_cents[venue] = venue_cents[venue] + row if venue in venue_cents else row
    stale = pipeline.left_out(rows.symbol)
    booked = [market for market in rows.markets.tolist() if market not in stale]
    interest = interest_usd(pipeline.inference.markets, booked, rows.mark_usd)
    visible, books = pipeline.books.visible(interest, first_bin, store.bins, rows.bin_width_usd, pipeline.now_ns)
    withdrawal = pipeline.withdrawal.fit(booked, model.depth_withdrawal_fraction)
    sigma = pipeline.activity.daily_volatility(rows.symbol)
    volume = pipeline.activity.daily_volume_usd(rows.symbol)
    open_interest_usd = float(profile[LONG].sum()) / 100
    law = ImpactLaw(
        sigma_day=sigma or DEFAULT_DAILY_VOLATILITY,
        volume_day_usd=volume or max(model.assumed_volume_per_oi_day * open_interest_usd, 1.0),
        y=model.impact_y,
        withdrawal_fraction=withdrawal.fraction,
        seen_move=withdrawal.largest_move,
        unseen_fraction=model.depth_withdrawal_fraction,
        recovery_s=model.impact_recovery_s,
        permanent=model.impact_permanent_share,
    )
    return SymbolState(
        rows, venue_cents, profile, visible, law, first_bin, books, sigma is not None, volume is not None, clusters,
        withdrawal,
    )  # fmt: skip


def shock_chain(pipeline: Pipeline, state: SymbolState, shock_usd: float) -> ChainInfo:
    """Follow the chain of one shock. Raises InputError for a price outside the window."""
    return point_forecast(pipeline.backend, state, shock_usd).chain


def build_map(
    pipeline: Pipeline,
    state: SymbolState,
    seq: int,
    score: ShortScore | None = None,
    ids: Mapping[tuple[int, int], int] = MappingProxyType({}),
) -> SymbolMap:
    """Build the published map of one symbol; ``ids`` are identities of clusters by their side and first cell."""
    markets = _market_statuses(pipeline, state.rows)
    interest = sum(m.open_interest_usd for m in markets)
    fresh = sum(m.open_interest_usd for m in markets if m.fresh)
    return SymbolMap(
        symbol=state.rows.symbol,
        seq=seq,
        event_time_ns=pipeline.newest_event_ns,
        mark_price_usd=state.rows.mark_usd,
        bin_width_usd=state.rows.bin_width_usd,
        markets=markets,
        coverage=fresh / interest if interest else 0.0,
        clusters=_largest(state, ids),
        next_down=_next_chain(pipeline, state, LONG),
        next_up=_next_chain(pipeline, state, SHORT),
        assumptions=assumptions(pipeline, state),
        score=score,
    )


def _largest(state: SymbolState, ids: Mapping[tuple[int, int], int]) -> tuple[ClusterInfo, ...]:
    """Describe the clusters with the most notional among those within reach of the mark."""
    mark = state.rows.mark_usd
    reach = mark * _CLUSTERS_WITHIN
    low, high = state.cell(mark - reach), state.cell(mark + reach)
    near = [
        (int(clusters.notional[k]), side, k)
        for side, clusters in enumerate(state.clusters)
        for k in np.flatnonzero((clusters.end > low) & (clusters.begin <= high)).tolist()
    ]
    near.sort(key=lambda cluster: -cluster[0])
    return tuple(_cluster_info(state, side, state.clusters[side], k, ids) for _, side, k in near[:_CLUSTERS_SHOWN])


def _cluster_info(
    state: SymbolState, side: int, found: Clusters, k: int, ids: Mapping[tuple[int, int], int]
) -> ClusterInfo:
    begin, end = int(found.begin[k]), int(found.end[k])
    low, high = state.edge(begin), state.edge(end)
    near = high if side == LONG else low
    split = {venue: float(cents[side, begin:end].sum()) / 100 for venue, cents in state.venue_cents.items()}
    venues = sorted(((venue, usd) for venue, usd in split.items() if usd > 0), key=lambda item: -item[1])
    return ClusterInfo(
        side=SIDES[side],
        price_low_usd=low,
        price_high_usd=high,
        peak_price_usd=state.edge(int(found.peak[k])),
        notional_usd=float(found.notional[k]) / 100,
        distance_fraction=near / state.rows.mark_usd - 1,
        venues=tuple(venues),
        id=ids.get((side, begin), 0),
    )


def _next_chain(pipeline: Pipeline, state: SymbolState, side: int) -> ChainInfo | None:
    """Return the chain that starts where the mark first meets the nearest cluster on its side.

    Without a cluster within reach it starts at the largest bin within reach; None where nothing is there.
    """
    found = state.clusters[side]
    mark = state.cell(state.rows.mark_usd)
    reach = state.rows.mark_usd * _NEXT_WITHIN
    if side == LONG:
        low, high = max(state.cell(state.rows.mark_usd - reach), 1), mark
        met = [int(end) - 1 for end in found.end if low <= end - 1 < high]
    else:
        low, high = mark + 1, min(state.cell(state.rows.mark_usd + reach), state.profile.shape[1] - 2) + 1
        met = [int(begin) for begin in found.begin if low <= begin < high]
    within = state.profile[side, low:high]
    if not within.any():
        return None
    cell = (max(met) if side == LONG else min(met)) if met else low + int(within.argmax())
    return shock_chain(pipeline, state, state.edge(cell))


def _market_statuses(pipeline: Pipeline, rows: SymbolRows) -> tuple[MarketStatus, ...]:
    table, now_ns = pipeline.inference.markets, pipeline.now_ns
    statuses = []
    own = rows.markets.tolist()
    alive = pipeline.exact.whole(own)
    for market, live, is_fresh in zip(own, alive.tolist(), pipeline.fresh(own), strict=True):
        instrument = pipeline.registry[market]
        price = float(table.price[market]) * rows.bin_width_usd / (1 << PRICE_BITS)
        lot = float(table.lot[market])
        interest = float(table.open_interest[market]) * lot
        price_age_ns = max(now_ns - int(table.price_ns[market]), 0)
        interest_age_ns = max(now_ns - int(table.open_interest_ns[market]), 0)
        statuses.append(
            MarketStatus(
                market=instrument.key,
                venue=instrument.venue,
                mark_price_usd=price,
                open_interest=interest,
                open_interest_usd=interest if instrument.contract_type is ContractType.INVERSE else interest * price,
                live_long=live[LONG] * lot,
                live_short=live[SHORT] * lot,
                price_age_ms=price_age_ns // 10**6,
                open_interest_age_ms=interest_age_ns // 10**6,
                fresh=bool(is_fresh),
                margin=margin_info(pipeline, market),
                cohorts=int(pipeline.store.used[[market, *pipeline.exact.known([market])]].sum()),
                events=int(table.events[market]),
            )
        )
    return tuple(statuses)
