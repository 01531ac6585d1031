"""From tables of sums to summaries: intervals are drawn here, when somebody asks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forcedmove_server.market.events import Records
from forcedmove_server.scorecard.day_sums import CLUSTER, DAY, MARKET, SIDE, DaySums
from forcedmove_server.scorecard.measures.capture import capture, poisson_bits_per_event
from forcedmove_server.scorecard.measures.cascades import CascadeScore, score_cascades
from forcedmove_server.scorecard.measures.coverage import coverage
from forcedmove_server.scorecard.measures.reach import RELIABILITY_BINS, reach_score
from forcedmove_server.scorecard.measures.released import released
from forcedmove_server.scorecard.placement import common_column, map_column, map_count
from forcedmove_server.scorecard.resampling import Estimate, Resampling
from forcedmove_server.scorecard.scoring import COMPLETE
from forcedmove_server.scorecard.summary import (
    Headline,
    Intensity,
    Invariants,
    MapScore,
    MarketRow,
    Placement,
    ReachScore,
    ShortScore,
    Summary,
    Unscored,
    Where,
)
from forcedmove_server.scorecard.tables import Tables

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def resampling_of(tables: Tables) -> Resampling:
    """Return how a scorecard draws its intervals."""
    rules = tables.rules
    return Resampling(rules.resamples, rules.level, rules.seed, rules.least_blocks)


def summarise(tables: Tables, where: Where, baseline: str | None) -> Summary:
    """Summarise one part of the markets: every horizon, every map."""
    rules, resampling = tables.rules, resampling_of(tables)
    scores = [
        score
        for index in range(len(rules.horizons_ns))
        for score in _maps_at(tables, index, where, baseline, resampling)
    ]
    _, sums = _part(tables, tables.coverage, where)
    worst = tables.worst_interest
    return Summary(
        where=where,
        rules=rules,
        begin_ns=tables.begin_ns,
        end_ns=tables.end_ns,
        headline=_headline(scores, tables, baseline),
        maps=tuple(scores),
        reach=tuple(
            ReachScore(horizon, reach_score(_part(tables, table, where)[1].sum(0).reshape(RELIABILITY_BINS, -1)))
            for horizon, table in zip(rules.horizons_ns, tables.reach, strict=True)
        ),
        cascades=_cascades(tables, where),
        coverage=coverage(sums.sum(0)),
        invariants=Invariants(
            checks=tables.invariant_checks,
            worst_interest_error=worst[0] if worst else None,
            worst_market=worst[1] if worst else None,
            worst_at_ns=worst[2] if worst else None,
            worst_flow_error=tables.worst_flow,
        ),
        unscored=tuple(Unscored(reason, count) for reason, count in sorted(tables.unscored.items())),
    )


def short_score(tables: Tables, where: Where) -> ShortScore:
    """Return the headline figures of the first map without intervals."""
    index = tables.rules.horizons_ns.index(tables.rules.headline_horizon_ns)
    point = replace(resampling_of(tables), resamples=0)
    moved = released(_moves(tables, index, where), tables.maps, None, point, tables.rules.least_moves)
    _, rows = _part(tables, tables.positions[index], where)
    if not common_column(rows, "events").any():
        keys, rows = _part(tables, tables.liquidations[index], where)
        rows = rows[keys[:, CLUSTER] == COMPLETE]
    events = float(common_column(rows, "events").sum())
    bits = float(map_column(rows, 0, "flat_bits").sum())
    rank = moved[tables.maps[0]].rank
    return ShortScore(bits / events if events > 0 else None, int(events), rank.value, rank.n)


def market_rows(tables: Tables, where: Where) -> list[MarketRow]:
    """List point values of every venue, symbol, side, horizon and map that has something to show."""
    mine = tables.chosen(where)
    parts = sorted({(name.venue, name.symbol) for name, yes in zip(tables.names, mine, strict=True) if yes})
    part_of = {part: number for number, part in enumerate(parts)}
    part = np.array([part_of.get((name.venue, name.symbol), -1) for name in tables.names], np.int64)
    listed = []
    for index, horizon in enumerate(tables.rules.horizons_ns):
        moves = _moves(tables, index, where)
        position_keys, positions = _part(tables, tables.positions[index], where)
        keys, forced = _part(tables, tables.liquidations[index], where)
        columns = np.column_stack([np.ones(len(moves)), moves["released"], moves["crossed"]])
        grouped = [
            _grouped(2 * part[market] + side, rows, 2 * len(parts))
            for market, side, rows in (
                (moves["market"], moves["side"], columns),
                (position_keys[:, MARKET], position_keys[:, SIDE], positions),
                (keys[:, MARKET], keys[:, SIDE], forced),
            )
        ]
        something = np.logical_or.reduce([rows.any(axis=1) for rows in grouped])
        for group in np.flatnonzero(something).tolist():
            venue, symbol = parts[group // 2]
            at = [rows[group : group + 1] for rows in grouped]
            listed += [
                _market_row(tables.maps[k], k, venue, symbol, group % 2, horizon, *at) for k in range(len(tables.maps))
            ]
    return listed


def _grouped(group: I64, rows: F64, groups: int) -> F64:
    """Sums of rows by group: float64 ``[groups, width]``."""
    sums = np.zeros((groups, rows.shape[1]))
    np.add.at(sums, group, rows)
    return sums


def _market_row(
    name: str, k: int, venue: str, symbol: str, side: int, horizon: int, moves: F64, placed: F64, forced: F64
) -> MarketRow:
    """One row from one group's sums, each ``[1, width]``; those of moves are count, released and crossed by map."""
    count = moves[:, 0]
    return MarketRow(
        venue=venue,
        symbol=symbol,
        side=side,
        horizon_ns=horizon,
        map=name,
        moves=int(count[0]),
        crossed_mean=_quotient(moves[:, 2 + k], count),
        released_mean=_quotient(moves[:, 1], count),
        positions=int(common_column(placed, "events")[0]),
        position_bits=_quotient(map_column(placed, k, "flat_bits"), common_column(placed, "events")),
        liquidations=int(common_column(forced, "events")[0]),
        liquidation_bits=_quotient(map_column(forced, k, "flat_bits"), common_column(forced, "events")),
        captured_share=_quotient(map_column(forced, k, "captured_usd"), common_column(forced, "decile_usd")),
        capture_ratio=_quotient(common_column(forced, "usd"), map_column(forced, k, "promised_usd")),
    )


