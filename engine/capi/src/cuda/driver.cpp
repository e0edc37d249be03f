#include "driver.h"

#include <dlfcn.h>

#include <algorithm>
#include <iterator>

namespace gsvnet::cuda {
namespace {

constexpr int kOutOfMemory = 2;
// After these the context is beyond use: every later call fails, freeing included.
constexpr int kLost[] = {4, 46, 214, 215, 220, 700, 702, 709, 713, 714, 715, 716, 717, 718, 719, 721, 999};
constexpr const char* kInstall = "; install NVIDIA's display driver (docs/c.md, GPU)";

bool is_lost(int code) { return std::find(std::begin(kLost), std::end(kLost), code) != std::end(kLost); }

std::string last_words() {
  const char* const text = dlerror();
  return text ? text : "no reason given";
}

template <typename... P>
void find(void* library, Function<P...>& function) {
  const std::string symbol = std::string(function.name) + function.suffix;
  function.at = reinterpret_cast<int (*)(P...)>(dlsym(library, symbol.c_str()));
  if (!function.at)
    throw DriverError("CUDA: the driver has no " + symbol + ": it is too old; update NVIDIA's display driver", 0);
}

}  // namespace

bool DriverError::lost() const { return is_lost(code_); }

void check(int status, const char* name, const std::string& doing) {
  if (!status) return;
  const char* known = nullptr;
  std::string what = std::string("CUDA: ") + name + (doing.empty() ? "" : " (" + doing + ")") + " failed: ";
  driver().error_name.quietly(status, &known);
  what += known ? known : "error " + std::to_string(status);
  if (status == kOutOfMemory)
    what += ": the GPU has no memory left; close other programs on it, or use a smaller working size or source";
  else if (is_lost(status))
    what += ": the GPU was lost (a fault, a reset, or a kernel stopped by a watchdog); start anew";
  throw DriverError(what, status);
}

Driver::Driver() {
  void* const library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) throw DriverError("CUDA: the driver does not load (" + last_words() + ")" + kInstall, 0);
  const auto all = [library](auto&... functions) { (find(library, functions), ...); };
  all(init, error_name, device_count, device, device_name, device_attribute, context_retain, context_release,
      context_push, context_pop, stream_create, stream_destroy, stream_synchronize, stream_wait, event_create,
      event_destroy, event_record, event_synchronize, event_elapsed, memory_allocate, memory_free, pinned_allocate,
      pinned_free, upload, download, fill, pointer_attribute, module_load, module_unload, module_function, launch,
      capture_begin, capture_end, graph_instantiate, graph_launch, graph_destroy, graph_executable_destroy);
}

const Driver& driver() {
  static const Driver only;
  return only;
}

}  // namespace gsvnet::cuda
