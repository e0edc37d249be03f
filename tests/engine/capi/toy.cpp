#include "toy.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "sha256.h"

namespace toy {

const std::string kGraph = "\x08\x08";

namespace {

const char* const kNames[] = {"keyframe.onnx", "propagate.onnx", "labels.onnx", "propagate.plain.onnx",
                              "labels.plain.onnx"};

}  // namespace

Folder::Folder() {
  std::string name = (std::filesystem::temp_directory_path() / "gsvnet-XXXXXX").string();
  if (!mkdtemp(name.data())) throw std::runtime_error("no temporary folder: " + name);
  path_ = name;
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void write_file(const std::string& path, const std::string& data) {
  std::ofstream file(path, std::ios::binary);
  file.write(data.data(), static_cast<std::streamsize>(data.size()));
  if (!file) throw std::runtime_error("cannot write " + path);
}

std::string manifest(const std::string& graph, const std::string& working_size, int interval,
                     const std::optional<std::string>& keyframe) {
  const auto hash_of = [](const std::string& data) {
    gsvnet::engine::Sha256 hash;
    hash.add(data.data(), data.size());
    return hash.hex();
  };
  std::string graphs;
  for (const char* name : kNames)
    graphs += (graphs.empty() ? "\"" : ", \"") + std::string(name) + "\": \"" +
              hash_of(keyframe && name == kNames[0] ? *keyframe : graph) + "\"";
  return R"({"format_version": 1, "name": "toy", "precision": "fp32", "license": "CC0-1.0",
 "classes": [{"name": "Road", "color": [128, 64, 128]}, {"name": "Sky", "color": [70, 130, 180]},
             {"name": "Car", "color": [0, 0, 142]}, {"name": "Tree", "color": [107, 142, 35]}],
 "working_size": )" +
         working_size + R"(, "keyframe_size": {"scale": [1, 2], "multiple": 8},
 "interval": )" +
         std::to_string(interval) + R"(, "trained_on": ["nothing at all"], "accuracy": {},
 "graphs": {)" +
         graphs + "}}";
}

void write_bundle(const Folder& folder, const std::string& working_size, int interval) {
  for (const char* name : kNames) write_file(folder.file(name), kGraph);
  write_file(folder.file("manifest.json"), manifest(kGraph, working_size, interval));
}

}  // namespace toy
