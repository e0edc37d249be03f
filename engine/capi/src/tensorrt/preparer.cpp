#include "preparer.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "../prepare.h"

namespace gsvnet::tensorrt {

void Preparer::prepare(const cuda::Stream& stream, const engine::Picture& picture, const DevicePlanes& planes,
                       int32_t filter, engine::Size size, const cuda::DeviceBuffer& out) {
  gsvnet::Preparation job{};
  for (size_t i = 0; i < 3; ++i) {
    const gsvnet_plane& plane = picture.planes[i];
    const engine::Component& at = picture.components[i];
    const auto stored = static_cast<size_t>(at.plane);
    job.planes[i] = {reinterpret_cast<const void*>(planes.data[stored] + static_cast<cuda::Address>(at.offset)),
                     0,
                     planes.strides[stored],
                     plane.pixel_stride,
                     axis({filter, size.height, plane.extent_rows, plane.rows}, stream),
                     axis({filter, size.width, plane.extent_columns, plane.columns}, stream),
                     plane.bytes,
                     plane.shift};
  }
  const engine::Conversion to_rgb = engine::conversion(picture);
  std::copy(std::begin(to_rgb.offset), std::end(to_rgb.offset), job.offset);
  std::copy(std::begin(to_rgb.matrix), std::end(to_rgb.matrix), job.matrix);
  const cuda::Address rgb = out.address();
  const int height = static_cast<int>(size.height), width = static_cast<int>(size.width);
  kernel_.launch(stream, size.width, size.height, {&job, &rgb, &height, &width});
}

gsvnet::Axis Preparer::axis(const Key& key, const cuda::Stream& stream) {
  const auto [filter, outputs, extent, samples] = key;
  auto found = tables_.find(key);
  if (found == tables_.end()) {
    const auto count = static_cast<int32_t>(outputs);
    const int taps = gsvnet_taps(filter, count, extent, samples, nullptr, nullptr, 0);
    std::vector<int32_t> first(static_cast<size_t>(outputs));
    std::vector<float> weights(first.size() * static_cast<size_t>(std::max(taps, 0)));
    if (taps < 1 || gsvnet_taps(filter, count, extent, samples, first.data(), weights.data(), taps) != taps)
      throw std::bad_alloc();  // all else about the arguments is checked
    const size_t split = first.size() * sizeof(int32_t), size = split + weights.size() * sizeof(float);
    Table table{cuda::PinnedBuffer(size, "resampling tables"), cuda::DeviceBuffer(size, "resampling tables"), taps};
    std::memcpy(table.pinned.data(), first.data(), split);
    std::memcpy(table.pinned.data() + split, weights.data(), size - split);
    found = tables_.emplace(key, std::move(table)).first;
    try {
      found->second.device.upload(0, found->second.pinned, size, stream);
    } catch (...) {
      tables_.erase(found);
      throw;
    }
  }
  const cuda::Address at = found->second.device.address();
  const size_t split = static_cast<size_t>(outputs) * sizeof(int32_t);
  return {reinterpret_cast<const int*>(at), reinterpret_cast<const float*>(at + split), found->second.taps, samples};
}

}  // namespace gsvnet::tensorrt
