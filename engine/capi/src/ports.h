// What a graph must take and give, and the check that it does: as engine/gsvnet_engine/backends/base.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bundle.h"

namespace gsvnet::engine {

using Shape = std::vector<int64_t>;

struct Named {
  std::string name;
  Shape shape;
};

// The contract of a graph for one set of sizes. `constants`: int64 inputs known beforehand, with their values.
struct Signature {
  std::string graph;
  std::vector<Named> inputs, outputs, constants;
};

Signature keyframe_signature(const Bundle& bundle, const Sizes& sizes);
Signature propagate_signature(const Bundle& bundle, const Sizes& sizes, std::string_view graph);

// An input or output as a runtime reports it; -1: a dimension left open, no shape: all of it.
struct Port {
  std::string name;
  std::optional<Shape> shape;
  std::string type;  // "float32", "int64", or whatever else it is
};

// Throws Error with GSVNET_ERROR_BUNDLE unless the graph at `where` has these ports alone, shapes agreeing where known.
void check_ports(const std::string& where, const std::vector<Port>& inputs, const std::vector<Port>& outputs,
                 const Signature& expected);

std::string shown(const Shape& shape);

}  // namespace gsvnet::engine
