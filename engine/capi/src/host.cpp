#include "host.h"

#include <new>
#include <vector>

#include "error.h"
#include "gsvnet_kernels.h"
#include "prepare.h"

namespace gsvnet::engine {
namespace {

// Two of each buffer: `now_` is being made, the other is what the last committed frame left.
class HostStages final : public Stages {
 public:
  HostStages(std::unique_ptr<Networks> networks, const Sizes& sizes, size_t classes, int32_t threads)
      : networks_(std::move(networks)), sizes_(sizes), classes_(static_cast<int32_t>(classes)), threads_(threads) {
    const auto cells = static_cast<size_t>(sizes.grid.height * sizes.grid.width);
    picture_.resize(3 * static_cast<size_t>(sizes.keyframe.height * sizes.keyframe.width));
    for (int i = 0; i < 2; ++i) {
      current_[i].resize(3 * cells);
      scores_[i].resize(classes * cells);
    }
  }

  void prepare(const Picture& picture, bool keyframe) override {
    if (picture.on_cuda)
      throw backend_error(
          "this backend reads host memory and the frame lies in a GPU's: copy it, or use a GPU backend");
    prepare_current(picture, sizes_.grid, threads_, current_[now_].data());
    if (keyframe) prepare_keyframe(picture, sizes_.keyframe, threads_, picture_.data());
  }

  void keyframe() override { networks_->keyframe(picture_.data(), scores_[now_].data()); }

  void propagate() override {
    networks_->propagate(current_[now_].data(), current_[!now_].data(), scores_[!now_].data(), scores_[now_].data());
  }

  void labels(const Labels& out) override {
    if (gsvnet_label_upsample(scores_[now_].data(), classes_, static_cast<int32_t>(sizes_.grid.height),
                              static_cast<int32_t>(sizes_.grid.width), out.data, static_cast<int32_t>(out.size.height),
                              static_cast<int32_t>(out.size.width), out.stride, threads_))
      throw std::bad_alloc();  // all else about the arguments is checked
  }

  void commit() noexcept override { now_ = !now_; }

 private:
  std::unique_ptr<Networks> networks_;
  Sizes sizes_;
  int32_t classes_, threads_;
  int now_ = 0;
  std::vector<float> picture_, current_[2], scores_[2];
};

}  // namespace

std::unique_ptr<Stages> HostBackend::open(const Bundle& bundle, const Sizes& sizes, int32_t threads) {
  return std::make_unique<HostStages>(load(bundle, sizes, threads), sizes, bundle.manifest().classes.size(), threads);
}

}  // namespace gsvnet::engine
