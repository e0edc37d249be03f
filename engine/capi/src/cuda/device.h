// Which GPU there is, and its primary context: the one that TensorRT and the CUDA runtime use too.
#pragma once

#include <string>
#include <utility>

#include "driver.h"

namespace gsvnet::cuda {

using Capability = std::pair<int, int>;  // compute capability: {8, 6}

struct DeviceInfo {
  int index;
  std::string name;
  Capability capability;
};

// The GPU of that number. Nothing of TensorRT may be touched before this has succeeded: without a driver it crashes.
// Throws Error with GSVNET_ERROR_BACKEND, saying why, where there is none, and GSVNET_ERROR_USAGE for a wrong number.
DeviceInfo find_device(int index);

// A device's primary context, retained.
class Context {
 public:
  explicit Context(const DeviceInfo& info);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  Handle handle() const { return context_; }

 private:
  int device_ = 0;
  Handle context_ = nullptr;
};

// A context current on this thread; whoever embeds us finds their own as they left it.
class Current {
 public:
  enum class Failure { is_told, is_ignored };  // ignored: for freeing, which goes on where the device is lost
  explicit Current(const Context& context, Failure failure = Failure::is_told);
  ~Current();
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

 private:
  bool pushed_;
};

}  // namespace gsvnet::cuda