def _quotient(top: F64, bottom: F64) -> float | None:
    total = float(bottom.sum())
    return float(top.sum()) / total if total > 0 else None


def _maps_at(tables: Tables, index: int, where: Where, baseline: str | None, resampling: Resampling) -> list[MapScore]:
    moves = _moves(tables, index, where)
    moved = released(moves, tables.maps, baseline, resampling, tables.rules.least_moves)
    position_keys, positions = _part(tables, tables.positions[index], where)
    keys, rows = _part(tables, tables.liquidations[index], where)
    whole = keys[:, CLUSTER] == COMPLETE
    return [
        MapScore(
            map=name,
            horizon_ns=tables.rules.horizons_ns[index],
            released=moved[name],
            positions=_placement(positions, k, position_keys[:, CLUSTER], resampling),
            liquidations=_placement(rows[whole], k, keys[whole, DAY], resampling),
            sampled=_placement(rows[~whole], k, keys[~whole, DAY], resampling),
            intensity=_intensity(rows[whole], k, keys[whole, DAY], resampling),
        )
        for k, name in enumerate(tables.maps)
    ]


def _placement(rows: F64, k: int, cluster: I64, resampling: Resampling) -> Placement | None:
    events, usd = common_column(rows, "events"), common_column(rows, "usd")
    count = int(events.sum())
    if not count:
        return None

    def gain(name: str, weight: F64) -> Estimate:
        # clusters without an event do not count as blocks
        seen = weight > 0
        return resampling.ratio(map_column(rows, k, name)[seen], weight[seen], cluster[seen], n=count)

    return Placement(
        usd=float(usd.sum()),
        bits_over_flat=gain("flat_bits", events),
        bits_over_prior=gain("prior_bits", events),
        bits_over_flat_per_dollar=gain("flat_bits_usd", usd),
        bits_over_prior_per_dollar=gain("prior_bits_usd", usd),
        capture=capture(
            float(map_column(rows, k, "captured_usd").sum()),
            float(map_column(rows, k, "matched_usd").sum()),
            float(common_column(rows, "uniform_usd").sum()),
            float(common_column(rows, "decile_usd").sum()),
            float(common_column(rows, "decile_usd_squared").sum()),
        ),
    )


