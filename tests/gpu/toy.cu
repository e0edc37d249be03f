// The toy bundle's networks (tests/toy_bundle.py) as kernels, for toy_tensorrt.py.

namespace {

struct Cell {
  int x, y;
  bool inside;
};

__device__ Cell here(int columns, int rows) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  return {x, y, x < columns && y < rows};
}

__device__ float mix(const float* row, const float* picture, long long pixels, long long at) {
  return row[0] * picture[at] + row[1] * picture[pixels + at] + row[2] * picture[2 * pixels + at];
}

struct Step {
  int first, second;
  float part;
};

// Bilinear, half-pixel centres.
__device__ Step step(int i, int samples, int outputs) {
  float at = (static_cast<float>(i) + 0.5f) * static_cast<float>(samples) / static_cast<float>(outputs) - 0.5f;
  const float last = static_cast<float>(samples - 1);
  at = at < 0.0f ? 0.0f : at > last ? last : at;
  const int first = static_cast<int>(at);
  return {first, first + 1 < samples ? first + 1 : first, at - static_cast<float>(first)};
}

}  // namespace

struct Weights {
  float key[12], bias[4], current[12], previous[12];
};

// into [count] = from. Threads: count x 1.
extern "C" __global__ void toy_copy(const float* from, float* into, int count) {
  const Cell cell = here(count, 1);
  if (cell.inside) into[cell.x] = from[cell.x];
}

// Nothing, for so many ticks of the card's clock. Threads: 1 x 1.
extern "C" __global__ void toy_wait(int ticks) {
  const long long start = clock64();
  while (clock64() - start < ticks) {
  }
}

// frame [3][height][width] -> scores [4][rows][columns]. Threads: columns x rows.
extern "C" __global__ void toy_keyframe(const float* frame, int height, int width, float* scores, int rows,
                                        int columns, Weights weights) {
  const Cell cell = here(columns, rows);
  if (!cell.inside) return;
  const Step down = step(cell.y, height, rows), across = step(cell.x, width, columns);
  const long long pixels = static_cast<long long>(height) * width, cells = static_cast<long long>(rows) * columns;
  for (int c = 0; c < 4; ++c) {
    float row[2];
    for (int i = 0; i < 2; ++i) {
      const long long line = static_cast<long long>(i ? down.second : down.first) * width;
      const float left = mix(weights.key + 3 * c, frame, pixels, line + across.first) + weights.bias[c];
      const float right = mix(weights.key + 3 * c, frame, pixels, line + across.second) + weights.bias[c];
      row[i] = (1.0f - across.part) * left + across.part * right;
    }
    scores[c * cells + static_cast<long long>(cell.y) * columns + cell.x] =
        (1.0f - down.part) * row[0] + down.part * row[1];
  }
}

// current, previous [3][rows][columns], scores [4][rows][columns] -> propagated, as scores. Threads: columns x rows.
extern "C" __global__ void toy_propagate(const float* current, const float* previous, const float* scores,
                                         float* propagated, int rows, int columns, Weights weights) {
  const Cell cell = here(columns, rows);
  if (!cell.inside) return;
  const long long cells = static_cast<long long>(rows) * columns, at = static_cast<long long>(cell.y) * columns + cell.x;
  for (int c = 0; c < 4; ++c)
    propagated[c * cells + at] = 0.5f * scores[c * cells + at] + mix(weights.current + 3 * c, current, cells, at) -
                                 mix(weights.previous + 3 * c, previous, cells, at);
}

// The same inputs -> warped, as scores, and flow [2][rows][columns]. Threads: columns x rows.
extern "C" __global__ void toy_warp(const float* current, const float* previous, const float* scores, float* warped,
                                    float* flow, int rows, int columns) {
  const Cell cell = here(columns, rows);
  if (!cell.inside) return;
  const long long cells = static_cast<long long>(rows) * columns, at = static_cast<long long>(cell.y) * columns + cell.x;
  for (int c = 0; c < 4; ++c) warped[c * cells + at] = 0.5f * scores[c * cells + at];
  for (int i = 0; i < 2; ++i) flow[i * cells + at] = current[i * cells + at] - previous[i * cells + at];
}
