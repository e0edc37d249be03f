// The C interface over the scripted backend: what a caller gets right, and all that a caller can get wrong.

#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "gsvnet.hpp"
#include "scripted.h"
#include "toy.h"

namespace {

// An I420 picture of its own memory, of patches of random values: so large that cells, which are means, still differ.
struct Clip {
  int width, height;
  std::vector<uint8_t> data;
  gsvnet_frame frame = GSVNET_FRAME_INIT;

  Clip(int w, int h, unsigned seed = 1) : width(w), height(h) {
    const size_t luma = static_cast<size_t>(w * h), chroma = static_cast<size_t>((w + 1) / 2 * ((h + 1) / 2));
    data.resize(luma + 2 * chroma);
    for (size_t i = 0; i < data.size(); ++i) {
      const size_t row = static_cast<size_t>(i < luma ? w : (w + 1) / 2), y = i / row, x = i % row;
      const auto patch = static_cast<unsigned>(seed * 97 + y / 7 * 31 + x / 9);
      data[i] = static_cast<uint8_t>((patch * 2654435761u) >> 24);
    }
    frame.format = GSVNET_I420, frame.width = w, frame.height = h;
    frame.planes[0] = data.data(), frame.planes[1] = data.data() + luma, frame.planes[2] = data.data() + luma + chroma;
  }
};

struct Toy {
  toy::Folder folder;
  gsvnet_engine* engine = nullptr;
  gsvnet_error error;
  std::vector<uint8_t> labels;
  gsvnet_output output = GSVNET_OUTPUT_INIT;
  gsvnet_result result = GSVNET_RESULT_INIT;

  explicit Toy(const std::string& working_size = "\"source\"", const gsvnet_options* options = nullptr) {
    toy::write_bundle(folder, working_size);
    CHECK(gsvnet_open(folder.path().c_str(), options, &engine, &error) == GSVNET_OK);
    labels.assign(1 << 16, 0xEE);
    output.labels = labels.data(), output.labels_size = static_cast<int64_t>(labels.size());
  }
  ~Toy() { gsvnet_close(&engine); }

