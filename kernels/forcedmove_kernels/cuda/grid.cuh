// Cohorts into cells: standing rows (all tiers together) and the leverage grid (tier by tier).
//
// A block keeps its cells in shared memory as u32 (a row's live lots stay below 2**32, so no cell overflows) while a
// tile of cohorts streams by. Rows with more cohorts than a tile are the work of several blocks.
#pragma once
#include "block.cuh"
#include "items.cuh"

#if defined(SMALL_BLOCKS)  // for tests: small tables, too, are the work of several blocks
constexpr u32 TILE = 16;
constexpr u32 CHUNK = 8;
#else
constexpr u32 TILE = 4096;   // cohorts of a block
constexpr u32 CHUNK = 4096;  // cells of a block: twice as many words still fit what every GPU has without asking
#endif
constexpr u32 MAX_TIERS = 31;

// Multipliers of the tiers of a row's cohort that entered at ``entry``.
DEVICE const u32* levels_of(const Rules& rules, u32 row, u32 entry) {
    return rules.multiplier + i64(row * PHASES + phase_of(entry)) * rules.tier_count;
}

// Cumulative weights of the tiers of a row's cohorts with so many live ones. Offsets fit 32 bits up to 2**21 markets.
DEVICE const u32* weights_of(const Rules& rules, u32 row, u32 live) {
    const u32 columns = u32(rules.tier_count) + 1;
    return rules.weight + (row * columns + live) * columns;
}

// Add a cohort's tiers to the ``count`` cells from ``low`` on: all of a row's, or a part of them when it is SPLIT.
// WEIGHTINGS = 2 adds the cohort's ``fresh`` lots to as many cells behind those.
template <u32 WEIGHTINGS, bool SPLIT>
DEVICE void fill(
    u32* cells, u32 low, u32 count, u32 lots, u32 fresh, u32 entry, u32 live, const u32* multiplier, const u32* weight,
    i32 zero, i32 top
) {
    u32 below = 0, fresh_below = 0;
    for (u32 tier = 0; tier < live; ++tier) {
        const u32 cell = cell_of(entry, multiplier[tier], zero, top) - (SPLIT ? low : 0);
        const u32 through = weighted(lots, weight[tier + 1]);
        const u32 fresh_through = WEIGHTINGS == 2 ? weighted(fresh, weight[tier + 1]) : 0;
        if (!SPLIT || cell < count) {
            add_shared(cells + cell, through - below);
            if (WEIGHTINGS == 2) add_shared(cells + count + cell, fresh_through - fresh_below);
        }
        below = through;
        fresh_below = fresh_through;
    }
}

// ``multipliers`` has ``stride`` words per phase.
template <u32 WEIGHTINGS, bool SPLIT>
DEVICE void fill_tile(
    const RowArguments& a, u32 thread, u32 row, i64 first, i64 end, u32* cells, u32 low, u32 count,
    const u32* multipliers, u32 stride, const u32* weight
) {
    const u32* lots = a.cohorts.lots + (row & 1) * a.cohorts.slots;
    const u8* live = a.cohorts.live_tiers + (row & 1) * a.cohorts.slots;
    const i32 zero = cell_zero(a.window.first_bin[row >> 1]), top = i32(a.window.bins + 1);
    const u32 columns = u32(a.rules.tier_count) + 1;
    for (i64 slot = first + thread; slot < end; slot += THREADS) {
        const u32 quantity = lots[slot], tiers = live[slot], entry = a.cohorts.entry[slot];
        if (quantity == 0) continue;
        const u32 fresh = WEIGHTINGS == 2 || a.weighted ? fresh_lots(quantity, a.cohorts.opened_at[slot], a.fresh) : 0;
        fill<WEIGHTINGS, SPLIT>(
            cells, low, count, a.weighted ? fresh : quantity, fresh, entry, tiers,
            multipliers + phase_of(entry) * stride, weight + tiers * columns, zero, top
        );
    }
}

// Zero the totals of rows that more than one block adds to. Grid: rows, 1, chunks of cells.
KERNEL(clear_rows, RowArguments) {
    const u32 row = u32(a.rows[BLOCK_X]);
    if (a.cohorts.used[row >> 1] <= i32(TILE)) return;
    const i64 cells = a.window.bins + 2;
    const i64 low = i64(BLOCK_Z) * CHUNK, high = smaller(low + i64(CHUNK), cells);
    PHASE(t) {
        for (i64 cell = low + t; cell < high; cell += THREADS) {
            if (a.weighted) {
                a.weighted[row * cells + cell] = 0;
            } else {
                a.standing.totals[row * cells + cell] = 0;
                a.standing.fresh[row * cells + cell] = 0;
            }
        }
    }
}

