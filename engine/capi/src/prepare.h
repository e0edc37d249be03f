// Frame preparation: the one place that turns a picture into what the graphs take, RGB float32 [3,h,w] in 0..1. The
// kernels and the constants are those of engine/gsvnet_engine/prepare.py, so that the results are equal to the bit.
#pragma once

#include "frame.h"

namespace gsvnet::engine {

// RGB in 0..1 = matrix (samples - offset).
struct Conversion {
  float offset[3], matrix[9];
};

Conversion conversion(const Picture& picture);

// i_t: out [3,h,w], each cell the mean of the area it covers. `threads` 0: one for each processor.
void prepare_current(const Picture& picture, Size grid, int32_t threads, float* out);

// The image network's input: out [3,H',W'], bilinear, antialiased when shrinking.
void prepare_keyframe(const Picture& picture, Size size, int32_t threads, float* out);

}  // namespace gsvnet::engine
