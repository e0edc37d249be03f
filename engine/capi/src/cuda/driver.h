// The CUDA driver, loaded when it is first asked for: libgsvnet links nothing of CUDA's, and one file of it serves
// machines with a GPU and without. Every call is checked.
#pragma once

#include <cstddef>
#include <string>

#include "../error.h"

namespace gsvnet::cuda {

using Address = unsigned long long;  // CUdeviceptr: in the device's memory
using Handle = void*;                // CUstream, CUevent, CUcontext, ...

// A call of the driver failed. `code` is the CUresult, or 0 where there is no driver at all.
class DriverError : public engine::Error {
 public:
  DriverError(const std::string& message, int code) : Error(GSVNET_ERROR_BACKEND, message), code_(code) {}
  int code() const { return code_; }
  // Whether the device, or this process's context on it, is gone for good.
  bool lost() const;

 private:
  int code_;
};

// Throws DriverError for a status that is not 0, one line. `doing`: what for, or "".
void check(int status, const char* name, const std::string& doing);

template <typename... P>
struct Function {
  const char* name;         // as cuda.h calls it
  const char* suffix = "";  // the version of it that cuda.h means, which is part of the symbol
  int (*at)(P...) = nullptr;

  template <typename... A>
  void operator()(A... arguments) const {
    check(at(arguments...), name, "");
  }
  template <typename... A>
  void to(const std::string& doing, A... arguments) const {
    check(at(arguments...), name, doing);
  }
  // For freeing: on a lost device each such call fails, after an error that was told. Whether it succeeded.
  template <typename... A>
  bool quietly(A... arguments) const noexcept {
    return !at(arguments...);
  }
};

struct Driver {
  Driver();  // throws DriverError where there is no driver, or one without these functions

  Function<unsigned> init{"cuInit"};
  Function<int, const char**> error_name{"cuGetErrorName"};

  Function<int*> device_count{"cuDeviceGetCount"};
  Function<int*, int> device{"cuDeviceGet"};
  Function<char*, int, int> device_name{"cuDeviceGetName"};
  Function<int*, int, int> device_attribute{"cuDeviceGetAttribute"};
  Function<Handle*, int> context_retain{"cuDevicePrimaryCtxRetain"};
  Function<int> context_release{"cuDevicePrimaryCtxRelease", "_v2"};
  Function<Handle> context_push{"cuCtxPushCurrent", "_v2"};
  Function<Handle*> context_pop{"cuCtxPopCurrent", "_v2"};

  Function<Handle*, unsigned, int> stream_create{"cuStreamCreateWithPriority"};
  Function<Handle> stream_destroy{"cuStreamDestroy", "_v2"};
  Function<Handle> stream_synchronize{"cuStreamSynchronize"};
  Function<Handle, Handle, unsigned> stream_wait{"cuStreamWaitEvent"};
  Function<Handle*, unsigned> event_create{"cuEventCreate"};
  Function<Handle> event_destroy{"cuEventDestroy", "_v2"};
  Function<Handle, Handle> event_record{"cuEventRecord"};
  Function<Handle> event_synchronize{"cuEventSynchronize"};
  Function<float*, Handle, Handle> event_elapsed{"cuEventElapsedTime"};

  Function<Address*, size_t> memory_allocate{"cuMemAlloc", "_v2"};
  Function<Address> memory_free{"cuMemFree", "_v2"};
  Function<void**, size_t, unsigned> pinned_allocate{"cuMemHostAlloc"};
  Function<void*> pinned_free{"cuMemFreeHost"};
  Function<Address, const void*, size_t, Handle> upload{"cuMemcpyHtoDAsync", "_v2"};
  Function<void*, Address, size_t, Handle> download{"cuMemcpyDtoHAsync", "_v2"};
  Function<Address, unsigned char, size_t, Handle> fill{"cuMemsetD8Async"};
  Function<void*, int, Address> pointer_attribute{"cuPointerGetAttribute"};

  Function<Handle*, const void*> module_load{"cuModuleLoadData"};
  Function<Handle> module_unload{"cuModuleUnload"};
  Function<Handle*, Handle, const char*> module_function{"cuModuleGetFunction"};
  Function<Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**, void**> launch{
      "cuLaunchKernel"};

  Function<Handle, int> capture_begin{"cuStreamBeginCapture", "_v2"};
  Function<Handle, Handle*> capture_end{"cuStreamEndCapture"};
  Function<Handle*, Handle, unsigned long long> graph_instantiate{"cuGraphInstantiateWithFlags"};
  Function<Handle, Handle> graph_launch{"cuGraphLaunch"};
  Function<Handle> graph_destroy{"cuGraphDestroy"};
  Function<Handle> graph_executable_destroy{"cuGraphExecDestroy"};
};

// The one of this process; never unloaded. Throws as Driver() does, and tries again at the next call.
const Driver& driver();

}  // namespace gsvnet::cuda
