// CUDA on the host: before a .cu, it lets g++ compile the file's kernels as functions (-ffp-contract=off) and run them,
// thread after thread. That shows right results and accesses within bounds; it cannot show races.
//
//   g++ -x c++ -std=c++17 -ffp-contract=off -include on_host.h -c warp/warp.cu
#pragma once
#include <utility>

#define __global__ __attribute__((visibility("default")))
#define __device__
#define __restrict__ __restrict

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
inline thread_local dim3 blockIdx, threadIdx, blockDim, gridDim;

namespace on_host {

template <typename... A, std::size_t... I>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<A*>(arguments[I])...);
}

// Like cuLaunchKernel: arguments[i] points at the kernel's i-th argument.
template <typename... A>
void launch(void (*kernel)(A...), dim3 grid, dim3 block, void** arguments) {
  gridDim = grid, blockDim = block;
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
        for (threadIdx.z = 0; threadIdx.z < block.z; ++threadIdx.z)
          for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
            for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x)
              call(kernel, arguments, std::index_sequence_for<A...>());
}

// Like kernel<<<grid, block>>>(arguments...).
template <typename... A>
void run(void (*kernel)(A...), dim3 grid, dim3 block, A... arguments) {
  void* addresses[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  launch(kernel, grid, block, addresses);
}

}  // namespace on_host
