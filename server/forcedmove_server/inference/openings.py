"""Where new positions were opened: a histogram of entry buckets per market, and its exact split into lots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forcedmove_kernels.fixed_point import PRICE_BITS

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_BUCKET_UNITS = 1 << PRICE_BITS
#: histogram weight of the typical price of a bar without tape; the bar's ends get half of it
_PATH_WEIGHT = 1 << 20


def bar_path(low: U32, high: U32, close: U32, most: int) -> tuple[I64, U64, U64]:
    """Return the histogram of a bar without tape: spread over low..high, weighted to the typical price.

    All arguments are ``[K]`` price units; ``most`` buckets at most, from the low one on. Returns ``first_bucket`` i64
    ``[K]`` and ``volume`` and ``turnover`` u64 ``[K, S]`` in the form of Backend.accumulate_volume, ``S`` being the
    longest bar's. The typical price is (low + high + close) / 3 (MODEL section 2).
    """
    first_bucket = (low >> PRICE_BITS).astype(np.int64)
    buckets = min(int(((high >> PRICE_BITS) - first_bucket).max()) + 1, most)
    typical = (low.astype(np.float64) + high + close) / 3
    span = np.maximum(high.astype(np.float64) - low, _BUCKET_UNITS)
    edge = _edges(first_bucket, buckets)
    entry = np.clip(edge + _BUCKET_UNITS // 2, low[:, None].astype(np.int64), high[:, None].astype(np.int64))
    entry = np.clip(entry, edge, edge + _BUCKET_UNITS - 1)
    inside = edge <= high[:, None]
    closeness = np.clip(1 - 0.5 * np.abs(entry - typical[:, None]) / span[:, None], 0.5, 1)
    volume = np.where(inside, np.rint(closeness * _PATH_WEIGHT), 0).astype(np.uint64)
    return first_bucket, volume, volume * (entry - edge).astype(np.uint64)


def with_path(
    first_bucket: I64, volume: U64, turnover: U64, path_first: I64, path_volume: U64, path_turnover: U64, lots: U64
) -> tuple[I64, U64, U64]:
    """Return histograms of tapes that lack a part, with ``lots`` u64 ``[K]`` of volume along the price path on top.

    Tape and path are in the form of :func:`bar_path`, each from its own first bucket on; so is what is returned, as
    wide as the two together. Cells of the path get their share of the lots, rounded.
    """
    begins = np.minimum(first_bucket, path_first)
    ends = np.maximum(first_bucket + volume.shape[1], path_first + path_volume.shape[1])
    both_volume, both_turnover = np.zeros((2, len(lots), int((ends - begins).max())), np.uint64)
    share = path_volume / path_volume.sum(1, keepdims=True)
    added = np.rint(share * lots[:, None]).astype(np.uint64)
    offset = path_turnover // np.maximum(path_volume, 1)
    rows = np.arange(len(lots))[:, None]
    tape_cells = rows, (first_bucket - begins)[:, None] + np.arange(volume.shape[1])
    path_cells = rows, (path_first - begins)[:, None] + np.arange(path_volume.shape[1])
    both_volume[tape_cells], both_turnover[tape_cells] = volume, turnover
    both_volume[path_cells] += added
    both_turnover[path_cells] += added * offset
    return begins, both_volume, both_turnover


def entry_spread(first_bucket: I64, buckets: int, price: U32, log_sd: float) -> tuple[U64, U64]:
    """Return the histogram of positions that were open before the first observation: log-normal around ``price``."""
    edge = _edges(first_bucket, buckets)
    middle = edge + _BUCKET_UNITS / 2
    z = np.log(middle / price[:, None].astype(np.float64)) / log_sd
    # beyond three deviations there would be many cohorts and next to no lots
    volume = np.where(np.abs(z) <= 3, np.rint(np.exp(-0.5 * z * z) * _PATH_WEIGHT), 0).astype(np.uint64)
    return volume, volume * np.uint64(_BUCKET_UNITS // 2)


def split_openings(volume: U64, turnover: U64, first_bucket: I64, opened: I64, anchor: U32) -> tuple[I64, U32, U32]:
    """Split ``opened`` lots over entry buckets in proportion to volume, exactly.

    ``volume`` and ``turnover`` u64 ``[K, H]``; ``opened`` lots and ``anchor`` price units ``[K]``. Returns
    ``first_open`` i64 ``[K + 1]``, ``open_entry`` and ``open_lots`` u32. Prefix sums are rounded, so a market's rows
    add up to its ``opened``. Each market's last row is its anchor: the price now, with whatever has no bucket.
    """
    rows = len(opened)
    weight = _bounded(volume)
    row, bucket = np.nonzero(weight)
    part = weight[row, bucket]
    edge = (bucket + first_bucket[row]) << PRICE_BITS
    entry = edge + (turnover[row, bucket] // volume[row, bucket]).astype(np.int64)
    counts = np.bincount(row, minlength=rows)
    ends = np.cumsum(counts)
    running = np.cumsum(part)
    before = np.concatenate(([np.uint64(0)], running))[ends - counts]
    total = weight.sum(1)
    prefix = (running - before[row]) * opened.astype(np.uint64)[row] // np.maximum(total[row], 1)
    lots = np.diff(prefix, prepend=np.uint64(0))
    first_rows = (ends - counts)[counts > 0]
    lots[first_rows] = prefix[first_rows]
    anchored = np.where(counts > 0, 0, opened)
    first_open = np.concatenate(([0], np.cumsum(counts + 1)))
    open_entry = np.insert(np.maximum(entry, 1), ends, anchor.astype(np.int64))
    open_lots = np.insert(lots.astype(np.int64), ends, anchored)
    return first_open, open_entry.astype(np.uint32), open_lots.astype(np.uint32)


def _edges(first_bucket: I64, buckets: int) -> I64:
    edges: I64 = (first_bucket[:, None] + np.arange(buckets)) << PRICE_BITS
    return edges


def _bounded(volume: U64) -> U64:
    """Scale rows down so that a row's total stays below 2**32 and the split's products below 2**64."""
    total = volume.sum(1)
    excess = np.maximum(np.ceil(np.log2(np.maximum(total, 1).astype(np.float64) + 1)) - 32, 0).astype(np.uint64)
    if not excess.any():
        return volume
    scaled: U64 = volume >> excess[:, None]
    # a row's traded buckets must not all vanish: its largest keeps at least one
    empty = np.flatnonzero((scaled.sum(1) == 0) & (total > 0))
    scaled[empty, volume[empty].argmax(1)] = 1
    return scaled
