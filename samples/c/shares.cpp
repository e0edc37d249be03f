// The C++ wrapper: NV12 video on stdin, a line a frame with the largest classes, and where the time went.
//
//   ffmpeg -v error -i road.mp4 -pix_fmt nv12 -f rawvideo - | ./shares path/to/street 1280 720
#include <algorithm>
#include <cstdio>
#include <gsvnet.hpp>
#include <numeric>

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "shares BUNDLE WIDTH HEIGHT < nv12.raw\n"), 2;
  const int width = std::stoi(argv[2]), height = std::stoi(argv[3]);
  gsvnet::Engine engine(argv[1]);
  engine.warm(width, height);

  const std::size_t luma = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  const std::int64_t chroma_stride = (width + 1) / 2 * 2;
  std::vector<unsigned char> picture(luma + static_cast<std::size_t>(chroma_stride * ((height + 1) / 2)));
  gsvnet::Frame frame(GSVNET_NV12, width, height);
  frame.plane(0, picture.data()).plane(1, picture.data() + luma);

  std::vector<std::size_t> order(engine.classes().size());
  while (std::fread(picture.data(), 1, picture.size(), stdin) == picture.size()) {
    const gsvnet::Segmentation& seg = engine.push(frame);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return seg.counts[a] > seg.counts[b]; });
    const gsvnet_result& r = seg.result;
    std::printf("%s %5.1f ms ", r.is_keyframe ? "key " : "prop",
                r.prepare_ms + r.keyframe_ms + r.propagate_ms + r.labels_ms);
    for (std::size_t i = 0; i < std::min<std::size_t>(3, order.size()); ++i)
      std::printf(" %s %.0f%%", engine.classes()[order[i]].name.c_str(),
                  100.0 * static_cast<double>(seg.counts[order[i]]) / static_cast<double>(luma));
    std::printf("\n");
  }
  return 0;
} catch (const gsvnet::Error& error) {
  return std::fprintf(stderr, "%s\n", error.what()), error.status();
} catch (const std::exception& error) {
  return std::fprintf(stderr, "shares: %s\n", error.what()), 1;
}
