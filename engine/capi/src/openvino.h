// OpenVINO on the CPU.
#pragma once

#include <memory>

#include "backend.h"

namespace gsvnet::engine {

// Throws Error with GSVNET_ERROR_BACKEND where OpenVINO cannot start or has not that precision here.
std::unique_ptr<Backend> make_openvino(const BackendOptions& options);

}  // namespace gsvnet::engine