  gsvnet_status push(const Clip& clip) { return push(clip.frame); }
  gsvnet_status push(const gsvnet_frame& frame) { return gsvnet_push(engine, &frame, &output, &result, &error); }
  bool keyframe(const Clip& clip) {
    if (push(clip)) throw Failure(error.message);
    return result.is_keyframe;
  }
};

void check_refused(gsvnet_status status, const gsvnet_error& error, gsvnet_status expected, const char* sentence) {
  CHECK_CONTAINS(error.message, sentence);
  CHECK(status == expected && error.status == expected);
  CHECK(std::strchr(error.message, '\n') == nullptr);
}

void keyframes_come_at_the_interval() {
  Toy toy;
  const Clip clip(32, 24);
  std::string kinds;
  for (int i = 0; i < 7; ++i) kinds += toy.keyframe(clip) ? 'K' : 'p';
  CHECK(kinds == "KppKppK");
  CHECK(toy.result.age == 0 && toy.result.keyframe_ms > 0 && toy.result.propagate_ms == 0);
  CHECK(gsvnet_set_interval(toy.engine, 2, nullptr) == GSVNET_OK);
  CHECK(!toy.keyframe(clip) && toy.keyframe(clip) && toy.result.age == 0);
}

void keyframes_come_where_propagation_has_nothing_to_start_from() {
  Toy toy;
  gsvnet_set_interval(toy.engine, 1000, nullptr);
  Clip clip(32, 24), larger(40, 24);
  CHECK(toy.keyframe(clip) && !toy.keyframe(clip));
  CHECK(gsvnet_request_keyframe(toy.engine, &toy.error) == GSVNET_OK);
  CHECK(toy.keyframe(clip) && !toy.keyframe(clip));
  CHECK(gsvnet_reset(toy.engine, nullptr) == GSVNET_OK);
  CHECK(toy.keyframe(clip) && !toy.keyframe(clip));
  CHECK(toy.keyframe(larger) && !toy.keyframe(larger) && toy.keyframe(clip));  // a size change in mid-stream
  clip.frame.pts_s = 0.5;
  CHECK(!toy.keyframe(clip));
  clip.frame.pts_s = 1.1;  // a gap
  CHECK(toy.keyframe(clip) && !toy.keyframe(clip));
  clip.frame.pts_s = 1.0;  // backwards
  CHECK(toy.keyframe(clip));
}

void a_failed_frame_leaves_the_state_as_it_was() {
  Toy toy, other;
  const Clip first(32, 24, 1), second(32, 24, 2);
  CHECK(toy.keyframe(first) && other.keyframe(first));
  scripted::fail_run = true;
  check_refused(toy.push(second), toy.error, GSVNET_ERROR_BACKEND, "scripted: failed");
  CHECK(toy.result.is_keyframe == 1);  // untouched
  gsvnet_frame bad = second.frame;
  bad.planes[2] = nullptr;
  CHECK(toy.push(bad) == GSVNET_ERROR_INPUT);
  CHECK(!toy.keyframe(second) && !other.keyframe(second));
  CHECK(toy.labels == other.labels);
  // A keyframe that was asked for and failed is still asked for.
  gsvnet_request_keyframe(toy.engine, nullptr);
  scripted::fail_run = true;
  CHECK(toy.push(first) == GSVNET_ERROR_BACKEND);
  CHECK(toy.keyframe(first));
}

void a_size_that_cannot_be_loaded_may_be_tried_again() {
  Toy toy;
  const Clip clip(32, 24);
  scripted::fail_load = true;
  check_refused(toy.push(clip), toy.error, GSVNET_ERROR_BUNDLE, "cannot load it");
  CHECK(toy.keyframe(clip));
}

void networks_of_three_sizes_are_kept() {
  Toy toy;
  const int before = scripted::loads;
  for (const int width : {16, 32, 48}) CHECK(gsvnet_warm(toy.engine, width, 16, nullptr) == GSVNET_OK);
  CHECK(scripted::loads == before + 3 && scripted::alive == 3);
  CHECK(toy.keyframe(Clip(16, 16)));
  for (const int width : {64, 80, 96}) gsvnet_warm(toy.engine, width, 16, nullptr);
  CHECK(scripted::alive == 3);
  CHECK(!toy.keyframe(Clip(16, 16)));  // the video's own were not thrown out
}

void strides_and_memory_between_rows_are_respected() {
  Toy plain, spaced;
  const Clip clip(30, 20);
  CHECK(plain.keyframe(clip));
  const int64_t stride = 50;
  std::vector<uint8_t> luma(static_cast<size_t>(stride * 20), 0x55);
  for (int y = 0; y < 20; ++y)  // stored from the bottom up
    std::memcpy(&luma[static_cast<size_t>((19 - y) * stride)], clip.data.data() + y * 30, 30);
  gsvnet_frame frame = clip.frame;
  frame.planes[0] = luma.data() + 19 * stride, frame.strides[0] = -stride;
  spaced.output.labels_stride = 64;
  CHECK(spaced.push(frame) == GSVNET_OK);
  for (size_t y = 0; y < 20; ++y) {
    CHECK(std::equal(&plain.labels[y * 30], &plain.labels[y * 30] + 30, &spaced.labels[y * 64]));
    CHECK(std::all_of(&spaced.labels[y * 64 + 30], &spaced.labels[y * 64 + 64], [](uint8_t b) { return b == 0xEE; }));
  }
}

// One grey picture in every format: the same labels.
void formats_agree() {
  constexpr int kSide = 16;
  const uint8_t grey = 125;
  std::vector<uint8_t> bytes(kSide * kSide * 4, grey), chroma(kSide * kSide, 128);
  std::vector<uint16_t> low(kSide * kSide, grey * 4), low_chroma(kSide * kSide, 512);
  std::vector<uint16_t> high(kSide * kSide, grey << 8), high_chroma(kSide * kSide, 512 << 6);
  const auto picture = [&](int32_t format, const void* luma, const void* first, const void* second) {
    gsvnet_frame frame = GSVNET_FRAME_INIT;
    frame.format = format, frame.width = frame.height = kSide, frame.range = GSVNET_RANGE_FULL;
    frame.planes[0] = luma, frame.planes[1] = first, frame.planes[2] = second;
    return frame;
  };
  const gsvnet_frame frames[] = {picture(GSVNET_I420, bytes.data(), chroma.data(), chroma.data()),
                                 picture(GSVNET_NV12, bytes.data(), chroma.data(), nullptr),
                                 picture(GSVNET_I010, low.data(), low_chroma.data(), low_chroma.data()),
                                 picture(GSVNET_P010, high.data(), high_chroma.data(), nullptr),
                                 picture(GSVNET_RGB, bytes.data(), nullptr, nullptr),
                                 picture(GSVNET_BGR, bytes.data(), nullptr, nullptr),
                                 picture(GSVNET_BGRA, bytes.data(), nullptr, nullptr)};
  Toy reference;
  CHECK(reference.push(frames[0]) == GSVNET_OK);
  for (const gsvnet_frame& frame : frames) {
    Toy toy;
    if (toy.push(frame)) throw Failure(toy.error.message);
    CHECK(std::equal(toy.labels.begin(), toy.labels.begin() + kSide * kSide, reference.labels.begin()));
  }
}

void counts_are_the_labels_counted() {
  Toy toy;
  int64_t counts[5] = {-1, -1, -1, -1, -7};
  toy.output.counts = counts, toy.output.counts_length = 5;
  CHECK(toy.push(Clip(31, 17)) == GSVNET_OK);
  for (int k = 0; k < 4; ++k) CHECK(counts[k] == std::count(toy.labels.begin(), toy.labels.begin() + 31 * 17, k));
  CHECK(*std::max_element(counts, counts + 4) < 31 * 17);  // more than one class: else this would tell little
  CHECK(counts[4] == -7 && counts[0] + counts[1] + counts[2] + counts[3] == 31 * 17);
}

void it_tells_about_itself() {
  gsvnet_options options = GSVNET_OPTIONS_INIT;
  options.interval = 7, options.threads = 1, options.backend = "scripted", options.cpu_precision = "f32";
  Toy toy("\"source\"", &options);
  gsvnet_info info = GSVNET_INFO_INIT;
  CHECK(gsvnet_get_info(toy.engine, &info, &toy.error) == GSVNET_OK);
  CHECK(info.classes == 4 && info.interval == 7);
  CHECK(info.name == std::string("toy") && info.license == std::string("CC0-1.0"));
  CHECK(info.backend == std::string("scripted") && info.backend_version == std::string("1"));
  CHECK(info.cpu_precision == std::string("f32"));
  gsvnet_class car = GSVNET_CLASS_INIT;
  CHECK(gsvnet_get_class(toy.engine, 2, &car, &toy.error) == GSVNET_OK);
  CHECK(car.name == std::string("Car") && car.red == 0 && car.green == 0 && car.blue == 142);
  CHECK(gsvnet_backends() == std::string("broken,scripted"));
}

void auto_takes_the_first_backend_that_works() {
  Toy toy;
  gsvnet_info info = GSVNET_INFO_INIT;
  gsvnet_get_info(toy.engine, &info, nullptr);
  CHECK(info.backend == std::string("scripted"));
}

void null_and_closed_are_errors() {
  Toy toy;
  const Clip clip(16, 16);
  gsvnet_engine *none = nullptr, *closed = toy.engine;
  gsvnet_error error;
  gsvnet_info info = GSVNET_INFO_INIT;
  gsvnet_class one = GSVNET_CLASS_INIT;
  gsvnet_close(&toy.engine);
  gsvnet_close(&toy.engine);
  gsvnet_close(nullptr);
  CHECK(toy.engine == nullptr && closed != nullptr);
  const char* const kClosed = "engine is null: it was never opened, or is closed";
  check_refused(toy.push(clip), toy.error, GSVNET_ERROR_USAGE, kClosed);
  check_refused(gsvnet_warm(none, 16, 16, &error), error, GSVNET_ERROR_USAGE, kClosed);
  check_refused(gsvnet_reset(none, &error), error, GSVNET_ERROR_USAGE, kClosed);
  check_refused(gsvnet_request_keyframe(none, &error), error, GSVNET_ERROR_USAGE, kClosed);
  check_refused(gsvnet_set_interval(none, 1, &error), error, GSVNET_ERROR_USAGE, kClosed);
  check_refused(gsvnet_get_info(none, &info, &error), error, GSVNET_ERROR_USAGE, kClosed);
  check_refused(gsvnet_get_class(none, 0, &one, &error), error, GSVNET_ERROR_USAGE, kClosed);
  CHECK(gsvnet_push(none, nullptr, nullptr, nullptr, nullptr) == GSVNET_ERROR_USAGE);

  Toy open;
  check_refused(gsvnet_push(open.engine, nullptr, &open.output, nullptr, &error), error, GSVNET_ERROR_USAGE,
                "frame is null");
  check_refused(gsvnet_push(open.engine, &clip.frame, nullptr, nullptr, &error), error, GSVNET_ERROR_USAGE,
                "output is null");
  check_refused(gsvnet_get_info(open.engine, nullptr, &error), error, GSVNET_ERROR_USAGE, "info is null");
  check_refused(gsvnet_get_class(open.engine, 0, nullptr, &error), error, GSVNET_ERROR_USAGE, "out is null");
  CHECK(gsvnet_push(open.engine, &clip.frame, &open.output, nullptr, nullptr) == GSVNET_OK);
  check_refused(gsvnet_open(nullptr, nullptr, &none, &error), error, GSVNET_ERROR_USAGE, "bundle is null");
  check_refused(gsvnet_open("x", nullptr, nullptr, &error), error, GSVNET_ERROR_USAGE, "engine is null");
  none = reinterpret_cast<gsvnet_engine*>(&info);
  check_refused(gsvnet_open("/nowhere", nullptr, &none, &error), error, GSVNET_ERROR_BUNDLE,
                "/nowhere: no such bundle");
  CHECK(none == nullptr);
}

void options_are_checked() {
  toy::Folder folder;
  toy::write_bundle(folder);
  const auto refuse = [&](auto change, gsvnet_status status, const char* sentence) {
    gsvnet_options options = GSVNET_OPTIONS_INIT;
    change(options);
    gsvnet_engine* engine = nullptr;
    gsvnet_error error;
    check_refused(gsvnet_open(folder.path().c_str(), &options, &engine, &error), error, status, sentence);
    CHECK(engine == nullptr);
  };
  refuse([](auto& o) { o.interval = -1; }, GSVNET_ERROR_USAGE, "options.interval must be at least 1");
  refuse([](auto& o) { o.threads = -2; }, GSVNET_ERROR_USAGE, "options.threads must be 0");
  refuse([](auto& o) { o.threads = 100000; }, GSVNET_ERROR_USAGE, "options.threads must be 0");
  refuse([](auto& o) { o.backend = "magic"; }, GSVNET_ERROR_USAGE,
         "must be one of auto, broken, scripted, not 'magic'");
  refuse([](auto& o) { o.backend = "broken"; }, GSVNET_ERROR_BACKEND, "broken: never works");
  refuse([](auto& o) { o.cpu_precision = "f64"; }, GSVNET_ERROR_USAGE, "must be f32 or bf16, not 'f64'");
  refuse([](auto& o) { o.cpu_precision = "bf16"; }, GSVNET_ERROR_BACKEND,
         "broken: never works; scripted: computes in f32");
  refuse([](auto& o) { o.struct_size = 0; }, GSVNET_ERROR_USAGE, "options.struct_size is 0");
  Toy toy;
  check_refused(gsvnet_set_interval(toy.engine, 0, &toy.error), toy.error, GSVNET_ERROR_USAGE, "at least 1, not 0");
  gsvnet_class one = GSVNET_CLASS_INIT;
  for (const int32_t index : {-1, 4})
    check_refused(gsvnet_get_class(toy.engine, index, &one, &toy.error), toy.error, GSVNET_ERROR_USAGE, "it has 0..3");
}

template <typename Change>
void refuse_frame(Change change, const char* sentence, gsvnet_status status = GSVNET_ERROR_INPUT) {
  Toy toy;
  Clip clip(30, 20);
  change(clip.frame);
  check_refused(toy.push(clip), toy.error, status, sentence);
  CHECK(std::all_of(toy.labels.begin(), toy.labels.end(), [](uint8_t b) { return b == 0xEE; }));
}

void frames_are_checked() {
  using F = gsvnet_frame&;
  constexpr auto kMost = std::numeric_limits<int64_t>::max(), kLeast = std::numeric_limits<int64_t>::min();
  refuse_frame([](F f) { f.format = 0; }, "frame.format is 0; give one of GSVNET_I420");
  refuse_frame([](F f) { f.format = 8; }, "frame.format is 8");
  refuse_frame([](F f) { f.width = 0; }, "a frame of 0x20 pixels");
  refuse_frame([](F f) { f.height = -5; }, "a frame of 30x-5 pixels");
  refuse_frame([](F f) { f.width = 65537; }, "each side must be in 1..65536");
  refuse_frame([](F f) { f.width = f.height = std::numeric_limits<int32_t>::max(); }, "each side must be in");
  refuse_frame([](F f) { f.planes[0] = nullptr; }, "frame.planes[0] is null");
  refuse_frame([](F f) { f.planes[2] = nullptr; }, "frame.planes[2] is null; I420 has such a plane");
  refuse_frame([](F f) { f.strides[0] = 29; }, "frame.strides[0] is 29 bytes; a row of I420 30x20 has 30");
  refuse_frame([](F f) { f.strides[1] = -14; }, "frame.strides[1] is -14 bytes");
  refuse_frame([](F f) { f.strides[0] = kMost; }, "at most 2^30 is allowed");
  refuse_frame([](F f) { f.strides[0] = kLeast; }, "at most 2^30 is allowed");
  refuse_frame([](F f) { f.plane_sizes[0] = 599; }, "I420 30x20 in rows of 30 needs 600");
  refuse_frame([](F f) { f.plane_sizes[1] = -1; }, "frame.plane_sizes[1] is -1 bytes");
  refuse_frame([](F f) { f.strides[0] = -30, f.plane_sizes[0] = 600; },
               "must be 0 where rows are stored from the bottom up");
  refuse_frame([](F f) { f.format = GSVNET_P010, f.planes[0] = static_cast<const uint8_t*>(f.planes[0]) + 1; },
               "at an odd address");
  refuse_frame([](F f) { f.format = GSVNET_I010, f.strides[0] = 61; }, "it must be even for I010");
  refuse_frame([](F f) { f.matrix = 4; }, "frame.matrix is 4; give one of 0..3");
  refuse_frame([](F f) { f.range = -1; }, "frame.range is -1; give one of 0..2");
  refuse_frame([](F f) { f.memory = 2; }, "frame.memory is 2");
  refuse_frame([](F f) { f.memory = GSVNET_MEMORY_CUDA; }, "this backend reads host memory", GSVNET_ERROR_BACKEND);
  refuse_frame([](F f) { f.reserved = 1; }, "frame.reserved must be 0");
  refuse_frame([](F f) { f.pts_s = NAN; }, "frame.pts_s must be a finite number");
  refuse_frame([](F f) { f.pts_s = INFINITY; }, "frame.pts_s must be a finite number");
  refuse_frame([](F f) { f.struct_size = 4; }, "frame.struct_size is 4; start the struct from GSVNET_FRAME_INIT",
               GSVNET_ERROR_USAGE);
  refuse_frame([](F f) { f.struct_size = 1u << 31; }, "frame.struct_size is 2147483648", GSVNET_ERROR_USAGE);
  Toy narrow("{\"short_side\": 720}");
  check_refused(narrow.push(Clip(2, 1000)), narrow.error, GSVNET_ERROR_INPUT,
                "a picture of 2x1000 would be worked on at 720x360000");
  check_refused(gsvnet_warm(narrow.engine, 0, 5, &narrow.error), narrow.error, GSVNET_ERROR_INPUT, "a frame of 0x5");
}

void outputs_are_checked() {
  const auto refuse = [](auto change, const char* sentence) {
    Toy toy;
    int64_t counts[4];
    toy.output.counts = counts, toy.output.counts_length = 4;
    change(toy.output, toy.result);
    check_refused(toy.push(Clip(30, 20)), toy.error, GSVNET_ERROR_USAGE, sentence);
    CHECK(std::all_of(toy.labels.begin(), toy.labels.end(), [](uint8_t b) { return b == 0xEE; }));
  };
  refuse([](auto& o, auto&) { o.labels = nullptr; }, "output.labels is null");
  refuse([](auto& o, auto&) { o.labels_size = 599; }, "labels of 30x20 in rows of 30 need 600");
  refuse([](auto& o, auto&) { o.labels_size = -1; }, "output.labels_size is -1 bytes");
  refuse([](auto& o, auto&) { o.labels_stride = 29; }, "output.labels_stride is 29 bytes; a row has 30");
  refuse([](auto& o, auto&) { o.labels_stride = -30; }, "output.labels_stride is -30");
  refuse([](auto& o, auto&) { o.labels_stride = std::numeric_limits<int64_t>::max(); }, "output.labels_stride");
  refuse([](auto& o, auto&) { o.counts_length = 3; }, "output.counts_length is 3; the bundle has 4 classes");
  refuse([](auto& o, auto&) { o.counts_length = -3; }, "output.counts_length is -3");
  refuse([](auto& o, auto&) { o.struct_size = 39; }, "output.struct_size is 39");
  refuse([](auto&, auto& r) { r.struct_size = 1; }, "result.struct_size is 1");
}

// A program compiled against an earlier header works: what it does not know is as if it were zero, and is not read.
void earlier_structs_are_understood() {
  Toy toy;
  const Clip clip(30, 20);
  gsvnet_frame frame = clip.frame;
  frame.struct_size = offsetof(gsvnet_frame, cuda_stream);
  frame.cuda_stream = &frame;
  CHECK(toy.push(frame) == GSVNET_OK);
  frame.struct_size -= 1;
  check_refused(toy.push(frame), toy.error, GSVNET_ERROR_USAGE, "frame.struct_size is 111; start the struct from");
  gsvnet_options options = GSVNET_OPTIONS_INIT;
  options.struct_size = offsetof(gsvnet_options, device);
  options.device = options.reserved = -1;
  options.plan_cache = options.plugins = reinterpret_cast<const char*>(1);
  Toy opened("\"source\"", &options);
  options.struct_size = sizeof options;
  options.plan_cache = options.plugins = nullptr;
  gsvnet_engine* engine = nullptr;
  check_refused(gsvnet_open(toy.folder.path().c_str(), &options, &engine, &toy.error), toy.error, GSVNET_ERROR_USAGE,
                "options.reserved must be 0");
}

// A program compiled against a later header works while it leaves what is unknown here zero.
void later_structs_are_understood() {
  struct Later {
    gsvnet_frame frame;
    int64_t added;
  };
  Toy toy;
  const Clip clip(30, 20);
  Later later{clip.frame, 0};
  later.frame.struct_size = sizeof later;
  CHECK(toy.push(later.frame) == GSVNET_OK);
  later.added = 1;
  check_refused(toy.push(later.frame), toy.error, GSVNET_ERROR_USAGE, "frame sets fields that libgsvnet");
  struct LaterResult {
    gsvnet_result result;
    int64_t added;
  } result{GSVNET_RESULT_INIT, 77};
  result.result.struct_size = sizeof result;
  CHECK(gsvnet_push(toy.engine, &clip.frame, &toy.output, &result.result, &toy.error) == GSVNET_OK);
  CHECK(result.added == 77 && result.result.struct_size == sizeof result && result.result.age == 1);
}

void long_sentences_are_cut_between_characters() {
  const std::string path = "/" + std::string(700, 'x') + [] {
    std::string wide;
    for (int i = 0; i < 400; ++i) wide += "\xc3\xa9";
    return wide;
  }();
  for (const std::string& longer : {path, path + "y", "/y" + path}) {
    gsvnet_engine* engine = nullptr;
    gsvnet_error error;
    CHECK(gsvnet_open(longer.c_str(), nullptr, &engine, &error) == GSVNET_ERROR_BUNDLE);
    const std::string message = error.message;
    CHECK(message.size() >= 1018 && message.size() <= 1019);
    CHECK(message.substr(message.size() - 2) == "\xc3\xa9");
  }
}

std::string refused_bundle(const std::string& path) {
  gsvnet_engine* engine = nullptr;
  gsvnet_error error;
  const gsvnet_status status = gsvnet_open(path.c_str(), nullptr, &engine, &error);
  if (status != GSVNET_ERROR_BUNDLE) throw Failure("status " + std::to_string(status) + ": " + error.message);
  CHECK_CONTAINS(error.message, path);
  return error.message;
}

// What test_bundles.py does not try again: it drives the same loader with all of Python's hostile bundles.
void hostile_bundles_are_refused() {
  toy::Folder outside;
  toy::write_bundle(outside);
  const auto folder = [] {
    auto fresh = std::make_unique<toy::Folder>();
    toy::write_bundle(*fresh);
    return fresh;
  };
  const auto replaced = [&](const char* name, auto replace) {
    const auto bundle = folder();
    ::unlink(bundle->file(name).c_str());
    replace(bundle->file(name));
    return refused_bundle(bundle->path());
  };
  for (const char* name : {"manifest.json", "keyframe.onnx"}) {
    CHECK_CONTAINS(
        replaced(name, [&](const std::string& at) { CHECK(!::symlink(outside.file(name).c_str(), at.c_str())); }),
        "is a link that leaves the bundle");
    CHECK_CONTAINS(replaced(name, [](const std::string& at) { CHECK(!::mkfifo(at.c_str(), 0600)); }), "is not a file");
    CHECK_CONTAINS(replaced(name, [](const std::string& at) { CHECK(!::mkdir(at.c_str(), 0700)); }), "is not a file");
    CHECK_CONTAINS(replaced(name, [](const std::string& at) { CHECK(!::symlink("/dev/zero", at.c_str())); }),
                   "is a link");
    CHECK_CONTAINS(replaced(name, [&](const std::string& at) { CHECK(!::symlink(at.c_str(), at.c_str())); }),
                   "is missing");
  }
  CHECK_CONTAINS(replaced("keyframe.onnx", [](const std::string&) {}), "keyframe.onnx: is missing");
  CHECK_CONTAINS(replaced("manifest.json", [](const std::string&) {}), "has no manifest.json");
  // A claim of more than any graph may have, sparse on the disk.
  CHECK_CONTAINS(replaced("labels.onnx",
                          [](const std::string& at) {
                            toy::write_file(at, "x");
                            CHECK(!::truncate(at.c_str(), (int64_t{2} << 30) + 1));
                          }),
                 "a graph has 1 byte to 2 GiB");
  CHECK_CONTAINS(replaced("labels.onnx", [](const std::string& at) { toy::write_file(at, "y"); }),
                 "its sha256 is not the one");
  const auto cut = folder();  // the hash is right, the graph is cut
  for (const char* name :
       {"keyframe.onnx", "propagate.onnx", "labels.onnx", "propagate.plain.onnx", "labels.plain.onnx"})
    toy::write_file(cut->file(name), "\x08");
  toy::write_file(cut->file("manifest.json"), toy::manifest("\x08"));
  CHECK_CONTAINS(refused_bundle(cut->path()), "is not an ONNX graph (cut short)");
  // A link to another file of the same folder stays inside: allowed, as in Python.
  const auto linked = folder();
  ::unlink(linked->file("labels.onnx").c_str());
  CHECK(!::symlink("labels.plain.onnx", linked->file("labels.onnx").c_str()));
  gsvnet_engine* engine = nullptr;
  CHECK(gsvnet_open(linked->file("manifest.json").c_str(), nullptr, &engine, nullptr) == GSVNET_OK);
  gsvnet_close(&engine);
  CHECK_CONTAINS(refused_bundle(""), "no such bundle");
}

void the_wrapper_throws_and_closes() {
  toy::Folder folder;
  toy::write_bundle(folder);
  try {
    gsvnet::Engine("/nowhere");
    throw Failure("opened");
  } catch (const gsvnet::Error& error) {
    CHECK(error.status() == GSVNET_ERROR_BUNDLE);
  }
  gsvnet::Engine engine(folder.path());
  CHECK(engine.classes()[3].name == "Tree" && engine.classes()[3].green == 142);
  const Clip clip(30, 20);
  gsvnet::Frame frame(GSVNET_I420, 30, 20);
  for (int i = 0; i < 3; ++i) frame.plane(i, clip.frame.planes[i], 0, i ? 150 : 600);
  const gsvnet::Segmentation& seg = engine.push(frame);
  CHECK(seg.labels.size() == 600 && seg.counts.size() == 4 && seg.result.is_keyframe);
  engine.request_keyframe();
  CHECK(engine.push(frame).result.is_keyframe);
  engine.set_interval(9);
  engine.reset();
  engine.warm(64, 64);
  CHECK(engine.info().interval == 9);
  try {
    engine.push(gsvnet::Frame(GSVNET_I420, -1, 20));
    throw Failure("pushed");
  } catch (const gsvnet::Error& error) {
    CHECK(error.status() == GSVNET_ERROR_INPUT);
  }
}

size_t heap_bytes() {
#if defined(__GLIBC__)
  return mallinfo2().uordblks;
#else
  return 0;
#endif
}

void ten_thousand_frames_leak_nothing() {
  const int alive = scripted::alive;
  {
    gsvnet_options options = GSVNET_OPTIONS_INIT;
    options.threads = 1;  // no threads to start: quick under sanitizers too
    Toy toy("\"source\"", &options);
    const Clip small(32, 24), large(48, 32);
    int64_t counts[4];
    toy.output.counts = counts, toy.output.counts_length = 4;
    gsvnet_frame bad = small.frame;
    bad.strides[0] = 1;
    size_t before = 0;
    for (int i = 0; i < 10000; ++i) {
      CHECK(toy.push(i / 50 % 2 ? small : large) == GSVNET_OK);
      if (i % 10 == 0) CHECK(toy.push(bad) == GSVNET_ERROR_INPUT);
      if (i % 1000 == 0) CHECK(gsvnet_reset(toy.engine, nullptr) == GSVNET_OK);
      if (i == 1000) before = heap_bytes();
    }
    const size_t after = heap_bytes();
    std::printf("     heap after 1,000 frames: %zu bytes, after 10,000: %zu\n", before, after);
    CHECK(after <= before + 4096);  // sanitizers' own heaps tell nothing here: they look for leaks at the end
  }
  CHECK(scripted::alive == alive);
}

}  // namespace

