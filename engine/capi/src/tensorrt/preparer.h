// Planes on the device -> RGB float32 [3,h,w] in 0..1 on the device: prepare.h's arithmetic, to the bit, by plugins/
// kernels/frame/frame.cu.
#pragma once

#include <map>
#include <tuple>

#include "../cuda/work.h"
#include "../frame.h"
#include "frame/core.h"
#include "transfers.h"

namespace gsvnet::tensorrt {

// Always on the same stream, in whose order the tables come to the device. Those of every size that it met are kept.
class Preparer {
 public:
  explicit Preparer(const cuda::Kernel& kernel) : kernel_(kernel) {}

  // Fill `out` [3,h,w]. filter: GSVNET_AREA or GSVNET_BILINEAR. `planes`: the picture's stored ones.
  void prepare(const cuda::Stream& stream, const engine::Picture& picture, const DevicePlanes& planes, int32_t filter,
               engine::Size size, const cuda::DeviceBuffer& out);

 private:
  // first and weights of gsvnet_taps, on the device, and in the pinned memory that they are copied from.
  struct Table {
    cuda::PinnedBuffer pinned;
    cuda::DeviceBuffer device;
    int taps;
  };
  using Key = std::tuple<int32_t, int64_t, double, int32_t>;  // filter, outputs, extent, samples

  gsvnet::Axis axis(const Key& key, const cuda::Stream& stream);

  const cuda::Kernel& kernel_;
  std::map<Key, Table> tables_;
};

}  // namespace gsvnet::tensorrt
