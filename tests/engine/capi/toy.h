// Bundles for tests: a folder with a true manifest and graphs that are protobuf, and little else.
#pragma once

#include <optional>
#include <string>

namespace toy {

// A folder of its own under TMPDIR, removed with everything in it.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void write_file(const std::string& path, const std::string& data);

// The manifest's text for graphs of these bytes; of those of keyframe.onnx where they are others.
std::string manifest(const std::string& graph, const std::string& working_size = "\"source\"", int interval = 3,
                     const std::optional<std::string>& keyframe = {});

// The bytes of a graph that is none: ir_version 8.
extern const std::string kGraph;

// Write such a bundle into the folder.
void write_bundle(const Folder& folder, const std::string& working_size = "\"source\"", int interval = 3);

}  // namespace toy
