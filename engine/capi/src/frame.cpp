#include "frame.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "error.h"

namespace gsvnet::engine {
namespace {

constexpr int32_t kLargestSize = 65536;
constexpr int64_t kLargestStride = int64_t{1} << 30;  // bytes; so that rows times stride stays far from overflow
constexpr int kHdHeight = 720;                        // an untagged picture this high or more is BT.709

// Where component i lies: in which plane, at which sample of a pixel, and how many samples apart.
struct Samples {
  int plane, first, step;
};

struct Format {
  const char* name;
  bool yuv;
  int depth, shift;
  int planes;
  Samples components[3];
};

constexpr Format kFormats[] = {
    {"I420", true, 8, 0, 3, {{0, 0, 1}, {1, 0, 1}, {2, 0, 1}}},
    {"NV12", true, 8, 0, 2, {{0, 0, 1}, {1, 0, 2}, {1, 1, 2}}},
    {"I010", true, 10, 0, 3, {{0, 0, 1}, {1, 0, 1}, {2, 0, 1}}},
    {"P010", true, 10, 6, 2, {{0, 0, 1}, {1, 0, 2}, {1, 1, 2}}},
    {"RGB", false, 8, 0, 1, {{0, 0, 3}, {0, 1, 3}, {0, 2, 3}}},
    {"BGR", false, 8, 0, 1, {{0, 2, 3}, {0, 1, 3}, {0, 0, 3}}},
    {"BGRA", false, 8, 0, 1, {{0, 2, 4}, {0, 1, 4}, {0, 0, 4}}},
};

const Format& format_of(int32_t number) {
  constexpr auto kCount = static_cast<int32_t>(sizeof kFormats / sizeof kFormats[0]);
  if (number < GSVNET_I420 || number > kCount)
    throw input_error("frame.format is " + std::to_string(number) + "; give one of GSVNET_I420 .. GSVNET_BGRA (" +
                      std::to_string(GSVNET_I420) + ".." + std::to_string(kCount) + ")");
  return kFormats[number - GSVNET_I420];
}

void check_choice(const char* field, int32_t value, int32_t most) {
  if (value < 0 || value > most)
    throw input_error("frame." + std::string(field) + " is " + std::to_string(value) + "; give one of 0.." +
                      std::to_string(most) + ", as gsvnet.h names them");
}

// The stride of a plane of `rows` rows of `row_bytes`, once all that the caller says of that plane agrees.
int64_t checked_stride(const gsvnet_frame& frame, const Format& format, int plane, int64_t rows, int64_t row_bytes) {
  const int bytes = format.depth > 8 ? 2 : 1;
  const std::string which = "[" + std::to_string(plane) + "]";
  const std::string what =
      std::string(format.name) + " " + std::to_string(frame.width) + "x" + std::to_string(frame.height);
  if (!frame.planes[plane])
    throw input_error("frame.planes" + which + " is null; " + format.name + " has such a plane");
  if (reinterpret_cast<uintptr_t>(frame.planes[plane]) % static_cast<uintptr_t>(bytes))
    throw input_error("frame.planes" + which + " is at an odd address; samples of " + format.name + " are uint16_t");
  const int64_t stride = frame.strides[plane] ? frame.strides[plane] : row_bytes;
  if (stride > kLargestStride || stride < -kLargestStride)
    throw input_error("frame.strides" + which + " is " + std::to_string(stride) + " bytes; at most 2^30 is allowed");
  if ((stride < 0 ? -stride : stride) < row_bytes)
    throw input_error("frame.strides" + which + " is " + std::to_string(stride) + " bytes; a row of " + what + " has " +
                      std::to_string(row_bytes));
  if (stride % bytes)
    throw input_error("frame.strides" + which + " is " + std::to_string(stride) + " bytes; it must be even for " +
                      format.name);
  const int64_t size = frame.plane_sizes[plane], needed = (rows - 1) * stride + row_bytes;
  if (size && stride < 0)
    throw input_error("frame.plane_sizes" + which + " must be 0 where rows are stored from the bottom up");
  if (size && size < needed)
    throw input_error("frame.plane_sizes" + which + " is " + std::to_string(size) + " bytes; " + what + " in rows of " +
                      std::to_string(stride) + " needs " + std::to_string(needed));
  return stride;
}

}  // namespace

Size checked_size(int32_t width, int32_t height) {
  if (width < 1 || height < 1 || width > kLargestSize || height > kLargestSize)
    throw input_error("a frame of " + std::to_string(width) + "x" + std::to_string(height) +
                      " pixels; each side must be in 1.." + std::to_string(kLargestSize));
  return {height, width};
}

Picture checked_picture(const gsvnet_frame& frame) {
  const Format& format = format_of(frame.format);
  check_choice("matrix", frame.matrix, GSVNET_MATRIX_BT2020);
  check_choice("range", frame.range, GSVNET_RANGE_FULL);
  check_choice("memory", frame.memory, GSVNET_MEMORY_CUDA);
  if (frame.reserved) throw input_error("frame.reserved must be 0; start frames from GSVNET_FRAME_INIT");
  if (frame.cuda_stream && frame.memory != GSVNET_MEMORY_CUDA)
    throw input_error("frame.cuda_stream must be null for a frame in host memory");
  if (!std::isfinite(frame.pts_s)) throw input_error("frame.pts_s must be a finite number of seconds");

  Picture picture;
  picture.size = checked_size(frame.width, frame.height);
  picture.yuv = format.yuv;
  picture.depth = format.depth;
  picture.full_range = !format.yuv || frame.range == GSVNET_RANGE_FULL;
  picture.on_cuda = frame.memory == GSVNET_MEMORY_CUDA;
  picture.pts_s = frame.pts_s;
  picture.stored_planes = format.planes;
  picture.cuda_stream = frame.cuda_stream;
  picture.matrix = frame.matrix == GSVNET_MATRIX_BT2020  ? Matrix::bt2020
                   : frame.matrix == GSVNET_MATRIX_BT709 ? Matrix::bt709
                   : frame.matrix == GSVNET_MATRIX_BT601 ? Matrix::bt601
                   : frame.height < kHdHeight            ? Matrix::bt601
                                                         : Matrix::bt709;
  const int bytes = format.depth > 8 ? 2 : 1;
  for (int i = 0; i < 3; ++i) {
    const Samples& at = format.components[i];
    const bool halved = format.yuv && i > 0;
    const int32_t rows = halved ? (frame.height + 1) / 2 : frame.height;
    const int32_t columns = halved ? (frame.width + 1) / 2 : frame.width;
    const int64_t row_bytes = int64_t{columns} * at.step * bytes;
    const int64_t stride = checked_stride(frame, format, at.plane, rows, row_bytes);
    picture.components[i] = {at.plane, int64_t{at.first} * bytes};
    picture.stored[at.plane] = {static_cast<const uint8_t*>(frame.planes[at.plane]), stride, rows, row_bytes};
    picture.planes[i] = {static_cast<const uint8_t*>(frame.planes[at.plane]) + at.first * bytes,
                         stride,
                         int64_t{at.step} * bytes,
                         rows,
                         columns,
                         bytes,
                         format.shift,
                         halved ? frame.height / 2.0 : frame.height,
                         halved ? frame.width / 2.0 : frame.width};
  }
  return picture;
}

}  // namespace gsvnet::engine
