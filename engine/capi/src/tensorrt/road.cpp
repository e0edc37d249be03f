#include "road.h"

#include <tuple>

namespace gsvnet::tensorrt {
namespace {

bool before(const Version& version, int major, int minor) {
  return std::tie(version.major, version.minor) < std::tie(major, minor);
}

// The lowest and highest compute capability, from NVIDIA's support matrices.
std::pair<cuda::Capability, cuda::Capability> served(const Version& version) {
  if (before(version, 9, 0)) return {{5, 0}, {9, 0}};
  if (before(version, 10, 5)) return {{7, 0}, {9, 0}};
  return {{7, 5}, before(version, 10, 8) ? cuda::Capability{9, 0} : cuda::Capability{99, 9}};
}

std::string shown(const Version& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch);
}

}  // namespace

Road choose_road(const Version& version, cuda::Capability card, bool plugins) {
  if (before(version, 8, 6))
    throw engine::backend_error("tensorrt: TensorRT " + shown(version) + " is too old (8.6 or later is needed)");
  const auto [lowest, highest] = served(version);
  if (card < lowest || card > highest)
    throw engine::backend_error("tensorrt: TensorRT " + shown(version) + " does not serve compute capability " +
                                std::to_string(card.first) + "." + std::to_string(card.second));
  if (before(version, 9, 0)) return Road::kPlain;
  return plugins && !before(version, 10, 7) ? Road::kPlugin : Road::kFunctions;
}

const char* name(Road road) {
  return road == Road::kPlain ? "plain" : road == Road::kFunctions ? "functions" : "plugin";
}

std::string title(const Version& version) { return "TensorRT " + shown(version); }

}  // namespace gsvnet::tensorrt
