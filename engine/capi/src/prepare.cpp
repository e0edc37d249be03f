#include "prepare.h"

#include <cmath>
#include <new>

namespace gsvnet::engine {

// In double and in this order of operations, as Python does it, then rounded once.
Conversion conversion(const Picture& picture) {
  const double step = std::pow(2.0, picture.depth - 8), most = std::pow(2.0, picture.depth) - 1;
  const double black = picture.full_range ? 0 : 16 * step;
  const double luma = picture.full_range ? most : 219 * step, chroma = picture.full_range ? most : 224 * step;
  Conversion result{};
  if (!picture.yuv) {
    for (int i = 0; i < 3; ++i) {
      result.offset[i] = static_cast<float>(black);
      result.matrix[4 * i] = static_cast<float>(1 / luma);
    }
    return result;
  }
  // Luma weights of red and blue (ITU-R BT.601, BT.709, BT.2020).
  const double red = picture.matrix == Matrix::bt601 ? 0.299 : picture.matrix == Matrix::bt709 ? 0.2126 : 0.2627;
  const double blue = picture.matrix == Matrix::bt601 ? 0.114 : picture.matrix == Matrix::bt709 ? 0.0722 : 0.0593;
  const double green = 1 - red - blue;
  // clang-format off
  const double to_rgb[9] = {1, 0, 2 * (1 - red),
                            1, -2 * blue * (1 - blue) / green, -2 * red * (1 - red) / green,
                            1, 2 * (1 - blue), 0};
  // clang-format on
  const double scale[3] = {luma, chroma, chroma};
  for (int i = 0; i < 9; ++i) result.matrix[i] = static_cast<float>(to_rgb[i] / scale[i % 3]);
  result.offset[0] = static_cast<float>(black);
  result.offset[1] = result.offset[2] = static_cast<float>(128 * step);
  return result;
}

namespace {

void prepare(const Picture& picture, int32_t filter, Size size, int32_t threads, float* out) {
  const auto rows = static_cast<int32_t>(size.height), columns = static_cast<int32_t>(size.width);
  const int64_t count = size.height * size.width;
  for (int i = 0; i < 3; ++i)  // planes and sizes are checked: a kernel can only run out of memory
    if (gsvnet_resample(&picture.planes[i], filter, out + i * count, rows, columns, threads)) throw std::bad_alloc();
  const Conversion to_rgb = conversion(picture);
  if (gsvnet_convert(out, count, to_rgb.offset, to_rgb.matrix, threads)) throw std::bad_alloc();
}

}  // namespace

void prepare_current(const Picture& picture, Size grid, int32_t threads, float* out) {
  prepare(picture, GSVNET_AREA, grid, threads, out);
}

void prepare_keyframe(const Picture& picture, Size size, int32_t threads, float* out) {
  prepare(picture, GSVNET_BILINEAR, size, threads, out);
}

}  // namespace gsvnet::engine
