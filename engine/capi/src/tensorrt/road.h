// Which form of the graphs a TensorRT runs on a card, and whether it serves that card: the decisions of engine/
// gsvnet_engine/backends/tensorrt/generation.py, which says why.
#pragma once

#include <string>

#include "../cuda/device.h"
#include "plan.h"

namespace gsvnet::tensorrt {

enum class Road { kPlain, kFunctions, kPlugin };

// `plugins`: whether there is a plugin library. Throws Error with GSVNET_ERROR_BACKEND where that TensorRT is too old
// or does not serve the card.
Road choose_road(const Version& version, cuda::Capability card, bool plugins);

const char* name(Road road);
std::string title(const Version& version);  // TensorRT 11.4.0

}  // namespace gsvnet::tensorrt
