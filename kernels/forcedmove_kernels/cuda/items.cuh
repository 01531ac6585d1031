// What is computed for one cohort: the same integers as in reference/ and cpu/items.py.
#pragma once
#include "records.cuh"

constexpr u32 PRICE_BITS = 10;
constexpr u32 MULTIPLIER_BITS = 28;
constexpr u32 PHASES = 8;
constexpr u32 WEIGHT_BITS = 16;
constexpr u32 FRESHNESS_BITS = 16;
constexpr u32 LONG = 0;
constexpr u32 MOST = 0xFFFFFFFFu;

// Which of the levels of its tiers a cohort has: its entry bin's low bits.
DEVICE u32 phase_of(u32 entry) { return (entry >> PRICE_BITS) & (PHASES - 1); }

// Trigger price in price units at which a position is liquidated; may exceed u32.
DEVICE u64 liquidation_price(u32 entry, u32 multiplier) { return (u64(entry) * multiplier) >> MULTIPLIER_BITS; }

// Lots below a cumulative weight.
DEVICE u32 weighted(u32 lots, u32 weight) { return u32((u64(lots) * weight) >> WEIGHT_BITS); }

// The bin that cell 0 would be if it were one, as 32 bits: bins of prices end far below 2**30.
DEVICE i32 cell_zero(u32 first_bin) { return i32(smaller(first_bin, 1u << 30)) - 1; }

// Cell of a tier. The bin is the product shifted by 38: what is left of its high word after six more bits.
DEVICE u32 cell_of(u32 entry, u32 multiplier, i32 zero, i32 top) {
    const i32 bin = i32(high_word(entry, multiplier) >> (MULTIPLIER_BITS + PRICE_BITS - 32));
    return u32(smaller(larger(bin - zero, 0), top));
}

// Lots weighted by age; a cohort from the future has age 0.
DEVICE u32 fresh_lots(u32 lots, u32 opened_at, const Freshness& fresh) {
    if (!fresh.aged) return lots;
    const i64 age = larger(fresh.now - i64(opened_at), i64(0));
    // 64-bit division is many times slower, and only a clock beyond the year 2106 needs it.
    const u64 step = (u64(age) >> 32) | (u64(fresh.step_s) >> 32) ? u64(age) / u64(fresh.step_s)
                                                                  : u32(age) / u32(fresh.step_s);
    const u32 weight = fresh.table[smaller(step, u64(fresh.length - 1))];
    return u32((u64(lots) * weight) >> FRESHNESS_BITS);
}

// Whether the extremes of the trigger price reach a trigger.
DEVICE bool reaches(u32 side, u32 trigger, u32 low, u32 high) { return side == LONG ? trigger >= low : trigger <= high; }

// Price that liquidates the highest live tier, saturated.
DEVICE u32 trigger_of(u32 side, u32 entry, u32 live, const u32* multiplier) {
    if (live == 0) return side == LONG ? 0 : MOST;
    return u32(smaller(liquidation_price(entry, multiplier[live - 1]), u64(MOST)));
}

// Live tiers left when the trigger price has covered low..high; the highest leverage dies first.
DEVICE u32 surviving_tiers(u32 side, u32 entry, u32 live, const u32* multiplier, u32 low, u32 high) {
    while (live > 0) {
        const u64 price = liquidation_price(entry, multiplier[live - 1]);
        if (side == LONG ? price < low : price > high) break;
        --live;
    }
    return live;
}

// Add (sign 1) or take away (sign -1) the tiers of a cohort from a row of totals in global memory.
DEVICE void spread(
    u64* cells, u32 lots, u32 entry, u32 live, const u32* multiplier, const u32* weight, i32 zero, i32 top, u64 sign
) {
    if (lots == 0) return;
    u32 below = 0;
    for (u32 tier = 0; tier < live; ++tier) {
        const u32 through = weighted(lots, weight[tier + 1]);
        if (through != below) {
            add_global(cells + cell_of(entry, multiplier[tier], zero, top), sign * u64(through - below));
        }
        below = through;
    }
}
