// Single parts on stdin, a line each, for comparison with Python's: test_parts.py.
//
//   sha256 HEX                                         -> the digest
//   json HEX                                           -> "ok" and the value as json.dumps writes it, or "no" and why
//   wire HEX                                           -> "inside", "outside", or "no" and why
//   plan SHORT NUM DEN MULTIPLE FIXED_H FIXED_W H W    -> working, keyframe and grid height and width
//   plan_key HEX                                       -> of a key as JSON: the plan's file name and the key again
//   road MAJOR MINOR PATCH CARD_MAJOR CARD_MINOR PLUGINS -> TensorRT's road, or "no" and why
//   keyframe AGE INTERVAL ELAPSED_S SAME_SIZE FORCED   -> 0 or 1

#include <iostream>
#include <sstream>
#include <string>

#include "geometry.h"
#include "json.h"
#include "onnx_wire.h"
#include "schedule.h"
#include "sha256.h"
#include "tensorrt/plan_cache.h"
#include "tensorrt/road.h"

using namespace gsvnet::engine;

static std::string from_hex(const std::string& hex) {
  std::string data;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) data += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return data;
}

// A key from the JSON that it makes; shapes of two numbers are values.
static std::string plan_key(const Json& json) {
  const auto text = [&](const char* name) { return json.find(name)->text; };
  gsvnet::tensorrt::PlanKey key{text("bundle"), text("graph_sha256"), text("plugin_sha256"), text("tensorrt"),
                                text("road"),   text("gpu"),          text("precision"),     {},
                                {}};
  const auto& card = json.find("capability")->items;
  key.capability = {static_cast<int>(*card[0].whole()), static_cast<int>(*card[1].whole())};
  key.signature.graph = text("graph");
  for (const auto& [name, sides] : json.find("shapes")->members) {
    Named named{name, {}};
    for (const Json& side : sides.items) named.shape.push_back(*side.whole());
    (named.shape.size() == 2 ? key.signature.constants : key.signature.inputs).push_back(named);
  }
  return key.stem() + " " + key.json().dump();
}

static std::string answer(std::istringstream& line) {
  std::string what, hex;
  line >> what;
  if (what == "plan") {
    WorkingSize working;
    KeyframeSize keyframe;
    Size source;
    line >> working.short_side >> keyframe.numerator >> keyframe.denominator >> keyframe.multiple;
    line >> keyframe.fixed.height >> keyframe.fixed.width >> source.height >> source.width;
    const Sizes sizes = plan_sizes(working, keyframe, source);
    std::ostringstream text;
    text << sizes.working.height << ' ' << sizes.working.width << ' ' << sizes.keyframe.height << ' '
         << sizes.keyframe.width << ' ' << sizes.grid.height << ' ' << sizes.grid.width;
    return text.str();
  }
  if (what == "keyframe") {
    Step last;
    int32_t interval = 0;
    double elapsed_s = 0;
    bool same = false, forced = false;
    line >> last.age >> interval >> elapsed_s >> same >> forced;
    last.size = {2, 3}, last.pts_s = 10;
    return is_keyframe(&last, same ? last.size : Size{3, 2}, last.pts_s + elapsed_s, interval, forced) ? "1" : "0";
  }
  if (what == "road") try {
      gsvnet::tensorrt::Version version{};
      gsvnet::cuda::Capability card;
      bool plugins = false;
      line >> version.major >> version.minor >> version.patch >> card.first >> card.second >> plugins;
      return gsvnet::tensorrt::name(gsvnet::tensorrt::choose_road(version, card, plugins));
    } catch (const std::runtime_error& error) {
      return std::string("no ") + error.what();
    }
  line >> hex;
  const std::string data = from_hex(hex);
  if (what == "sha256") {
    Sha256 hash;  // in two pieces, so that what is pending is tried too
    hash.add(data.data(), data.size() / 3);
    hash.add(data.data() + data.size() / 3, data.size() - data.size() / 3);
    return hash.hex();
  }
  try {
    if (what == "json") return "ok " + Json::parse(data).dump();
    if (what == "plan_key") return plan_key(Json::parse(data));
    if (what == "wire") return has_external_data(data) ? "outside" : "inside";
  } catch (const std::runtime_error& error) {
    return std::string("no ") + error.what();
  }
  return "unknown";
}

int main() {
  for (std::string text; std::getline(std::cin, text);) {
    std::istringstream line(text);
    std::cout << answer(line) << '\n';
  }
}
