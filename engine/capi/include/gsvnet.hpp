// gsvnet.h in C++17: an engine that closes itself, errors as exceptions, labels in a vector. Header only.
//
//   gsvnet::Engine engine("path/to/street");
//   gsvnet::Frame frame(GSVNET_BGR, 1280, 720);
//   frame.plane(0, mat.data, mat.step);
//   const gsvnet::Segmentation& seg = engine.push(frame);   // seg.labels[y * seg.width + x]
//
// What gsvnet.h says of threads and lifetimes holds here too.
#ifndef GSVNET_HPP
#define GSVNET_HPP

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "gsvnet.h"

namespace gsvnet {

class Error : public std::runtime_error {
 public:
  explicit Error(const gsvnet_error& error) : std::runtime_error(error.message), status_(error.status) {}
  gsvnet_status status() const noexcept { return status_; }

 private:
  gsvnet_status status_;
};

struct Class {
  std::string name;
  std::uint8_t red, green, blue;
};

// A picture in the caller's memory.
class Frame {
 public:
  Frame(std::int32_t format, std::int32_t width, std::int32_t height) {
    raw.format = format;
    raw.width = width;
    raw.height = height;
  }
  Frame& plane(int index, const void* data, std::int64_t stride = 0, std::int64_t size = 0) {
    raw.planes[index] = data;
    raw.strides[index] = stride;
    raw.plane_sizes[index] = size;
    return *this;
  }

  gsvnet_frame raw = GSVNET_FRAME_INIT;  // all else: matrix, range, pts_s
};

struct Segmentation {
  std::int32_t width = 0, height = 0;
  std::vector<std::uint8_t> labels;  // [height][width]
  std::vector<std::int64_t> counts;  // [classes] pixels
  gsvnet_result result = GSVNET_RESULT_INIT;
};

class Engine {
 public:
  explicit Engine(const std::string& bundle, const gsvnet_options& options = GSVNET_OPTIONS_INIT) {
    gsvnet_engine* raw = nullptr;
    gsvnet_error error;
    check(gsvnet_open(bundle.c_str(), &options, &raw, &error), error);
    engine_.reset(raw);
    for (std::int32_t i = 0; i < info().classes; ++i) {
      gsvnet_class one = GSVNET_CLASS_INIT;
      check(gsvnet_get_class(raw, i, &one, &error), error);
      classes_.push_back({one.name, one.red, one.green, one.blue});
    }
  }

  // Segment the next frame. The result is the engine's, until the next push.
  const Segmentation& push(const Frame& frame) {
    gsvnet_error error;
    const bool sensible = frame.raw.width > 0 && frame.raw.height > 0;  // else the library says what is wrong
    next_.labels.resize(
        sensible ? static_cast<std::size_t>(frame.raw.width) * static_cast<std::size_t>(frame.raw.height) : 1);
    next_.counts.resize(classes_.size());
    gsvnet_output output = GSVNET_OUTPUT_INIT;
    output.labels = next_.labels.data();
    output.labels_size = static_cast<std::int64_t>(next_.labels.size());
    output.counts = next_.counts.data();
    output.counts_length = static_cast<std::int32_t>(next_.counts.size());
    check(gsvnet_push(engine_.get(), &frame.raw, &output, &next_.result, &error), error);
    next_.width = frame.raw.width;
    next_.height = frame.raw.height;
    return next_;
  }

  void warm(std::int32_t width, std::int32_t height) {
    call([&](auto* e) { return gsvnet_warm(engine_.get(), width, height, e); });
  }
  void reset() {
    call([&](auto* e) { return gsvnet_reset(engine_.get(), e); });
  }
  void request_keyframe() {
    call([&](auto* e) { return gsvnet_request_keyframe(engine_.get(), e); });
  }
  void set_interval(std::int32_t interval) {
    call([&](auto* e) { return gsvnet_set_interval(engine_.get(), interval, e); });
  }

  gsvnet_info info() const {
    gsvnet_info info = GSVNET_INFO_INIT;
    call([&](auto* e) { return gsvnet_get_info(engine_.get(), &info, e); });
    return info;
  }
  const std::vector<Class>& classes() const noexcept { return classes_; }

 private:
  struct Close {
    void operator()(gsvnet_engine* engine) const noexcept { gsvnet_close(&engine); }
  };

  static void check(gsvnet_status status, const gsvnet_error& error) {
    if (status) throw Error(error);
  }
  template <typename Call>
  static void call(const Call& call) {
    gsvnet_error error;
    check(call(&error), error);
  }

  std::unique_ptr<gsvnet_engine, Close> engine_;
  std::vector<Class> classes_;
  Segmentation next_;
};

}  // namespace gsvnet

#endif
