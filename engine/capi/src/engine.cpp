#include "engine.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "error.h"

namespace gsvnet::engine {
namespace {

constexpr size_t kSizesKept = 3;                      // whose compiled networks stay when a stream changes its size
constexpr int64_t kLargestStride = int64_t{1} << 40;  // bytes

// Adds the milliseconds that `work` takes.
template <typename Work>
void timed(double& total_ms, const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  total_ms += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// Four tables, for neighbouring pixels mostly agree, and one table would wait for itself.
void count(const Labels& labels, size_t classes, int64_t* counts) {
  uint32_t tables[4][256];
  std::fill(counts, counts + classes, 0);
  for (int64_t y = 0; y < labels.size.height; ++y) {
    std::fill(&tables[0][0], &tables[0][0] + 4 * 256, 0u);
    const uint8_t* row = labels.data + y * labels.stride;
    for (int64_t x = 0; x < labels.size.width; ++x) ++tables[x & 3][row[x]];
    for (size_t k = 0; k < classes; ++k)
      counts[k] += int64_t{tables[0][k]} + tables[1][k] + tables[2][k] + tables[3][k];
  }
}

int32_t checked_interval(int32_t interval) {
  if (interval < 1) throw usage_error("interval must be a whole number of at least 1, not " + std::to_string(interval));
  return interval;
}

const Options& checked(const Options& options) {
  if (options.interval < 0)
    throw usage_error("options.interval must be at least 1, or 0 for the bundle's own, not " +
                      std::to_string(options.interval));
  if (options.threads < 0 || options.threads > 1024)
    throw usage_error("options.threads must be 0 (their own choice) to 1024, not " + std::to_string(options.threads));
  return options;
}

}  // namespace

Engine::Engine(const std::string& bundle, const Options& options)
    : options_(checked(options)),
      backend_(choose_backend(options.backend, options.runtime)),
      version_(backend_.backend->version()),
      bundle_(bundle, backend_.backend->graphs()),
      interval_(options.interval ? options.interval : bundle_.manifest().interval) {}

gsvnet_result Engine::push(const gsvnet_frame& frame, const gsvnet_output& output) {
  const Picture picture = checked_picture(frame);
  const Labels labels = checked_labels(output, picture.size);
  const Sizes sizes = bundle_.plan(picture.size);

  const std::lock_guard<std::mutex> lock(one_at_a_time_);
  Ready& ready = ready_for(sizes);
  const uint32_t requested = requested_;
  const bool keyframe = is_keyframe(last_ ? &*last_ : nullptr, picture.size, picture.pts_s, interval_,
                                    requested != served_ || last_ready_ != &ready);
  gsvnet_result result = GSVNET_RESULT_INIT;
  result.is_keyframe = keyframe;
  result.age = keyframe ? 0 : last_->age + 1;
  timed(result.prepare_ms, [&] { ready.stages->prepare(picture, keyframe); });
  if (keyframe)
    timed(result.keyframe_ms, [&] { ready.stages->keyframe(); });
  else
    timed(result.propagate_ms, [&] { ready.stages->propagate(); });
  timed(result.labels_ms, [&] {
    ready.stages->labels(labels);
    if (output.counts) count(labels, manifest().classes.size(), output.counts);
  });
  ready.stages->tell(result);

  ready.stages->commit();
  last_ = Step{picture.size, picture.pts_s, result.age};
  last_ready_ = &ready;
  served_ = requested;
  return result;
}

void Engine::warm(int32_t width, int32_t height) {
  const Sizes sizes = bundle_.plan(checked_size(width, height));
  const std::lock_guard<std::mutex> lock(one_at_a_time_);
  ready_for(sizes);
}

void Engine::reset() {
  const std::lock_guard<std::mutex> lock(one_at_a_time_);
  last_.reset();
  last_ready_ = nullptr;
  served_ = requested_;
}

void Engine::set_interval(int32_t interval) { interval_ = checked_interval(interval); }

// The networks for these sizes, made on first need. What the last frame left is not thrown away for another size's
// sake.
Engine::Ready& Engine::ready_for(const Sizes& sizes) {
  auto found = std::find_if(ready_.begin(), ready_.end(), [&](const Ready& ready) {
    return ready.keyframe == sizes.keyframe && ready.grid == sizes.grid;
  });
  if (found != ready_.end()) {
    ready_.splice(ready_.begin(), ready_, found);
    return ready_.front();
  }
  ready_.push_front({sizes.keyframe, sizes.grid, backend_.backend->open(bundle_, sizes, options_.threads)});
  if (ready_.size() > kSizesKept) {
    auto oldest = std::prev(ready_.end());
    if (&*oldest == last_ready_) --oldest;
    ready_.erase(oldest);
  }
  return ready_.front();
}

Labels Engine::checked_labels(const gsvnet_output& output, Size size) const {
  if (!output.labels) throw usage_error("output.labels is null: give a buffer of one byte a pixel");
  const int64_t stride = output.labels_stride ? output.labels_stride : size.width;
  if (stride < size.width || stride > kLargestStride)
    throw usage_error("output.labels_stride is " + std::to_string(stride) + " bytes; a row has " +
                      std::to_string(size.width));
  const int64_t needed = (size.height - 1) * stride + size.width;
  if (output.labels_size < needed)
    throw usage_error("output.labels_size is " + std::to_string(output.labels_size) + " bytes; labels of " +
                      std::to_string(size.width) + "x" + std::to_string(size.height) + " in rows of " +
                      std::to_string(stride) + " need " + std::to_string(needed));
  const size_t classes = manifest().classes.size();
  if (output.counts && (output.counts_length < 0 || static_cast<size_t>(output.counts_length) < classes))
    throw usage_error("output.counts_length is " + std::to_string(output.counts_length) + "; the bundle has " +
                      std::to_string(classes) + " classes");
  return {output.labels, stride, size};
}

}  // namespace gsvnet::engine
