// Runs of cells that stand above their surroundings.
#pragma once
#include "block.cuh"
#include "records.cuh"

constexpr u32 SHARE_BITS = 32;

// Whether a cell stands above: 100 * own * cells > ratio_percent * around, in 128 bits.
DEVICE bool stands_above(const ClusterArguments& a, const u64* notional, const u64* prefix, u64 minimum, i64 cell) {
    const i64 last = a.cells - 2;
    if (cell < 1 || cell > last || notional[cell] < minimum) return false;
    const i64 reach = i64(smaller(a.half_width, u64(a.cells)));
    const i64 from = larger(cell - reach, i64(1)), to = smaller(cell + reach, last);
    const u64 around = prefix[to + 1] - prefix[from];
    const u64 cells = 100 * u64(to - from + 1);
    const u64 own_high = high_word(notional[cell], cells), own_low = notional[cell] * cells;
    const u64 high = high_word(around, a.ratio_percent), low = around * a.ratio_percent;
    return own_high > high || (own_high == high && own_low > low);
}

// The least notional of a cell of a cluster: a share of the row's sum, and something. A share is at most 2^32, so that
// the half products fit.
DEVICE u64 minimum_of(u64 sum, u64 share) {
    return larger((sum >> SHARE_BITS) * share + ((u64(u32(sum)) * share) >> SHARE_BITS), u64(1));
}

// Grid: rows. Ascending clusters of each row and how many there are.
KERNEL(find_clusters, ClusterArguments) {
    SHARED(u64, sum, THREADS);
    SHARED(u64, spare, THREADS);
    SHARED(u32, begins, THREADS);
    SHARED(u32, spare32, THREADS);
    const i64 cells = a.cells;
    const u64* const notional = a.notional + BLOCK_X * cells;
    u64* const prefix = a.prefix + BLOCK_X * (cells + 1);
    PHASE(t) {
        u64 own = 0;
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) own += notional[cell];
        sum[t] = own;
    }
    const u64 minimum = minimum_of(scan_block(sum, spare), a.share);
    PHASE(t) {
        u64 below = sum[t];
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) {
            prefix[cell] = below;
            below += notional[cell];
        }
        if (t == THREADS - 1) prefix[cells] = below;
    }
    PHASE(t) {
        u32 own = 0;
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) {
            own += stands_above(a, notional, prefix, minimum, cell) &&
                   !stands_above(a, notional, prefix, minimum, cell - 1);
        }
        begins[t] = own;
    }
    const u32 found = scan_block(begins, spare32);
    PHASE(t) {
        i64 place = begins[t];
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) {
            if (!stands_above(a, notional, prefix, minimum, cell)) continue;
            if (stands_above(a, notional, prefix, minimum, cell - 1)) continue;
            i64 end = cell + 1, peak = cell;
            for (; stands_above(a, notional, prefix, minimum, end); ++end) {
                if (notional[end] > notional[peak]) peak = end;
            }
            u64* const run = a.runs + (place * a.rows + BLOCK_X) * 4;
            run[0] = u64(cell);
            run[1] = u64(end);
            run[2] = u64(peak);
            run[3] = prefix[end] - prefix[cell];
            ++place;
        }
        if (t == 0) a.found[BLOCK_X] = found;
    }
}
