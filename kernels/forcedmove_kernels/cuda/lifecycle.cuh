// One lifecycle step per market and block: the sweep kills, the open interest scales, the openings are appended, and
// the standing rows that were up to date stay so.
#pragma once
#include "grid.cuh"

constexpr u32 NOT_OBSERVED = 0xFFFFFFFFu;

// A market's row and what a step needs of it.
struct Row {
    u32 row, side;
    i64 first, end;  // slots in use
    u32* lots;
    u8* live;
    u32* trigger;
    u64* totals;
    u64* fresh;
    i32 zero, top;
};

DEVICE Row row_of(const ApplyArguments& a, u32 market, u32 side) {
    Row r;
    const u32 row = 2 * market + side;
    const i64 cells = a.window.bins + 2, offset = side * a.cohorts.slots;
    r.side = side;
    r.first = a.cohorts.start[market];
    r.end = r.first + a.cohorts.used[market];
    r.lots = a.cohorts.lots + offset;
    r.live = a.cohorts.live_tiers + offset;
    r.trigger = a.standing.trigger + offset;
    r.totals = a.standing.totals + row * cells;
    r.fresh = a.standing.fresh + row * cells;
    r.row = row;
    r.zero = cell_zero(a.window.first_bin[market]);
    r.top = i32(cells - 1);
    return r;
}

// Add (sign 1) or take away (sign -1) a cohort's cells in both totals; ``levels`` are the multipliers of its tiers.
DEVICE void maintain(
    const ApplyArguments& a, const Row& r, u32 lots, u32 live, u32 entry, const u32* levels, u32 opened_at, u64 sign
) {
    const u32* weight = weights_of(a.rules, r.row, live);
    spread(r.totals, lots, entry, live, levels, weight, r.zero, r.top, sign);
    spread(r.fresh, fresh_lots(lots, opened_at, a.fresh), entry, live, levels, weight, r.zero, r.top, sign);
}

// Thread t's part of items 0..count that are shared out in runs, so that prefix sums keep their order.
DEVICE i64 run_begin(i64 count, u32 t) { return count * t / THREADS; }

// Block-wide: kill what low..high reaches. Returns lots killed; ``before`` is set on stale rows to the lots there were.
BLOCK_DEVICE u64 sweep(
    const ApplyArguments& a, const Row& r, u32 low, u32 high, bool by_trigger, bool keep_up, u64* sum, u64* before
) {
    PHASE(t) {
        u64 had = 0, killed = 0;
        for (i64 slot = r.first + t; slot < r.end; slot += THREADS) {
            if (by_trigger && !reaches(r.side, r.trigger[slot], low, high)) continue;
            const u32 entry = a.cohorts.entry[slot], lots = r.lots[slot], old = r.live[slot];
            const u32* levels = levels_of(a.rules, r.row, entry);
            const u32 live = surviving_tiers(r.side, entry, old, levels, low, high);
            had += lots;
            if (live == old) continue;
            const u32 kept = live ? weighted(lots, weights_of(a.rules, r.row, old)[live]) : 0;
            killed += lots - kept;
            r.live[slot] = u8(live);
            r.lots[slot] = kept;
            if (keep_up) {
                maintain(a, r, lots, old, entry, levels, a.cohorts.opened_at[slot], ~u64(0));
                maintain(a, r, kept, live, entry, levels, a.cohorts.opened_at[slot], 1);
                r.trigger[slot] = trigger_of(r.side, entry, live, levels);
            }
        }
        sum[t] = had;
        before[t] = killed;
    }
    const u64 had = sum_block(sum);
    const u64 killed = sum_block(before);
    PHASE(t) {
        if (t == 0) before[0] = had;
    }
    SYNC;
    return killed;
}

