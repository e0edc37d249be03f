// Frame preparation on the GPU: one thread a pixel of the result, all three planes and the conversion at once.
//
// Sums run as frame.cpp's do (rows within a column, then columns), over the same tables (gsvnet_taps), so that results
// are equal to the bit.
#include "core.h"

namespace {

template <typename Sample>
__device__ float gather(const gsvnet::SourcePlane& plane, const char* data, int y, int height, int x, int width) {
  const int top = plane.rows.first[y], left = plane.columns.first[x];
  float total = 0.0f;
  for (int t = 0; t < plane.columns.taps; ++t) {
    const int column = gsvnet::clamp(left + t, plane.columns.samples - 1);  // taps that a pixel lacks weigh 0
    const char* at = data + column * plane.pixel_stride;
    float sum = 0.0f;
    for (int s = 0; s < plane.rows.taps; ++s) {
      const int row = gsvnet::clamp(top + s, plane.rows.samples - 1);
      const int sample = *reinterpret_cast<const Sample*>(at + row * plane.row_stride) >> plane.shift;
      sum += plane.rows.weights[static_cast<long long>(s) * height + y] * static_cast<float>(sample);
    }
    total += plane.columns.weights[static_cast<long long>(t) * width + x] * sum;
  }
  return total;
}

}  // namespace

// rgb [N][3][height][width] float32 in 0..1 = clip(matrix (planes resampled - offset)). Threads: width x height x N.
extern "C" __global__ void gsvnet_prepare(gsvnet::Preparation from, float* __restrict__ rgb, int height, int width) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= width || y >= height) return;
  const long long item = blockIdx.z;
  float values[3];
  for (int i = 0; i < 3; ++i) {
    const gsvnet::SourcePlane& plane = from.planes[i];
    const char* data = static_cast<const char*>(plane.data) + item * plane.item_stride;
    values[i] = plane.bytes == 1 ? gather<unsigned char>(plane, data, y, height, x, width)
                                 : gather<unsigned short>(plane, data, y, height, x, width);
    values[i] -= from.offset[i];
  }
  const long long pixels = static_cast<long long>(height) * width;
  float* out = rgb + item * 3 * pixels + static_cast<long long>(y) * width + x;
  for (int i = 0; i < 3; ++i) out[i * pixels] = gsvnet::to_unit(from.matrix + 3 * i, values);
}
