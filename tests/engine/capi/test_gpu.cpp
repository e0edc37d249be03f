// The GPU backend on stand-ins for the driver and TensorRT: its labels against the scripted backend's, the order of its
// work by what goes wrong without it, every call of the driver failing once, and what is said of plans.

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "check.h"
#include "cuda/device.h"
#include "cuda/work.h"
#include "gsvnet.h"
#include "order_but_one.h"
#include "scripted.h"
#include "standin_plans.h"
#include "tensorrt/backend.h"
#include "tensorrt/plan_cache.h"
#include "tensorrt/road.h"
#include "tensorrt/transfers.h"
#include "sha256.h"
#include "toy.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ADDRESS_SANITIZER
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define UNDER_ADDRESS_SANITIZER
#endif

namespace cuda = gsvnet::cuda;
namespace engine = gsvnet::engine;
namespace tensorrt = gsvnet::tensorrt;

constexpr size_t kSmallBand = 100;  // bytes: so that the smallest pictures go in many

const std::vector<engine::BackendEntry>& engine::backends() {
  static const std::vector<BackendEntry> all = {
      {"tensorrt", [](const BackendOptions& options) { return tensorrt::make_tensorrt(options, kSmallBand); }},
      {"scripted", scripted::make}};
  return all;
}

namespace {

constexpr int kOutOfMemory = 2, kIllegalAddress = 700, kInvalidContext = 201;
constexpr int kWidth = 40, kHeight = 24;

// A plane: whether of half the size, and samples a pixel.
struct PlaneKind {
  bool halved;
  int samples;
};

struct FormatKind {
  int32_t format;
  int bytes, low_bits;  // of a sample; how many low bits of it are 0
  std::vector<PlaneKind> planes;
};

const std::vector<FormatKind> kFormats = {{GSVNET_I420, 1, 0, {{false, 1}, {true, 1}, {true, 1}}},
                                          {GSVNET_NV12, 1, 0, {{false, 1}, {true, 2}}},
                                          {GSVNET_I010, 2, 0, {{false, 1}, {true, 1}, {true, 1}}},
                                          {GSVNET_P010, 2, 6, {{false, 1}, {true, 2}}},
                                          {GSVNET_RGB, 1, 0, {{false, 3}}},
                                          {GSVNET_BGR, 1, 0, {{false, 3}}},
                                          {GSVNET_BGRA, 1, 0, {{false, 4}}}};
const FormatKind& kNv12 = kFormats[1];
const FormatKind& kRgb = kFormats[4];

// A picture of patches of random values, in memory of its own; rows `gap` bytes further apart than they must be.
struct Clip {
  std::vector<std::vector<uint8_t>> planes;
  gsvnet_frame frame = GSVNET_FRAME_INIT;

  Clip(const FormatKind& kind, unsigned seed, int width = kWidth, int height = kHeight, int gap = 0) {
    frame.format = kind.format, frame.width = width, frame.height = height;
    for (const PlaneKind& plane : kind.planes) {
      const int rows = plane.halved ? (height + 1) / 2 : height, columns = plane.halved ? (width + 1) / 2 : width;
      const int stride = columns * plane.samples * kind.bytes + gap;
      std::vector<uint8_t> data(static_cast<size_t>(stride * rows));
      for (int y = 0; y < rows; ++y)
        for (int x = 0; x < columns * plane.samples; ++x) {
          const int at_y = y / 7 * 31, at_x = x / plane.samples / 9, component = x % plane.samples * 13;
          const unsigned patch = seed * 97 + static_cast<unsigned>(at_y + at_x + component) +
                                 static_cast<unsigned>(planes.size()) * 57;
          const auto value = static_cast<uint16_t>((patch * 2654435761u) >> 22 << kind.low_bits);
          uint8_t* const at = &data[static_cast<size_t>(y * stride + x * kind.bytes)];
          if (kind.bytes == 2)
            std::memcpy(at, &value, 2);
          else
            *at = static_cast<uint8_t>(value >> 2);
        }
      frame.strides[planes.size()] = stride;
      planes.push_back(std::move(data));
    }
    for (size_t i = 0; i < planes.size(); ++i) frame.planes[i] = planes[i].data();
  }
};

std::vector<Clip> video(const FormatKind& kind, unsigned count, unsigned seed = 1) {
  std::vector<Clip> clips;
  for (unsigned i = 0; i < count; ++i) clips.emplace_back(kind, seed + i);
  return clips;
}

using UInt8 = std::vector<uint8_t>;

// An engine, and labels as one vector a frame.
struct Segmenter {
  gsvnet_engine* engine = nullptr;
  gsvnet_error error{};
  gsvnet_result result = GSVNET_RESULT_INIT;

