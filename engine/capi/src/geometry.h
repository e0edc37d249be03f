// Every size of the pipeline, in the integer arithmetic of engine/gsvnet_engine/geometry.py: equal to the pixel.
#pragma once

#include <cstdint>

namespace gsvnet::engine {

struct Size {
  int64_t height = 0, width = 0;
  bool operator==(const Size& other) const { return height == other.height && width == other.width; }
  bool operator!=(const Size& other) const { return !(*this == other); }
};

struct WorkingSize {
  int64_t short_side = 0;  // 0: the source's own size
};

struct KeyframeSize {
  Size fixed;  // where not 0x0: this, whatever the source
  int64_t numerator = 1, denominator = 1, multiple = 1;
};

struct Sizes {
  Size source;
  Size working;
  Size keyframe;  // what the image network sees
  Size grid;      // 1/8 of the working size, rounded up: what propagation sees
};

Sizes plan_sizes(const WorkingSize& working, const KeyframeSize& keyframe, Size source);

}  // namespace gsvnet::engine
