// Pictures up and labels down, each in bands through two pinned buffers: while one is copied by the device, the host
// fills or empties the other.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "../backend.h"
#include "../cuda/work.h"

namespace gsvnet::tensorrt {

// Where a picture's stored planes lie on the device, and how many bytes each row takes.
struct DevicePlanes {
  std::array<cuda::Address, 3> data;
  std::array<int64_t, 3> strides;
};

// `band`: bytes that each pinned buffer has, and more where a row is longer.
class Uploads {
 public:
  explicit Uploads(size_t band) : band_(band) {}

  // Copies the picture's planes to the device, packed, in the stream's order, and tells where they will lie. The
  // picture may be written anew when this returns. Nothing of the last one may be in use any more.
  DevicePlanes send(const engine::Picture& picture, const cuda::Stream& stream);

 private:
  struct Slot {
    explicit Slot(size_t size) : pinned(size, "a picture") {}
    cuda::PinnedBuffer pinned;
    cuda::Event uploaded;
  };

  void reserve(size_t total, size_t row);
  void send_plane(const engine::StoredPlane& plane, size_t at, const cuda::Stream& stream);

  size_t band_, turn_ = 0;
  std::vector<Slot> slots_;
  std::optional<cuda::DeviceBuffer> planes_;
};

class Downloads {
 public:
  explicit Downloads(size_t band) : band_(band) {}

  // Fetches labels [height][width], packed on the device, in the stream's order, and waits for them.
  void fetch(const cuda::DeviceBuffer& labels, const engine::Labels& out, const cuda::Stream& stream);

 private:
  struct Slot {
    explicit Slot(size_t size) : pinned(size, "labels") {}
    cuda::PinnedBuffer pinned;
    cuda::Event downloaded;
  };

  size_t band_;
  std::vector<Slot> slots_;
};

}  // namespace gsvnet::tensorrt