  Segmenter(const std::string& bundle, const char* backend, const std::string& cache = "",
            const char* plugins = nullptr) {
    gsvnet_options options = GSVNET_OPTIONS_INIT;
    options.backend = backend, options.threads = 1, options.plan_cache = cache.c_str(), options.plugins = plugins;
    gsvnet_open(bundle.c_str(), &options, &engine, &error);
  }
  ~Segmenter() { gsvnet_close(&engine); }

  bool failed() const { return error.status != GSVNET_OK; }
  gsvnet_status warm(int width = kWidth, int height = kHeight) { return gsvnet_warm(engine, width, height, &error); }

  gsvnet_status try_push(const gsvnet_frame& frame, UInt8& labels, int64_t gap = 0) {
    gsvnet_output output = GSVNET_OUTPUT_INIT;
    labels.assign(static_cast<size_t>((frame.width + gap) * frame.height), 0xEE);
    output.labels = labels.data(), output.labels_size = static_cast<int64_t>(labels.size());
    output.labels_stride = frame.width + gap;
    return gsvnet_push(engine, &frame, &output, &result, &error);
  }
  UInt8 push(const gsvnet_frame& frame) {
    UInt8 labels;
    if (try_push(frame, labels)) throw Failure(error.message);
    return labels;
  }
};

// A machine with a GPU and TensorRT, both stand-ins, a bundle, and a cache with plans of it.
struct Machine {
  toy::Folder bundle, cache;

  explicit Machine(unsigned seed = 0) {
    standin_reset(seed);
    standin::version = {11, 4, 0}, standin::plugins.clear();
    order::left_out.reset(), order::single.reset();
    toy::write_bundle(bundle);
    build();
  }

  // What gsvnet-engine build would.
  void build(int width = kWidth, int height = kHeight, const std::string& model_prefix = "") const {
    const engine::Bundle opened(bundle.path(), {});
    const engine::Sizes sizes = opened.plan({height, width});
    const bool plain = standin::version.major < 9;
    add(opened, keyframe_signature(opened, sizes), model_prefix + "keyframe");
    add(opened, propagate_signature(opened, sizes, plain ? engine::kPropagatePlain : engine::kPropagate),
        model_prefix + "propagate");
  }

  tensorrt::PlanKey key(const engine::Bundle& opened, const engine::Signature& signature) const {
    std::string hash;
    for (const auto& each : opened.manifest().graphs)
      if (each.first == signature.graph) hash = each.second;
    return {"toy",  hash, "", tensorrt::title(standin::version), standin::version.major < 9 ? "plain" : "functions",
            "Stand-in GPU", "fp32", {8, 6}, signature};
  }

  void add(const engine::Bundle& opened, const engine::Signature& signature, const std::string& model) const {
    const auto shapes = [](const std::vector<engine::Named>& all) {
      std::string text;
      for (const engine::Named& each : all)
        text += (text.empty() ? "\"" : ", \"") + each.name + "\": " + engine::shown(each.shape);
      return "{" + text + "}";
    };
    const std::string header = "{\"shapes\": " + shapes(signature.inputs) + ", \"values\": " +
                               shapes(signature.constants) + ", \"outputs\": " + shapes(signature.outputs) + "}\n";
    keep(key(opened, signature), header + model);
  }

  void keep(const tensorrt::PlanKey& key, const std::string& plan) const {
    engine::Sha256 hash;
    hash.add(plan.data(), plan.size());
    std::filesystem::create_directories(cache.file("plans"));
    toy::write_file(cache.file("plans/" + key.stem() + ".plan"), plan);
    toy::write_file(cache.file("plans/" + key.stem() + ".json"),
                    "{\"key\": " + key.json().dump() + ", \"plan_sha256\": \"" + hash.hex() + "\"}");
  }

  Segmenter open(const char* plugins = nullptr) const { return {bundle.path(), "tensorrt", cache.path(), plugins}; }

  // The labels that are right.
  std::vector<UInt8> expected(const std::vector<Clip>& clips) const {
    Segmenter reference(bundle.path(), "scripted");
    std::vector<UInt8> all;
    for (const Clip& clip : clips) all.push_back(reference.push(clip.frame));
    return all;
  }
};

void check_nothing_left() {
  CHECK(standin_violations() == std::string());
  CHECK(standin_alive() == std::string());
}

// Somebody else's memory, stream and context on the device.
class Outside {
 public:
  Outside() : context_(cuda::find_device(0)) {
    const cuda::Current current(context_);
    stream_.emplace();
  }
  ~Outside() {
    const cuda::Current current(context_, cuda::Current::Failure::is_ignored);
    stream_->drain();
    memory_.clear();
    stream_.reset();
  }

