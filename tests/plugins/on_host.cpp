// The kernels of every .cu as host functions, in one library. launch() is cuLaunchKernel by name: 0, or -1 for no such
// kernel.
#include <cstring>

#include "../../plugins/kernels/on_host.h"

#include "../../plugins/kernels/filter/filter.cu"
#include "../../plugins/kernels/frame/frame.cu"
#include "../../plugins/kernels/labels/labels.cu"
#include "../../plugins/kernels/warp/warp.cu"

extern "C" __attribute__((visibility("default"))) int launch(const char* name, const unsigned grid[3],
                                                             const unsigned block[3], void** arguments) {
  const dim3 blocks{grid[0], grid[1], grid[2]}, threads{block[0], block[1], block[2]};
  const auto is = [name](const char* other) { return std::strcmp(name, other) == 0; };
#define KERNEL(kernel) \
  if (is(#kernel)) return on_host::launch(kernel, blocks, threads, arguments), 0
  KERNEL(gsvnet_edges);
  KERNEL(gsvnet_edges_half);
  KERNEL(gsvnet_filter_17);
  KERNEL(gsvnet_filter_17_half);
  KERNEL(gsvnet_filter_9);
  KERNEL(gsvnet_filter_9_half);
  KERNEL(gsvnet_labels);
  KERNEL(gsvnet_labels_half);
  KERNEL(gsvnet_prepare);
  KERNEL(gsvnet_warp);
  KERNEL(gsvnet_warp_half);
#undef KERNEL
  return -1;
}
