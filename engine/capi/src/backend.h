// What a backend is. A new one derives from Backend (or, where its networks read and write host memory, from host.h's
// HostBackend) and gets a line in backends.cpp.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bundle.h"
#include "frame.h"

namespace gsvnet::engine {

// The caller's buffer of labels, checked: [height][width], rows `stride` bytes apart.
struct Labels {
  uint8_t* data;
  int64_t stride;
  Size size;
};

// A bundle's networks and what one video's propagation starts from, for one set of sizes, wherever its memory lies. Per
// frame: prepare, then keyframe or propagate, then labels, then tell and commit. When labels returns all work is done;
// what came before may have left its own under way. What is thrown before commit leaves the state as it was, and
// nothing under way.
class Stages {
 public:
  virtual ~Stages() = default;
  // The picture to i_t, and for a keyframe to the image network's input too.
  virtual void prepare(const Picture& picture, bool keyframe) = 0;
  // N(I_t) -> S_t.
  virtual void keyframe() = 0;
  // PF(i_t, i_{t-1}, S_{t-1}) -> S_t; only after a commit.
  virtual void propagate() = 0;
  // S_t -> labels.
  virtual void labels(const Labels& out) = 0;
  // Where work is left under way: what each stage took, in the place of how long its call took.
  virtual void tell(gsvnet_result&) {}
  // i_t and S_t become what the next frame starts from.
  virtual void commit() noexcept = 0;
};

// A runtime on this machine.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string version() const = 0;
  // The graphs whose bytes `open` asks the bundle for.
  virtual std::vector<std::string_view> graphs() const = 0;
  // Make the bundle's graphs ready; several may be open at once. `threads` 0 leaves the number to the runtime. Throws
  // Error with GSVNET_ERROR_BUNDLE for a graph that does not load or fit, GSVNET_ERROR_BACKEND otherwise.
  virtual std::unique_ptr<Stages> open(const Bundle& bundle, const Sizes& sizes, int32_t threads) = 0;
};

struct BackendOptions {
  std::string cpu_precision = "f32";  // or "bf16"
  // tensorrt's: the GPU's number; the folder of plans ("": the user's own); the plugin library ("": none).
  int32_t device = 0;
  std::string plan_cache, plugins;
};

// How a backend is made: name, and a function that throws Error with GSVNET_ERROR_BACKEND where this machine cannot run
// it so.
struct BackendEntry {
  const char* name;
  std::unique_ptr<Backend> (*make)(const BackendOptions& options);
};

// Those that this library was built with, in the order in which "auto" tries them. Tests link a list of their own.
const std::vector<BackendEntry>& backends();

struct ChosenBackend {
  std::string name;
  std::unique_ptr<Backend> backend;
};

// The backend of that name, or for "auto" the first of backends() that works here.
ChosenBackend choose_backend(const std::string& name, const BackendOptions& options);

}  // namespace gsvnet::engine
