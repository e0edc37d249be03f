#include "device.h"

namespace gsvnet::cuda {
namespace {

constexpr int kNoDevice = 100;
constexpr int kMajor = 75, kMinor = 76;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...

}  // namespace

DeviceInfo find_device(int index) {
  const Driver& cuda = driver();
  int count = 0;
  try {
    cuda.init(0u);
    cuda.device_count(&count);
  } catch (const DriverError& error) {
    if (error.code() != kNoDevice) throw;
    throw engine::backend_error(std::string("no NVIDIA GPU, or no driver for it (") + error.what() + ")");
  }
  if (!count) throw engine::backend_error("the NVIDIA driver shows no GPU (is CUDA_VISIBLE_DEVICES empty?)");
  if (index < 0 || index >= count)
    throw engine::usage_error("options.device is " + std::to_string(index) + "; this machine's GPUs are 0.." +
                              std::to_string(count - 1));
  int device = 0;
  char name[128] = "";
  DeviceInfo info{index, "", {}};
  cuda.device(&device, index);
  cuda.device_attribute(&info.capability.first, kMajor, device);
  cuda.device_attribute(&info.capability.second, kMinor, device);
  cuda.device_name(name, static_cast<int>(sizeof name - 1), device);
  info.name = name;
  return info;
}

Context::Context(const DeviceInfo& info) {
  driver().device(&device_, info.index);
  driver().context_retain.to(info.name, &context_, device_);
}

Context::~Context() { driver().context_release.quietly(device_); }

Current::Current(const Context& context, Failure failure) : pushed_(true) {
  if (failure == Failure::is_told)
    driver().context_push(context.handle());
  else
    pushed_ = driver().context_push.quietly(context.handle());
}

Current::~Current() {
  Handle ignored = nullptr;
  if (pushed_) driver().context_pop.quietly(&ignored);
}

}  // namespace gsvnet::cuda
