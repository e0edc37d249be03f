#include "scripted.h"

#include "error.h"
#include "host.h"

using gsvnet::engine::Size;

namespace scripted {

std::atomic<int> alive{0}, loads{0};
std::atomic<bool> fail_load{false}, fail_run{false};

namespace {

// Class k looks for its own mixture of red, green and blue.
float mixture(int64_t k, const float* picture, int64_t plane, int64_t at) {
  const float red = static_cast<float>(k * 7 % 5) - 2, green = static_cast<float>(k * 3 % 7) - 3;
  const float blue = static_cast<float>(k * 5 % 3) - 1;
  // About grey, so that no class wins everywhere.
  return red * (picture[at] - 0.5f) + green * (picture[plane + at] - 0.5f) + blue * (picture[2 * plane + at] - 0.5f);
}

}  // namespace

void keyframe(int64_t classes, Size picture, Size grid, const float* frame, float* scores) {
  for (int64_t k = 0; k < classes; ++k)
    for (int64_t y = 0; y < grid.height; ++y)
      for (int64_t x = 0; x < grid.width; ++x)
        scores[(k * grid.height + y) * grid.width + x] =
            mixture(k, frame, picture.height * picture.width,
                    y * picture.height / grid.height * picture.width + x * picture.width / grid.width);
}

void propagate(int64_t classes, Size grid, const float* current, const float* previous, const float* scores,
               float* propagated) {
  const int64_t cells = grid.height * grid.width;
  for (int64_t k = 0; k < classes; ++k)
    for (int64_t i = 0; i < cells; ++i)
      propagated[k * cells + i] =
          0.5f * scores[k * cells + i] + mixture(k, current, cells, i) - 0.25f * mixture(k, previous, cells, i);
}

}  // namespace scripted

namespace gsvnet::engine {
namespace {

class ScriptedNetworks final : public Networks {
 public:
  ScriptedNetworks(int64_t classes, const Sizes& sizes) : classes_(classes), sizes_(sizes) {
    if (scripted::fail_load.exchange(false)) throw bundle_error("scripted: cannot load it");
    ++scripted::alive;
    ++scripted::loads;
  }
  ~ScriptedNetworks() override { --scripted::alive; }

  void keyframe(const float* frame, float* scores) override {
    check();
    scripted::keyframe(classes_, sizes_.keyframe, sizes_.grid, frame, scores);
  }

  void propagate(const float* current, const float* previous, const float* scores, float* propagated) override {
    check();
    scripted::propagate(classes_, sizes_.grid, current, previous, scores, propagated);
  }

 private:
  static void check() {
    if (scripted::fail_run.exchange(false)) throw backend_error("scripted: failed");
  }

  int64_t classes_;
  Sizes sizes_;
};

class Scripted final : public HostBackend {
 public:
  std::string version() const override { return "1"; }
  std::vector<std::string_view> graphs() const override { return {kKeyframe, kPropagatePlain}; }

 protected:
  std::unique_ptr<Networks> load(const Bundle& bundle, const Sizes& sizes, int32_t) override {
    bundle.graph(kKeyframe), bundle.graph(kPropagatePlain);
    return std::make_unique<ScriptedNetworks>(static_cast<int64_t>(bundle.manifest().classes.size()), sizes);
  }
};

}  // namespace
}  // namespace gsvnet::engine

std::unique_ptr<gsvnet::engine::Backend> scripted::make(const gsvnet::engine::BackendOptions& options) {
  if (options.cpu_precision != "f32") throw gsvnet::engine::backend_error("scripted: computes in f32 only");
  return std::make_unique<gsvnet::engine::Scripted>();
}
