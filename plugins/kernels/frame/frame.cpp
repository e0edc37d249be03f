// Frame preparation: planes of 8 to 16 bit samples -> float planes of another size, then to RGB in 0..1.
//
// Resampling is separable and linear, so colour conversion may come after it: no full-size RGB picture is ever made and
// nothing is rounded to 8 bits in between. Rows first: whole rows of samples are weighted and summed into a float row,
// which vectorises; then columns.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../dispatch.h"
#include "../gsvnet_kernels.h"
#include "../parallel.h"
#include "core.h"

namespace gsvnet {
namespace {

// For each output sample of an axis: its first input sample and its weights, which sum to one.
struct Taps {
  std::vector<int> first, start;  // start: where its weights begin; one more at the end
  std::vector<float> weights;

  Taps(int filter, int outputs, double extent, int samples) {
    std::vector<double> raw;
    if (std::ceil(extent) < samples) samples = static_cast<int>(std::ceil(extent));  // the rest is not of the picture
    for (int i = 0; i < outputs; ++i) {
      const bool area = filter == GSVNET_AREA;
      const Reach reach = area ? area_reach(i, outputs, extent, samples) : bilinear_reach(i, outputs, extent, samples);
      raw.clear();
      double total = 0;
      for (int j = reach.first; j < reach.end; ++j) {
        raw.push_back(area ? area_weight(i, outputs, extent, j) : bilinear_weight(i, outputs, extent, j));
        total += raw.back();
      }
      if (total <= 0) {  // no sample in reach carries weight: take the nearest whole
        raw.assign(1, 1.0);
        total = 1;
      }
      size_t begin = 0, end = raw.size();
      while (begin + 1 < end && raw[begin] == 0) ++begin;
      while (begin + 1 < end && raw[end - 1] == 0) --end;
      first.push_back(reach.first + static_cast<int>(begin));
      start.push_back(static_cast<int>(weights.size()));
      for (size_t j = begin; j < end; ++j) weights.push_back(static_cast<float>(raw[j] / total));
    }
    start.push_back(static_cast<int>(weights.size()));
  }
};

// sums[n] = or += weight * samples[n]; one function a sample type, contiguous or apart.
GSVNET_CLONES
void add_bytes(const uint8_t* samples, float weight, float* sums, int n, bool fresh) {
  if (fresh)
    for (int i = 0; i < n; ++i) sums[i] = weight * static_cast<float>(samples[i]);
  else
    for (int i = 0; i < n; ++i) sums[i] += weight * static_cast<float>(samples[i]);
}

GSVNET_CLONES
void add_words(const uint16_t* samples, int shift, float weight, float* sums, int n, bool fresh) {
  if (fresh)
    for (int i = 0; i < n; ++i) sums[i] = weight * static_cast<float>(samples[i] >> shift);
  else
    for (int i = 0; i < n; ++i) sums[i] += weight * static_cast<float>(samples[i] >> shift);
}

template <typename Sample>
void add_apart(const uint8_t* row, int64_t stride, int shift, float weight, float* sums, int n, bool fresh) {
  for (int i = 0; i < n; ++i) {
    const Sample sample = *reinterpret_cast<const Sample*>(row + i * stride);
    const float value = weight * static_cast<float>(sample >> shift);
    sums[i] = fresh ? value : sums[i] + value;
  }
}

void add_row(const gsvnet_plane& plane, int row, float weight, float* sums, bool fresh) {
  const auto* data = static_cast<const uint8_t*>(plane.data) + row * plane.row_stride;
  const int n = plane.columns;
  if (plane.pixel_stride == plane.bytes && plane.bytes == 1 && plane.shift == 0)
    add_bytes(data, weight, sums, n, fresh);
  else if (plane.pixel_stride == plane.bytes && plane.bytes == 2)
    add_words(reinterpret_cast<const uint16_t*>(data), plane.shift, weight, sums, n, fresh);
  else if (plane.bytes == 1)
    add_apart<uint8_t>(data, plane.pixel_stride, plane.shift, weight, sums, n, fresh);
  else
    add_apart<uint16_t>(data, plane.pixel_stride, plane.shift, weight, sums, n, fresh);
}

// Weights tap by tap, [most][outputs], those that an output lacks 0: so that outputs are computed side by side. `sums`
// must have `most` zeros after its last column, for such taps to read.
struct TapMajor {
  int most = 0;
  std::vector<float> weights;

