// manifest.json, format version 1, checked in full: the rules and the sentences are those of engine/gsvnet_engine/
// bundle.py. What only Python reads (cost, accuracy by interval, familiarity) is checked here too, and dropped.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "geometry.h"

namespace gsvnet::engine {

inline constexpr std::string_view kManifest = "manifest.json";
inline constexpr std::string_view kKeyframe = "keyframe.onnx", kPropagate = "propagate.onnx", kLabels = "labels.onnx";
inline constexpr std::string_view kPropagatePlain = "propagate.plain.onnx", kLabelsPlain = "labels.plain.onnx";
inline constexpr std::string_view kWarpPlain = "warp.plain.onnx";

inline constexpr int64_t kLargestSide = 8192;

struct ClassInfo {
  std::string name;
  std::array<uint8_t, 3> color{};  // red, green, blue
};

struct Manifest {
  std::string name, license, precision;
  std::vector<ClassInfo> classes;
  WorkingSize working_size;
  KeyframeSize keyframe_size;
  int32_t interval = 1;
  std::vector<std::pair<std::string, std::string>> graphs;  // file name, sha256
};

// `where`: the file's path, which begins every message. Throws Error with GSVNET_ERROR_BUNDLE.
Manifest read_manifest(const std::string& where, std::string_view data);

}  // namespace gsvnet::engine
