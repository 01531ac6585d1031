// Runs of cells that stand above their surroundings.
#pragma once
#include "block.cuh"
#include "records.cuh"

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
    scan_block(sum, spare);
    PHASE(t) {
        u64 below = sum[t];
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) {
            prefix[cell] = below;
            below += notional[cell];
        }
        if (t == THREADS - 1) prefix[cells] = below;
    }
    PHASE(t) {
        const u64 minimum = a.minimum[BLOCK_X];
        u32 own = 0;
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) {
            own += stands_above(a, notional, prefix, minimum, cell) &&
                   !stands_above(a, notional, prefix, minimum, cell - 1);
        }
        begins[t] = own;
    }
    const u32 found = scan_block(begins, spare32);
    PHASE(t) {
        const u64 minimum = a.minimum[BLOCK_X];
        i64 place = begins[t] * a.rows + BLOCK_X;
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) {
            if (!stands_above(a, notional, prefix, minimum, cell)) continue;
            if (stands_above(a, notional, prefix, minimum, cell - 1)) continue;
            i64 end = cell + 1, peak = cell;
            for (; stands_above(a, notional, prefix, minimum, end); ++end) {
                if (notional[end] > notional[peak]) peak = end;
            }
            a.begin[place] = i32(cell);
            a.end[place] = i32(end);
            a.peak[place] = i32(peak);
            a.amount[place] = prefix[end] - prefix[cell];
            place += a.rows;
        }
        if (t == 0) a.found[BLOCK_X] = i32(found);
    }
}
