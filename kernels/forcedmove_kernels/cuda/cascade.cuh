// What shocks set off: many chains, the curve of every shock, random paths. Chains of a row share its prefix sums.
#pragma once
#include "block.cuh"
#include "records.cuh"

constexpr u64 MAX_ROW_CENTS = u64(1) << 47;
constexpr u32 NOISE_BITS = 16;

// Prefix sums of each row. Grid: rows.
KERNEL(sum_rows, PrefixArguments) {
    SHARED(u64, sum, THREADS);
    SHARED(u64, spare, THREADS);
    SHARED(u64, rest, THREADS);
    SHARED(u32, begun, THREADS);
    SHARED(u32, spare32, THREADS);
    const i64 cells = a.cells;
    const u64* const notional = a.notional + BLOCK_X * cells;
    const u64* const depth = a.depth + BLOCK_X * cells;
    PHASE(t) {
        u64 own = 0;
        u32 runs = 0;
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) {
            own += notional[cell];
            runs += notional[cell] && (cell == 0 || !notional[cell - 1]);
        }
        sum[t] = own;
        begun[t] = runs;
    }
    const u64 all = scan_block(sum, spare);
    scan_block(begun, spare32);
    // Depth beyond all that could fire is never used up; clipped to it, sums stay within 64 bits for any book.
    PHASE(t) {
        u64 own = 0;
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) own += smaller(depth[cell], all);
        rest[t] = own;
    }
    scan_block(rest, spare);
    PHASE(t) {
        u64* const fired = a.fired + BLOCK_X * (cells + 1);
        u64* const held = a.held + BLOCK_X * (cells + 1);
        u64 fires = sum[t], holds = rest[t];
        u32 runs = begun[t];
        for (i64 cell = cells * t / THREADS; cell < cells * (t + 1) / THREADS; ++cell) {
            fired[cell] = fires;
            held[cell] = holds;
            runs += notional[cell] && (cell == 0 || !notional[cell - 1]);
            a.runs[BLOCK_X * cells + cell] = runs;
            fires += notional[cell];
            holds += smaller(depth[cell], all);
        }
        if (t == THREADS - 1) {
            fired[cells] = fires;
            held[cells] = holds;
        }
    }
}

// A row seen from its mark: positions count cells from it in the direction of the shock.
struct Path {
    const u64* fired;
    const u64* held;
    const u32* runs;
    const u64* notional;
    i64 mark;
    i64 last;  // position of the outer cell
    bool up;
};

DEVICE Path path_of(const PrefixArguments& book, i64 row, i64 mark, bool up) {
    Path p;
    p.fired = book.fired + row * (book.cells + 1);
    p.held = book.held + row * (book.cells + 1);
    p.runs = book.runs + row * book.cells;
    p.notional = book.notional + row * book.cells;
    p.mark = mark;
    p.up = up;
    p.last = up ? book.cells - 1 - mark : mark;
    return p;
}

DEVICE i64 cell_at(const Path& p, i64 position) { return p.up ? p.mark + position : p.mark - position; }

// Sum over positions from..to of what ``below`` is the prefix sum of.
DEVICE u64 between(const Path& p, const u64* below, i64 from, i64 to) {
    return p.up ? below[p.mark + to + 1] - below[p.mark + from] : below[p.mark - from + 1] - below[p.mark - to];
}

// Runs of non-empty cells among positions from..to.
DEVICE u32 runs_between(const Path& p, i64 from, i64 to) {
    const i64 low = p.up ? p.mark + from : p.mark - to, high = p.up ? p.mark + to : p.mark - from;
    return p.runs[high] - p.runs[low] + (p.notional[low] != 0);
}