// Block-wide: scale live lots (above zero) from ``live`` to ``target`` by prefix rounding; whether any lots changed.
BLOCK_DEVICE bool scale(const Row& r, u64 live, u64 target, u64* sum, u64* spare) {
    const i64 used = r.end - r.first;
    PHASE(t) {
        u64 own = 0;
        for (i64 k = run_begin(used, t); k < run_begin(used, t + 1); ++k) own += r.lots[r.first + k];
        sum[t] = own;
    }
    scan_block(sum, spare);
    PHASE(t) {
        u64 prefix = sum[t], placed = prefix * target / live, changed = 0;
        for (i64 k = run_begin(used, t); k < run_begin(used, t + 1); ++k) {
            const u32 lots = r.lots[r.first + k];
            if (lots == 0) continue;
            prefix += lots;
            const u64 through = prefix * target / live;
            changed |= through - placed != lots;
            r.lots[r.first + k] = u32(through - placed);
            placed = through;
        }
        spare[t] = changed;
    }
    return sum_block(spare) != 0;
}

// How many lots of a side are placed once ``prefix`` of ``opened`` have been; ``last``: with this row the openings end.
DEVICE u64 placed_through(u64 prefix, u64 opened, u64 total, bool last) {
    if (opened) return prefix * total / opened;
    return last ? total : 0;  // openings without lots: the last row takes all
}

// Block-wide: append the openings, scaled from ``opened`` to ``total`` per side; rows without lots are left out.
BLOCK_DEVICE void append(
    const ApplyArguments& a, u32 k, u32 market, u64 opened, const u64* total, const u64* keep_up, u64* sum, u64* spare,
    u64* position, u32* met_first
) {
    const i64 begin = a.first_open[k], count = a.first_open[k + 1] - begin;
    const i64 end = a.cohorts.start[market] + a.cohorts.used[market];
    PHASE(t) {
        u64 own = 0;
        for (i64 j = run_begin(count, t); j < run_begin(count, t + 1); ++j) own += a.open_lots[begin + j];
        sum[t] = own;
    }
    scan_block(sum, spare);
    PHASE(t) {
        u64 prefix = sum[t], kept = 0;
        u64 placed_long = placed_through(prefix, opened, total[0], false);
        u64 placed_short = placed_through(prefix, opened, total[1], false);
        for (i64 j = run_begin(count, t); j < run_begin(count, t + 1); ++j) {
            prefix += a.open_lots[begin + j];
            const u64 through_long = placed_through(prefix, opened, total[0], j == count - 1);
            const u64 through_short = placed_through(prefix, opened, total[1], j == count - 1);
            kept += through_long != placed_long || through_short != placed_short;
            placed_long = through_long;
            placed_short = through_short;
        }
        position[t] = kept;
    }
    const u64 appended = scan_block(position, spare);
    for (u32 side = 0; side < 2; ++side) {
        const Row r = row_of(a, market, side);
        PHASE(t) {
            u64 prefix = sum[t], slot = u64(end) + position[t];
            u64 placed = placed_through(prefix, opened, total[side], false);
            u64 placed_opposite = placed_through(prefix, opened, total[1 - side], false);
            u32 frontier = side == LONG ? 0 : MOST;
            for (i64 j = run_begin(count, t); j < run_begin(count, t + 1); ++j) {
                prefix += a.open_lots[begin + j];
                const u64 through = placed_through(prefix, opened, total[side], j == count - 1);
                const u64 through_opposite = placed_through(prefix, opened, total[1 - side], j == count - 1);
                const u32 lots = u32(through - placed);
                const bool is_kept = lots || through_opposite != placed_opposite;
                placed = through;
                placed_opposite = through_opposite;
                if (!is_kept) continue;
                const u32 entry = a.open_entry[begin + j], price = a.price[k];
                const u32* levels = levels_of(a.rules, r.row, entry);
                const u32 left = surviving_tiers(side, entry, a.rules.tiers[market], levels, price, price);
                const u32 live = larger(left, 1u);
                if (side == LONG) {
                    a.cohorts.entry[slot] = entry;
                    a.cohorts.opened_at[slot] = a.opened_at[k];
                }
                r.lots[slot] = lots;
                r.live[slot] = u8(live);
                if (keep_up[side]) {
                    const u32 trigger = trigger_of(side, entry, live, levels);
                    r.trigger[slot] = trigger;
                    frontier = side == LONG ? larger(frontier, trigger) : smaller(frontier, trigger);
                    maintain(a, r, lots, live, entry, levels, a.opened_at[k], 1);
                }
                ++slot;
            }
            met_first[t] = frontier;
        }
        const u32 frontier = frontier_block(met_first, side);
        PHASE(t) {
            if (t == 0 && keep_up[side]) {
                u32* const own = a.standing.frontier + 2 * market + side;
                *own = side == LONG ? larger(*own, frontier) : smaller(*own, frontier);
            }
        }
    }
    PHASE(t) {
        if (t == 0) {
            a.cohorts.used[market] += i32(appended);
            a.used[k] = a.cohorts.used[market];
        }
    }
}