// Rebuild totals. Grid: rows, tiles of the longest row, chunks of cells; dynamic shared memory: two chunks of u32.
KERNEL(fill_rows, RowArguments) {
    SHARED(u32, multipliers, PHASES * MAX_TIERS);
    SHARED(u32, weight, (MAX_TIERS + 1) * (MAX_TIERS + 1));
    DYNAMIC_SHARED(u32, cells);
    const u32 row = u32(a.rows[BLOCK_X]);
    const i64 used = a.cohorts.used[row >> 1];
    const i64 begin = i64(BLOCK_Y) * TILE;
    if (begin >= used && BLOCK_Y > 0) return;
    const i64 first = a.cohorts.start[row >> 1] + begin;
    const i64 end = first + smaller(used - begin, i64(TILE));
    const i64 all = a.window.bins + 2;
    const u32 low = BLOCK_Z * CHUNK;
    const u32 count = u32(smaller(all - low, i64(CHUNK)));
    const bool both = !a.weighted && a.fresh.aged;
    const u32 stride = u32(a.rules.tier_count) | 1;  // odd: a tier's phases lie in banks of their own
    PHASE(t) {
        for (u32 cell = t; cell < (both ? 2 * count : count); cell += THREADS) cells[cell] = 0;
        const u32 tiers = u32(a.rules.tier_count);
        for (u32 k = t; k < PHASES * tiers; k += THREADS) {
            multipliers[k / tiers * stride + k % tiers] = levels_of(a.rules, row, 0)[k];
        }
        for (u32 k = t; k < (tiers + 1) * (tiers + 1); k += THREADS) weight[k] = weights_of(a.rules, row, 0)[k];
    }
    PHASE(t) {
        if (count < all && both) {
            fill_tile<2, true>(a, t, row, first, end, cells, low, count, multipliers, stride, weight);
        } else if (count < all) {
            fill_tile<1, true>(a, t, row, first, end, cells, low, count, multipliers, stride, weight);
        } else if (both) {
            fill_tile<2, false>(a, t, row, first, end, cells, low, count, multipliers, stride, weight);
        } else {
            fill_tile<1, false>(a, t, row, first, end, cells, low, count, multipliers, stride, weight);
        }
    }
    PHASE(t) {
        u64* const totals = (a.weighted ? a.weighted : a.standing.totals) + row * all + low;
        u64* const fresh = a.standing.fresh + row * all + low;
        const u32* const fresh_cells = both ? cells + count : cells;
        for (u32 cell = t; cell < count; cell += THREADS) {
            if (used <= i64(TILE)) {
                totals[cell] = cells[cell];
                if (!a.weighted) fresh[cell] = fresh_cells[cell];
            } else {
                // A tier without lots may have one by age: prefixes of fewer lots round elsewhere.
                if (cells[cell]) add_global(totals + cell, cells[cell]);
                if (!a.weighted && fresh_cells[cell]) add_global(fresh + cell, fresh_cells[cell]);
            }
        }
    }
}

// Rebuild triggers, live sums and frontiers, and declare the rows up to date. Grid: rows.
KERNEL(derive_rows, RowArguments) {
    SHARED(u64, sum, THREADS);
    SHARED(u32, met_first, THREADS);
    const u32 row = u32(a.rows[BLOCK_X]);
    const u32 side = row & 1;
    const i64 first = a.cohorts.start[row >> 1], end = first + a.cohorts.used[row >> 1];
    PHASE(t) {
        u64 live = 0;
        u32 frontier = side == LONG ? 0 : MOST;
        for (i64 slot = first + t; slot < end; slot += THREADS) {
            const i64 at = side * a.cohorts.slots + slot;
            const u32 entry = a.cohorts.entry[slot];
            const u32 trigger = trigger_of(side, entry, a.cohorts.live_tiers[at], levels_of(a.rules, row, entry));
            a.standing.trigger[at] = trigger;
            frontier = side == LONG ? larger(frontier, trigger) : smaller(frontier, trigger);
            live += a.cohorts.lots[at];
        }
        sum[t] = live;
        met_first[t] = frontier;
    }
    const u64 live = sum_block(sum);
    const u32 frontier = frontier_block(met_first, side);
    PHASE(t) {
        if (t == 0) {
            a.standing.live[row] = live;
            a.standing.frontier[row] = frontier;
            a.standing.stale[row] = 0;
        }
    }
}

// One tier of one market and side. Grid: (market, side, tier), 1, chunks of cells; dynamic shared memory: a chunk of u32.
KERNEL(fill_grid, GridArguments) {
    DYNAMIC_SHARED(u32, cells);
    const u32 tiers = u32(a.rules.tier_count);
    const u32 tier = BLOCK_X % tiers, side = BLOCK_X / tiers & 1, k = BLOCK_X / tiers / 2;
    const u32 row = 2 * u32(a.markets[k]) + side;
    const i64 first = a.cohorts.start[row >> 1], end = first + a.cohorts.used[row >> 1];
    const i64 all = a.bins + 2;
    const u32 low = BLOCK_Z * CHUNK;
    const u32 count = u32(smaller(all - low, i64(CHUNK)));
    PHASE(t) {
        for (u32 cell = t; cell < count; cell += THREADS) cells[cell] = 0;
    }
    PHASE(t) {
        const i32 zero = cell_zero(a.first_bin[k]), top = i32(a.bins + 1);
        for (i64 slot = first + t; slot < end; slot += THREADS) {
            const i64 at = side * a.cohorts.slots + slot;
            const u32 live = a.cohorts.live_tiers[at];
            if (tier >= live) continue;
            const u32 lots = fresh_lots(a.cohorts.lots[at], a.cohorts.opened_at[slot], a.fresh);
            const u32* cumulative = weights_of(a.rules, row, live) + tier;
            const u32 entry = a.cohorts.entry[slot];
            const u32 cell = cell_of(entry, levels_of(a.rules, row, entry)[tier], zero, top) - low;
            if (cell < count) add_shared(cells + cell, weighted(lots, cumulative[1]) - weighted(lots, cumulative[0]));
        }
    }
    PHASE(t) {
        u64* const grid = a.grid + BLOCK_X * all + low;
        for (u32 cell = t; cell < count; cell += THREADS) grid[cell] = cells[cell];
    }
}
