// When to run the image network anew: a pure decision, as engine/gsvnet_engine/schedule.py.
#pragma once

#include "geometry.h"

namespace gsvnet::engine {

// A segmented frame: `age` counts frames since its keyframe, which itself has age 0.
struct Step {
  Size size;
  double pts_s = 0;
  int32_t age = 0;
};

constexpr double kMaxGapS = 0.5;

inline bool is_keyframe(const Step* last, Size size, double pts_s, int32_t interval, bool forced) {
  if (!last || forced || size != last->size) return true;
  const double elapsed_s = pts_s - last->pts_s;
  return elapsed_s < 0 || elapsed_s > kMaxGapS || last->age >= interval - 1;
}

}  // namespace gsvnet::engine
