// Kernels with the faults that the checks of this folder must catch, and some without.

extern "C" __global__ void __launch_bounds__(1024) spills(const float* in, float* out) {
  float value[128];
#pragma unroll
  for (int i = 0; i < 128; ++i) value[i] = in[threadIdx.x * 128 + i];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 128; ++i) {
    float sum = 0;
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += value[(i * 7 + j * 13) % 128] * value[i];
    out[threadIdx.x * 128 + i] = sum;
  }
}

extern "C" __global__ void indexes_an_array(const unsigned* in, unsigned* out, int n) {
  unsigned count[64] = {};
  for (int i = 0; i < n; ++i) count[in[i] & 63] += i;
  out[threadIdx.x] = count[out[threadIdx.x] & 63];
}

__device__ __noinline__ unsigned descend(unsigned n, const unsigned* in) {
  return n < 2 ? 1 : in[n] ^ (n * descend(n - 1, in) + descend(in[n], in));
}

extern "C" __global__ void calls_a_function_that_spills(unsigned* out) { out[0] = descend(out[1], out); }

template <typename T>
__device__ void add_in_shared(T* out, const unsigned* cell, T value) {
  __shared__ T row[256];
  row[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&row[cell[threadIdx.x] & 255], value);
  __syncthreads();
  out[threadIdx.x] = row[threadIdx.x];
}

extern "C" __global__ void adds_u64_in_shared(unsigned long long* out, const unsigned* cell) {
  add_in_shared(out, cell, 5ull);
}

extern "C" __global__ void adds_f32_in_shared(float* out, const unsigned* cell) { add_in_shared(out, cell, 5.0f); }

extern "C" __global__ void adds_u32_in_shared(unsigned* out, const unsigned* cell) { add_in_shared(out, cell, cell[0]); }

extern "C" __global__ void counts_in_shared(unsigned* out, const unsigned* cell) { add_in_shared(out, cell, 1u); }

extern "C" __global__ void swaps_in_shared(unsigned* out, const unsigned* cell) {
  __shared__ unsigned word;
  word = 0;
  __syncthreads();
  out[threadIdx.x] = atomicCAS(&word, threadIdx.x, cell[threadIdx.x]);
}

extern "C" __global__ void swaps_in_global(unsigned long long* out, const unsigned* cell) {
  atomicCAS(&out[cell[threadIdx.x]], 5ull, 6ull);
}

extern "C" __global__ void adds_in_global(unsigned long long* out, const unsigned* cell) {
  atomicAdd(&out[cell[threadIdx.x]], 5ull + cell[threadIdx.x]);
}