  // The same picture on the device. In the stream's time: what is read too early is not the picture.
  gsvnet_frame frame(const Clip& clip, bool in_time = false) {
    const cuda::Current current(context_);
    gsvnet_frame there = clip.frame;
    there.memory = GSVNET_MEMORY_CUDA;
    if (in_time) there.cuda_stream = stream_->handle();
    for (size_t i = 0; i < clip.planes.size(); ++i) {
      if (memory_.size() <= i || memory_[i].size() != clip.planes[i].size()) {
        while (memory_.size() > i) memory_.pop_back();
        memory_.emplace_back(clip.planes[i].size(), "a picture of somebody else's");
      }
      writes_.push_back({reinterpret_cast<void*>(memory_[i].address()), clip.planes[i]});
      const auto to = static_cast<uintptr_t>(memory_[i].address());
      if (in_time)
        standin_enqueue(stream_->handle(), write, reinterpret_cast<long>(&writes_.back()), &to, 1);
      else
        write(reinterpret_cast<long>(&writes_.back()));
      there.planes[i] = reinterpret_cast<const void*>(to);
    }
    return there;
  }

  void let_go() {
    const cuda::Current current(context_);
    memory_.clear();
  }

  const cuda::Context& context() const { return context_; }

 private:
  struct Write {
    void* to;
    std::vector<uint8_t> data;
  };
  static void write(long number) {
    const Write& what = *reinterpret_cast<const Write*>(number);
    std::memcpy(what.to, what.data.data(), what.data.size());
  }

