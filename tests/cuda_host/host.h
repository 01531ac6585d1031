// The other half of portable.cuh: what a plain C++ compiler needs to run the kernels on a CPU, block after block.
//
// A block is the work of one host thread, so shared memory needs no atomics; blocks run on several host threads at once.
// The order in which a phase runs its threads is a choice: results must not depend on it.
#pragma once
#include <cmath>

#define DEVICE static inline
#define BLOCK_DEVICE static inline
// Like a GPU's, this memory holds whatever the last block left in it.
#define SHARED(type, name, count) static thread_local type name[count]
#define DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(host::block.dynamic_shared)
#define KERNEL(name, Arguments)                                                                           \
    static void name(const Arguments& a);                                                                 \
    static host::Entry name##_entry(                                                                      \
        #name, sizeof(Arguments), [](const void* given) { name(*static_cast<const Arguments*>(given)); }  \
    );                                                                                                    \
    static void name(const Arguments& a)
#define PHASE(t)                                                       \
    for (u32 turn_ = 0, t = host::block.thread(0); turn_ < THREADS; ++turn_, t = host::block.thread(turn_))
#define SYNC
#define BLOCK_X host::block.x
#define BLOCK_Y host::block.y
#define BLOCK_Z host::block.z
#define GRID_Y host::block.grid_y

// Without names outside this unit: builds with other options live in the same process.
namespace {
namespace host {

struct Block {
    u32 x, y, z, grid_y;
    bool reversed;
    void* dynamic_shared;
    u32 thread(u32 turn) const { return reversed ? THREADS - 1 - turn : turn; }
};
thread_local Block block;

struct Entry {
    const char* name;
    u64 argument_bytes;
    void (*run)(const void*);
    Entry* next;
    static Entry*& first() {
        static Entry* entry = nullptr;
        return entry;
    }
    Entry(const char* n, u64 bytes, void (*r)(const void*)) : name(n), argument_bytes(bytes), run(r), next(first()) {
        first() = this;
    }
};

}  // namespace host
}  // namespace

DEVICE void add_shared(u32* cell, u32 amount) { *cell += amount; }
DEVICE void add_global(u64* cell, u64 amount) { __atomic_fetch_add(cell, amount, __ATOMIC_RELAXED); }
DEVICE u32 high_word(u32 a, u32 b) { return u32((u64(a) * b) >> 32); }
DEVICE u64 high_word(u64 a, u64 b) { return u64(((unsigned __int128)a * b) >> 64); }
DEVICE double multiply(double a, double b) { return a * b; }
DEVICE double add(double a, double b) { return a + b; }
using std::floor;
