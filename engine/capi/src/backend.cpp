#include "backend.h"

#include "error.h"

namespace gsvnet::engine {

ChosenBackend choose_backend(const std::string& name, const BackendOptions& options) {
  const std::string& cpu_precision = options.cpu_precision;
  if (cpu_precision != "f32" && cpu_precision != "bf16")
    throw usage_error("options.cpu_precision must be f32 or bf16, not '" + cpu_precision + "'");
  if (backends().empty())
    throw backend_error("this libgsvnet was built without an inference runtime; build it with OpenVINO (docs/c.md)");
  std::string known = "auto", reasons;
  for (const BackendEntry& entry : backends()) {
    known += std::string(", ") + entry.name;
    if (name == entry.name) return {name, entry.make(options)};
    if (name != "auto") continue;
    try {
      return {entry.name, entry.make(options)};
    } catch (const Error& error) {
      reasons += (reasons.empty() ? "" : "; ") + std::string(error.what());
    }
  }
  if (name == "auto") throw backend_error(reasons);
  throw usage_error("options.backend must be one of " + known + ", not '" + name + "'");
}

}  // namespace gsvnet::engine