  cuda::Context context_;
  std::optional<cuda::Stream> stream_;
  std::vector<cuda::DeviceBuffer> memory_;
  std::list<Write> writes_;
};

// -- labels

void labels_are_those_of_the_cpu() {
  const std::tuple<int, int, int> sizes[] = {{kWidth, kHeight, 0}, {37, 51, 12}, {9, 1, 2}};
  for (const FormatKind& kind : kFormats)
    for (const auto& [width, height, gap] : sizes) {
      const Machine machine(static_cast<unsigned>(kind.format));
      machine.build(width, height);
      {
        Outside outside;
        Segmenter reference(machine.bundle.path(), "scripted"), host = machine.open(), device = machine.open();
        Segmenter in_time = machine.open();
        for (unsigned i = 0; i < 5; ++i) {
          Clip clip(kind, i, width, height, gap);
          clip.frame.matrix = static_cast<int32_t>(i % 4), clip.frame.range = static_cast<int32_t>(i % 3);
          const UInt8 labels = reference.push(clip.frame);
          CHECK(std::count(labels.begin(), labels.end(), labels[0]) < width * height || width * height < 100);
          CHECK(host.push(clip.frame) == labels);
          CHECK(host.result.is_keyframe == reference.result.is_keyframe);
          CHECK(device.push(outside.frame(clip)) == labels);
          CHECK(in_time.push(outside.frame(clip, true)) == labels);
        }
      }
      check_nothing_left();
    }
}

void rows_may_lie_apart_or_upside_down() {
  const Machine machine;
  {
    Outside outside;
    const Clip clip(kRgb, 3, kWidth, kHeight, 8);
    Clip turned = clip;
    const auto stride = static_cast<size_t>(clip.frame.strides[0]);
    for (size_t y = 0; y < kHeight; ++y)
      std::copy_n(&clip.planes[0][y * stride], stride, &turned.planes[0][(kHeight - 1 - y) * stride]);
    turned.frame.planes[0] = turned.planes[0].data();
    const auto from_below = [&](gsvnet_frame frame) {
      frame.planes[0] = static_cast<const uint8_t*>(frame.planes[0]) + (kHeight - 1) * stride;
      frame.strides[0] = -frame.strides[0];
      return frame;
    };
    const UInt8 expected = Segmenter(machine.bundle.path(), "scripted").push(clip.frame);
    CHECK(machine.open().push(from_below(turned.frame)) == expected);
    CHECK(machine.open().push(from_below(outside.frame(turned))) == expected);
    UInt8 labels;
    CHECK(machine.open().try_push(clip.frame, labels, 5) == GSVNET_OK);
    for (size_t y = 0; y < kHeight; ++y) {
      CHECK(std::equal(&labels[y * (kWidth + 5)], &labels[y * (kWidth + 5) + kWidth], &expected[y * kWidth]));
      CHECK(labels[y * (kWidth + 5) + kWidth] == 0xEE);
    }
  }
  check_nothing_left();
}

void sizes_and_formats_may_change() {
  const Machine machine;
  const std::vector<std::pair<int, int>> sizes = {{40, 24}, {41, 24}, {9, 9}, {40, 24}, {24, 40}, {39, 23}, {40, 24}};
  for (const auto& [width, height] : sizes) machine.build(width, height);
  {
    Segmenter reference(machine.bundle.path(), "scripted"), gpu = machine.open();
    unsigned seed = 0;
    for (const FormatKind& kind : kFormats)
      for (const auto& [width, height] : sizes) {
        const Clip first(kind, ++seed, width, height), second(kind, ++seed, width, height);
        CHECK(gpu.push(first.frame) == reference.push(first.frame));
        CHECK(gpu.push(second.frame) == reference.push(second.frame));
      }
  }
  check_nothing_left();
}

void eight_point_six_takes_plain_graphs_and_narrow_numbers() {
  Machine machine;
  standin::version = {8, 6, 1};
  machine.build();
  const std::vector<Clip> clips = video(kNv12, 4);
  const std::vector<UInt8> expected = machine.expected(clips);
  Segmenter gpu = machine.open();
  for (size_t i = 0; i < clips.size(); ++i) CHECK(gpu.push(clips[i].frame) == expected[i]);
}

void a_step_is_one_launch() {
  const Machine machine;
  const std::vector<Clip> clips = video(kNv12, 3);
  Segmenter gpu = machine.open();
  gpu.push(clips[0].frame);
  const long graphs = standin_calls("cuGraphLaunch"), kernels = standin_calls("cuLaunchKernel");
  for (const Clip& clip : {clips[1], clips[2]}) gpu.push(clip.frame);
  CHECK(standin_calls("cuGraphLaunch") - graphs == 2);
  CHECK(standin_calls("cuLaunchKernel") - kernels == 4);  // each frame's preparation and labels
}

void nothing_leaks_over_frames() {
  const Machine machine;
  const std::vector<Clip> clips = video(kNv12, 4);
  {
    Segmenter gpu = machine.open();
    std::string before;
    for (size_t i = 0; i < 2000; ++i) {
      gpu.push(clips[i % 4].frame);
      if (i == 20) before = standin_alive();
    }
    CHECK(standin_alive() == before);
  }
  check_nothing_left();
}

void callers_find_their_context_as_they_left_it() {
  const Machine machine;
  Segmenter gpu = machine.open();
  gpu.push(Clip(kNv12, 1).frame);
  cuda::Address ignored = 0;
  CHECK(cuda::driver().memory_allocate.at(&ignored, 16) == kInvalidContext);
}

void it_tells_times_and_names() {
  const Machine machine;
  Segmenter gpu = machine.open();
  gpu.push(Clip(kNv12, 1).frame);  // the stand-in's clock says 1 ms between any two events
  CHECK(gpu.result.prepare_ms == 1 && gpu.result.keyframe_ms == 1 && gpu.result.propagate_ms == 0);
  gpu.push(Clip(kNv12, 2).frame);
  CHECK(gpu.result.keyframe_ms == 0 && gpu.result.propagate_ms == 1 && gpu.result.labels_ms >= 0);
  gsvnet_info info = GSVNET_INFO_INIT;
  CHECK(gsvnet_get_info(gpu.engine, &info, nullptr) == GSVNET_OK);
  CHECK(info.backend == std::string("tensorrt"));
  CHECK(info.backend_version == std::string("TensorRT 11.4.0 on Stand-in GPU"));
}

// -- what cannot be

void check_refused(const Segmenter& gpu, gsvnet_status expected, const std::string& sentence) {
  CHECK_CONTAINS(gpu.error.message, sentence);
  CHECK(gpu.error.status == expected);
  CHECK(std::strchr(gpu.error.message, '\n') == nullptr);
}

void frames_that_lie_about_their_memory_are_refused() {
  const Machine machine;
  {
    const Clip clip(kNv12, 1);
    UInt8 labels;
    Outside outside;
    Segmenter gpu = machine.open(), cpu(machine.bundle.path(), "scripted");
    gsvnet_frame frame = clip.frame;
    frame.memory = GSVNET_MEMORY_CUDA;
    gpu.try_push(frame, labels);
    check_refused(gpu, GSVNET_ERROR_INPUT, "frame.planes[0] is no memory of a GPU, though frame.memory is");
    const cuda::Current current(outside.context());
    const cuda::PinnedBuffer pinned(clip.planes[1].size(), "a plane");
    frame = outside.frame(clip);
    frame.planes[1] = pinned.data();
    gpu.try_push(frame, labels);
    check_refused(gpu, GSVNET_ERROR_INPUT, "frame.planes[1] is no memory of a GPU");
    cpu.try_push(outside.frame(clip), labels);
    check_refused(cpu, GSVNET_ERROR_BACKEND, "this backend reads host memory and the frame lies in a GPU's");
    frame = clip.frame;
    frame.cuda_stream = &labels;
    gpu.try_push(frame, labels);
    check_refused(gpu, GSVNET_ERROR_INPUT, "frame.cuda_stream must be null for a frame in host memory");
    CHECK(gpu.push(clip.frame) == Segmenter(machine.bundle.path(), "scripted").push(clip.frame));
  }
  check_nothing_left();
}

void a_missing_plan_names_the_command() {
  const Machine machine;
  Segmenter gpu = machine.open();
  CHECK(gpu.warm(64, 48) == GSVNET_ERROR_BACKEND);
  check_refused(gpu, GSVNET_ERROR_BACKEND,
                "tensorrt: toy keyframe.onnx: there is no plan for this GPU and size in " + machine.cache.path() +
                    "/plans: run gsvnet-engine build " + machine.bundle.path() + " --size 64x48 --plan-cache " +
                    machine.cache.path());
  machine.build(64, 48);
  CHECK(gpu.warm(64, 48) == GSVNET_OK);
}

void a_stale_plan_is_never_run_and_says_why() {
  Machine machine;
  standin::version = {11, 5, 0};
  Segmenter newer = machine.open();
  newer.warm();
  check_refused(newer, GSVNET_ERROR_BACKEND, "is stale (tensorrt TensorRT 11.4.0, now TensorRT 11.5.0): run gsvnet-");
  standin::version = {11, 4, 0};
  toy::write_file(machine.bundle.file("propagate.onnx"), toy::kGraph + "\x7a\x01x");
  Segmenter refused = machine.open();
  check_refused(refused, GSVNET_ERROR_BUNDLE, "propagate.onnx");

  const Machine other;
  for (const auto& each : std::filesystem::directory_iterator(other.cache.file("plans")))
    if (each.path().extension() == ".plan") toy::write_file(each.path(), "another plan");
  Segmenter damaged = other.open();
  damaged.warm();
  check_refused(damaged, GSVNET_ERROR_BACKEND, "is stale (it was damaged): run gsvnet-engine build");
  CHECK(standin_calls("cuStreamCreateWithPriority") == 0);  // nothing was begun with it
  for (const auto& each : std::filesystem::directory_iterator(other.cache.file("plans")))
    if (each.path().extension() == ".json") toy::write_file(each.path(), "{");
  damaged.warm();
  check_refused(damaged, GSVNET_ERROR_BACKEND, "is stale (bundle None, now toy; capability None, now 8.6;");
}

void a_plan_that_tensorrt_refuses_is_one_sentence() {
  const Machine machine;
  machine.build(kWidth, kHeight, "another ");
  {
    Segmenter gpu = machine.open();
    gpu.warm();
    check_refused(gpu, GSVNET_ERROR_BACKEND,
                  "keyframe.onnx: TensorRT does not take the plan, or has no room to run it: the plan was made by "
                  "another version");
  }
  const engine::Bundle opened(machine.bundle.path(), {});
  engine::Signature signature = keyframe_signature(opened, opened.plan({kHeight, kWidth}));
  const auto refused = [&](const std::string& plan, const std::string& sentence) {
    machine.keep(machine.key(opened, signature), plan);
    Segmenter gpu = machine.open();
    gpu.warm();
    check_refused(gpu, GSVNET_ERROR_BACKEND, sentence);
  };
  const std::string grid = R"("values": {"grid": [3, 5]})", frame = R"("shapes": {"frame": [1, 3, 16, 24]})";
  refused("{" + frame + R"(, "values": {}, "outputs": {"scores": [1, 4, 3, 5]}})" "\nkeyframe",
          "its plan has frame, scores, not frame, grid, scores: gsvnet-engine cache clear");
  refused("{" + frame + ", " + grid + R"(, "outputs": {"scores": [1, 5, 3, 5]}})" "\nkeyframe",
          "scores comes out as float32 [1,5,3,5] where the manifest's classes and sizes make it float32 [1,4,3,5]");
  refused(R"({"shapes": {"frame": [1, 3, 8, 8]}, )" + grid + R"(, "outputs": {"scores": [1, 4, 3, 5]}})" "\nkeyframe",
          "TensorRT does not take frame [1,3,");
  check_nothing_left();
}

void plugins_are_part_of_the_key() {
  Machine machine;
  const std::string library = machine.cache.file("plugins.so");
  toy::write_file(library, "a library");
  {
    Segmenter gpu = machine.open(library.c_str());
    CHECK(standin::plugins == library);
    gpu.warm();
    check_refused(gpu, GSVNET_ERROR_BACKEND, "is stale (plugin changed; road functions, now plugin)");
    CHECK_CONTAINS(gpu.error.message, " --plugin " + library);
  }
  standin::version = {10, 6, 0}, standin::plugins.clear();
  machine.build();
  CHECK(machine.open(library.c_str()).warm() == GSVNET_OK);  // before 10.7 a plugin does not win
  CHECK(standin::plugins.empty());
  standin::version = {10, 7, 0};
  check_refused(machine.open("/nowhere/plugins.so"), GSVNET_ERROR_BACKEND, "/nowhere/plugins.so cannot be read");

  const engine::Bundle opened(machine.bundle.path(), {});
  tensorrt::PlanKey key = machine.key(opened, keyframe_signature(opened, opened.plan({32, 32})));
  key.road = "plugin", key.plugin_sha256 = "ab";
  machine.keep(key, "a plan");
  Segmenter without = machine.open();
  without.warm(32, 32);
  check_refused(without, GSVNET_ERROR_BACKEND, ", or set options.plugins to the library that it was built with");
}

void machines_that_cannot() {
  Machine machine;
  standin_device(0, 8, 6, "none");
  check_refused(machine.open(), GSVNET_ERROR_BACKEND, "no NVIDIA GPU, or no driver for it (CUDA: cuInit failed");
  gsvnet_engine* found = nullptr;
  CHECK(gsvnet_open(machine.bundle.path().c_str(), nullptr, &found, nullptr) == GSVNET_OK);  // auto: the next
  gsvnet_close(&found);
  standin_device(1, 6, 1, "GeForce GTX 1080 Ti");
  check_refused(machine.open(), GSVNET_ERROR_BACKEND, "TensorRT 11.4.0 does not serve compute capability 6.1");
  standin_device(1, 8, 6, "Stand-in GPU");
  standin::version = {8, 5, 3};
  check_refused(machine.open(), GSVNET_ERROR_BACKEND, "TensorRT 8.5.3 is too old (8.6 or later is needed)");
  standin::version = {11, 4, 0};
  gsvnet_options options = GSVNET_OPTIONS_INIT;
  gsvnet_error error;
  options.backend = "tensorrt", options.device = 3;
  CHECK(gsvnet_open(machine.bundle.path().c_str(), &options, &found, &error) == GSVNET_ERROR_USAGE);
  CHECK_CONTAINS(error.message, "options.device is 3; this machine's GPUs are 0..0");
  options.device = 0, options.cpu_precision = "bf16";
  CHECK(gsvnet_open(machine.bundle.path().c_str(), &options, &found, &error) == GSVNET_ERROR_BACKEND);
  CHECK_CONTAINS(error.message, "tensorrt: computes in the bundle's own precision; use the openvino backend for bf16");
  check_nothing_left();
}

// -- calls that fail

// A short video; the first error, if any.
gsvnet_error a_video(const Machine& machine, const std::vector<gsvnet_frame>& frames) {
  Segmenter gpu = machine.open();
  if (gpu.failed() || gpu.warm()) return gpu.error;
  UInt8 labels;
  for (const gsvnet_frame& frame : frames)
    if (gpu.try_push(frame, labels)) return gpu.error;
  return gpu.error;
}

void any_call_may_fail() {
  const std::vector<std::string> freeing = {
      "cuMemFree",      "cuMemFreeHost",      "cuStreamDestroy",           "cuEventDestroy",  "cuModuleUnload",
      "cuGraphDestroy", "cuGraphExecDestroy", "cuDevicePrimaryCtxRelease", "cuCtxPopCurrent", "cuGetErrorName"};
  // Without a graph, steps run piece by piece; the last waits are before freeing, and so is the last context.
  const std::vector<std::string> else_silent = {"cuStreamBeginCapture", "cuStreamEndCapture", "cuStreamSynchronize",
                                                "cuGraphInstantiateWithFlags", "cuCtxPushCurrent"};
  const Machine machine;
  const std::vector<Clip> clips = video(kNv12, 5);
  for (const int code : {kOutOfMemory, kIllegalAddress})
    for (long number = 0;; ++number) {
      standin_reset(static_cast<unsigned>(number));
      bool over = false;
      {
        Outside outside;
        std::vector<gsvnet_frame> frames;
        for (const Clip& clip : clips) frames.push_back(clip.frame);
        frames[2] = outside.frame(clips[2], true);
        standin_fail(number, code);
        const gsvnet_error error = a_video(machine, frames);
        const std::string failed = standin_failed(), at = "call " + std::to_string(number) + ", " + failed;
        over = failed.empty();
        if (error.status) {
          const std::string said = error.message;
          const bool explained = said.find("CUDA: ") != said.npos || said.find("the device is lost") != said.npos;
          if (error.status != GSVNET_ERROR_BACKEND || said.find('\n') != said.npos || !explained)
            throw Failure(at + ": " + said);
        } else if (!over && !std::count(freeing.begin(), freeing.end(), failed) &&
                   !std::count(else_silent.begin(), else_silent.end(), failed)) {
          throw Failure(at + " failed and nobody was told");
        }
        standin_fail(-1, 0);
      }
      const std::string at = "call " + std::to_string(number) + ": ";
      if (*standin_alive() || *standin_violations()) throw Failure(at + standin_alive() + standin_violations());
      if (over) {
        CHECK(number > 150);
        break;
      }
    }
}

void a_frame_that_fails_leaves_the_state_as_it_was() {
  const Machine machine;
  const std::vector<Clip> clips = video(kNv12, 5);
  const std::vector<UInt8> expected = machine.expected(clips);
  for (long number = 0; number < 60; ++number) {
    Segmenter gpu = machine.open();
    CHECK(gpu.push(clips[0].frame) == expected[0] && gpu.push(clips[1].frame) == expected[1]);
    UInt8 labels;
    standin_fail(number, kOutOfMemory);
    const bool told = gpu.try_push(clips[2].frame, labels);
    CHECK(*standin_failed());
    standin_fail(-1, 0);
    if (told) labels = gpu.push(clips[2].frame);
    CHECK(labels == expected[2] && gpu.push(clips[3].frame) == expected[3] && gpu.push(clips[4].frame) == expected[4]);
  }
  check_nothing_left();
}

void sentences_say_how_to_mend_it() {
  const Machine machine;
  Segmenter gpu = machine.open();
  gpu.push(Clip(kNv12, 1).frame);
  UInt8 labels;
  standin_fail(1, kOutOfMemory);
  gpu.try_push(Clip(kNv12, 2).frame, labels);
  check_refused(gpu, GSVNET_ERROR_BACKEND, "the GPU has no memory left; close other programs on it, or use a smaller");
  standin_fail(1, kIllegalAddress);
  gpu.try_push(Clip(kNv12, 2).frame, labels);
  check_refused(gpu, GSVNET_ERROR_BACKEND, "the GPU was lost (a fault, a reset, or a kernel stopped by a watchdog)");
}

// -- the order, by its absence

// Scenes return how many frames are wrong; together they cross every edge.
using Scene = int (*)(unsigned seed);

int pushed(const Machine& machine, const std::function<gsvnet_frame(const Clip&)>& frame) {
  const std::vector<Clip> clips = video(kNv12, 8, 5);
  std::vector<UInt8> expected;
  {
    Segmenter reference(machine.bundle.path(), "scripted");
    for (const Clip& clip : clips) expected.push_back(reference.push(clip.frame));
  }
  Segmenter gpu = machine.open();
  int wrong = 0;
  for (size_t i = 0; i < clips.size(); ++i) wrong += gpu.push(frame(clips[i])) != expected[i];
  return wrong;
}

int from_host(unsigned seed) {
  const auto left_out = order::left_out;
  const auto single = order::single;
  const Machine machine(seed);
  order::left_out = left_out, order::single = single;
  return pushed(machine, [](const Clip& clip) { return clip.frame; });
}

// Others write one picture's memory again and again, in their stream's time.
int from_outside(unsigned seed) {
  const auto left_out = order::left_out;
  const Machine machine(seed);
  order::left_out = left_out;
  Outside outside;
  return pushed(machine, [&](const Clip& clip) { return outside.frame(clip, true); });
}

// A push fails at each of its calls, and the caller frees the picture at once.
int let_go_after_failure(unsigned seed) {
  const auto left_out = order::left_out;
  const Machine machine(seed);
  order::left_out = left_out;
  const Clip clip(kNv12, 1);
  Segmenter gpu = machine.open();
  gpu.push(clip.frame);
  for (long number = 0; number < 40; ++number) {
    Outside outside;
    UInt8 labels;
    const gsvnet_frame frame = outside.frame(clip);
    standin_fail(number, kOutOfMemory);
    gpu.try_push(frame, labels);
    standin_fail(-1, 0);
    outside.let_go();
    standin_run();
  }
  return 0;
}

int closed_at_once(unsigned seed) {
  const auto left_out = order::left_out;
  const Machine machine(seed);
  order::left_out = left_out;
  Segmenter gpu = machine.open();
  return gpu.warm() != GSVNET_OK;
}

bool goes_wrong(Scene scene, unsigned seed) {
  bool wrong = false;
  try {
    wrong = scene(seed) != 0;
  } catch (const Failure&) {
    wrong = true;
  }
  return wrong || *standin_violations() || *standin_alive();
}

const std::vector<Scene> kScenes = {from_host, from_outside, let_go_after_failure, closed_at_once};

void every_scene_is_right() {
  order::left_out.reset(), order::single.reset();
  for (unsigned seed = 0; seed < 8; ++seed)
    for (const Scene scene : kScenes) {
      CHECK(scene(seed) == 0);
      check_nothing_left();
    }
}

void no_edge_can_be_left_out() {
  using tensorrt::Edge;
  const std::pair<Edge, const char*> edges[] = {
      {Edge::kRefillAfterUpload, "refill after upload"},     {Edge::kPrepareAfterUpload, "prepare after upload"},
      {Edge::kPrepareAfterOutside, "prepare after outside"}, {Edge::kDownloadAfterLabels, "download after labels"},
      {Edge::kTakeAfterDownload, "take after download"},     {Edge::kReturnAfterFailure, "return after failure"},
#ifndef UNDER_ADDRESS_SANITIZER  // which would end the process, and rightly
      {Edge::kFreeAfterWork, "free after work"}
#endif
  };
  for (const auto& [edge, name] : edges) {
    bool missed = false;
    for (unsigned seed = 0; seed < 12 && !missed; ++seed)
      for (const Scene scene : kScenes) {
        order::left_out = edge;
        missed = missed || goes_wrong(scene, seed);
      }
    order::left_out.reset();
    if (!missed) throw Failure(std::string("nobody missed: ") + name);
  }
}

void state_and_downloads_need_both_buffers() {
  for (const tensorrt::Double which : {tensorrt::Double::kState, tensorrt::Double::kDownload}) {
    bool missed = false;
    for (unsigned seed = 0; seed < 12; ++seed) {
      order::single = which;
      missed = missed || goes_wrong(from_host, seed);
    }
    order::single.reset();
    CHECK(missed);
  }
}

// With the first band still on its way the second is packed: with one buffer that would wait for ever.
void uploads_need_both_buffers() {
  const Machine machine;
  {
    const cuda::Context context(cuda::find_device(0));
    const cuda::Current current(context);
    const cuda::Stream stream;
    const Clip clip(kRgb, 1, 8, 4);
    const engine::Picture picture = engine::checked_picture(clip.frame);
    const auto waits = [&] {
      tensorrt::Uploads uploads(48);
      standin_hold(stream.handle(), 1);
      bool stuck = false;
      try {
        uploads.send(picture, stream);
      } catch (const cuda::DriverError&) {
        stuck = true;
      }
      standin_hold(stream.handle(), 0);
      stream.drain();
      return stuck;
    };
    CHECK(!waits());
    order::single = tensorrt::Double::kUpload;
    CHECK(waits());
    order::single.reset();
  }
  CHECK(standin_alive() == std::string());
}

}  // namespace

