#include "onnx_wire.h"

#include <cstdint>
#include <string>

namespace gsvnet::engine {
namespace {

constexpr int kDeepest = 100;                               // protobuf's own limit
constexpr uint64_t kExternalData = 13, kDataLocation = 14;  // of a tensor

enum Message { model, training, function, graph, node, attribute, sparse, tensor };

// The messages that lead to a tensor: field number -> message of that field (onnx.proto).
struct Nested {
  Message of;
  uint64_t field;
  Message is;
};
constexpr Nested kNested[] = {
    {model, 7, graph},       {model, 20, training},   {model, 25, function},     {training, 1, graph},
    {training, 2, graph},    {function, 7, node},     {function, 11, attribute}, {graph, 1, node},
    {graph, 5, tensor},      {graph, 15, sparse},     {node, 5, attribute},      {attribute, 5, tensor},
    {attribute, 6, graph},   {attribute, 10, tensor}, {attribute, 11, graph},    {attribute, 22, sparse},
    {attribute, 23, sparse}, {sparse, 1, tensor},     {sparse, 2, tensor},
};

// A number of up to 70 bits; `over` where it does not fit 64, of which the low ones are kept.
struct Varint {
  uint64_t low = 0;
  bool over = false;
};

Varint varint(std::string_view message, size_t& at) {
  Varint number;
  for (int shift = 0; shift < 70; shift += 7) {
    if (at >= message.size()) throw WireError("cut short");
    const auto byte = static_cast<unsigned char>(message[at++]);
    number.low |= static_cast<uint64_t>(byte & 0x7F) << shift;
    number.over = number.over || (shift == 63 && (byte & 0x7E));
    if (byte < 0x80) return number;
  }
  throw WireError("a number of more than ten bytes");
}

bool external(std::string_view message, Message kind, int depth) {
  if (depth > kDeepest) throw WireError("nested too deeply");
  bool found = false;
  for (size_t at = 0; at < message.size();) {
    const Varint key = varint(message, at);
    const uint64_t field = key.over ? UINT64_MAX : key.low >> 3, wire = key.low & 7;
    bool set = true;
    uint64_t length = 0;
    if (wire == 0) {
      const Varint value = varint(message, at);
      set = value.low || value.over;
    } else {
      if (wire == 2) {
        const Varint bytes = varint(message, at);
        length = bytes.over ? UINT64_MAX : bytes.low;
      } else if (wire == 1 || wire == 5) {
        length = wire == 1 ? 8 : 4;
      } else {
        throw WireError("wire type " + std::to_string(wire));
      }
      if (length > message.size() - at) throw WireError("cut short");
    }
    if (kind == tensor) found = found || field == kExternalData || (field == kDataLocation && set);
    if (wire != 0)
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
