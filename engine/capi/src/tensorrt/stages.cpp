#include "stages.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "../error.h"
#include "order.h"
#include "preparer.h"
#include "transfers.h"

namespace gsvnet::tensorrt {
namespace {

constexpr int kMemoryType = 2;           // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
constexpr unsigned kDeviceMemory = 2;    // CU_MEMORYTYPE_DEVICE
constexpr int kUnknownPointer = 1;       // CUDA_ERROR_INVALID_VALUE: memory that CUDA knows nothing of
constexpr size_t kFloat = sizeof(float);

size_t area(engine::Size size) { return static_cast<size_t>(size.height * size.width); }

// What every second frame writes, and the next one reads; and its two networks between those buffers, as graphs where
// they can be captured.
struct Parity {
  Parity(engine::Size grid, size_t classes)
      : current(3 * area(grid) * kFloat, "the picture at 1/8"), scores(classes * area(grid) * kFloat, "scores") {}

  cuda::DeviceBuffer current, scores;
  std::optional<cuda::Graph> keyframe, propagate;
};

// A host pointer would end the process on the device, not here.
void check_on_device(const engine::Picture& picture) {
  for (int i = 0; i < picture.stored_planes; ++i) {
    unsigned type = 0;
    try {
      cuda::driver().pointer_attribute(&type, kMemoryType, reinterpret_cast<cuda::Address>(picture.stored[i].data));
    } catch (const cuda::DriverError& error) {
      if (error.code() != kUnknownPointer) throw;
    }
    if (type != kDeviceMemory)
      throw engine::input_error("frame.planes[" + std::to_string(i) +
                                "] is no memory of a GPU, though frame.memory is GSVNET_MEMORY_CUDA");
  }
}

DevicePlanes where_they_lie(const engine::Picture& picture) {
  DevicePlanes planes{};
  for (size_t i = 0; i < static_cast<size_t>(picture.stored_planes); ++i) {
    planes.data[i] = reinterpret_cast<cuda::Address>(picture.stored[i].data);
    planes.strides[i] = picture.stored[i].stride;
  }
  return planes;
}

std::optional<cuda::Graph> captured(const cuda::Stream& stream, const std::function<void()>& work) {
  try {
    return cuda::Graph(stream, work);
  } catch (const cuda::DriverError& error) {
    if (error.lost()) throw;
  } catch (const engine::Error&) {  // then it runs piece by piece
  }
  return std::nullopt;
}

// All that lives on the device. Its context must be current whenever it is touched, and when it goes.
class Video {
 public:
  Video(const Kernels& kernels, Networks networks, const engine::Sizes& sizes, size_t classes, size_t band)
      : kernels_(kernels),
        networks_(std::move(networks)),
        sizes_(sizes),
        classes_(static_cast<int>(classes)),
        picture_(3 * area(sizes.keyframe) * kFloat, "the keyframe's picture"),
        uploads_(band),
        downloads_(band),
        preparer_(kernels.prepare) {
    for (size_t i = 0; i < count(Double::kState); ++i) parities_.emplace_back(sizes.grid, classes);
    try {
      for (Parity& parity : parities_) try_and_capture(parity);
    } catch (...) {
      drain(Edge::kFreeAfterWork);
      throw;
    }
  }
  ~Video() { drain(Edge::kFreeAfterWork); }
  Video(const Video&) = delete;
  Video& operator=(const Video&) = delete;

  void prepare(const engine::Picture& picture, bool keyframe) {
    if (picture.on_cuda) check_on_device(picture);
    started_.record(compute_);
    const DevicePlanes planes = picture.on_cuda ? wait_for_outside(picture) : upload(picture);
    preparer_.prepare(compute_, picture, planes, GSVNET_AREA, sizes_.grid, now().current);
    if (keyframe) preparer_.prepare(compute_, picture, planes, GSVNET_BILINEAR, sizes_.keyframe, picture_);
    prepared_.record(compute_);
  }

  void keyframe() {
    run(now().keyframe, [&] { run_keyframe(now()); });
  }

  void propagate() {
    run(now().propagate, [&] { run_propagate(now(), before()); });
  }

  void labels(const engine::Labels& out) {
    if (!labels_ || labels_->size() < area(out.size)) labels_.emplace(area(out.size), "labels");
    const cuda::Address from = now().scores.address(), to = labels_->address();
    const int rows = static_cast<int>(sizes_.grid.height), columns = static_cast<int>(sizes_.grid.width);
    const int height = static_cast<int>(out.size.height), width = static_cast<int>(out.size.width);
    kernels_.labels.launch(compute_, width, height, {&from, &classes_, &rows, &columns, &to, &height, &width});
    labelled_.record(compute_);
    wait(Edge::kDownloadAfterLabels, download_, labelled_);
    downloads_.fetch(*labels_, out, download_);
  }

  double prepare_ms() const { return prepared_.ms_since(started_); }
  double network_ms() const { return stepped_.ms_since(prepared_); }

  void commit() noexcept { turn_ = (turn_ + 1) % parities_.size(); }