def _intensity(rows: F64, k: int, day: I64, resampling: Resampling) -> Intensity | None:
    windows = int(common_column(rows, "windows").sum())
    if not windows:
        return None
    events, compared = (float(common_column(rows, name).sum()) for name in ("events", "profile_usd"))
    null = map_count(rows) - 1
    poisson = poisson_bits_per_event(
        float(map_column(rows, k, "log_mass").sum()),
        float(map_column(rows, k, "mass_usd").sum()),
        float(map_column(rows, null, "log_mass").sum()),
        float(map_column(rows, null, "mass_usd").sum()),
        events,
    )

    def mean(name: str) -> float | None:
        return float(map_column(rows, k, name).sum()) / compared if compared > 0 else None

    return Intensity(
        windows=windows,
        capture_ratio=resampling.ratio(common_column(rows, "usd"), map_column(rows, k, "promised_usd"), day, n=windows),
        poisson_bits_per_event=float(poisson) if np.isfinite(poisson) else None,
        wasserstein_bp=mean("wasserstein_bp_usd"),
        spearman=mean("spearman_usd"),
        reason=None if events else "nothing was liquidated on the bins that were touched",
    )


def _headline(scores: list[MapScore], tables: Tables, baseline: str | None) -> Headline:
    horizon = tables.rules.headline_horizon_ns
    score = next(s for s in scores if s.map == tables.maps[0] and s.horizon_ns == horizon)
    placed, source = score.positions, "positions"
    if placed is None:
        placed, source = score.liquidations, "liquidations"
    nothing = Estimate(None, reason="neither known positions nor complete liquidation feeds on touched bins yet")
    return Headline(
        map=score.map,
        baseline=baseline,
        horizon_ns=horizon,
        bits=placed.bits_over_flat if placed is not None else nothing,
        bits_from=source,
        released=score.released.rank,
        gain=score.released.rank_gain,
    )


def _cascades(tables: Tables, where: Where) -> CascadeScore | None:
    """Cascades pool the venues of a symbol: there is none of a single venue."""
    if where.venue is not None or tables.begin_ns is None or tables.end_ns is None or tables.end_ns <= tables.begin_ns:
        return None
    begin = tables.begin_ns
    for kept in (tables.alarms, tables.cascades):
        if len(kept) == kept.maxlen:  # older ones are forgotten, so what is scored begins with the oldest
            begin = max(begin, kept[0].at_ns)

    def mine(symbol: str, side: int, at_ns: int) -> bool:
        return where.symbol in (None, symbol) and where.side in (None, side) and at_ns >= begin

    return score_cascades(
        [a for a in tables.alarms if mine(a.symbol, a.side, a.at_ns)],
        [c for c in tables.cascades if mine(c.symbol, c.side, c.at_ns)],
        begin,
        tables.end_ns,
    )


def _moves(tables: Tables, index: int, where: Where) -> Records:
    moves = tables.moves[index].moves()
    if not len(moves):
        return moves
    mine = tables.chosen(where)[moves["market"]]
    if where.side is not None:
        mine &= moves["side"] == where.side
    chosen: Records = moves[mine]
    return chosen


def _part(tables: Tables, table: DaySums, where: Where) -> tuple[I64, F64]:
    """Keys and sums of one part of the markets."""
    keys, sums = table.rows()
    if not len(keys):
        return keys, sums
    mine = tables.chosen(where)[keys[:, MARKET]]
    if where.side is not None:
        mine &= keys[:, SIDE] == where.side
    return keys[mine], sums[mine]
