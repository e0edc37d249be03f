// parallel_for: chunks of a range on short-lived threads.
//
// Threads are started for each call: 20 to 40 microseconds against kernels of milliseconds, and nothing that outlives
// the call, so the library can be unloaded or forked at any time. With GSVNET_TBB (plugins/openvino) the chunks run in the
// TBB arena that the caller is in, and `threads` 0 means as many as that has.
#pragma once

#include <algorithm>

#ifdef GSVNET_TBB
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#else
#include <exception>
#include <mutex>
#include <thread>
#include <vector>
#endif

namespace gsvnet {

#ifdef GSVNET_TBB

constexpr int kChunksPerThread = 4;  // so that a thread that comes late, as the arena's may, leaves its share to others

template <typename Work>
void parallel_for(int count, int threads, const Work& work) {
  if (threads <= 0) threads = tbb::this_task_arena::max_concurrency();
  const int chunks = threads == 1 ? 1 : std::max(1, std::min(threads * kChunksPerThread, count));
  const auto bound = [&](int chunk) { return static_cast<int>(static_cast<long long>(count) * chunk / chunks); };
  tbb::parallel_for(0, chunks, [&](int chunk) { work(bound(chunk), bound(chunk + 1)); }, tbb::simple_partitioner());
}

#else

// Calls work(first, end) on disjoint chunks that cover [0, count), on the calling thread and up to threads - 1 others.
// Where the system gives no thread, the calling thread does that chunk's work as well. What a chunk throws (memory can
// run out) is thrown again here once every thread has ended: an exception that leaves a thread ends the process.
template <typename Work>
void parallel_for(int count, int threads, const Work& work) {
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  threads = std::max(1, std::min(threads, count));
  std::exception_ptr failure;
  std::mutex guard;
  const auto attempt = [&](int first, int end) {
    try {
      work(first, end);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(guard);
      failure = std::current_exception();
    }
  };
  std::vector<std::thread> others;
  others.reserve(static_cast<size_t>(threads - 1));
  for (int t = 1; t < threads; ++t) {
    const int first = static_cast<int>(static_cast<long long>(count) * t / threads);
    const int end = static_cast<int>(static_cast<long long>(count) * (t + 1) / threads);
    try {
      others.emplace_back([&attempt, first, end] { attempt(first, end); });
    } catch (...) {
      attempt(first, end);
    }
  }
  attempt(0, static_cast<int>(static_cast<long long>(count) / threads));
  for (std::thread& other : others) other.join();
  if (failure) std::rethrow_exception(failure);
}

#endif

}  // namespace gsvnet