  void drain(Edge edge) const noexcept {
    for (const cuda::Stream* stream : {&upload_, &compute_, &download_}) tensorrt::drain(edge, *stream);
  }

 private:
  Parity& now() { return parities_[turn_]; }
  Parity& before() { return parities_[(turn_ + 1) % parities_.size()]; }

  DevicePlanes upload(const engine::Picture& picture) {
    const DevicePlanes planes = uploads_.send(picture, upload_);
    arrived_.record(upload_);
    wait(Edge::kPrepareAfterUpload, compute_, arrived_);
    return planes;
  }

  // A picture that lies on the device already, where others write it. It is read when labels() returns.
  DevicePlanes wait_for_outside(const engine::Picture& picture) {
    if (picture.cuda_stream) {
      arrived_.record(picture.cuda_stream);
      wait(Edge::kPrepareAfterOutside, compute_, arrived_);
    }
    return where_they_lie(picture);
  }

  void run(const std::optional<cuda::Graph>& graph, const std::function<void()>& piece_by_piece) {
    if (graph)
      graph->launch(compute_);
    else
      piece_by_piece();
    stepped_.record(compute_);
  }

  void run_keyframe(const Parity& into) const {
    networks_.keyframe->enqueue(compute_, {{"frame", &picture_}, {"scores", &into.scores}});
  }

  void run_propagate(const Parity& into, const Parity& from) const {
    networks_.propagate->enqueue(compute_, {{"current", &into.current},
                                            {"previous", &from.current},
                                            {"scores", &from.scores},
                                            {"propagated", &into.scores}});
  }

  // TensorRT wants one run before it is captured: it sets things up then that a graph may not hold.
  void try_and_capture(Parity& into) {
    const Parity& from = &into == &parities_.front() ? parities_.back() : parities_.front();
    picture_.clear(compute_);  // the runs must read something
    into.current.clear(compute_);
    from.current.clear(compute_);
    from.scores.clear(compute_);
    const auto keyframe = [&] { run_keyframe(into); };
    const auto propagate = [&] { run_propagate(into, from); };
    keyframe();
    into.keyframe = captured(compute_, keyframe);
    propagate();
    into.propagate = captured(compute_, propagate);
  }

  const Kernels& kernels_;
  Networks networks_;
  const engine::Sizes sizes_;
  const int classes_;
  cuda::Stream upload_, compute_, download_;
  cuda::Event started_{cuda::Event::Kind::timed}, prepared_{cuda::Event::Kind::timed};
  cuda::Event stepped_{cuda::Event::Kind::timed};
  cuda::Event arrived_, labelled_;
  std::vector<Parity> parities_;
  cuda::DeviceBuffer picture_;
  std::optional<cuda::DeviceBuffer> labels_;  // as large as the largest frame's so far
  Uploads uploads_;
  Downloads downloads_;
  Preparer preparer_;
  size_t turn_ = 0;  // the parity that the next frame writes
};

class GpuStages final : public engine::Stages {
 public:
  GpuStages(const cuda::Context& context, std::unique_ptr<Video> video) : context_(context), video_(std::move(video)) {}
  ~GpuStages() override {
    const cuda::Current current(context_, cuda::Current::Failure::is_ignored);
    video_.reset();
  }

  void prepare(const engine::Picture& picture, bool keyframe) override {
    within([&] { video_->prepare(picture, keyframe); });
    keyframe_ = keyframe;
  }
  void keyframe() override {
    within([&] { video_->keyframe(); });
  }
  void propagate() override {
    within([&] { video_->propagate(); });
  }
  void labels(const engine::Labels& out) override {
    within([&] { video_->labels(out); });
  }
  void commit() noexcept override { video_->commit(); }

  void tell(gsvnet_result& result) override {
    const double all_ms = result.prepare_ms + result.keyframe_ms + result.propagate_ms + result.labels_ms;
    within([&] {
      result.prepare_ms = video_->prepare_ms();
      (keyframe_ ? result.keyframe_ms : result.propagate_ms) = video_->network_ms();
    });
    const double before_ms = result.prepare_ms + (keyframe_ ? result.keyframe_ms : result.propagate_ms);
    result.labels_ms = std::max(all_ms - before_ms, 0.0);
  }

 private:
  // With the context current. A push that fails leaves nothing under way: frames and labels are their owners' again.
  template <typename Work>
  void within(const Work& work) {
    try {
      const cuda::Current current(context_);
      work();
    } catch (...) {
      const cuda::Current current(context_, cuda::Current::Failure::is_ignored);
      video_->drain(Edge::kReturnAfterFailure);
      throw;
    }
  }

  const cuda::Context& context_;
  std::unique_ptr<Video> video_;
  bool keyframe_ = false;
};

}  // namespace

std::unique_ptr<engine::Stages> make_stages(const cuda::Context& context, const Kernels& kernels, Networks networks,
                                            const engine::Sizes& sizes, size_t classes, size_t band) {
  auto video = std::make_unique<Video>(kernels, std::move(networks), sizes, classes, band);
  return std::make_unique<GpuStages>(context, std::move(video));
}

}  // namespace gsvnet::tensorrt
