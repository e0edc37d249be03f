// Several engines on several threads, and one engine from several: for the thread sanitizer, and for equal results.

#include <atomic>
#include <thread>
#include <vector>

#include "check.h"
#include "gsvnet.h"
#include "scripted.h"
#include "toy.h"

namespace {

constexpr int kWidth = 48, kHeight = 32, kFrames = 60;

std::vector<uint8_t> picture(int index) {
  std::vector<uint8_t> data(kWidth * kHeight * 3);
  for (size_t i = 0; i < data.size(); ++i) {  // patches: cells, which are means, still differ
    const auto patch =
        static_cast<unsigned>(static_cast<size_t>(index) * 97 + i / (kWidth * 3) / 8 * 31 + i % (kWidth * 3) / 24);
    data[i] = static_cast<uint8_t>((patch * 2654435761u) >> 24);
  }
  return data;
}

// All labels of a video of kFrames frames, or nothing where something failed.
std::vector<uint8_t> segmented(const std::string& bundle, int threads) {
  gsvnet_options options = GSVNET_OPTIONS_INIT;
  options.threads = threads;
  gsvnet_engine* engine = nullptr;
  if (gsvnet_open(bundle.c_str(), &options, &engine, nullptr)) return {};
  std::vector<uint8_t> all(static_cast<size_t>(kFrames) * kWidth * kHeight);
  for (int i = 0; i < kFrames; ++i) {
    const std::vector<uint8_t> data = picture(i);
    gsvnet_frame frame = GSVNET_FRAME_INIT;
    frame.format = GSVNET_RGB, frame.width = kWidth, frame.height = kHeight, frame.planes[0] = data.data();
    gsvnet_output output = GSVNET_OUTPUT_INIT;
    output.labels = &all[static_cast<size_t>(i) * kWidth * kHeight], output.labels_size = kWidth * kHeight;
    if (gsvnet_push(engine, &frame, &output, nullptr, nullptr)) all.clear(), i = kFrames;
  }
  gsvnet_close(&engine);
  return all;
}

void engines_side_by_side_do_not_disturb_each_other() {
  toy::Folder folder;
  toy::write_bundle(folder);
  const std::vector<uint8_t> alone = segmented(folder.path(), 1);
  CHECK(!alone.empty());
  std::vector<std::vector<uint8_t>> results(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < results.size(); ++t)
    threads.emplace_back([&, t] { results[t] = segmented(folder.path(), static_cast<int>(t) + 1); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) CHECK(result == alone);
  CHECK(scripted::alive == 0);
}

void one_engine_may_be_called_from_anywhere() {
  toy::Folder folder;
  toy::write_bundle(folder);
  gsvnet_engine* engine = nullptr;
  CHECK(gsvnet_open(folder.path().c_str(), nullptr, &engine, nullptr) == GSVNET_OK);
  const std::vector<uint8_t> data = picture(0);
  std::atomic<int> failures{0};
  const auto push = [&] {
    std::vector<uint8_t> labels(kWidth * kHeight);
    for (int i = 0; i < kFrames; ++i) {
      gsvnet_frame frame = GSVNET_FRAME_INIT;
      frame.format = GSVNET_RGB, frame.width = kWidth - i % 2 * 8, frame.height = kHeight;
      frame.planes[0] = data.data();
      gsvnet_output output = GSVNET_OUTPUT_INIT;
      output.labels = labels.data(), output.labels_size = kWidth * kHeight;
      failures += gsvnet_push(engine, &frame, &output, nullptr, nullptr) != GSVNET_OK;
    }
  };
  const auto steer = [&] {
    for (int i = 0; i < 500; ++i) {
      gsvnet_info info = GSVNET_INFO_INIT;
      failures += gsvnet_request_keyframe(engine, nullptr) != GSVNET_OK;
      failures += gsvnet_set_interval(engine, 1 + i % 5, nullptr) != GSVNET_OK;
      failures += gsvnet_get_info(engine, &info, nullptr) != GSVNET_OK;
      if (i % 50 == 0) failures += gsvnet_reset(engine, nullptr) != GSVNET_OK;
      if (i % 100 == 0) failures += gsvnet_warm(engine, 16 + i / 100 * 8, 16, nullptr) != GSVNET_OK;
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) threads.emplace_back(push);
  threads.emplace_back(steer);
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  gsvnet_close(&engine);
}

}  // namespace

int main() {
  return run_all({{"engines side by side do not disturb each other", engines_side_by_side_do_not_disturb_each_other},
                  {"one engine may be called from anywhere", one_engine_may_be_called_from_anywhere}});
}
