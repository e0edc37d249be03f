// Segmentation warp: scores [N,C,h,w] and flow [N,2,h,w] -> warped [N,C,h,w] and edges [N,1,h,w].
//
// Row by row: where each cell of the row is sampled is worked out once, for all classes; then class by class, sampled and
// compared with the best so far, while both are in registers. The edges need the rows above and below: a second pass.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../dispatch.h"
#include "../gsvnet_kernels.h"
#include "../parallel.h"
#include "core.h"

namespace gsvnet {
namespace {

// Where the cells of a row are sampled: four places in a class's plane, and their weights.
struct Places {
  std::vector<int> a, b, c, d;
  std::vector<float> w1, h1;

  explicit Places(size_t n) : a(n), b(n), c(n), d(n), w1(n), h1(n) {}
};

GSVNET_CLONES
void locate(const float* __restrict flow_x, const float* __restrict flow_y, int y, int rows, int columns,
            int* __restrict a, int* __restrict b, int* __restrict c, int* __restrict d, float* __restrict w1,
            float* __restrict h1) {
  for (int x = 0; x < columns; ++x) {
    const Step across = step(x, flow_x[x], columns), down = step(y, flow_y[x], rows);
    a[x] = down.first * columns + across.first;
    b[x] = down.first * columns + across.second;
    c[x] = down.second * columns + across.first;
    d[x] = down.second * columns + across.second;
    w1[x] = across.weight;
    h1[x] = down.weight;
  }
}

// One class of a row: out[n], and where it is better than `best` (or is the first class), that and its number.
GSVNET_CLONES
void sample_row(const float* __restrict plane, const int* __restrict a, const int* __restrict b,
                const int* __restrict c, const int* __restrict d, const float* __restrict w1,
                const float* __restrict h1, int n, int k, float* __restrict out, float* __restrict best,
                int* __restrict label) {
  for (int x = 0; x < n; ++x) {
    const float value = sample(plane[a[x]], plane[b[x]], plane[c[x]], plane[d[x]], 1.0f - w1[x], w1[x], 1.0f - h1[x],
                               h1[x]);
    out[x] = value;
    const bool better = static_cast<bool>(static_cast<int>(value > best[x]) | static_cast<int>(k == 0));
    best[x] = better ? value : best[x];
    label[x] = better ? k : label[x];
  }
}

GSVNET_CLONES
void outline(const uint8_t* __restrict upper, const uint8_t* __restrict middle, const uint8_t* __restrict lower, int n,
             float* __restrict edges) {
  const auto edge = [&](int left, int x, int right) { return sigmoid(laplacian(upper, middle, lower, left, x, right)); };
  edges[0] = edge(0, 0, clamp(1, n - 1));
  for (int x = 1; x < n - 1; ++x) edges[x] = edge(x - 1, x, x + 1);
  edges[n - 1] = edge(clamp(n - 2, n - 1), n - 1, n - 1);
}

}  // namespace
}  // namespace gsvnet

extern "C" int gsvnet_segmentation_warp(const float* scores, const float* flow, int32_t batch, int32_t classes,
                                        int32_t rows, int32_t columns, float* warped, float* edges,
                                        int32_t threads) try {
  using namespace gsvnet;
  if (!scores || !flow || !warped || !edges || batch < 1 || classes < 1 || classes > 256 || rows < 1 || columns < 1)
    return -1;
  const int64_t cells = static_cast<int64_t>(rows) * columns, lines = static_cast<int64_t>(batch) * rows;
  if (cells > INT32_MAX || lines > INT32_MAX) return -1;  // places are 32-bit: gathers of 64-bit ones take twice the time
  std::vector<uint8_t> index(static_cast<size_t>(batch * cells));
  parallel_for(static_cast<int>(lines), threads, [&](int first, int end) {
    const auto n = static_cast<size_t>(columns);
    Places at(n);
    std::vector<float> best(n);
    std::vector<int> label(n);
    for (int line = first; line < end; ++line) {
      const int64_t item = line / rows, y = line % rows;
      const float* along = flow + item * 2 * cells + y * columns;
      locate(along, along + cells, static_cast<int>(y), rows, columns, at.a.data(), at.b.data(), at.c.data(),
             at.d.data(), at.w1.data(), at.h1.data());
      for (int k = 0; k < classes; ++k) {
        const int64_t plane = (item * classes + k) * cells;
        sample_row(scores + plane, at.a.data(), at.b.data(), at.c.data(), at.d.data(), at.w1.data(), at.h1.data(),
                   columns, k, warped + plane + y * columns, best.data(), label.data());
      }
      std::copy(label.begin(), label.end(), index.begin() + item * cells + y * columns);
    }
  });
  parallel_for(static_cast<int>(lines), threads, [&](int first, int end) {
    for (int line = first; line < end; ++line) {
      const int64_t item = line / rows;
      const int y = line % rows;
      const uint8_t* map = index.data() + item * cells;
      const auto row = [&](int at) { return map + static_cast<int64_t>(clamp(at, rows - 1)) * columns; };
      outline(row(y - 1), row(y), row(y + 1), columns, edges + item * cells + static_cast<int64_t>(y) * columns);
    }
  });
  return 0;
} catch (...) {
  return -1;
}
