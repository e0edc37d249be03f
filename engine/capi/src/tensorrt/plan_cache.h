// The plans that gsvnet-engine build keeps on disk: keys, names and checks of engine/gsvnet_engine/backends/tensorrt/
// cache.py. Nothing is written here.
#pragma once

#include <optional>
#include <string>

#include "../cuda/device.h"
#include "../json.h"
#include "../ports.h"

namespace gsvnet::tensorrt {

// All that a plan depends on: `signature`'s input shapes and constant values are the key's.
struct PlanKey {
  std::string bundle, graph_sha256, plugin_sha256, tensorrt, road, gpu, precision;
  cuda::Capability capability;
  engine::Signature signature;

  engine::Json json() const;    // names in alphabetical order
  std::string subject() const;  // what it is a plan of, whatever made it
  std::string stem() const;     // the plan's file name without its ending: the subject and 16 digits of all of it
};

class PlanCache {
 public:
  explicit PlanCache(std::string folder) : plans_(std::move(folder) + "/plans") {}

  // The plan of exactly this key, whole; none where there is none such.
  std::optional<std::string> get(const PlanKey& key) const;
  // What has changed since the latest used plan of the same subject: "tensorrt TensorRT 10.3.0, now TensorRT 11.4.0";
  // none where there is no such.
  std::optional<std::string> why_stale(const PlanKey& key) const;
  const std::string& plans() const { return plans_; }

 private:
  std::string plans_;
};

// Where gsvnet-engine keeps plans unless told otherwise: .cache/gsvnet-engine in the user's home, as the system's user
// database gives it. Throws Error with GSVNET_ERROR_BACKEND where it gives none.
std::string default_cache();

// Throws Error with GSVNET_ERROR_BACKEND where the file cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace gsvnet::tensorrt
