// Exact sparse label upsampling: scores [C,h,w] -> labels [H,W].
//
// A bilinear blend of vectors that all have their maximum in class c has its maximum in class c. So between four cells
// that agree, every pixel is c and is filled; arithmetic is done between cells that differ, and there for the classes
// alone that can win. Both shortcuts ask for a margin that rounding cannot eat (surely_below), so that the result equals
// the dense computation of reference.py to the bit.

#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "../dispatch.h"
#include "../gsvnet_kernels.h"
#include "../parallel.h"
#include "core.h"

namespace gsvnet {
namespace {

constexpr int kMostClasses = 256;
constexpr int kBlock = 16;  // output columns that are computed together
constexpr int16_t kMixed = -1;

// codes[cells]: a cell's best class where it leads every other by a sure margin, else kMixed. scores: [classes][stride].
GSVNET_CLONES
void classify(const float* scores, int classes, int64_t stride, int cells, float* best, int16_t* codes) {
  for (int i = 0; i < cells; ++i) {
    best[i] = scores[i];
    codes[i] = 0;
  }
  for (int k = 1; k < classes; ++k) {
    const float* row = scores + k * stride;
    for (int i = 0; i < cells; ++i) {
      const bool better = row[i] > best[i];
      best[i] = better ? row[i] : best[i];
      codes[i] = better ? static_cast<int16_t>(k) : codes[i];
    }
  }
  for (int k = 0; k < classes; ++k) {
    const float* row = scores + k * stride;
    for (int i = 0; i < cells; ++i) {
      const bool sure = static_cast<bool>(static_cast<int>(surely_below(row[i], best[i])) | (codes[i] == k));
      codes[i] = sure ? codes[i] : kMixed;  // once mixed, no class equals it: it stays so
    }
  }
}

// The classes that can win somewhere between four cells, each blended horizontally for one block of columns.
struct Candidates {
  int count = 0;
  int classes[kMostClasses];
  float corners[kMostClasses][4];
};

struct Block {
  float top[kMostClasses][kBlock];
  float bottom[kMostClasses][kBlock];
};

void find_candidates(const float* scores, int classes, int64_t stride, const int64_t corner[4], Candidates& found) {
  float floor = 0;  // the largest, over classes, of a class's least value at the corners
  for (int k = 0; k < classes; ++k) {
    const float* plane = scores + k * stride;
    float least = plane[corner[0]];
    for (int i = 1; i < 4; ++i) least = plane[corner[i]] < least ? plane[corner[i]] : least;
    floor = k == 0 || least > floor ? least : floor;
  }
  found.count = 0;
  for (int k = 0; k < classes; ++k) {
    const float* plane = scores + k * stride;
    float most = plane[corner[0]];
    for (int i = 1; i < 4; ++i) most = plane[corner[i]] > most ? plane[corner[i]] : most;
    if (surely_below(most, floor)) continue;
    found.classes[found.count] = k;
    for (int i = 0; i < 4; ++i) found.corners[found.count][i] = plane[corner[i]];
    ++found.count;
  }
}

GSVNET_CLONES
void blend_columns(const Candidates& found, const float* left, const float* right, Block& block) {
  for (int k = 0; k < found.count; ++k) {
    const float* corner = found.corners[k];
    for (int i = 0; i < kBlock; ++i) {
      block.top[k][i] = blend(corner[0], corner[1], left[i], right[i]);
      block.bottom[k][i] = blend(corner[2], corner[3], left[i], right[i]);
    }
  }
}

// labels[kBlock] for one output row: strictly greater wins, candidates rise, so ties keep the lowest class.
GSVNET_CLONES
void choose(const Candidates& found, const Block& block, float upper, float lower, uint8_t* labels) {
  float best[kBlock];
  int index[kBlock];
  for (int i = 0; i < kBlock; ++i) {
    best[i] = blend(block.top[0][i], block.bottom[0][i], upper, lower);
    index[i] = found.classes[0];
  }
  for (int k = 1; k < found.count; ++k) {
    const int label = found.classes[k];
    for (int i = 0; i < kBlock; ++i) {
      const float value = blend(block.top[k][i], block.bottom[k][i], upper, lower);
      const bool better = value > best[i];
      best[i] = better ? value : best[i];
      index[i] = better ? label : index[i];
    }
  }
  for (int i = 0; i < kBlock; ++i) labels[i] = static_cast<uint8_t>(index[i]);
}

// Output columns or rows [begin, end) that lie between the same two cells.
struct Span {
  int begin, end, first, second;
};

struct Axis {
  std::vector<Span> spans;
  std::vector<float> weights_first, weights_second;  // padded to a whole block