int main() {
  return run_all({
      {"keyframes come at the interval", keyframes_come_at_the_interval},
      {"keyframes come where propagation has nothing to start from",
       keyframes_come_where_propagation_has_nothing_to_start_from},
      {"a failed frame leaves the state as it was", a_failed_frame_leaves_the_state_as_it_was},
      {"a size that cannot be loaded may be tried again", a_size_that_cannot_be_loaded_may_be_tried_again},
      {"networks of three sizes are kept", networks_of_three_sizes_are_kept},
      {"strides and memory between rows are respected", strides_and_memory_between_rows_are_respected},
      {"formats agree", formats_agree},
      {"counts are the labels counted", counts_are_the_labels_counted},
      {"it tells about itself", it_tells_about_itself},
      {"auto takes the first backend that works", auto_takes_the_first_backend_that_works},
      {"null and closed are errors", null_and_closed_are_errors},
      {"options are checked", options_are_checked},
      {"frames are checked", frames_are_checked},
      {"outputs are checked", outputs_are_checked},
      {"earlier structs are understood", earlier_structs_are_understood},
                  {"later structs are understood", later_structs_are_understood},
      {"long sentences are cut between characters", long_sentences_are_cut_between_characters},
      {"hostile bundles are refused", hostile_bundles_are_refused},
      {"the wrapper throws and closes", the_wrapper_throws_and_closes},
      {"ten thousand frames leak nothing", ten_thousand_frames_leak_nothing},
  });
}
