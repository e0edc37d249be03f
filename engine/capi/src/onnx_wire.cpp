#include "onnx_wire.h"

#include <cstdint>
#include <string>

namespace gsvnet::engine {
namespace {

constexpr int kDeepest = 100;  // protobuf's own limit
constexpr uint64_t kExternalData = 13, kDataLocation = 14;  // of a tensor

enum Message { model, training, function, graph, node, attribute, sparse, tensor };

// The messages that lead to a tensor: field number -> message of that field (onnx.proto).
struct Nested {
  Message of;
  uint64_t field;
  Message is;
};
constexpr Nested kNested[] = {
    {model, 7, graph},       {model, 20, training},    {model, 25, function},    {training, 1, graph},
    {training, 2, graph},    {function, 7, node},      {function, 11, attribute}, {graph, 1, node},
    {graph, 5, tensor},      {graph, 15, sparse},      {node, 5, attribute},     {attribute, 5, tensor},
    {attribute, 6, graph},   {attribute, 10, tensor},  {attribute, 11, graph},   {attribute, 22, sparse},
    {attribute, 23, sparse}, {sparse, 1, tensor},      {sparse, 2, tensor},
};

uint64_t varint(std::string_view message, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (at >= message.size()) throw WireError("cut short");
    const auto byte = static_cast<unsigned char>(message[at++]);
    if (shift < 64) value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  throw WireError("a number of more than ten bytes");
}

bool external(std::string_view message, Message kind, int depth) {
  if (depth > kDeepest) throw WireError("nested too deeply");
  bool found = false;
  for (size_t at = 0; at < message.size();) {
    const uint64_t key = varint(message, at), field = key >> 3, wire = key & 7;
    uint64_t value = 1, length = 0;
    if (wire == 0) {
      value = varint(message, at);
    } else {
      if (wire == 2)
        length = varint(message, at);
      else if (wire == 1 || wire == 5)
        length = wire == 1 ? 8 : 4;
      else
        throw WireError("wire type " + std::to_string(wire));
      if (length > message.size() - at) throw WireError("cut short");
    }
    if (kind == tensor) found = found || field == kExternalData || (field == kDataLocation && value);
    if (wire == 2)
      for (const Nested& nested : kNested)
        if (nested.of == kind && nested.field == field)
          found = external(message.substr(at, length), nested.is, depth + 1) || found;
    at += length;
  }
  return found;
}

}  // namespace

bool has_external_data(std::string_view message) { return external(message, model, 0); }

}  // namespace gsvnet::engine
