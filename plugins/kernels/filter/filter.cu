// Guided filter on the GPU: one thread a cell and four classes, which share the cell's weights.
#include "core.h"

namespace {

constexpr int kClasses = 4;

template <int D, typename T>
__device__ void filter(const T* warped, const T* intra, const T* weights, int classes, int rows, int columns, T* out) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= columns || y >= rows) return;
  const int groups = (classes + kClasses - 1) / kClasses, group = static_cast<int>(blockIdx.z) % groups;
  const long long item = static_cast<int>(blockIdx.z) / groups, cells = static_cast<long long>(rows) * columns;
  const long long cell = static_cast<long long>(y) * columns + x;
  const T* share = weights + item * (D + 1) * cells + cell;
  float weight[D + 1];
  long long neighbour[D];
  for (int d = 0; d < D; ++d) {
    weight[d] = gsvnet::load(share + d * cells);
    neighbour[d] = static_cast<long long>(gsvnet::clamp(y + gsvnet::offset(d, 0), rows - 1)) * columns +
                   gsvnet::clamp(x + gsvnet::offset(d, 1), columns - 1);
  }
  weight[D] = gsvnet::load(share + D * cells);
  const int end = (group + 1) * kClasses < classes ? (group + 1) * kClasses : classes;
  for (int k = group * kClasses; k < end; ++k) {
    const long long plane = (item * classes + k) * cells;
    float total = weight[0] * gsvnet::load(warped + plane + neighbour[0]);
    for (int d = 1; d < D; ++d) total += weight[d] * gsvnet::load(warped + plane + neighbour[d]);
    total += weight[D] * gsvnet::load(intra + plane + cell);
    gsvnet::store(out + plane + cell, total);
  }
}

}  // namespace

// out [N][classes][rows][columns] = sum over d of weights_d * warped(neighbour d) + weights_D * intra; warped and intra of
// the same shape, weights [N][D + 1][rows][columns]. Threads: columns x rows x (N * ceil(classes / 4)).
extern "C" __global__ void gsvnet_filter_9(const float* __restrict__ warped, const float* __restrict__ intra,
                                           const float* __restrict__ weights, int classes, int rows, int columns,
                                           float* __restrict__ out) {
  filter<9>(warped, intra, weights, classes, rows, columns, out);
}

extern "C" __global__ void gsvnet_filter_17(const float* __restrict__ warped, const float* __restrict__ intra,
                                            const float* __restrict__ weights, int classes, int rows, int columns,
                                            float* __restrict__ out) {
  filter<17>(warped, intra, weights, classes, rows, columns, out);
}

// The same, stored in float16 and summed in float32.
extern "C" __global__ void gsvnet_filter_9_half(const gsvnet::Half* __restrict__ warped,
                                                const gsvnet::Half* __restrict__ intra,
                                                const gsvnet::Half* __restrict__ weights, int classes, int rows,
                                                int columns, gsvnet::Half* __restrict__ out) {
  filter<9>(warped, intra, weights, classes, rows, columns, out);
}

extern "C" __global__ void gsvnet_filter_17_half(const gsvnet::Half* __restrict__ warped,
                                                 const gsvnet::Half* __restrict__ intra,
                                                 const gsvnet::Half* __restrict__ weights, int classes, int rows,
                                                 int columns, gsvnet::Half* __restrict__ out) {
  filter<17>(warped, intra, weights, classes, rows, columns, out);
}
