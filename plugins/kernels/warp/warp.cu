// Segmentation warp on the GPU: one thread a cell, in two kernels, as the edges need their neighbours' classes.
#include "core.h"

namespace {

template <typename T>
__device__ void warp(const T* scores, const T* flow, int classes, int rows, int columns, T* warped,
                     unsigned char* index) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= columns || y >= rows) return;
  const long long item = blockIdx.z, cells = static_cast<long long>(rows) * columns;
  const long long cell = static_cast<long long>(y) * columns + x;
  const T* along = flow + item * 2 * cells + cell;
  const gsvnet::Step across = gsvnet::step(x, gsvnet::load(along), columns);
  const gsvnet::Step down = gsvnet::step(y, gsvnet::load(along + cells), rows);
  const float w1 = across.weight, w0 = 1.0f - w1, h1 = down.weight, h0 = 1.0f - h1;
  const long long a = static_cast<long long>(down.first) * columns + across.first;
  const long long b = static_cast<long long>(down.first) * columns + across.second;
  const long long c = static_cast<long long>(down.second) * columns + across.first;
  const long long d = static_cast<long long>(down.second) * columns + across.second;
  const T* plane = scores + item * classes * cells;
  T* out = warped + item * classes * cells + cell;
  float best = 0.0f;
  int label = 0;
  for (int k = 0; k < classes; ++k, plane += cells, out += cells) {
    const float exact = gsvnet::sample(gsvnet::load(plane + a), gsvnet::load(plane + b), gsvnet::load(plane + c),
                                       gsvnet::load(plane + d), w0, w1, h0, h1);
    const float value = gsvnet::stored(out, exact);  // the class is that of the scores which come out
    gsvnet::store(out, value);
    if (k == 0 || value > best) {
      best = value;
      label = k;
    }
  }
  index[item * cells + cell] = static_cast<unsigned char>(label);
}

template <typename T>
__device__ void outline(const unsigned char* index, int rows, int columns, T* edges) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= columns || y >= rows) return;
  const long long item = blockIdx.z, cells = static_cast<long long>(rows) * columns;
  const unsigned char* map = index + item * cells;
  const auto row = [&](int at) { return map + static_cast<long long>(gsvnet::clamp(at, rows - 1)) * columns; };
  const int steps = gsvnet::laplacian(row(y - 1), row(y), row(y + 1), gsvnet::clamp(x - 1, columns - 1), x,
                                      gsvnet::clamp(x + 1, columns - 1));
  gsvnet::store(edges + item * cells + static_cast<long long>(y) * columns + x, gsvnet::sigmoid(steps));
}

}  // namespace

// warped [N][classes][rows][columns] = scores, of the same shape, at (x + flow_x, y + flow_y), and index
// [N][rows][columns] uint8 = its best class; flow [N][2][rows][columns]; 1 to 256 classes. Threads: columns x rows x N.
extern "C" __global__ void gsvnet_warp(const float* __restrict__ scores, const float* __restrict__ flow, int classes,
                                       int rows, int columns, float* __restrict__ warped,
                                       unsigned char* __restrict__ index) {
  warp(scores, flow, classes, rows, columns, warped, index);
}

// The same, stored in float16 and computed in float32.
extern "C" __global__ void gsvnet_warp_half(const gsvnet::Half* __restrict__ scores,
                                            const gsvnet::Half* __restrict__ flow, int classes, int rows, int columns,
                                            gsvnet::Half* __restrict__ warped, unsigned char* __restrict__ index) {
  warp(scores, flow, classes, rows, columns, warped, index);
}

// edges [N][rows][columns] = sigmoid of the Laplacian of index, of the same shape. Threads: columns x rows x N.
extern "C" __global__ void gsvnet_edges(const unsigned char* __restrict__ index, int rows, int columns,
                                        float* __restrict__ edges) {
  outline(index, rows, columns, edges);
}

extern "C" __global__ void gsvnet_edges_half(const unsigned char* __restrict__ index, int rows, int columns,
                                             gsvnet::Half* __restrict__ edges) {
  outline(index, rows, columns, edges);
}
