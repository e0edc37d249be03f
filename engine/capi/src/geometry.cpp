#include "geometry.h"

#include <algorithm>

namespace gsvnet::engine {
namespace {

constexpr int64_t kGridStride = 8;

Size working_size(const WorkingSize& rule, Size source) {
  if (rule.short_side == 0) return source;
  const int64_t s = rule.short_side;
  const int64_t shorter = std::min(source.height, source.width), longer = std::max(source.height, source.width);
  const int64_t scaled = (2 * longer * s + shorter) / (2 * shorter);
  return source.height <= source.width ? Size{s, scaled} : Size{scaled, s};
}

Size keyframe_size(const KeyframeSize& rule, Size working) {
  if (rule.fixed.height) return rule.fixed;
  const int64_t m = rule.multiple;
  const auto side = [&](int64_t x) {
    return std::max(m, m * ((2 * x * rule.numerator + m * rule.denominator) / (2 * m * rule.denominator)));
  };
  return {side(working.height), side(working.width)};
}

}  // namespace

Sizes plan_sizes(const WorkingSize& working_rule, const KeyframeSize& keyframe_rule, Size source) {
  const Size working = working_size(working_rule, source);
  const Size grid{(working.height + kGridStride - 1) / kGridStride, (working.width + kGridStride - 1) / kGridStride};
  return {source, working, keyframe_size(keyframe_rule, working), grid};
}

}  // namespace gsvnet::engine
