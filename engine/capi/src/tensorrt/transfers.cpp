#include "transfers.h"

#include <algorithm>
#include <cstring>

#include "order.h"

namespace gsvnet::tensorrt {
namespace {

constexpr size_t kAlignment = 256;  // bytes between the starts of planes

// rows x row_bytes from one pitch to another.
void copy_rows(unsigned char* to, int64_t to_stride, const unsigned char* from, int64_t from_stride, int64_t rows,
               int64_t row_bytes) {
  if (to_stride == row_bytes && from_stride == row_bytes) {
    std::memcpy(to, from, static_cast<size_t>(rows * row_bytes));
    return;
  }
  for (int64_t y = 0; y < rows; ++y)
    std::memcpy(to + y * to_stride, from + y * from_stride, static_cast<size_t>(row_bytes));
}

// Slots of that size or more.
template <typename Slot>
void make_room(std::vector<Slot>& slots, Double which, size_t size) {
  if (!slots.empty() && slots.front().pinned.size() >= size) return;
  std::vector<Slot> larger;
  for (size_t i = 0; i < count(which); ++i) larger.emplace_back(size);
  slots = std::move(larger);
}

}  // namespace

DevicePlanes Uploads::send(const engine::Picture& picture, const cuda::Stream& stream) {
  std::array<size_t, 3> starts{};
  size_t total = 0, row = 0;
  for (int i = 0; i < picture.stored_planes; ++i) {
    const engine::StoredPlane& plane = picture.stored[i];
    starts[static_cast<size_t>(i)] = total;
    total += (static_cast<size_t>(plane.rows * plane.row_bytes) + kAlignment - 1) / kAlignment * kAlignment;
    row = std::max(row, static_cast<size_t>(plane.row_bytes));
  }
  reserve(total, row);
  DevicePlanes there{};
  for (size_t i = 0; i < static_cast<size_t>(picture.stored_planes); ++i) {
    send_plane(picture.stored[i], starts[i], stream);
    there.data[i] = planes_->address() + starts[i], there.strides[i] = picture.stored[i].row_bytes;
  }
  return there;
}

// Nothing is in use: a push that ends leaves nothing under way.
void Uploads::reserve(size_t total, size_t row) {
  make_room(slots_, Double::kUpload, std::max(band_, row));
  if (planes_ && planes_->size() >= total) return;
  planes_.reset();
  planes_.emplace(total, "a picture");
}

void Uploads::send_plane(const engine::StoredPlane& plane, size_t at, const cuda::Stream& stream) {
  const int64_t most = static_cast<int64_t>(slots_.front().pinned.size()) / plane.row_bytes;
  for (int64_t y = 0; y < plane.rows; y += most) {
    const Slot& slot = slots_[turn_];
    turn_ = (turn_ + 1) % slots_.size();
    const int64_t rows = std::min(most, plane.rows - y);
    settle(Edge::kRefillAfterUpload, slot.uploaded);
    copy_rows(slot.pinned.data(), plane.row_bytes, plane.data + y * plane.stride, plane.stride, rows, plane.row_bytes);
    planes_->upload(at + static_cast<size_t>(y * plane.row_bytes), slot.pinned,
                    static_cast<size_t>(rows * plane.row_bytes), stream);
    slot.uploaded.record(stream);
  }
}

void Downloads::fetch(const cuda::DeviceBuffer& labels, const engine::Labels& out, const cuda::Stream& stream) {
  const int64_t height = out.size.height, width = out.size.width;
  make_room(slots_, Double::kDownload, std::max(band_, static_cast<size_t>(width)));
  const int64_t most = static_cast<int64_t>(slots_.front().pinned.size()) / width;
  const auto slot = [&](int64_t y) -> const Slot& { return slots_[static_cast<size_t>(y / most) % slots_.size()]; };
  const auto rows = [&](int64_t y) { return std::min(most, height - y); };
  const auto start = [&](int64_t y) {
    labels.download(static_cast<size_t>(y * width), slot(y).pinned, static_cast<size_t>(rows(y) * width), stream);
    slot(y).downloaded.record(stream);
  };
  start(0);
  for (int64_t y = 0; y < height; y += most) {
    if (y + most < height) start(y + most);
    settle(Edge::kTakeAfterDownload, slot(y).downloaded);
    copy_rows(out.data + y * out.stride, out.stride, slot(y).pinned.data(), width, rows(y), width);
  }
}

}  // namespace gsvnet::tensorrt
