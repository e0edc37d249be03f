// Frames and outputs of any sizes, strides and formats, over one engine: whatever the caller says, the library reads
// and writes only what it was told it may. Every plane has exactly the bytes that the frame states, or needs.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gsvnet.h"
#include "toy.h"

namespace {

// Reads the input as values; zeros after its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  uint64_t take(size_t bytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; ++i)
      value |= (size_ ? uint64_t{*data_} : 0) << (8 * i), size_ ? (++data_, --size_) : 0;
    return value;
  }
  // Mostly a number near `usual`, sometimes any at all.
  int64_t number(int64_t usual) {
    const uint64_t how = take(1);
    if (how < 200) return usual;
    if (how < 240) return usual + static_cast<int8_t>(take(1));
    return static_cast<int64_t>(take(8));
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

gsvnet_engine* engine() {
  static gsvnet_engine* const only = [] {
    const toy::Folder folder;
    toy::write_bundle(folder);
    gsvnet_options options = GSVNET_OPTIONS_INIT;
    options.threads = 1;
    gsvnet_engine* opened = nullptr;
    if (gsvnet_open(folder.path().c_str(), &options, &opened, nullptr)) std::abort();
    return opened;
  }();
  return only;
}

constexpr int64_t kLargestPlane = 1 << 20;

// A plane of exactly `bytes`, with rows from the bottom up where `stride` is negative; null where that is absurd.
const void* plane(std::vector<std::unique_ptr<uint8_t[]>>& memory, int64_t rows, int64_t row_bytes, int64_t stride,
                  int64_t bytes, uint64_t fill) {
  const bool upwards = stride < 0;
  if (upwards) {
    if (stride < -kLargestPlane || rows < 1 || rows > 65536) return nullptr;
    bytes = (rows - 1) * -stride + row_bytes;
  }
  if (bytes < 1 || bytes > kLargestPlane) return nullptr;
  memory.emplace_back(new uint8_t[static_cast<size_t>(bytes)]);
  std::memset(memory.back().get(), static_cast<int>(fill), static_cast<size_t>(bytes));
  return memory.back().get() + (upwards ? (rows - 1) * -stride : 0);
}

void push_one(Input& in) {
  std::vector<std::unique_ptr<uint8_t[]>> memory;
  gsvnet_frame frame = GSVNET_FRAME_INIT;
  frame.struct_size = static_cast<uint32_t>(in.number(sizeof frame) % 200);
  if (frame.struct_size > sizeof frame) frame.struct_size = sizeof frame;  // what follows it here is not ours
  frame.format = static_cast<int32_t>(in.number(static_cast<int64_t>(in.take(1) % 9)));
  frame.width = static_cast<int32_t>(in.number(static_cast<int64_t>(in.take(1) % 36)));
  frame.height = static_cast<int32_t>(in.number(static_cast<int64_t>(in.take(1) % 36)));
  frame.matrix = static_cast<int32_t>(in.number(static_cast<int64_t>(in.take(1) % 4)));
  frame.range = static_cast<int32_t>(in.number(static_cast<int64_t>(in.take(1) % 3)));
  frame.memory = static_cast<int32_t>(in.number(0));
  const uint64_t time = in.number(0) ? in.take(8) : 0;
  std::memcpy(&frame.pts_s, &time, sizeof time);
  const bool deep = frame.format == GSVNET_I010 || frame.format == GSVNET_P010, yuv = frame.format < GSVNET_RGB;
  const bool pairs = frame.format == GSVNET_NV12 || frame.format == GSVNET_P010;
  for (int i = 0; i < 3; ++i) {
    const int64_t rows = yuv && i ? (int64_t{frame.height} + 1) / 2 : frame.height;
    const int64_t columns = yuv && i ? (int64_t{frame.width} + 1) / 2 : frame.width;
    const int64_t samples = !yuv ? (frame.format == GSVNET_BGRA ? 4 : 3) : pairs && i ? 2 : 1;
    if (columns < 0 || columns > 65536 || rows > 65536) return;  // refused before memory is looked at, and tested so
    const int64_t row_bytes = columns * samples * (deep ? 2 : 1);
    frame.strides[i] =
        in.number(in.take(1) % 2 ? 0 : row_bytes + static_cast<int64_t>(in.take(1) % 9) * (deep ? 2 : 1));
    if (in.take(1) > 250) frame.strides[i] = in.take(1) % 2 ? -frame.strides[i] : -row_bytes;
    if (frame.strides[i] == INT64_MIN) return;
    const int64_t used = frame.strides[i] ? frame.strides[i] : row_bytes;
    const bool sane = used > -kLargestPlane && used < kLargestPlane;
    const int64_t bytes = in.number(sane && rows > 0 ? (rows - 1) * used + row_bytes : 64);
    frame.plane_sizes[i] = used < 0 ? 0 : bytes;
    frame.planes[i] = plane(memory, rows, row_bytes, used, bytes, in.take(1));
    if (frame.plane_sizes[i] == 0 && used >= 0) frame.planes[i] = nullptr;  // not stated, so it must not be read
    if (frame.plane_sizes[i] > kLargestPlane) frame.planes[i] = nullptr;
  }
  gsvnet_output output = GSVNET_OUTPUT_INIT;
  const bool sensible = frame.width > 0 && frame.height > 0 && int64_t{frame.width} * frame.height < kLargestPlane;
  output.labels_stride = in.number(in.take(1) % 2 ? 0 : frame.width + int64_t{3});
  const int64_t rows_apart = output.labels_stride ? output.labels_stride : frame.width;
  const bool near = rows_apart > -kLargestPlane && rows_apart < kLargestPlane;
  output.labels_size = in.number(sensible && near ? (frame.height - 1) * rows_apart + frame.width : 64);
  std::unique_ptr<uint8_t[]> labels;
  if (output.labels_size > 0 && output.labels_size <= kLargestPlane)
    labels.reset(new uint8_t[static_cast<size_t>(output.labels_size)]);
  output.labels = labels.get();
  std::unique_ptr<int64_t[]> counts;
  output.counts_length = static_cast<int32_t>(in.number(4));
  if (output.counts_length > 0 && output.counts_length < 1000)
    counts.reset(new int64_t[static_cast<size_t>(output.counts_length)]);
  output.counts = counts.get();
  gsvnet_result result = GSVNET_RESULT_INIT;
  gsvnet_error error;
  const gsvnet_status status = gsvnet_push(engine(), &frame, &output, &result, &error);
  if (status != error.status || (status == 0) != (error.message[0] == 0) || status == GSVNET_ERROR_INTERNAL)
    std::abort();
  if (status == 0 && counts) {  // every pixel has a class of the bundle's
    int64_t total = 0;
    for (int k = 0; k < 4; ++k) total += counts[static_cast<size_t>(k)];
    if (total != int64_t{frame.width} * frame.height) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input in(data, size);
  for (int frames = 0; frames < 3 && !in.empty(); ++frames) {
    const uint64_t steer = in.take(1);
    if (steer > 250) gsvnet_reset(engine(), nullptr);
    if (steer < 5) gsvnet_request_keyframe(engine(), nullptr);
    push_one(in);
  }
  return 0;
}
