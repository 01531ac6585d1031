// From lots to what readers get: cents per market and symbol, USD per output row, and which cells changed.
#pragma once
#include "block.cuh"
#include "records.cuh"

// Cents of some lots in a cell; see arrays.Notional. The bin is that of the cell: first_bin + cell - 1.
DEVICE u64 cents_of(u64 lots, double base, double slope, i64 first_bin, i64 cell) {
    const double per_lot = add(base, multiply(slope, double(first_bin + cell) - 0.5));
    return u64(floor(add(multiply(double(lots), per_lot), 0.5)));
}

// Copy the rows of some markets. Grid: markets, blocks of words.
KERNEL(gather_rows, GatherArguments) {
    PHASE(t) {
        const u64* source = a.source + a.markets[BLOCK_X] * a.cells;
        for (i64 word = i64(BLOCK_Y) * THREADS + t; word < a.cells; word += i64(GRID_Y) * THREADS) {
            a.rows[BLOCK_X * a.cells + word] = source[word];
        }
    }
}

// Cents of each cell of a symbol's markets, and their sum. Grid: symbols, blocks with a thread per cell.
KERNEL(fill_profiles, ProfileArguments) {
    PHASE(t) {
        const i64 word = i64(BLOCK_Y) * THREADS + t, words = 2 * a.cells;
        if (word < words) {
            const i64 cell = word < a.cells ? word : word - a.cells;
            u64 sum = 0;
            for (i64 k = a.first[BLOCK_X]; k < a.first[BLOCK_X + 1]; ++k) {
                const u64 lots = a.totals[a.markets[k] * words + word];
                const u64 cents = lots ? cents_of(lots, a.base[k], a.slope[k], a.first_bin[k], cell) : 0;
                a.cents[k * words + word] = cents;
                sum += cents;
            }
            a.sums[BLOCK_X * words + word] = sum;
        }
    }
}

// Add the cents of each row's cells to its output, outer cells folded. Grid: rows, blocks of cells.
KERNEL(add_outputs, RenderArguments) {
    const i32 output = a.target[BLOCK_X];
    if (output < 0) return;
    PHASE(t) {
        const u64* lots = a.lots + BLOCK_X * a.cells;
        u64* cents = a.cents + output * (a.high - a.low + 2);
        for (i64 cell = i64(BLOCK_Y) * THREADS + t; cell < a.cells; cell += i64(GRID_Y) * THREADS) {
            if (lots[cell] == 0) continue;
            const i64 place = smaller(larger(cell, a.low), a.high + 1) - a.low;
            add_global(cents + place, cents_of(lots[cell], a.base[BLOCK_X], a.slope[BLOCK_X], a.first_bin, cell));
        }
    }
}

// Cents into USD as the wire has them. Grid: blocks of words.
KERNEL(finish_outputs, RenderArguments) {
    PHASE(t) {
        const i64 word = i64(BLOCK_X) * THREADS + t;
        if (word < a.outputs * (a.high - a.low + 2)) a.usd[word] = float(double(a.cents[word]) / 100.0);
    }
}

// Count the changed words of each block. Grid: blocks.
KERNEL(count_changed, ChangedArguments) {
    SHARED(u32, sum, THREADS);
    PHASE(t) {
        const i64 word = i64(BLOCK_X) * THREADS + t;
        sum[t] = word < a.count && a.previous[word] != a.values[word];
    }
    const u32 found = sum_block(sum);
    PHASE(t) {
        if (t == 0) a.found[BLOCK_X] = found;
    }
}

// Where each block's cells go, behind those of the comparisons before, and how many there are in all. Grid: 1.
KERNEL(place_changed, ChangedArguments) {
    SHARED(u32, sum, THREADS);
    SHARED(u32, spare, THREADS);
    PHASE(t) {
        u32 own = 0;
        for (i64 block = a.blocks * t / THREADS; block < a.blocks * (t + 1) / THREADS; ++block) own += u32(a.found[block]);
        sum[t] = own;
    }
    const u32 all = scan_block(sum, spare);
    PHASE(t) {
        u64 before = *a.listed + sum[t];
        for (i64 block = a.blocks * t / THREADS; block < a.blocks * (t + 1) / THREADS; ++block) {
            const u64 own = a.found[block];
            a.found[block] = before;
            before += own;
        }
    }
    PHASE(t) {
        if (t == 0) {
            *a.changed = all;
            if (i64(all) <= a.most) *a.listed += all;
        }
    }
}

// List changed words in ascending order, unless they are too many, and keep them. Grid: blocks.
KERNEL(list_changed, ChangedArguments) {
    SHARED(u32, place, THREADS);
    SHARED(u32, spare, THREADS);
    PHASE(t) {
        const i64 word = i64(BLOCK_X) * THREADS + t;
        place[t] = word < a.count && a.previous[word] != a.values[word];
    }
    scan_block(place, spare);
    PHASE(t) {
        const i64 word = i64(BLOCK_X) * THREADS + t;
        if (word < a.count && a.previous[word] != a.values[word]) {
            if (i64(*a.changed) <= a.most) a.cells[a.found[BLOCK_X] + place[t]] = u64(word) | u64(a.values[word]) << 32;
            a.previous[word] = a.values[word];
        }
    }
}
