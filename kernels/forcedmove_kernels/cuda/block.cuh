// Sums and extremes over the threads of a block, in shared memory. Called outside phases.
#pragma once
#include "portable.cuh"

// Replace values[t] by the sum of the values before t; returns the sum of all. ``values`` and ``spare`` [THREADS].
template <class T>
BLOCK_DEVICE T scan_block(T* values, T* spare) {
    T* from = values;
    T* to = spare;
    for (u32 reach = 1; reach < THREADS; reach *= 2) {  // eight rounds: the last one leaves the sums in ``values``
        PHASE(t) { to[t] = from[t] + (t >= reach ? from[t - reach] : T(0)); }
        T* const kept = from;
        from = to;
        to = kept;
    }
    PHASE(t) { to[t] = t ? from[t - 1] : T(0); }
    SYNC;
    const T total = from[THREADS - 1];
    PHASE(t) { values[t] = to[t]; }
    return total;
}

// Sum of values[0..THREADS), which are used up.
template <class T>
BLOCK_DEVICE T sum_block(T* values) {
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        PHASE(t) {
            if (t < half) values[t] += values[t + half];
        }
    }
    SYNC;
    return values[0];
}

// The trigger met first: the highest for longs (side 0), the lowest for shorts. ``values`` are used up.
BLOCK_DEVICE u32 frontier_block(u32* values, u32 side) {
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        PHASE(t) {
            if (t < half) {
                values[t] = side == 0 ? larger(values[t], values[t + half]) : smaller(values[t], values[t + half]);
            }
        }
    }
    SYNC;
    return values[0];
}