  Axis(int outputs, int cells) {
    weights_first.resize(static_cast<size_t>(outputs) + kBlock);
    weights_second.resize(static_cast<size_t>(outputs) + kBlock);
    for (int x = 0; x < outputs; ++x) {
      const Between at = between(x, outputs, cells);
      weights_first[static_cast<size_t>(x)] = 1.0f - at.weight;
      weights_second[static_cast<size_t>(x)] = at.weight;
      if (spans.empty() || spans.back().first != at.first) spans.push_back({x, x, at.first, at.second});
      spans.back().end = x + 1;
    }
  }
};

struct Task {
  const float* scores;
  int classes, columns;
  int64_t cells;  // a class's plane
  const int16_t* codes;
  uint8_t* labels;
  int64_t row_stride;
  const Axis& across;
  const Axis& down;
};

void fill(const Task& task, const Span& rows, int begin, int end, int label) {
  for (int y = rows.begin; y < rows.end; ++y)
    std::memset(task.labels + y * task.row_stride + begin, label, static_cast<size_t>(end - begin));
}

void compute(const Task& task, const Span& rows, const Span& columns, Candidates& found, Block& block) {
  const int64_t upper = static_cast<int64_t>(rows.first) * task.columns;
  const int64_t lower = static_cast<int64_t>(rows.second) * task.columns;
  const int64_t corner[4] = {upper + columns.first, upper + columns.second, lower + columns.first,
                             lower + columns.second};
  find_candidates(task.scores, task.classes, task.cells, corner, found);
  if (found.count == 1) {
    fill(task, rows, columns.begin, columns.end, found.classes[0]);
    return;
  }
  for (int x = columns.begin; x < columns.end; x += kBlock) {
    const int width = std::min(kBlock, columns.end - x);
    blend_columns(found, &task.across.weights_first[static_cast<size_t>(x)],
                  &task.across.weights_second[static_cast<size_t>(x)], block);
    for (int y = rows.begin; y < rows.end; ++y) {
      uint8_t chosen[kBlock];
      choose(found, block, task.down.weights_first[static_cast<size_t>(y)],
             task.down.weights_second[static_cast<size_t>(y)], chosen);
      std::memcpy(task.labels + y * task.row_stride + x, chosen, static_cast<size_t>(width));
    }
  }
}

// All output rows between two rows of cells: stretches of agreeing cells are filled, the rest computed.
void upsample_band(const Task& task, const Span& rows, Candidates& found, Block& block) {
  const int16_t* upper = task.codes + static_cast<int64_t>(rows.first) * task.columns;
  const int16_t* lower = task.codes + static_cast<int64_t>(rows.second) * task.columns;
  int stretch_begin = 0, stretch_label = kMixed;
  const auto flush = [&](int end) {
    if (stretch_label != kMixed && end > stretch_begin) fill(task, rows, stretch_begin, end, stretch_label);
  };
  for (const Span& columns : task.across.spans) {
    const int label = upper[columns.first];
    const bool agree = label != kMixed && upper[columns.second] == label && lower[columns.first] == label &&
                       lower[columns.second] == label;
    const int now = agree ? label : kMixed;
    if (now != stretch_label) {
      flush(columns.begin);
      stretch_begin = columns.begin;
      stretch_label = now;
    }
    if (!agree) compute(task, rows, columns, found, block);
  }
  flush(task.across.spans.back().end);
}

}  // namespace
}  // namespace gsvnet

extern "C" int gsvnet_label_upsample(const float* scores, int32_t classes, int32_t rows, int32_t columns,
                                     uint8_t* labels, int32_t height, int32_t width, int64_t row_stride,
                                     int32_t threads) try {
  using namespace gsvnet;
  if (!scores || !labels || classes < 1 || classes > kMostClasses || rows < 1 || columns < 1 || height < 1 ||
      width < 1 || row_stride < width)
    return -1;
  const int64_t cells = static_cast<int64_t>(rows) * columns;
  std::vector<int16_t> codes(static_cast<size_t>(cells));
  parallel_for(rows, threads, [&](int first, int end) {
    std::vector<float> best(static_cast<size_t>(columns));
    for (int y = first; y < end; ++y) {
      const int64_t at = static_cast<int64_t>(y) * columns;
      classify(scores + at, classes, cells, columns, best.data(), codes.data() + at);
    }
  });
  const Axis across(width, columns), down(height, rows);
  const Task task{scores, classes, columns, cells, codes.data(), labels, row_stride, across, down};
  parallel_for(static_cast<int>(down.spans.size()), threads, [&](int first, int end) {
    const auto found = std::make_unique<Candidates>();
    const auto block = std::make_unique<Block>();
    for (int band = first; band < end; ++band)
      upsample_band(task, down.spans[static_cast<size_t>(band)], *found, *block);
  });
  return 0;
} catch (...) {
  return -1;
}

extern "C" const char* gsvnet_instruction_set(void) {
#ifdef GSVNET_NO_CLONES
  return "baseline";
#else
  return __builtin_cpu_supports("avx512f") ? "avx512" : __builtin_cpu_supports("avx2") ? "avx2" : "baseline";
#endif
}