// One side before its openings: sweep, then scale. Leaves in ``total`` what the openings get and in ``keep_up`` whether
// the standing row is still kept up to date.
BLOCK_DEVICE void step_side(
    const ApplyArguments& a, u32 k, u32 market, u32 side, u64 opened, u64* total, u64* keep_up, u64* sum, u64* spare,
    u32* met_first
) {
    const u32 row = 2 * market + side;
    const Row r = row_of(a, market, side);
    const u32 low = a.low[k], high = a.high[k];
    const bool was_clean = !a.standing.stale[row];
    bool is_clean = was_clean, is_met = true;
    if (was_clean) {
        is_met = r.end > r.first && reaches(side, a.standing.frontier[row], low, high);
        if (is_met) {
            PHASE(t) {
                u64 reached = 0;
                for (i64 slot = r.first + t; slot < r.end; slot += THREADS) {
                    reached += reaches(side, r.trigger[slot], low, high);
                }
                sum[t] = reached;
            }
            is_clean = 4 * sum_block(sum) <= u64(r.end - r.first);
        }
    }
    u64 killed = 0;
    u64 had = was_clean ? a.standing.live[row] : 0;
    if (is_met) {
        killed = sweep(a, r, low, high, was_clean, is_clean, sum, spare);
        if (!was_clean) had = spare[0];
        if (is_clean) {
            PHASE(t) {
                u32 frontier = side == LONG ? 0 : MOST;
                for (i64 slot = r.first + t; slot < r.end; slot += THREADS) {
                    const u32 trigger = r.trigger[slot];
                    frontier = side == LONG ? larger(frontier, trigger) : smaller(frontier, trigger);
                }
                met_first[t] = frontier;
            }
            const u32 frontier = frontier_block(met_first, side);
            PHASE(t) {
                if (t == 0) a.standing.frontier[row] = frontier;
            }
        }
    }
    u64 live = had - killed, closed = 0, overkill = 0, given = opened;
    const u32 interest = a.open_interest[2 * k + side];
    if (interest != NOT_OBSERVED) {
        const u64 target = interest - opened;
        if (live > 0) {
            closed = live - smaller(live, target);
            overkill = target - smaller(live, target);
            if (live != target && scale(r, live, target, sum, spare)) is_clean = false;
            live = target;
        } else if (target > 0) {  // nothing is left to scale up: the openings take the side's open interest
            overkill = target;
            given = opened + target;
        }
    }
    PHASE(t) {
        if (t == 0) {
            total[side] = given;
            keep_up[side] = is_clean;
            a.standing.stale[row] = !is_clean;
            a.stale[2 * k + side] = !is_clean;
            if (is_clean) a.standing.live[row] = live + given;
            u64* const outcome = a.outcome + 2 * k + side;
            const i64 field = 2 * a.count;
            outcome[0] = opened;
            outcome[field] = closed;
            outcome[2 * field] = killed;
            outcome[3 * field] = overkill;
            outcome[4 * field] = live + given;
        }
    }
}

// Grid: updated markets.
KERNEL(apply_updates, ApplyArguments) {
    SHARED(u64, sum, THREADS);
    SHARED(u64, spare, THREADS);
    SHARED(u64, position, THREADS);
    SHARED(u32, met_first, THREADS);
    SHARED(u64, total, 2);
    SHARED(u64, keep_up, 2);
    const u32 k = BLOCK_X, market = u32(a.market[k]);
    PHASE(t) {
        u64 own = 0;
        for (i64 j = a.first_open[k] + t; j < a.first_open[k + 1]; j += THREADS) own += a.open_lots[j];
        sum[t] = own;
    }
    const u64 opened = sum_block(sum);
    for (u32 side = 0; side < 2; ++side) {
        step_side(a, k, market, side, opened, total, keep_up, sum, spare, met_first);
    }
    append(a, k, market, opened, total, keep_up, sum, spare, position, met_first);
}
