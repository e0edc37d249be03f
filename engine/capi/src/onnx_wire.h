// Whether an ONNX graph keeps tensors outside its own bytes, read from the protobuf wire alone: engine/gsvnet_engine/
// onnx_wire.py is the same in Python and says why.
#pragma once

#include <stdexcept>
#include <string_view>

namespace gsvnet::engine {

struct WireError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws WireError where the bytes are no protobuf message.
bool has_external_data(std::string_view model);

}  // namespace gsvnet::engine