int main() {
  return run_all({{"labels are those of the cpu", labels_are_those_of_the_cpu},
                  {"rows may lie apart or upside down", rows_may_lie_apart_or_upside_down},
                  {"sizes and formats may change", sizes_and_formats_may_change},
                  {"8.6 takes plain graphs and narrow numbers", eight_point_six_takes_plain_graphs_and_narrow_numbers},
                  {"a step is one launch", a_step_is_one_launch},
                  {"nothing leaks over frames", nothing_leaks_over_frames},
                  {"callers find their context as they left it", callers_find_their_context_as_they_left_it},
                  {"it tells times and names", it_tells_times_and_names},
                  {"frames that lie about their memory are refused", frames_that_lie_about_their_memory_are_refused},
                  {"a missing plan names the command", a_missing_plan_names_the_command},
                  {"a stale plan is never run and says why", a_stale_plan_is_never_run_and_says_why},
                  {"a plan that TensorRT refuses is one sentence", a_plan_that_tensorrt_refuses_is_one_sentence},
                  {"plugins are part of the key", plugins_are_part_of_the_key},
                  {"machines that cannot", machines_that_cannot},
                  {"any call may fail", any_call_may_fail},
                  {"a frame that fails leaves the state as it was", a_frame_that_fails_leaves_the_state_as_it_was},
                  {"sentences say how to mend it", sentences_say_how_to_mend_it},
                  {"every scene is right", every_scene_is_right},
                  {"no edge can be left out", no_edge_can_be_left_out},
                  {"state and downloads need both buffers", state_and_downloads_need_both_buffers},
                  {"uploads need both buffers", uploads_need_both_buffers}});
}
