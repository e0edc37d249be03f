// Every kernel, CPU loop and .cu, at awkward sizes and with awkward numbers, on arrays of exactly their size: a program
// for the address and undefined-behaviour sanitizers. Both must agree to the bit as well.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "../../plugins/kernels/frame/core.h"
#include "../../plugins/kernels/gsvnet_kernels.h"

using gsvnet::Axis;
using gsvnet::Preparation;

extern "C" int launch(const char* name, const unsigned grid[3], const unsigned block[3], void** arguments);

namespace {

std::mt19937 random_bits(1);

float normal() { return std::normal_distribution<float>(0, 3)(random_bits); }

std::vector<float> numbers(size_t n) {
  std::vector<float> values(n);
  for (float& value : values) value = random_bits() % 4 ? normal() : std::round(normal());
  return values;
}

std::vector<float> flows(size_t n) {
  const float odd[] = {std::nanf(""), INFINITY, -INFINITY, 1e30f, -1e30f, 1e4f, -1e4f, 0.0f, 2.0f};
  std::vector<float> values(n);
  for (float& value : values) value = random_bits() % 4 ? normal() : odd[random_bits() % 9];
  return values;
}

template <typename... A>
void run(const char* kernel, int columns, int rows, int depth, A... arguments) {
  const unsigned grid[3] = {(columns + 31u) / 32u, (rows + 7u) / 8u, static_cast<unsigned>(depth)};
  const unsigned block[3] = {32, 8, 1};
  void* addresses[] = {&arguments...};
  if (launch(kernel, grid, block, addresses)) std::printf("%s: no such kernel\n", kernel), std::exit(1);
}

template <typename T>
void require_equal(const char* what, const std::vector<T>& a, const std::vector<T>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!(a[i] == b[i] || (a[i] != a[i] && b[i] != b[i])))  // NaN equals NaN
      std::printf("%s: differs at %zu of %zu\n", what, i, a.size()), std::exit(1);
}

void require_done(int status) {
  if (status) std::printf("a CPU loop failed\n"), std::exit(1);
}

void check(int n, int classes, int rows, int columns) {
  const size_t cells = static_cast<size_t>(n) * static_cast<size_t>(rows) * static_cast<size_t>(columns);
  const size_t all = cells * static_cast<size_t>(classes);
  const auto scores = numbers(all), intra = numbers(all), flow = flows(2 * cells);
  std::vector<float> warped(all), edges(cells), warped_too(all), edges_too(cells), out(all), out_too(all);
  std::vector<uint8_t> index(cells);
  require_done(gsvnet_segmentation_warp(scores.data(), flow.data(), n, classes, rows, columns, warped.data(),
                                        edges.data(), 2));
  run("gsvnet_warp", columns, rows, n, scores.data(), flow.data(), classes, rows, columns, warped_too.data(),
      index.data());
  run("gsvnet_edges", columns, rows, n, index.data(), rows, columns, edges_too.data());
  require_equal("warped", warped, warped_too);
  require_equal("edges", edges, edges_too);

  for (const int neighbours : {9, 17}) {
    const auto weights = numbers(cells * static_cast<size_t>(neighbours + 1));
    require_done(gsvnet_guided_filter(warped.data(), intra.data(), weights.data(), n, classes, rows, columns,
                                      neighbours, out.data(), 2));
    run(neighbours == 9 ? "gsvnet_filter_9" : "gsvnet_filter_17", columns, rows, n * ((classes + 3) / 4),
        warped.data(), intra.data(), weights.data(), classes, rows, columns, out_too.data());
    require_equal("filtered", out, out_too);
  }

  for (const int scale : {1, 3, 8}) {
    const int height = rows * scale, width = columns * scale + 1;
    const size_t pixels = static_cast<size_t>(height) * static_cast<size_t>(width);
    std::vector<uint8_t> labels(pixels * static_cast<size_t>(n)), labels_too(labels.size());
    for (int i = 0; i < n; ++i)
      require_done(gsvnet_label_upsample(out.data() + all / static_cast<size_t>(n) * static_cast<size_t>(i), classes,
                                         rows, columns, labels.data() + pixels * static_cast<size_t>(i), height, width,
                                         width, 2));
    run("gsvnet_labels", width, height, n, out.data(), classes, rows, columns, labels_too.data(), height, width);
    require_equal("labels", labels, labels_too);
  }

  // float16: any bits at all
  std::vector<uint16_t> half(all), half_flow(2 * cells), half_out(all), half_edges(cells), half_weights(18 * cells);
  for (auto* values : {&half, &half_flow, &half_weights})
    for (uint16_t& value : *values) value = static_cast<uint16_t>(random_bits());
  run("gsvnet_warp_half", columns, rows, n, half.data(), half_flow.data(), classes, rows, columns, half_out.data(),
      index.data());
  run("gsvnet_edges_half", columns, rows, n, index.data(), rows, columns, half_edges.data());
  run("gsvnet_filter_9_half", columns, rows, n * ((classes + 3) / 4), half.data(), half.data(), half_weights.data(),
      classes, rows, columns, half_out.data());
  run("gsvnet_filter_17_half", columns, rows, n * ((classes + 3) / 4), half.data(), half.data(), half_weights.data(),
      classes, rows, columns, half_out.data());
  std::vector<uint8_t> labels(4 * cells);
  run("gsvnet_labels_half", 2 * columns, 2 * rows, n, half.data(), classes, rows, columns, labels.data(), 2 * rows,
      2 * columns);
}

