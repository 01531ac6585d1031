// What lets NVRTC, nvcc and a plain C++ compiler build the same kernels.
//
// A kernel is a sequence of phases with a barrier before each of them. PHASE(t) runs its body once per thread t of the
// block; on a GPU that is one pass by 256 threads at once, on a CPU a loop over 256 threads. Hence three rules:
//  * what a thread keeps from one phase to the next lies in shared memory, not in a variable;
//  * outside phases there is only what is the same for all threads: loops and conditions on arguments, or on shared
//    memory read after SYNC; nothing is written there;
//  * a phase is left at its end, never by return or break.
#pragma once

typedef unsigned char u8;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;

constexpr u32 THREADS = 256;

#if defined(__CUDACC__)

#define DEVICE __device__ __forceinline__
#define BLOCK_DEVICE __device__ inline
#define SHARED(type, name, count) __shared__ type name[count]
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#define KERNEL(name, Arguments) extern "C" __global__ void __launch_bounds__(THREADS) name(const Arguments a)
#define PHASE(t)      \
    __syncthreads();  \
    for (u32 t = threadIdx.x, once_ = 1; once_; once_ = 0)
#define SYNC __syncthreads()
#define BLOCK_X blockIdx.x
#define BLOCK_Y blockIdx.y
#define BLOCK_Z blockIdx.z
#define GRID_Y gridDim.y

// Shared u32 add is a native instruction; on u64 and floats it would be a compare-and-swap loop.
DEVICE void add_shared(u32* cell, u32 amount) { atomicAdd(cell, amount); }
DEVICE void add_global(u64* cell, u64 amount) { atomicAdd(cell, amount); }
DEVICE u32 high_word(u32 a, u32 b) { return __umulhi(a, b); }
DEVICE u64 high_word(u64 a, u64 b) { return __umul64hi(a, b); }
// Explicit roundings: no compiler option may fuse them into one.
DEVICE double multiply(double a, double b) { return __dmul_rn(a, b); }
DEVICE double add(double a, double b) { return __dadd_rn(a, b); }

#else
#include "host.h"
#endif

template <class T>
DEVICE T smaller(T a, T b) {
    return a < b ? a : b;
}
template <class T>
DEVICE T larger(T a, T b) {
    return a > b ? a : b;
}
