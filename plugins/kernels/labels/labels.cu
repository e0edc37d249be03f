// Label upsampling on the GPU: one thread a pixel.
#include "core.h"

namespace {

template <typename T>
__device__ void upsample(const T* scores, int classes, int rows, int columns, unsigned char* labels, int height,
                         int width) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= width || y >= height) return;
  const long long item = blockIdx.z;
  labels[(item * height + y) * width + x] = gsvnet::label_at(
      scores + item * classes * (static_cast<long long>(rows) * columns), classes, rows, columns, height, width, y, x);
}

}  // namespace

// labels [N][height][width] uint8 = argmax of scores [N][classes][rows][columns], bilinear; 1 to 256 classes; ties go to
// the lowest. Threads: width x height x N.
extern "C" __global__ void gsvnet_labels(const float* __restrict__ scores, int classes, int rows, int columns,
                                         unsigned char* __restrict__ labels, int height, int width) {
  upsample(scores, classes, rows, columns, labels, height, width);
}

extern "C" __global__ void gsvnet_labels_half(const gsvnet::Half* __restrict__ scores, int classes, int rows,
                                              int columns, unsigned char* __restrict__ labels, int height, int width) {
  upsample(scores, classes, rows, columns, labels, height, width);
}
