"""Checks of kernel arguments that would otherwise end in a wrong cell or outside an array.

Each raises ValueError (lots that do not fit: OverflowError) naming the field, before anything is written. They cost
a pass over the small arguments, never over the cohorts of markets that are not touched.
"""

from __future__ import annotations

import numpy as np

from forcedmove_kernels.arrays import (
    F32,
    I32,
    I64,
    NOT_OBSERVED,
    U32,
    U64,
    ClusterRule,
    Cohorts,
    Noise,
    Notional,
    Spread,
    Standing,
    Updates,
    Window,
)
from forcedmove_kernels.fixed_point import (
    MAX_LOTS,
    MAX_NOISE,
    MAX_ROW_CENTS,
    NOISE_BITS,
    PRICE_BITS,
    SHARE_ONE,
    SPREAD_ONE,
)

#: widest entry bucket and longest time bucket for which lots-weighted offsets of 2**33 lots fit u64
MAX_ENTRY_SHIFT = 31 - PRICE_BITS
MAX_TIME_BUCKET_S = 1 << 31


def check_indices(field: str, index: I32, size: int) -> None:
    """Require ``0 <= index < size`` everywhere."""
    if len(index) and (index.min() < 0 or index.max() >= size):
        raise ValueError(f"{field}: indices must lie in 0..{size - 1}")


def check_totals(totals: U64, cohorts: Cohorts, window: Window) -> None:
    """Require standing totals u64 ``[M, 2, C]``."""
    shape = (len(cohorts.used), 2, window.bins + 2)
    if totals.shape != shape or totals.dtype != np.uint64:
        raise ValueError(f"totals: need u64 {shape}, got {totals.dtype} {totals.shape}")


def check_standing(standing: Standing, cohorts: Cohorts, window: Window) -> None:
    """Require every array of ``standing`` to have the shape and dtype of a store and a window of this size."""
    markets = len(cohorts.used)
    cells, slots = (markets, 2, window.bins + 2), cohorts.lots.shape
    need = {
        "stale": ((markets, 2), np.uint8),
        "totals": (cells, np.uint64),
        "fresh": (cells, np.uint64),
        "live": ((markets, 2), np.uint64),
        "trigger": (slots, np.uint32),
        "frontier": ((markets, 2), np.uint32),
    }
    for name, (shape, dtype) in need.items():
        array = getattr(standing, name)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(f"{name}: need {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}")


def check_histograms(row: I32, first_bucket: I64, volume: U64, turnover: U64) -> None:
    """Require ``volume`` and ``turnover`` of one shape ``[R, H]`` with ``row < R``; negative rows are allowed."""
    rows = len(first_bucket)
    if volume.ndim != 2 or volume.shape != turnover.shape or volume.shape[0] != rows or volume.shape[1] < 1:
        raise ValueError(f"volume: shapes {volume.shape}, {turnover.shape} do not fit {rows} rows of buckets")
    if len(row) and row.max() >= rows:
        raise ValueError(f"row: must be below {rows}")


def lots_overflow(market: int) -> OverflowError:
    """The error for a market without an observation that keeps what survives and adds what opened: too much of it.

    What is alive before the step plus what opened must stay below 2**32 lots on either side.
    """
    return OverflowError(f"open_lots: market {market} would hold more than {MAX_LOTS} lots on a side")


def check_lots(updates: Updates, live: U64) -> None:
    """Require that unobserved markets hold what is alive, u64 ``[K, 2]`` of the step's markets, and what opens."""
    for k in np.flatnonzero(updates.open_interest[:, 0] == NOT_OBSERVED).tolist():
        opened = updates.open_lots[updates.first_open[k] : updates.first_open[k + 1]].sum(dtype=np.uint64)
        if int(live[k].max()) + int(opened) > MAX_LOTS:
            raise lots_overflow(int(updates.market[k]))


def live_lots(cohorts: Cohorts, markets: I32) -> U64:
    """Sum of the lots of some markets, u64 ``[K, 2]``."""
    live = np.zeros((len(markets), 2), np.uint64)
    for k, market in enumerate(markets.tolist()):
        slots = slice(cohorts.start[market], cohorts.start[market] + cohorts.used[market])
        live[k] = cohorts.lots[:, slots].sum(1, dtype=np.uint64)
    return live


