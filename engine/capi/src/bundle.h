// A bundle: a folder with a manifest and its ONNX graphs, checked in full before anything runs. Nothing outside the
// folder is ever read, and a graph reaches a runtime only as the bytes whose hash the manifest gives.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "geometry.h"
#include "manifest.h"

namespace gsvnet::engine {

class Bundle {
 public:
  // The bundle in that folder, or of that manifest.json. Every graph is read and checked; the bytes of those in `kept`
  // stay. Throws Error with GSVNET_ERROR_BUNDLE.
  Bundle(std::string path, const std::vector<std::string_view>& kept);

  const Manifest& manifest() const { return manifest_; }

  // The bytes of a kept graph.
  const std::string& graph(std::string_view name) const;
  // Its folder, as it was given.
  const std::string& path() const { return path_; }
  // A graph's path, for messages.
  std::string where(std::string_view name) const { return path_ + "/" + std::string(name); }

  // All sizes for a source of that size. Throws Error with GSVNET_ERROR_INPUT for a shape that no working size suits.
  Sizes plan(Size source) const;

 private:
  std::string path_;
  Manifest manifest_;
  std::map<std::string, std::string, std::less<>> graphs_;
};

}  // namespace gsvnet::engine
