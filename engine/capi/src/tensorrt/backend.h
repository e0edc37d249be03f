// TensorRT on an NVIDIA GPU. No GPU has confirmed it: it is tested on stand-ins for the driver and TensorRT.
#pragma once

#include <memory>

#include "../backend.h"

namespace gsvnet::tensorrt {

constexpr size_t kBand = size_t{512} << 10;  // bytes that are copied between host and device at a time

// Throws Error with GSVNET_ERROR_BACKEND, saying what is missing, where there is no GPU, or no TensorRT that serves it.
std::unique_ptr<engine::Backend> make_tensorrt(const engine::BackendOptions& options);
std::unique_ptr<engine::Backend> make_tensorrt(const engine::BackendOptions& options, size_t band);

}  // namespace gsvnet::tensorrt