def check_spread(lots: U64, spread: Spread) -> None:
    """Require a side, a mark and a share of at most one for every row of lots u64 ``[R, C]``."""
    for name, values in zip(spread._fields, spread, strict=True):
        if values.shape != (len(lots),):
            raise ValueError(f"{name}: need {len(lots)}, one for every row, got shape {values.shape}")
    if len(lots) and (spread.side.min() < 0 or spread.side.max() > 1):
        raise ValueError("side: must be 0 or 1")
    if len(lots) and spread.share.max() > SPREAD_ONE:
        raise ValueError(f"share: must be at most {SPREAD_ONE}, a level's whole distance, got {spread.share.max()}")


def check_compaction(ladder: U32, entry_shift: int) -> None:
    """Require a ladder u32 ``[L, 2]`` of ascending ages with sane time buckets, and an entry shift that fits."""
    if ladder.ndim != 2 or ladder.shape[0] < 1 or ladder.shape[1] != 2:
        raise ValueError(f"ladder: needs rows (minimum age, time bucket), got shape {ladder.shape}")
    if np.any(np.diff(ladder[:, 0].astype(np.int64)) <= 0):
        raise ValueError("ladder: minimum ages must ascend")
    if np.any((ladder[:, 1] < 1) | (ladder[:, 1] > MAX_TIME_BUCKET_S)):
        raise ValueError(f"ladder: time buckets must be 1 to {MAX_TIME_BUCKET_S} seconds")
    if not 0 <= entry_shift <= MAX_ENTRY_SHIFT:
        raise ValueError(f"entry_shift: must be 0 to {MAX_ENTRY_SHIFT}, got {entry_shift}")


def check_axis(notional: U64, depth: U64, mark: int, shock: int) -> None:
    """Require notional and depth of one length that holds both cells."""
    if notional.ndim != 1 or notional.shape != depth.shape:
        raise ValueError(f"depth: shape {depth.shape} does not fit notional {notional.shape}")
    for name, cell in (("mark", mark), ("shock", shock)):
        if not 0 <= cell < len(notional):
            raise ValueError(f"{name}: cell {cell} is not in 0..{len(notional) - 1}")


def check_books(notional: U64, depth: U64, mark: I32) -> None:
    """Require rows of notional and depth u64 ``[R, C]`` with a mark each."""
    if notional.ndim != 2:
        raise ValueError(f"notional: needs rows of cells, got shape {notional.shape}")
    if notional.shape != depth.shape:
        raise ValueError(f"depth: shape {depth.shape} does not fit notional {notional.shape}")
    if mark.shape != notional.shape[:1]:
        raise ValueError(f"mark: shape {mark.shape} does not fit {len(notional)} rows")
    check_indices("mark", mark, notional.shape[1])


def check_cents(notional: U64) -> None:
    """Require rows of at most MAX_ROW_CENTS. Cells are looked at first: where one is too much the sum may wrap."""
    if notional.size and (notional.max() > MAX_ROW_CENTS or notional.sum(1).max() > MAX_ROW_CENTS):
        raise cents_overflow()


def cents_overflow() -> ValueError:
    """The error for a row whose notional adds up to more cents than many chains can share sums of."""
    return ValueError(f"notional: a row adds up to more than {MAX_ROW_CENTS} cents")


def check_chains(row: I32, shock: I32, notional: U64) -> None:
    """Require chains that run on rows of ``notional`` u64 ``[R, C]`` to cells of theirs."""
    if row.ndim != 1 or row.shape != shock.shape:
        raise ValueError(f"shock: shape {shock.shape} does not fit rows {row.shape}")
    check_indices("row", row, notional.shape[0])
    check_indices("shock", shock, notional.shape[1])


def check_sides(side: I32, mark: I32) -> None:
    """Require a side per mark."""
    if side.shape != mark.shape:
        raise ValueError(f"side: shape {side.shape} does not fit {len(mark)} rows")
    check_indices("side", side, 2)


