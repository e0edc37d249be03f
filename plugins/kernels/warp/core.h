// Segmentation warp, the arithmetic: where a cell is sampled, the blend, and the edges of the class map.
#pragma once

#include "../portable.h"

namespace gsvnet {

constexpr float kFarthest = 1e4f;  // cells that a flow can lead; more is taken for this

// Samples `first` and `second` of `cells` that position + flow lies between, the weight of the second in `weight`.
struct Step {
  int first;
  int second;
  float weight;
};

// Comparisons are false for NaN, which so becomes 0. Zero flow gives the weights 1 and 0: the identity.
GSVNET_HD inline Step step(int position, float flow, int cells) {
  flow = flow < kFarthest ? (flow > -kFarthest ? flow : -kFarthest) : flow >= kFarthest ? kFarthest : 0.0f;
  float at = static_cast<float>(position) + flow;
  const float last = static_cast<float>(cells - 1);
  at = at > 0.0f ? (at < last ? at : last) : 0.0f;
  const int first = static_cast<int>(at);
  return {first, first + 1 < cells ? first + 1 : first, at - static_cast<float>(first)};
}

// The four neighbours' blend; its order is part of the definition: columns first, float32, no fused multiply-add.
GSVNET_HD inline float sample(float a, float b, float c, float d, float w0, float w1, float h0, float h1) {
  return h0 * (w0 * a + w1 * b) + h1 * (w0 * c + w1 * d);
}

// 1 / (1 + exp(-steps)) of a whole number, by products of float32 constants: the same to the bit on every machine, as no
// library's exp is. Errs by less than 1e-6 of its value, down to steps = -80.
GSVNET_HD inline float sigmoid(int steps) {
  const int size = steps < 0 ? -steps : steps;
  const int n = size < 127 ? size : 127;
  float e = (n & 1) ? 0.36787944117144233f : 1.0f;  // exp(-1)
  e *= (n & 2) ? 0.13533528323661270f : 1.0f;  // exp(-2)
  e *= (n & 4) ? 0.018315638888734179f : 1.0f;  // exp(-4)
  e *= (n & 8) ? 3.3546262790251185e-4f : 1.0f;  // exp(-8)
  e *= (n & 16) ? 1.1253517471925912e-7f : 1.0f;  // exp(-16)
  e *= (n & 32) ? 1.2664165549094176e-14f : 1.0f;  // exp(-32)
  e *= (n & 64) ? 1.6038108905486379e-28f : 1.0f;  // exp(-64)
  return (steps < 0 ? e : 1.0f) / (1.0f + e);
}

// Eight times the centre less its eight neighbours, as whole numbers.
GSVNET_HD inline int laplacian(const unsigned char* upper, const unsigned char* middle, const unsigned char* lower,
                               int left, int x, int right) {
  return 9 * middle[x] - (upper[left] + upper[x] + upper[right] + middle[left] + middle[x] + middle[right] +
                          lower[left] + lower[x] + lower[right]);
}

}  // namespace gsvnet