struct Table {
  std::vector<int> first;
  std::vector<float> weights;
  Axis axis;

  Table(int filter, int outputs, double extent, int samples) : first(static_cast<size_t>(outputs)) {
    const int taps = gsvnet_taps(filter, outputs, extent, samples, nullptr, nullptr, 0);
    weights.resize(static_cast<size_t>(taps) * first.size());
    gsvnet_taps(filter, outputs, extent, samples, first.data(), weights.data(), taps);
    axis = {first.data(), weights.data(), taps, samples};
  }
};

// A picture of 4:2:0, chroma by turns (NV12 or P010), by the CPU loop and by the kernel.
template <typename Sample>
void check_frame(int filter, int height, int width, int out_rows, int out_columns, int shift) {
  const int chroma_rows = (height + 1) / 2, chroma_columns = (width + 1) / 2, bytes = sizeof(Sample);
  std::vector<Sample> luma(static_cast<size_t>(height) * static_cast<size_t>(width));
  std::vector<Sample> chroma(2 * static_cast<size_t>(chroma_rows) * static_cast<size_t>(chroma_columns));
  for (auto* samples : {&luma, &chroma})
    for (Sample& sample : *samples) sample = static_cast<Sample>(random_bits());
  const size_t pixels = static_cast<size_t>(out_rows) * static_cast<size_t>(out_columns);
  std::vector<float> rgb(3 * pixels), rgb_too(3 * pixels);
  Preparation task{{}, {16, 128, 128}, {0.004f, 0, 0.006f, 0.004f, -0.001f, -0.003f, 0.004f, 0.007f, 0}};
  const Table tables[] = {{filter, out_rows, static_cast<double>(height), height},
                          {filter, out_columns, static_cast<double>(width), width},
                          {filter, out_rows, height / 2.0, chroma_rows},
                          {filter, out_columns, width / 2.0, chroma_columns}};
  for (int i = 0; i < 3; ++i) {
    const Sample* data = i == 0 ? luma.data() : chroma.data() + (i - 1);
    const long long pixel = i == 0 ? bytes : 2 * bytes, row = pixel * (i == 0 ? width : chroma_columns);
    const Table *down = &tables[i == 0 ? 0 : 2], *across = &tables[i == 0 ? 1 : 3];
    task.planes[i] = {data, 0, row, pixel, down->axis, across->axis, bytes, shift};
    const gsvnet_plane plane{data, row, pixel, i == 0 ? height : chroma_rows, i == 0 ? width : chroma_columns, bytes,
                             shift, height / (i == 0 ? 1.0 : 2.0), width / (i == 0 ? 1.0 : 2.0)};
    require_done(gsvnet_resample(&plane, filter, rgb.data() + static_cast<size_t>(i) * pixels, out_rows, out_columns, 2));
  }
  require_done(gsvnet_convert(rgb.data(), static_cast<int64_t>(pixels), task.offset, task.matrix, 2));
  run("gsvnet_prepare", out_columns, out_rows, 1, task, rgb_too.data(), out_rows, out_columns);
  require_equal("rgb", rgb, rgb_too);
}

}  // namespace

int main() {
  for (const int classes : {1, 2, 19, 256})
    for (const int rows : {1, 2, 5, 17})
      for (const int columns : {1, 3, 4, 33}) check(1 + classes % 3, classes, rows, columns);
  check(2, 3, 9, 135);
  for (const int filter : {GSVNET_AREA, GSVNET_BILINEAR})
    for (const int height : {1, 9, 48})
      for (const int width : {1, 8, 61}) {
        check_frame<uint8_t>(filter, height, width, (height + 7) / 8, (width + 7) / 8, 0);
        check_frame<uint16_t>(filter, height, width, height * 3 / 4 + 1, width * 3 / 4 + 1, 6);
        check_frame<uint8_t>(filter, height, width, 2 * height, 2 * width, 0);
      }
  std::printf("all equal\n");
}