  explicit TapMajor(const Taps& taps) {
    const size_t outputs = taps.first.size();
    for (size_t i = 0; i < outputs; ++i) most = std::max(most, taps.start[i + 1] - taps.start[i]);
    weights.resize(outputs * static_cast<size_t>(most));
    for (size_t i = 0; i < outputs; ++i)
      for (int t = 0; t < taps.start[i + 1] - taps.start[i]; ++t)
        weights[static_cast<size_t>(t) * outputs + i] = taps.weights[static_cast<size_t>(taps.start[i] + t)];
  }
};

GSVNET_CLONES
void gather_columns(const int* first, const float* weights, int taps, const float* sums, float* out, int n) {
  for (int x = 0; x < n; ++x) out[x] = weights[x] * sums[first[x]];
  for (int t = 1; t < taps; ++t) {
    const float* row = weights + static_cast<int64_t>(t) * n;
    const float* samples = sums + t;
    for (int x = 0; x < n; ++x) out[x] += row[x] * samples[first[x]];
  }
}

GSVNET_CLONES
void convert(float* a, float* b, float* c, int n, const float* offset, const float* m) {
  for (int i = 0; i < n; ++i) {
    const float values[3] = {a[i] - offset[0], b[i] - offset[1], c[i] - offset[2]};
    a[i] = to_unit(m, values);
    b[i] = to_unit(m + 3, values);
    c[i] = to_unit(m + 6, values);
  }
}

bool sensible(const gsvnet_plane& plane) {
  const auto fits = [](double extent, int samples) { return extent > 0 && extent <= samples; };
  return plane.data && plane.rows > 0 && plane.columns > 0 && (plane.bytes == 1 || plane.bytes == 2) &&
         plane.shift >= 0 && plane.shift < 8 * plane.bytes && fits(plane.extent_rows, plane.rows) &&
         fits(plane.extent_columns, plane.columns);
}

}  // namespace
}  // namespace gsvnet

extern "C" int gsvnet_resample(const gsvnet_plane* plane, int32_t filter, float* out, int32_t out_rows,
                               int32_t out_columns, int32_t threads) try {
  using namespace gsvnet;
  if (!plane || !out || out_rows < 1 || out_columns < 1 || !sensible(*plane) ||
      (filter != GSVNET_AREA && filter != GSVNET_BILINEAR))
    return -1;
  const Taps down(filter, out_rows, plane->extent_rows, plane->rows);
  const Taps across(filter, out_columns, plane->extent_columns, plane->columns);
  const TapMajor columns(across);
  parallel_for(out_rows, threads, [&](int first, int end) {
    std::vector<float> sums(static_cast<size_t>(plane->columns + columns.most));
    for (int y = first; y < end; ++y) {
      const int begin = down.start[static_cast<size_t>(y)], stop = down.start[static_cast<size_t>(y) + 1];
      for (int t = begin; t < stop; ++t)
        add_row(*plane, down.first[static_cast<size_t>(y)] + t - begin, down.weights[static_cast<size_t>(t)],
                sums.data(), t == begin);
      gather_columns(across.first.data(), columns.weights.data(), columns.most, sums.data(),
                     out + static_cast<int64_t>(y) * out_columns, out_columns);
    }
  });
  return 0;
} catch (...) {
  return -1;
}

extern "C" int gsvnet_taps(int32_t filter, int32_t outputs, double extent, int32_t samples, int32_t* first,
                           float* weights, int32_t capacity) try {
  using namespace gsvnet;
  if (outputs < 1 || samples < 1 || !(extent > 0 && extent <= samples) || capacity < 0 ||
      (filter != GSVNET_AREA && filter != GSVNET_BILINEAR))
    return -1;
  const Taps taps(filter, outputs, extent, samples);
  const TapMajor table(taps);
  if (table.most > capacity) return table.most;
  if (!first || !weights) return -1;
  std::copy(taps.first.begin(), taps.first.end(), first);
  std::copy(table.weights.begin(), table.weights.end(), weights);
  return table.most;
} catch (...) {
  return -1;
}

extern "C" int gsvnet_convert(float* planes, int64_t count, const float offset[3], const float matrix[9],
                              int32_t threads) try {
  using namespace gsvnet;
  constexpr int64_t kChunk = 16384;
  if (!planes || !offset || !matrix || count < 1) return -1;
  parallel_for(static_cast<int>((count + kChunk - 1) / kChunk), threads, [&](int first, int end) {
    for (int chunk = first; chunk < end; ++chunk) {
      float* at = planes + chunk * kChunk;
      const int n = static_cast<int>(std::min(kChunk, count - chunk * kChunk));
      convert(at, at + count, at + 2 * count, n, offset, matrix);
    }
  });
  return 0;
} catch (...) {
  return -1;
}
