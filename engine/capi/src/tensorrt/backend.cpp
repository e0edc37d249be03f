#include "backend.h"

#include <algorithm>
#include <optional>

#include "../error.h"
#include "kernels.h"
#include "plan_cache.h"
#include "road.h"
#include "stages.h"

namespace gsvnet::tensorrt {
namespace {

using engine::Bundle;
using engine::Signature;
using engine::Sizes;

class TensorRt final : public engine::Backend {
 public:
  TensorRt(const engine::BackendOptions& options, size_t band)
      : options_(options),
        band_(band),
        device_(cuda::find_device(options.device)),
        runtime_(load_runtime()),
        road_(choose_road(runtime_->version(), device_.capability, !options.plugins.empty())),
        plugin_sha256_(road_ == Road::kPlugin ? sha256_of_file(options.plugins) : ""),
        cache_(options.plan_cache.empty() ? default_cache() : options.plan_cache),
        context_(device_) {
    if (road_ == Road::kPlugin) runtime_->load_plugins(options.plugins);
    const cuda::Current current(context_);
    kernels_ = Kernels{{frame_image(), "gsvnet_prepare"}, {labels_image(), "gsvnet_labels"}};
  }

  ~TensorRt() override {
    const cuda::Current current(context_, cuda::Current::Failure::is_ignored);
    kernels_.reset();
    runtime_.reset();
  }

  std::string version() const override { return title(runtime_->version()) + " on " + device_.name; }

  std::vector<std::string_view> graphs() const override { return {}; }  // plans are made of them already

  std::unique_ptr<engine::Stages> open(const Bundle& bundle, const Sizes& sizes, int32_t) override {
    const std::string_view propagate = road_ == Road::kPlain ? engine::kPropagatePlain : engine::kPropagate;
    const cuda::Current current(context_);
    Networks networks{network(bundle, sizes, keyframe_signature(bundle, sizes)),
                      network(bundle, sizes, propagate_signature(bundle, sizes, propagate))};
    return make_stages(context_, *kernels_, std::move(networks), sizes, bundle.manifest().classes.size(), band_);
  }

 private:
  std::unique_ptr<Network> network(const Bundle& bundle, const Sizes& sizes, const Signature& expected) {
    const PlanKey wanted = key(bundle, expected);
    const std::optional<std::string> plan = cache_.get(wanted);
    if (!plan) throw no_plan(bundle, sizes, wanted);
    return std::make_unique<Network>(*runtime_, runtime_->load(*plan), expected, bundle.where(expected.graph));
  }

  PlanKey key(const Bundle& bundle, const Signature& expected) const {
    const engine::Manifest& manifest = bundle.manifest();
    const auto graph = std::find_if(manifest.graphs.begin(), manifest.graphs.end(),
                                    [&](const auto& each) { return each.first == expected.graph; });
    return {manifest.name, graph->second,      plugin_sha256_,     title(runtime_->version()), name(road_),
            device_.name,  manifest.precision, device_.capability, expected};
  }

  engine::Error no_plan(const Bundle& bundle, const Sizes& sizes, const PlanKey& key) const {
    const std::optional<std::string> stale = cache_.why_stale(key);
    std::string command = "gsvnet-engine build " + bundle.path() + " --size " + std::to_string(sizes.source.width) +
                          "x" + std::to_string(sizes.source.height);
    if (options_.device) command += " --gpu " + std::to_string(options_.device);
    if (!options_.plan_cache.empty()) command += " --plan-cache " + options_.plan_cache;
    if (!options_.plugins.empty()) command += " --plugin " + options_.plugins;
    std::string why = "there is no plan for this GPU and size in " + cache_.plans();
    if (stale) why = "the plan in " + cache_.plans() + " is stale (" + *stale + ")";
    if (stale && road_ == Road::kFunctions && stale->find("road plugin") != std::string::npos)
      command += ", or set options.plugins to the library that it was built with";
    return engine::backend_error("tensorrt: " + key.bundle + " " + key.signature.graph + ": " + why + ": run " +
                                 command);
  }

  const engine::BackendOptions options_;
  const size_t band_;
  const cuda::DeviceInfo device_;  // first: nothing of TensorRT is touched where there is no GPU
  std::unique_ptr<Runtime> runtime_;
  const Road road_;
  const std::string plugin_sha256_;
  const PlanCache cache_;
  const cuda::Context context_;
  std::optional<Kernels> kernels_;
};

}  // namespace

std::unique_ptr<engine::Backend> make_tensorrt(const engine::BackendOptions& options) {
  return make_tensorrt(options, kBand);
}

std::unique_ptr<engine::Backend> make_tensorrt(const engine::BackendOptions& options, size_t band) {
  if (options.cpu_precision != "f32")
    throw engine::backend_error("tensorrt: computes in the bundle's own precision; use the openvino backend for " +
                                options.cpu_precision);
  return std::make_unique<TensorRt>(options, band);
}

}  // namespace gsvnet::tensorrt