def check_noise(paths: int, noise: Noise) -> None:
    """Require a number of paths below 2**32 and tables of a power of two of factors below MAX_NOISE."""
    if not 0 <= paths < 1 << 32:
        raise ValueError(f"paths: must be 0 or more and fit 32 bits, got {paths}")
    if not 0 <= noise.seed < 1 << 64:
        raise ValueError(f"seed: must be 0 or more and fit 64 bits, got {noise.seed}")
    for name, table in (("notional", noise.notional), ("depth", noise.depth)):
        if table.ndim != 1 or len(table) < 1 or len(table) & (len(table) - 1):
            raise ValueError(f"{name}: a table of factors has a power of two of entries, got shape {table.shape}")
        if table.max() >= MAX_NOISE << NOISE_BITS:
            raise ValueError(f"{name}: factors must stay below {MAX_NOISE}")


def check_render(lots: U64, target: I32, outputs: int, notional: Notional, low: int, high: int) -> None:
    """Require rows of lots u64 ``[R, C]`` with a target and money each, and a part of the window within C cells."""
    rows, cells = lots.shape
    if target.shape != (rows,):
        raise ValueError(f"target: shape {target.shape} does not fit {rows} rows")
    if rows and (target.min() < -1 or target.max() >= outputs):
        raise ValueError(f"target: must lie in -1..{outputs - 1}")
    for name, money in zip(notional._fields, notional, strict=True):
        if money.shape != (rows,):
            raise ValueError(f"{name}: shape {money.shape} does not fit {rows} rows")
    if not 0 <= low < high:
        raise ValueError(f"low: must be 0 or more and below high, got {low} and {high}")
    if high > cells - 2:
        raise ValueError(f"high: must be at most {cells - 2}, got {high}")


def check_rendered_rows(markets: I32, tiers: I32 | None, target: I32, tier_count: int) -> None:
    """Require an output, or -1, for every (market, side, tier) of one market or more; tiers exist and do not repeat."""
    if len(markets) < 1:
        raise ValueError("markets: at least one is needed")
    if tiers is not None:
        check_indices("tiers", tiers, tier_count)
        if len(np.unique(tiers)) != len(tiers):
            raise ValueError(f"tiers: must not repeat, got {tiers.tolist()}")
    shape = (len(markets), 2, 1 if tiers is None else len(tiers))
    if target.shape != shape:
        raise ValueError(f"target: need shape {shape}, got {target.shape}")
    if target.size and target.min() < -1:
        raise ValueError(f"target: must be -1 or more, got {target.min()}")


def check_frames(previous: F32, values: F32) -> None:
    """Require two frames f32 of one shape."""
    if previous.shape != values.shape or previous.dtype != values.dtype:
        raise ValueError(
            f"values: {values.dtype} {values.shape} does not fit previous {previous.dtype} {previous.shape}"
        )


def check_groups(first: I64, markets: int, notional: Notional) -> None:
    """Require symbols that share out all ``markets`` in order, ``first`` i64 ``[S + 1]``, and money for each."""
    if first.ndim != 1 or len(first) < 1 or first[0] != 0 or first[-1] != markets or np.any(np.diff(first) < 0):
        raise ValueError(f"first: must ascend from 0 to the number of markets, which is {markets}")
    for name, money in zip(notional._fields, notional, strict=True):
        if money.shape != (markets,):
            raise ValueError(f"{name}: shape {money.shape} does not fit {markets} markets")


def check_cluster_rule(notional: U64, rule: ClusterRule) -> None:
    """Require rows of cells, non-negative numbers that fit 64 bits, and a share of at most one."""
    if notional.ndim != 2:
        raise ValueError(f"notional: needs rows of cells, got shape {notional.shape}")
    for name, number in {"half_width": rule.half_width, "ratio_percent": rule.ratio_percent}.items():
        if not 0 <= number < 1 << 64:
            raise ValueError(f"{name}: must be 0 or more and fit 64 bits, got {number}")
    if not 0 <= rule.share <= SHARE_ONE:
        raise ValueError(f"share: must lie in 0..{SHARE_ONE}, got {rule.share}")
