"""The bare loop of increments in shared memory, in CUDA C++: what a GPU can do at best."""

from __future__ import annotations

CELLS = 2050
#: random cells from a multiplicative generator in registers: nothing but the increments leaves them
SOURCE = r"""
extern "C" __global__ void increment(unsigned* sums, int repeats) {
  __shared__ unsigned row[2050];
  for (int cell = threadIdx.x; cell < 2050; cell += blockDim.x) row[cell] = 0;
  __syncthreads();
  unsigned state = (blockIdx.x * blockDim.x + threadIdx.x) * 2654435761u + 1;
  for (int i = 0; i < repeats; ++i) {
    state = state * 1664525u + 1013904223u;
    atomicAdd(&row[__umulhi(state, 2050u)], state | 1u);
  }
  __syncthreads();
  for (int cell = threadIdx.x; cell < 2050; cell += blockDim.x) atomicAdd(&sums[cell], row[cell]);
}
"""
