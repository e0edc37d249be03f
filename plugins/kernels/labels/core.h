// Label upsampling, the arithmetic: bilinear with half-pixel centres, then argmax. Usable on host and device.
#pragma once

#include "../portable.h"

namespace gsvnet {

// Where output position `x` of `outputs` falls among `cells`: between cells `first` and `second`, `weight` of the second.
struct Between {
  int first;
  int second;
  float weight;
};

// In integers, but for one division of two exact numbers: the same on every machine, and cheap on GPUs that are slow in
// double precision.
GSVNET_HD inline Between between(int x, int outputs, int cells) {
  const long long steps = 2LL * outputs, at = (2LL * x + 1) * cells - outputs;  // in steps to a cell
  if (at <= 0) return {0, cells > 1 ? 1 : 0, 0.0f};
  const bool small = at <= 0xffffffffLL && steps <= 0xffffffffLL;  // 32-bit division takes a fraction of the time
  const int first = static_cast<int>(small ? static_cast<unsigned>(at) / static_cast<unsigned>(steps) : at / steps);
  const long long rest = at - first * steps;
  return {first, first + 1 < cells ? first + 1 : first, static_cast<float>(rest) / static_cast<float>(steps)};
}

// The order of the blend is part of the definition: horizontal first, float32, no fused multiply-add.
GSVNET_HD inline float blend(float a, float b, float weight_a, float weight_b) { return weight_a * a + weight_b * b; }

// Whether a value of `low` or less stays below one of `high` or more through any such blend, whatever is rounded.
// A blend of four values errs by less than four units in the last place (2^-24 of the larger): 1e-6 is ample.
// False for NaN and infinity, which then take the full arithmetic.
GSVNET_HD inline bool surely_below(float low, float high) {
  const float magnitude_low = low < 0 ? -low : low, magnitude_high = high < 0 ? -high : high;
  const float magnitude = magnitude_low > magnitude_high ? magnitude_low : magnitude_high;
  const float margin = high - low;
  return margin > 1e-6f * magnitude && margin > 1e-30f && magnitude < 1e38f;
}

// The label at (y, x) of height x width from scores [classes][rows][columns]: the dense computation, one pixel.
template <typename T>
GSVNET_HD inline unsigned char label_at(const T* scores, int classes, int rows, int columns, int height, int width, int y,
                                        int x) {
  const Between down = between(y, height, rows), across = between(x, width, columns);
  const float w0 = 1.0f - across.weight, w1 = across.weight, h0 = 1.0f - down.weight, h1 = down.weight;
  const long long cells = static_cast<long long>(rows) * columns;
  const T* upper = scores + static_cast<long long>(down.first) * columns;
  const T* lower = scores + static_cast<long long>(down.second) * columns;
  float best = 0.0f;
  int label = 0;
  for (int k = 0; k < classes; ++k) {
    const float top = blend(load(upper + across.first), load(upper + across.second), w0, w1);
    const float bottom = blend(load(lower + across.first), load(lower + across.second), w0, w1);
    const float value = blend(top, bottom, h0, h1);
    if (k == 0 || value > best) {
      best = value;
      label = k;
    }
    upper += cells;
    lower += cells;
  }
  return static_cast<unsigned char>(label);
}

}  // namespace gsvnet