// First position from ``position`` on by which the depth from ``first`` on holds ``total``, or the last position.
DEVICE i64 absorbed_by(const Path& p, i64 first, i64 position, u64 total) {
    i64 step = 1, low = position;  // gallop: most rounds go no further than a few cells
    while (low + step < p.last && between(p, p.held, first, low + step - 1) < total) {
        low += step;
        step *= 2;
    }
    i64 high = smaller(low + step, p.last);
    while (low < high) {
        const i64 middle = (low + high) / 2;
        if (between(p, p.held, first, middle) >= total) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// Follow a chain to its end; returns the position, adds its levels.
DEVICE i64 follow(const Path& p, i64 first, u32& levels) {
    i64 position = first, fired = 0;
    while (position >= fired) {
        levels += runs_between(p, fired, position);
        fired = position + 1;
        position = absorbed_by(p, first, position, between(p, p.fired, 0, position));
    }
    return position;
}

// A thread per chain. Grid: blocks of chains.
KERNEL(follow_chains, ChainArguments) {
    PHASE(t) {
        const i64 j = i64(BLOCK_X) * THREADS + t;
        if (j < a.count) {
            const i64 row = a.row[j], mark = a.mark[row], shock = a.shock[j];
            const Path p = path_of(a.book, row, mark, shock > mark);
            u32 levels = 0;
            const i64 end = follow(p, p.up ? shock - mark : mark - shock, levels);
            a.terminal[j] = i32(cell_at(p, end));
            a.total[j] = between(p, p.fired, 0, end);
            a.levels[j] = i32(levels);
        }
    }
}

// A thread per shock of one side of each row. Grid: rows, blocks of cells.
KERNEL(shock_curves, ChainArguments) {
    PHASE(t) {
        const i64 row = BLOCK_X, cell = i64(BLOCK_Y) * THREADS + t, mark = a.mark[row];
        const bool up = a.row[row] != 0;
        if (cell < a.book.cells) {
            i64 end = mark;
            u64 total = 0;
            if (up ? cell > mark : cell <= mark) {
                const Path p = path_of(a.book, row, mark, up);
                u32 levels = 0;
                const i64 position = follow(p, up ? cell - mark : mark - cell, levels);
                end = cell_at(p, position);
                total = between(p, p.fired, 0, position);
            }
            a.terminal[row * a.book.cells + cell] = i32(end);
            a.total[row * a.book.cells + cell] = total;
        }
    }
}

// floor(amount * factor / 2**NOISE_BITS) where the product may exceed 64 bits.
DEVICE u64 scaled(u64 amount, u32 factor) {
    return (amount >> NOISE_BITS) * factor + (((amount & ((1u << NOISE_BITS) - 1)) * factor) >> NOISE_BITS);
}

DEVICE u64 splitmix64(u64 x) {
    x += 0x9E3779B97F4A7C15ull;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

DEVICE u32 mixed(u32 h) {
    h ^= h >> 16;
    h *= 0x85EBCA6Bu;
    h ^= h >> 13;
    h *= 0xC2B2AE35u;
    return h ^ (h >> 16);
}

// A thread per path. Grid: blocks of paths of all chains.
KERNEL(follow_paths, PathArguments) {
    PHASE(t) {
        const i64 index = i64(BLOCK_X) * THREADS + t;
        if (index < a.count * a.paths) {
            const i64 j = index / a.paths, row = a.row[j], mark = a.mark[row], shock = a.shock[j];
            const Path p = path_of(a.book, row, mark, shock > mark);
            const u64* const depth = a.book.depth + row * a.book.cells;
            const u64 key = splitmix64(a.seed ^ (u64(j) << 32 | u64(index % a.paths)));
            const u32 factor = a.notional_noise[(key >> 32) & u64(a.notional_mask)];
            i64 position = p.up ? shock - mark : mark - shock;
            u64 held = 0, total = 0;
            for (;; ++position) {
                const i64 cell = cell_at(p, position);
                const u32 draw = mixed(u32(key) ^ (u32(cell) * 0x9E3779B9u)) & u32(a.depth_mask);
                held += scaled(smaller(depth[cell], MAX_ROW_CENTS), a.depth_noise[draw]);
                total = scaled(between(p, p.fired, 0, position), factor);
                if (held >= total || position == p.last) break;
            }
            a.terminal[index] = i32(cell_at(p, position));
            a.total[index] = total;
        }
    }
}
