// Every kernel: the one translation unit.
#include "cascade.cuh"
#include "clusters.cuh"
#include "frames.cuh"
#include "lifecycle.cuh"
#include "spread.cuh"
