// Levels that may be off: each cell's lots spread over the distances from the mark that its level may really have.
// An even share for a run of cells is two entries in a row of differences, whose running sum is what each is
// given.
#pragma once
#include "block.cuh"
#include "records.cuh"

constexpr i64 SPREAD_ONE = 256;
constexpr u32 SPREAD_BITS = 15;

// Where the cells of one row of lots lie in the order of their distance from the mark; the last one is the outer cell.
struct Outward {
    i64 mark;
    i64 step;
    i64 outer;
};

DEVICE i64 cell_at(const Outward& row, i64 distance) { return row.mark + row.step * distance; }

// ``outer`` is 0 where nothing is spread.
DEVICE Outward outward(const SpreadArguments& a, i64 row) {
    const i64 mark = a.mark[row], last = a.cells - 2;
    const bool spreads = a.share[row] && mark >= 1 && mark <= last;
    if (a.side[row] == 0) return {mark, -1, spreads ? mark : 0};
    return {mark, 1, spreads ? last + 1 - mark : 0};
}

// Enter what each cell gives into the zeroed row of differences. Grid: rows, blocks of cells.
KERNEL(scatter_levels, SpreadArguments) {
    PHASE(t) {
        const Outward row = outward(a, BLOCK_X);
        const u64* lots = a.lots + BLOCK_X * a.cells;
        u64* change = a.change + BLOCK_X * a.cells;
        const i64 share = a.share[BLOCK_X], near = a.near[BLOCK_X], most = a.most[BLOCK_X];
        for (i64 distance = i64(BLOCK_Y) * THREADS + t; distance < row.outer; distance += i64(GRID_Y) * THREADS) {
            const u64 amount = lots[cell_at(row, distance)];
            if (amount == 0) continue;
            const i64 wanted = distance * distance * share / (SPREAD_ONE * larger(distance + near, i64(1)));
            const i64 half = smaller(wanted, larger(most - distance, i64(0)));
            const u64 fine = amount << SPREAD_BITS, width = u64(2 * half + 1), each = fine / width;
            const u64 rest = fine - each * width;
            add_global(change + distance - half, each);
            add_global(change + smaller(distance + half + 1, row.outer), u64(0) - each);
            add_global(change + distance, rest);
            add_global(change + distance + 1, u64(0) - rest);
        }
    }
}

// Sum the differences up to what each cell is given, and that to whole lots, in place of what was there. Grid: rows.
KERNEL(gather_levels, SpreadArguments) {
    SHARED(u64, given, THREADS);
    SHARED(u64, up_to, THREADS);
    SHARED(u64, spare, THREADS);
    const Outward row = outward(a, BLOCK_X);
    if (row.outer == 0) return;
    PHASE(t) {
        const u64* change = a.change + BLOCK_X * a.cells;
        u64 own = 0;
        for (i64 d = row.outer * t / THREADS; d < row.outer * (t + 1) / THREADS; ++d) own += change[d];
        given[t] = own;
    }
    scan_block(given, spare);
    PHASE(t) {
        const u64* change = a.change + BLOCK_X * a.cells;
        u64 own = given[t], sum = 0;
        for (i64 d = row.outer * t / THREADS; d < row.outer * (t + 1) / THREADS; ++d) sum += own += change[d];
        up_to[t] = sum;
    }
    scan_block(up_to, spare);
    PHASE(t) {
        const u64* change = a.change + BLOCK_X * a.cells;
        u64* lots = a.lots + BLOCK_X * a.cells;
        u64 own = given[t], sum = up_to[t], left = 0;
        for (i64 d = row.outer * t / THREADS; d < row.outer * (t + 1) / THREADS; ++d) {
            const u64 before = sum >> SPREAD_BITS;
            sum += own += change[d];
            const u64 level = (sum >> SPREAD_BITS) - before;
            left += lots[cell_at(row, d)] - level;
            lots[cell_at(row, d)] = level;
        }
        spare[t] = left;
    }
    const u64 beyond = sum_block(spare);
    PHASE(t) {
        if (t == 0) a.lots[BLOCK_X * a.cells + cell_at(row, row.outer)] += beyond;
    }
}
