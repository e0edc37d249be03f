// Starts the kernels that a plugin stands for. Under on_host.h they run at once, on the CPU.
#include "../kernels/filter/filter.cu"
#include "../kernels/labels/labels.cu"
#include "../kernels/warp/warp.cu"
#include "core.h"

namespace gsvnet::tensorrt {
namespace {

template <typename... P, typename... A>
int start(void (*kernel)(P...), int64_t columns, int64_t rows, int64_t depth, void* stream, A... arguments) {
  const dim3 block{kBlockColumns, kBlockRows, 1};
  const dim3 grid{static_cast<unsigned>((columns + kBlockColumns - 1) / kBlockColumns),
                  static_cast<unsigned>((rows + kBlockRows - 1) / kBlockRows), static_cast<unsigned>(depth)};
#ifdef __CUDACC__
  kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(static_cast<P>(arguments)...);
  return static_cast<int>(cudaGetLastError());
#else
  (void)stream;
  on_host::run(kernel, grid, block, static_cast<P>(arguments)...);
  return 0;
#endif
}

// The kernels of a type.
struct Float32 {
  static constexpr auto warp = gsvnet_warp;
  static constexpr auto edges = gsvnet_edges;
  static constexpr auto filter_9 = gsvnet_filter_9;
  static constexpr auto filter_17 = gsvnet_filter_17;
  static constexpr auto labels = gsvnet_labels;
  using Number = float;
};

struct Float16 {
  static constexpr auto warp = gsvnet_warp_half;
  static constexpr auto edges = gsvnet_edges_half;
  static constexpr auto filter_9 = gsvnet_filter_9_half;
  static constexpr auto filter_17 = gsvnet_filter_17_half;
  static constexpr auto labels = gsvnet_labels_half;
  using Number = Half;
};

template <typename Kernels>
int enqueue_as(Operation operation, const Sizes& at, const void* const* inputs, void* const* outputs, void* workspace,
               void* stream) {
  using Number = typename Kernels::Number;
  const auto in = [&](int i) { return static_cast<const Number*>(inputs[i]); };
  const auto out = [&](int i) { return static_cast<Number*>(outputs[i]); };
  const int classes = static_cast<int>(at.classes), rows = static_cast<int>(at.rows);
  const int columns = static_cast<int>(at.columns);
  switch (operation) {
    case Operation::kWarp: {
      auto* index = static_cast<unsigned char*>(workspace);
      const int status = start(Kernels::warp, columns, rows, at.n, stream, in(0), in(1), classes, rows, columns, out(0),
                               index);
      return status ? status : start(Kernels::edges, columns, rows, at.n, stream, index, rows, columns, out(1));
    }
    case Operation::kFilter:
      return start(at.other == 10 ? Kernels::filter_9 : Kernels::filter_17, columns, rows, at.n * ((classes + 3) / 4),
                   stream, in(0), in(1), in(2), classes, rows, columns, out(0));
    case Operation::kLabels:
      return start(Kernels::labels, at.width, at.height, at.n, stream, in(0), classes, rows, columns,
                   static_cast<unsigned char*>(outputs[0]), static_cast<int>(at.height), static_cast<int>(at.width));
  }
  return -1;
}

}  // namespace

int enqueue(Operation operation, Type type, const Sizes& at, const void* const* inputs, void* const* outputs,
            void* workspace, void* stream) {
  if (problem(operation, at)) return -1;
  if (type == Type::kFloat) return enqueue_as<Float32>(operation, at, inputs, outputs, workspace, stream);
  if (type == Type::kHalf) return enqueue_as<Float16>(operation, at, inputs, outputs, workspace, stream);
  return -1;
}

}  // namespace gsvnet::tensorrt
