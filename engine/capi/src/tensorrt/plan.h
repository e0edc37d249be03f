// TensorRT, as little of it as running plans takes, and none of its headers. nvinfer.cpp is it; tests link a stand-in.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../cuda/driver.h"
#include "../ports.h"

namespace gsvnet::tensorrt {

struct Version {
  int major, minor, patch;
};

// A plan and its execution context: never on two streams at once. What returns false has failed, and
// Runtime::last_error says why. The context that it was made in must be current.
class Plan {
 public:
  virtual ~Plan() = default;
  // Its inputs and outputs; shapes are those for the inputs' shapes and values as set.
  virtual std::vector<std::string> tensors() const = 0;
  virtual std::string type(const std::string& tensor) const = 0;  // "float32", "int64", "int32", or what else it is
  virtual bool on_host(const std::string& tensor) const = 0;      // its value is read in host memory
  virtual engine::Shape shape(const std::string& tensor) const = 0;
  virtual bool set_shape(const std::string& tensor, const engine::Shape& shape) = 0;
  virtual bool set_address(const std::string& tensor, void* address) = 0;
  virtual bool enqueue(cuda::Handle stream) = 0;
};

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Version version() const = 0;
  // Throws Error with GSVNET_ERROR_BACKEND. Once a process and library.
  virtual void load_plugins(const std::string& library) = 0;
  // Null where it does not take the plan, or has no room for it.
  virtual std::unique_ptr<Plan> load(const std::string& plan) = 0;
  // What it said last of what went wrong, one line; "" for nothing.
  virtual std::string last_error() const = 0;
};

// Throws Error with GSVNET_ERROR_BACKEND where TensorRT is not there. Only after cuda::find_device has succeeded.
std::unique_ptr<Runtime> load_runtime();

}  // namespace gsvnet::tensorrt
