#include "scripted.h"

#include "error.h"
#include "host.h"

namespace scripted {

std::atomic<int> alive{0}, loads{0};
std::atomic<bool> fail_load{false}, fail_run{false};

}  // namespace scripted

namespace gsvnet::engine {
namespace {

// Class k looks for its own mixture of red, green and blue. A keyframe: the nearest pixel's. Propagated: half of what
// was, plus what changed; so that a stale state or frames in the wrong order show as other labels.
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
    const int64_t rows = sizes_.grid.height, columns = sizes_.grid.width;
    const int64_t height = sizes_.keyframe.height, width = sizes_.keyframe.width;
    for (int64_t k = 0; k < classes_; ++k)
      for (int64_t y = 0; y < rows; ++y)
        for (int64_t x = 0; x < columns; ++x)
          scores[(k * rows + y) * columns + x] =
              mixture(k, frame, height * width, y * height / rows * width + x * width / columns);
  }

  void propagate(const float* current, const float* previous, const float* scores, float* propagated) override {
    check();
    const int64_t cells = sizes_.grid.height * sizes_.grid.width;
    for (int64_t k = 0; k < classes_; ++k)
      for (int64_t i = 0; i < cells; ++i)
        propagated[k * cells + i] =
            0.5f * scores[k * cells + i] + mixture(k, current, cells, i) - 0.25f * mixture(k, previous, cells, i);
  }

 private:
  static void check() {
    if (scripted::fail_run.exchange(false)) throw backend_error("scripted: failed");
  }

  static float mixture(int64_t k, const float* picture, int64_t plane, int64_t at) {
    const float red = static_cast<float>(k * 7 % 5) - 2, green = static_cast<float>(k * 3 % 7) - 3;
    const float blue = static_cast<float>(k * 5 % 3) - 1;
    // About grey, so that no class wins everywhere.
    return red * (picture[at] - 0.5f) + green * (picture[plane + at] - 0.5f) + blue * (picture[2 * plane + at] - 0.5f);
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

std::unique_ptr<Backend> make_broken(const std::string&) { throw backend_error("broken: never works"); }

std::unique_ptr<Backend> make_scripted(const std::string& precision) {
  if (precision != "f32") throw backend_error("scripted: computes in f32 only");
  return std::make_unique<Scripted>();
}

}  // namespace

const std::vector<BackendEntry>& backends() {
  static const std::vector<BackendEntry> all = {{"broken", make_broken}, {"scripted", make_scripted}};
  return all;
}

}  // namespace gsvnet::engine
