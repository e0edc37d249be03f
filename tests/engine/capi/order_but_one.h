// tensorrt/order.cpp in another form: any one edge can be left out, and any one double be missing.
#pragma once

#include <optional>

#include "tensorrt/order.h"

namespace order {

extern std::optional<gsvnet::tensorrt::Edge> left_out;
extern std::optional<gsvnet::tensorrt::Double> single;

}  // namespace order
