// The host build's entry points: which kernels there are, and running one over a grid of blocks.
#include "kernels.cu"

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#pragma GCC visibility push(default)
extern "C" {

// Bytes of a kernel's arguments, or 0 where there is no such kernel.
u64 argument_bytes(const char* name) {
    for (host::Entry* entry = host::Entry::first(); entry; entry = entry->next) {
        if (!std::strcmp(entry->name, name)) return entry->argument_bytes;
    }
    return 0;
}

// The names of all kernels, one per line.
const char* kernel_names() {
    static std::vector<char> names;
    names.clear();
    for (host::Entry* entry = host::Entry::first(); entry; entry = entry->next) {
        names.insert(names.end(), entry->name, entry->name + std::strlen(entry->name));
        names.push_back('\n');
    }
    names.push_back('\0');
    return names.data();
}

// Run a kernel on ``threads`` host threads, which take blocks in turn; returns 0, or 1 where there is no such kernel.
int launch(
    const char* name, u32 grid_x, u32 grid_y, u32 grid_z, u64 shared_bytes, const void* arguments, u32 threads,
    int reversed
) {
    const host::Entry* entry = host::Entry::first();
    while (entry && std::strcmp(entry->name, name)) entry = entry->next;
    if (!entry) return 1;
    const u64 blocks = u64(grid_x) * grid_y * grid_z;
    std::atomic<u64> taken{0};
    const auto work = [&] {
        std::vector<u64> shared(shared_bytes / 8 + 1, 0xDEADBEEFDEADBEEFull);
        for (u64 turn = taken++; turn < blocks; turn = taken++) {
            const u64 index = reversed ? blocks - 1 - turn : turn;
            host::block.x = u32(index % grid_x);
            host::block.y = u32(index / grid_x % grid_y);
            host::block.z = u32(index / grid_x / grid_y);
            host::block.grid_y = grid_y;
            host::block.reversed = reversed;
            host::block.dynamic_shared = shared.data();
            entry->run(arguments);
        }
    };
    std::vector<std::thread> others;
    for (u32 k = 1; k < threads; ++k) others.emplace_back(work);
    work();
    for (std::thread& other : others) other.join();
    return 0;
}
}
#pragma GCC visibility pop
