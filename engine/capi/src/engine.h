// The loop: keyframe or propagate, labels. One video at a time.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "backend.h"
#include "bundle.h"
#include "schedule.h"

namespace gsvnet::engine {

struct Options {
  int32_t interval = 0, threads = 0;  // 0: the bundle's own; the runtime's choice
  std::string backend = "auto";
  BackendOptions runtime;
};

class Engine {
 public:
  Engine(const std::string& bundle, const Options& options);

  gsvnet_result push(const gsvnet_frame& frame, const gsvnet_output& output);
  void warm(int32_t width, int32_t height);
  void reset();
  void set_interval(int32_t interval);
  void request_keyframe() { ++requested_; }

  int32_t interval() const { return interval_; }
  const Manifest& manifest() const { return bundle_.manifest(); }
  const std::string& backend() const { return backend_.name; }
  const std::string& backend_version() const { return version_; }
  const std::string& cpu_precision() const { return options_.runtime.cpu_precision; }

 private:
  struct Ready {
    Size keyframe, grid;
    std::unique_ptr<Stages> stages;
  };

  Ready& ready_for(const Sizes& sizes);
  Labels checked_labels(const gsvnet_output& output, Size size) const;

  const Options options_;
  const ChosenBackend backend_;
  const std::string version_;
  const Bundle bundle_;
  std::atomic<int32_t> interval_;
  std::atomic<uint32_t> requested_{0};  // keyframes asked for; a request during a push is for the frame after it

  std::mutex one_at_a_time_;  // guards all below
  uint32_t served_ = 0;
  std::list<Ready> ready_;  // the latest used first
  std::optional<Step> last_;
  const Ready* last_ready_ = nullptr;  // whose stages hold what the last frame left; null where there is none
};

}  // namespace gsvnet::engine
