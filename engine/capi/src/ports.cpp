#include "ports.h"

#include <algorithm>

#include "error.h"

namespace gsvnet::engine {
namespace {

bool agree(const std::optional<Shape>& found, const Shape& wanted) {
  if (!found) return true;
  return std::equal(found->begin(), found->end(), wanted.begin(), wanted.end(),
                    [](int64_t f, int64_t w) { return f < 0 || f == w; });
}

void check_kind(const std::string& where, const char* kind, const std::vector<Port>& ports,
                const std::vector<Named>& floats, const std::vector<Named>& integers) {
  const auto find = [](const std::vector<Named>& among, const std::string& name) {
    return std::find_if(among.begin(), among.end(), [&](const Named& named) { return named.name == name; });
  };
  const auto known = [&](const Port& port) {
    return find(floats, port.name) != floats.end() || find(integers, port.name) != integers.end();
  };
  if (ports.size() != floats.size() + integers.size() || !std::all_of(ports.begin(), ports.end(), known)) {
    std::string found, wanted;
    for (const Port& port : ports) found += (found.empty() ? "" : ", ") + port.name;
    for (const auto* among : {&floats, &integers})
      for (const Named& named : *among) wanted += (wanted.empty() ? "" : ", ") + named.name;
    throw bundle_error(where + ": its " + kind + " are " + (found.empty() ? "none" : found) + ", not " + wanted +
                       "; export the bundle again");
  }
  for (const Port& port : ports) {
    const bool constant = find(integers, port.name) != integers.end();
    const Shape shape = constant ? Shape{static_cast<int64_t>(find(integers, port.name)->shape.size())}
                                 : find(floats, port.name)->shape;
    const std::string type = constant ? "int64" : "float32";
    if (port.type != type)
      throw bundle_error(where + ": " + port.name + " is " + port.type + ", not " + type + "; export the bundle again");
    if (!agree(port.shape, shape))
      throw bundle_error(where + ": " + port.name + " has shape " + shown(*port.shape) +
                         " where the manifest's classes and sizes make it " + shown(shape) +
                         "; export the bundle again");
  }
}

Shape scores_shape(const Bundle& bundle, const Sizes& sizes) {
  return {1, static_cast<int64_t>(bundle.manifest().classes.size()), sizes.grid.height, sizes.grid.width};
}

}  // namespace

std::string shown(const Shape& shape) {
  std::string text;
  for (const int64_t side : shape) text += (text.empty() ? "" : ",") + (side < 0 ? "?" : std::to_string(side));
  return "[" + text + "]";
}

Signature keyframe_signature(const Bundle& bundle, const Sizes& sizes) {
  return {std::string(kKeyframe),
          {{"frame", {1, 3, sizes.keyframe.height, sizes.keyframe.width}}},
          {{"scores", scores_shape(bundle, sizes)}},
          {{"grid", {sizes.grid.height, sizes.grid.width}}}};
}

Signature propagate_signature(const Bundle& bundle, const Sizes& sizes, std::string_view graph) {
  const Shape picture{1, 3, sizes.grid.height, sizes.grid.width}, scores = scores_shape(bundle, sizes);
  return {std::string(graph),
          {{"current", picture}, {"previous", picture}, {"scores", scores}},
          {{"propagated", scores}},
          {}};
}

void check_ports(const std::string& where, const std::vector<Port>& inputs, const std::vector<Port>& outputs,
                 const Signature& expected) {
  check_kind(where, "inputs", inputs, expected.inputs, expected.constants);
  check_kind(where, "outputs", outputs, expected.outputs, {});
}

}  // namespace gsvnet::engine
