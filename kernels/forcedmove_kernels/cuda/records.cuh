// The arguments of every kernel. Each field is eight bytes wide, so that the layout is the same for every compiler;
// arguments.py reads this file and packs what it says. Shapes and units are those of forcedmove_kernels.arrays.
#pragma once
#include "portable.cuh"

struct Cohorts {
    const i64* start;  // [M + 1]
    i32* used;         // [M]
    u32* entry;        // [N]
    u32* opened_at;    // [N]
    u32* lots;         // [2, N]
    u8* live_tiers;    // [2, N]
    i64 slots;         // N
};

struct Rules {
    const u8* tiers;        // [M]
    const u32* multiplier;  // [M, 2, P, T]
    const u32* weight;      // [M, 2, T + 1, T + 1]
    i64 tier_count;         // T
};

struct Window {
    const u32* first_bin;  // [M]
    i64 bins;
};

struct Freshness {
    const u32* table;  // [A]
    i64 length;        // A
    i64 step_s;
    i64 now;
    i64 aged;  // 0: a table of ones
};

struct Standing {
    u8* stale;      // [M, 2]
    u64* totals;    // [M, 2, C]
    u64* fresh;     // [M, 2, C]
    u64* live;      // [M, 2]
    u32* trigger;   // [2, N]
    u32* frontier;  // [M, 2]
};

struct ApplyArguments {
    Cohorts cohorts;
    Rules rules;
    Window window;
    Freshness fresh;
    Standing standing;
    const i32* market;  // [K] and so on: arrays.Updates
    const u32* low;
    const u32* high;
    const u32* price;
    const u32* open_interest;  // [K, 2]
    const u32* opened_at;
    const i64* first_open;
    const u32* open_entry;
    const u32* open_lots;
    u64* outcome;  // [5, K, 2]: opened, closed, liquidated, overkill, live
    i32* used;     // [K] slots in use after the step
    u8* stale;     // [K, 2] of the market's rows after the step
    i64 count;     // K
};

struct RowArguments {
    Cohorts cohorts;
    Rules rules;
    Window window;
    Freshness fresh;
    Standing standing;
    const i32* rows;  // [K] 2 * market + side
    u64* weighted;    // [M, 2, C] totals under ``fresh``, or null: the standing rows, both weightings
};

struct GridArguments {
    Cohorts cohorts;
    Rules rules;
    Freshness fresh;
    const i32* markets;    // [K]
    const u32* first_bin;  // [K]
    u64* grid;             // [K, 2, T, C]
    i64 bins;
};

struct SpreadArguments {
    u64* lots;         // [R, C]
    u64* change;       // [R, C], zeroed
    const i32* side;   // [R] and so on: arrays.Spread
    const i32* mark;
    const u32* share;
    const u32* near;
    const u32* most;
    i64 cells;  // C
};

struct ProfileArguments {
    const u64* totals;     // [M, 2, C]
    const i32* markets;    // [K] rows of totals, in the order of their symbols
    const i64* first;      // [S + 1] where each symbol's markets begin
    const double* base;    // [K]
    const double* slope;   // [K]
    const u32* first_bin;  // [K]
    u64* cents;            // [K, 2, C]
    u64* sums;             // [S, 2, C]
    i64 cells;             // C
};

struct GatherArguments {
    const u64* source;   // [M, 2, C]
    const i32* markets;  // [K]
    u64* rows;           // [K, 2, C]
    i64 cells;           // 2 C: words of a market
};

struct RenderArguments {
    const u64* lots;      // [R, C]
    const i32* target;    // [R]
    const double* base;   // [R]
    const double* slope;  // [R]
    u64* cents;           // [O, W], zeroed
    float* usd;           // [O, W]
    i64 rows;             // R
    i64 cells;            // C
    i64 first_bin;
    i64 low;
    i64 high;
    i64 outputs;  // O
};

struct ChangedArguments {
    u32* previous;      // [n] bits of f32; afterwards those of ``values``
    const u32* values;  // [n]
    u64* found;         // [blocks] scratch: changed words of each block, then where its cells go
    u64* changed;       // how many words changed
    u64* listed;        // how many cells the comparisons before this one listed; those of this one are added
    u64* cells;         // [listed + most] index and, 32 bits higher, new bits of each changed word
    i64 count;          // n
    i64 blocks;
    i64 most;  // where more changed none are listed
};

struct ClusterArguments {
    const u64* notional;  // [R, C]
    u64* prefix;          // [R, C + 1] scratch
    u64* found;           // [R] clusters of each row
    u64* runs;            // [C / 2 + 1, R, 4]: the k-th clusters of all rows: begin, end, peak, cents
    i64 rows;             // R
    i64 cells;            // C
    u64 half_width;
    u64 ratio_percent;
    u64 share;
};

struct PrefixArguments {
    const u64* notional;  // [R, C]
    const u64* depth;     // [R, C]
    u64* fired;           // [R, C + 1] sum of notional below each cell
    u64* held;            // [R, C + 1] sum of clipped depth below each cell
    u32* runs;            // [R, C] runs of non-empty cells that begin at or below each cell
    i64 cells;
};

struct ChainArguments {
    PrefixArguments book;
    const i32* mark;   // [R]
    const i32* row;    // [J]; curves: side of each row [R]
    const i32* shock;  // [J]
    i32* terminal;     // [J]; curves: [R, C]
    u64* total;        // [J]; curves: [R, C]
    i32* levels;       // [J]
    i64 count;         // J; curves: R
};

struct PathArguments {
    PrefixArguments book;
    const i32* mark;
    const i32* row;
    const i32* shock;
    const u32* notional_noise;  // [Q]
    const u32* depth_noise;     // [Q']
    i32* terminal;              // [J, P]
    u64* total;                 // [J, P]
    u64 seed;
    i64 notional_mask;  // Q - 1
    i64 depth_mask;     // Q' - 1
    i64 count;          // J
    i64 paths;          // P
};
