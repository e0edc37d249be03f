// Label upsampling, the arithmetic: bilinear with half-pixel centres, then argmax. Usable on host and device.
#pragma once

#ifndef GSVNET_HD
#ifdef __CUDACC__
#define GSVNET_HD __host__ __device__
#else
#define GSVNET_HD
#endif
#endif

namespace gsvnet {

// Where output position `x` of `outputs` falls among `cells`: between cells `first` and `second`, `weight` of the second.
struct Between {
  int first;
  int second;
  float weight;
};

GSVNET_HD inline Between between(int x, int outputs, int cells) {
  double at = (x + 0.5) * cells / outputs - 0.5;
  if (at < 0) at = 0;
  int first = static_cast<int>(at);
  if (first > cells - 1) first = cells - 1;
  const int second = first + 1 < cells ? first + 1 : first;
  return {first, second, static_cast<float>(at - first)};
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

}  // namespace gsvnet
