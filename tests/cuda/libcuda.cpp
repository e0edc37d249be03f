// A stand-in for libcuda.so.1, for machines without a GPU: device memory is host memory, and a GPU's freedom is kept.
//
//   g++ -shared -fPIC -std=c++17 -O1 -ffp-contract=off -Wl,-soname,libcuda.so.1 libcuda.cpp -o libcuda.so.1
//
// Work is deferred: a call only puts it on its stream. It runs when somebody waits for something, streams taking turns at
// random (by a seed), some starved and some hurried, and now and then by itself. So work that nothing orders runs in an
// order in which it is wrong, and a missing wait shows as wrong data.
//
// It also counts what lives, refuses what the driver refuses (no current context, work forbidden while capturing), notes
// violations (memory used after it was freed, copies from memory that is not pinned), and fails any one call when told to.
#include "../../plugins/kernels/on_host.h"

#include "../../plugins/kernels/frame/frame.cu"
#include "../../plugins/kernels/labels/labels.cu"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

using Address = unsigned long long;  // CUdeviceptr

namespace {

enum : int {
  kOk = 0, kInvalidValue = 1, kOutOfMemory = 2, kNotInitialized = 3, kNoDevice = 100, kInvalidContext = 201,
  kInvalidHandle = 400, kNotFound = 500, kNotReady = 600, kCaptureUnsupported = 900, kCaptureInvalidated = 901,
  kUnknown = 999
};

struct Event {
  uint64_t recorded = 0, reached = 0;
};

struct Op {
  std::function<void()> run;
  Event* waits_for = nullptr;
  uint64_t ticket = 0;
  std::vector<uintptr_t> touches;  // memory that must still live when it runs
};

struct Graph {
  std::vector<Op> ops;
};

struct Stream {
  std::deque<Op> queue;
  bool held = false, invalidated = false;
  Graph* capture = nullptr;
  std::thread::id capturer;
  int mode = 0, urgency = 0, priority = 0;
};

using Launch = void (*)(dim3, dim3, void**);

struct Function {
  const char* module;
  const char* name;
  std::vector<size_t> sizes;
  Launch launch;
};

template <typename... A>
std::vector<size_t> sizes_of(void (*)(A...)) {
  return {sizeof(A)...};
}

std::vector<Function>& functions() {
  static std::vector<Function> all = {
      {"frame", "gsvnet_prepare", sizes_of(gsvnet_prepare),
       [](dim3 g, dim3 b, void** a) { on_host::launch(gsvnet_prepare, g, b, a); }},
      {"labels", "gsvnet_labels", sizes_of(gsvnet_labels),
       [](dim3 g, dim3 b, void** a) { on_host::launch(gsvnet_labels, g, b, a); }},
  };
  return all;
}

struct Memory {
  size_t size;
  bool device, live;
  std::unique_ptr<unsigned char[]> bytes;
};

struct World {
  std::recursive_mutex mutex;
  std::mt19937 random{0};
  int devices = 1, major = 8, minor = 6;
  std::string name = "Stand-in GPU";
  double eagerness = 0.2;
  bool strict = false;  // priorities are kept to, whoever starves
  std::map<uintptr_t, Memory> memory;
  std::set<Stream*> streams;
  std::set<Event*> events, past_events;
  std::set<Graph*> graphs, executables;
  std::set<std::string*> modules;
  int retained = 0;
  long calls = 0, fail_at = -1;
  int fail_with = 0, lost = 0;
  size_t capacity = SIZE_MAX, used = 0;
  std::map<std::string, long> by_name;
  std::vector<std::string> violations;
  std::string text, failed;
  std::map<std::string, size_t> copied;
  Stream legacy;
  bool running = false;
};

World& world() {
  static World* all = new World;  // never destroyed: Python may still hold handles at exit
  return *all;
}

thread_local int current_depth = 0;

void violate(const std::string& what) { world().violations.push_back(what); }

const std::set<int>& lost_codes() {
  static const std::set<int> codes = {4, 46, 214, 700, 702, 714, 715, 716, 717, 718, 719, 999};
  return codes;
}

// The device is gone: nothing that was given to it will run, and every later call says so.
void lose(int code) {
  world().lost = code;
  world().legacy.queue.clear();
  for (Stream* stream : world().streams) stream->queue.clear();
}

// Every entry: counts, and says how the call fails if it is the one to fail.
int enter(const char* name, bool frees = false, bool needs_context = true) {
  World& w = world();
  ++w.by_name[name];
  const long number = w.calls++;
  if (number == w.fail_at) {
    w.failed = name;
    if (lost_codes().count(w.fail_with)) lose(w.fail_with);
    return w.fail_with;
  }
  if (w.lost) return w.lost;
  if (needs_context && !frees && current_depth == 0) return kInvalidContext;
  return kOk;
}

Memory* find(uintptr_t address) {
  auto& all = world().memory;
  auto after = all.upper_bound(address);
  if (after == all.begin()) return nullptr;
  --after;
  return address < after->first + after->second.size ? &after->second : nullptr;
}

void check_range(const char* what, uintptr_t address, size_t size) {
  Memory* memory = find(address);
  if (!memory) return violate(std::string(what) + ": an address outside of any allocation");
  if (!memory->live) return violate(std::string(what) + ": memory that was freed");
  if (size && find(address + size - 1) != memory) violate(std::string(what) + ": past the end of an allocation");
}

bool ready(const Stream& stream) {
  if (stream.queue.empty() || stream.held) return false;
  const Op& op = stream.queue.front();
  return !op.waits_for || op.waits_for->reached >= op.ticket;
}

std::vector<Stream*> every_stream() {
  std::vector<Stream*> all(world().streams.begin(), world().streams.end());
  all.push_back(&world().legacy);
  std::sort(all.begin(), all.end(), [](Stream* a, Stream* b) { return a->urgency < b->urgency; });
  return all;
}

int urgency_of(const Stream& stream) {
  return static_cast<int>(world().random() % 1000) + (world().strict ? 1000 * stream.priority : 0);
}

// Run one piece of work of some stream; false where none can.
bool step() {
  World& w = world();
  std::vector<Stream*> able;
  for (Stream* stream : every_stream())
    if (ready(*stream)) able.push_back(stream);
  if (able.empty()) return false;
  if (w.random() % 32 == 0)
    for (Stream* stream : every_stream()) stream->urgency = urgency_of(*stream);
  // The most urgent one mostly: so that some are starved for long, as a busy GPU may.
  Stream* chosen = w.strict || w.random() % 16 ? able.front() : able[w.random() % able.size()];
  Op op = std::move(chosen->queue.front());
  chosen->queue.pop_front();
  for (uintptr_t address : op.touches) {
    Memory* memory = find(address);
    if (memory && !memory->live) violate("work ran on memory that was freed");
  }
  w.running = true;
  if (op.run) op.run();
  w.running = false;
  return true;
}

int run_until(const std::function<bool()>& done) {
  while (!done()) {
    if (!step()) {
      violate("a wait that can never end");
      return kUnknown;
    }
  }
  return kOk;
}

Stream* stream_of(void* handle) {
  const auto value = reinterpret_cast<uintptr_t>(handle);
  if (value <= 2) return &world().legacy;
  auto* stream = static_cast<Stream*>(handle);
  return world().streams.count(stream) ? stream : nullptr;
}

// A call that may not be made while this thread captures (or any thread, in global mode).
bool forbidden_while_capturing() {
  bool found = false;
  for (Stream* stream : every_stream())
    if (stream->capture && (stream->mode == 0 || stream->capturer == std::this_thread::get_id())) {
      stream->invalidated = true;
      found = true;
    }
  return found;
}

int put(void* handle, Op op) {
  World& w = world();
  Stream* stream = stream_of(handle);
  if (!stream) return kInvalidHandle;
  if (stream->capture) {
    stream->capture->ops.push_back(std::move(op));
    return kOk;
  }
  stream->queue.push_back(std::move(op));
  if (!w.running)
    while (w.random() % 1000 < w.eagerness * 1000 && step()) {
    }
  return kOk;
}

#define ENTER()                                              \
  std::lock_guard<std::recursive_mutex> lock(world().mutex); \
  if (const int failure = enter(__func__)) return failure
#define ENTER_WITHOUT_CONTEXT()                              \
  std::lock_guard<std::recursive_mutex> lock(world().mutex); \
  if (const int failure = enter(__func__, false, false)) return failure

}  // namespace

// -- initialisation and devices

API int cuInit(unsigned) {
  ENTER_WITHOUT_CONTEXT();
  return world().devices ? kOk : kNoDevice;
}

API int cuDriverGetVersion(int* version) {
  ENTER_WITHOUT_CONTEXT();
  *version = 13000;
  return kOk;
}

API int cuDeviceGetCount(int* count) {
  ENTER_WITHOUT_CONTEXT();
  *count = world().devices;
  return kOk;
}

API int cuDeviceGet(int* device, int ordinal) {
  ENTER_WITHOUT_CONTEXT();
  *device = ordinal;
  return ordinal < world().devices ? kOk : kInvalidValue;
}

API int cuDeviceGetName(char* name, int length, int) {
  ENTER_WITHOUT_CONTEXT();
  std::strncpy(name, world().name.c_str(), static_cast<size_t>(length));
  return kOk;
}

API int cuDeviceGetAttribute(int* value, int attribute, int) {
  ENTER_WITHOUT_CONTEXT();
  *value = attribute == 75 ? world().major : attribute == 76 ? world().minor : 0;
  return kOk;
}

API int cuDeviceTotalMem(size_t* bytes, int) {
  ENTER_WITHOUT_CONTEXT();
  *bytes = size_t{8} << 30;
  return kOk;
}

API int cuDevicePrimaryCtxRetain(void** context, int) {
  ENTER_WITHOUT_CONTEXT();
  *context = &world();
  ++world().retained;
  return kOk;
}

API int cuDevicePrimaryCtxRelease(int) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  --world().retained;
  return enter("cuDevicePrimaryCtxRelease", true, false);
}

API int cuCtxPushCurrent(void*) {
  ENTER_WITHOUT_CONTEXT();
  ++current_depth;
  return kOk;
}

API int cuCtxPopCurrent(void** context) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  if (context) *context = &world();
  if (current_depth) --current_depth;
  return enter("cuCtxPopCurrent", true, false);
}

API int cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  ENTER();
  *least = 0;
  *greatest = -5;
  return kOk;
}

API int cuGetErrorName(int, const char** name) {
  *name = "an error of the stand-in";
  return kOk;
}

// -- streams and events

API int cuStreamCreateWithPriority(void** handle, unsigned, int priority) {
  ENTER();
  auto* stream = new Stream;
  stream->priority = priority;  // the least is the most urgent
  stream->urgency = urgency_of(*stream);
  world().streams.insert(stream);
  *handle = stream;
  return kOk;
}

API int cuStreamDestroy(void* handle) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  Stream* stream = stream_of(handle);
  if (stream && stream != &world().legacy) {
    if (!stream->queue.empty()) violate("a stream was destroyed with work on it");
    world().streams.erase(stream);
    delete stream;
  }
  return enter("cuStreamDestroy", true);
}

API int cuStreamSynchronize(void* handle) {
  ENTER();
  Stream* stream = stream_of(handle);
  if (!stream) return kInvalidHandle;
  if (forbidden_while_capturing()) return kCaptureUnsupported;
  return run_until([stream] { return stream->queue.empty(); });
}

API int cuStreamWaitEvent(void* handle, void* event, unsigned) {
  ENTER();
  auto* e = static_cast<Event*>(event);
  if (!world().events.count(e)) return kInvalidHandle;
  if (!e->recorded) return kOk;
  Stream* stream = stream_of(handle);
  if (stream && stream->capture) return kCaptureUnsupported;  // an event from outside the capture
  Op op;
  op.waits_for = e;
  op.ticket = e->recorded;
  return put(handle, std::move(op));
}

API int cuEventCreate(void** event, unsigned) {
  ENTER();
  auto* e = new Event;
  world().events.insert(e);
  *event = e;
  return kOk;
}

API int cuEventDestroy(void* event) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  auto* e = static_cast<Event*>(event);
  if (world().events.erase(e)) {
    for (Stream* stream : every_stream())
      for (Op& op : stream->queue)
        if (op.waits_for == e) violate("an event was destroyed while a stream waits for it");
    world().past_events.insert(e);  // kept, as the driver keeps it while work refers to it
  }
  return enter("cuEventDestroy", true);
}

API int cuEventRecord(void* event, void* handle) {
  ENTER();
  auto* e = static_cast<Event*>(event);
  if (!world().events.count(e)) return kInvalidHandle;
  Stream* stream = stream_of(handle);
  if (stream && stream->capture) return kCaptureUnsupported;
  const uint64_t ticket = ++e->recorded;
  Op op;
  op.run = [e, ticket] { e->reached = std::max(e->reached, ticket); };
  return put(handle, std::move(op));
}

API int cuEventSynchronize(void* event) {
  ENTER();
  auto* e = static_cast<Event*>(event);
  if (!world().events.count(e)) return kInvalidHandle;
  if (forbidden_while_capturing()) return kCaptureUnsupported;
  const uint64_t ticket = e->recorded;
  return run_until([e, ticket] { return e->reached >= ticket; });
}

API int cuEventElapsedTime(float* ms, void* start, void* end) {
  ENTER();
  for (void* event : {start, end}) {
    auto* e = static_cast<Event*>(event);
    if (!world().events.count(e)) return kInvalidHandle;
    if (e->reached < e->recorded) return kNotReady;
  }
  *ms = 1.0f;
  return kOk;
}

// -- memory

namespace {

int allocate(uintptr_t* address, size_t size, bool device) {
  World& w = world();
  if (forbidden_while_capturing()) return kCaptureUnsupported;
  if (!size) return kInvalidValue;
  if (device && w.used + size > w.capacity) return kOutOfMemory;
  Memory memory{size, device, true, std::unique_ptr<unsigned char[]>(new unsigned char[size])};
  std::memset(memory.bytes.get(), 0x7f, size);  // what lies there is not zero
  *address = reinterpret_cast<uintptr_t>(memory.bytes.get());
  w.used += device ? size : 0;
  w.memory.emplace(*address, std::move(memory));
  return kOk;
}

void free_memory(uintptr_t address, bool device) {
  auto found = world().memory.find(address);
  if (found == world().memory.end() || !found->second.live || found->second.device != device)
    return violate("memory was freed that is not there");
  found->second.live = false;  // kept until reset, so that late use is seen and not a crash
  world().used -= device ? found->second.size : 0;
  std::memset(found->second.bytes.get(), 0xdd, found->second.size);
}

int copy(const char* name, uintptr_t target, uintptr_t source, size_t size, void* stream) {
  Op op;
  op.touches = {target, source};
  op.run = [name, target, source, size] {
    check_range(name, target, size);
    check_range(name, source, size);
    std::memmove(reinterpret_cast<void*>(target), reinterpret_cast<const void*>(source), size);
  };
  world().copied[name] += size;
  Memory *to = find(target), *from = find(source);
  if (!to || !from) violate(std::string(name) + ": memory that is neither the device's nor pinned");
  return put(stream, std::move(op));
}

}  // namespace

API int cuMemAlloc(Address* address, size_t size) {
  ENTER();
  uintptr_t found = 0;
  const int status = allocate(&found, size, true);
  if (!status) *address = found;
  return status;
}

API int cuMemFree(Address address) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  free_memory(address, true);
  return enter("cuMemFree", true);
}

API int cuMemHostAlloc(void** address, size_t size, unsigned) {
  ENTER();
  uintptr_t found = 0;
  const int status = allocate(&found, size, false);
  *address = reinterpret_cast<void*>(found);
  return status;
}

API int cuMemFreeHost(void* address) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  free_memory(reinterpret_cast<uintptr_t>(address), false);
  return enter("cuMemFreeHost", true);
}

API int cuMemcpyHtoDAsync(Address target, const void* source, size_t size, void* stream) {
  ENTER();
  return copy("HtoD", target, reinterpret_cast<uintptr_t>(source), size, stream);
}

API int cuMemcpyDtoHAsync(void* target, Address source, size_t size, void* stream) {
  ENTER();
  return copy("DtoH", reinterpret_cast<uintptr_t>(target), source, size, stream);
}

API int cuMemcpyDtoDAsync(Address target, Address source, size_t size, void* stream) {
  ENTER();
  return copy("DtoD", target, source, size, stream);
}

API int cuMemsetD8Async(Address target, unsigned char value, size_t size, void* stream) {
  ENTER();
  Op op;
  op.touches = {target};
  op.run = [target, value, size] {
    check_range("memset", target, size);
    std::memset(reinterpret_cast<void*>(target), value, size);
  };
  return put(stream, std::move(op));
}

API int cuPointerGetAttribute(void* data, int attribute, Address address) {
  ENTER();
  Memory* memory = find(address);
  if (!memory || attribute != 2) return kInvalidValue;
  *static_cast<unsigned*>(data) = memory->device ? 2 : 1;
  return kOk;
}

// -- kernels. An image is the operation's name: see tests/cuda/standin.py.

API int cuModuleLoadData(void** module, const void* image) {
  ENTER();
  auto* name = new std::string(static_cast<const char*>(image));
  world().modules.insert(name);
  *module = name;
  return kOk;
}

API int cuModuleUnload(void* module) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  auto* name = static_cast<std::string*>(module);
  if (world().modules.erase(name)) delete name;
  return enter("cuModuleUnload", true);
}

API int cuModuleGetFunction(void** function, void* module, const char* name) {
  ENTER();
  for (Function& each : functions())
    if (*static_cast<std::string*>(module) == each.module && !std::strcmp(each.name, name)) {
      *function = &each;
      return kOk;
    }
  return kNotFound;
}

API int cuLaunchKernel(void* handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned, void* stream, void** arguments, void**) {
  ENTER();
  const auto& function = *static_cast<Function*>(handle);
  if (!gx || !gy || !gz || bx * by * bz > 1024) return kInvalidValue;
  auto values = std::make_shared<std::vector<std::vector<unsigned char>>>();  // copied at the call, as the driver does
  Op op;
  for (size_t i = 0; i < function.sizes.size(); ++i) {
    const auto* bytes = static_cast<const unsigned char*>(arguments[i]);
    values->emplace_back(bytes, bytes + function.sizes[i]);
    for (size_t at = 0; at + sizeof(uintptr_t) <= function.sizes[i]; at += sizeof(uintptr_t)) {
      uintptr_t word;  // whatever looks like an address of ours is one
      std::memcpy(&word, bytes + at, sizeof word);
      if (find(word)) op.touches.push_back(word);
    }
  }
  const Launch launch = function.launch;
  op.run = [launch, values, gx, gy, gz, bx, by, bz] {
    std::vector<void*> pointers;
    for (auto& value : *values) pointers.push_back(value.data());
    launch(dim3{gx, gy, gz}, dim3{bx, by, bz}, pointers.data());
  };
  return put(stream, std::move(op));
}

// -- graphs

API int cuStreamBeginCapture(void* handle, int mode) {
  ENTER();
  Stream* stream = stream_of(handle);
  if (!stream || stream->capture) return kInvalidHandle;
  stream->capture = new Graph;
  stream->capturer = std::this_thread::get_id();
  stream->mode = mode;
  stream->invalidated = false;
  return kOk;
}

API int cuStreamEndCapture(void* handle, void** graph) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  Stream* stream = stream_of(handle);
  if (!stream || !stream->capture) return kInvalidHandle;
  Graph* captured = stream->capture;
  stream->capture = nullptr;  // whatever else happens, it no longer captures
  if (const int failure = enter("cuStreamEndCapture")) {
    delete captured;
    return failure;
  }
  if (stream->invalidated) {
    delete captured;
    *graph = nullptr;
    return kCaptureInvalidated;
  }
  world().graphs.insert(captured);
  *graph = captured;
  return kOk;
}

API int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
  ENTER();
  auto* copy = new Graph(*static_cast<Graph*>(graph));
  world().executables.insert(copy);
  *executable = copy;
  return kOk;
}

API int cuGraphLaunch(void* executable, void* stream) {
  ENTER();
  auto* graph = static_cast<Graph*>(executable);
  if (!world().executables.count(graph)) return kInvalidHandle;
  for (const Op& op : graph->ops)
    if (const int status = put(stream, op)) return status;
  return kOk;
}

API int cuGraphDestroy(void* graph) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  auto* found = static_cast<Graph*>(graph);
  if (world().graphs.erase(found)) delete found;
  return enter("cuGraphDestroy", true);
}

API int cuGraphExecDestroy(void* executable) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  auto* found = static_cast<Graph*>(executable);
  if (world().executables.erase(found)) delete found;
  return enter("cuGraphExecDestroy", true);
}

// -- the same by the names that cuda.h gives them, for who asks the loader: libgsvnet

#define ALSO(name, ...) API int name##_v2(__VA_ARGS__) __attribute__((alias(#name)))

ALSO(cuDevicePrimaryCtxRelease, int);
ALSO(cuCtxPushCurrent, void*);
ALSO(cuCtxPopCurrent, void**);
ALSO(cuStreamDestroy, void*);
ALSO(cuEventDestroy, void*);
ALSO(cuMemAlloc, Address*, size_t);
ALSO(cuMemFree, Address);
ALSO(cuMemcpyHtoDAsync, Address, const void*, size_t, void*);
ALSO(cuMemcpyDtoHAsync, void*, Address, size_t, void*);
ALSO(cuStreamBeginCapture, void*, int);

// -- how cuda-bindings finds all of the above

API int cuGetProcAddress_v2(const char* symbol, void** pointer, int, uint64_t, int* status) {
  *pointer = dlsym(RTLD_DEFAULT, symbol);
  static void* self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
  *pointer = std::strcmp(symbol, "cuGetProcAddress") ? dlsym(self, symbol)
                                                      : reinterpret_cast<void*>(cuGetProcAddress_v2);
  if (status) *status = *pointer ? 0 : 1;
  return *pointer ? kOk : kNotFound;
}

// -- what tests say to it

API void standin_reset(unsigned seed) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  World& w = world();
  w.random.seed(seed);
  w.eagerness = (seed % 3) * 0.3;
  w.strict = seed % 4 == 3;
  w.devices = 1, w.major = 8, w.minor = 6, w.name = "Stand-in GPU";
  for (Stream* stream : w.streams) delete stream;
  for (auto* events : {&w.events, &w.past_events})
    for (Event* event : *events) delete event;
  for (auto* graphs : {&w.graphs, &w.executables})
    for (Graph* graph : *graphs) delete graph;
  for (std::string* module : w.modules) delete module;
  w.streams.clear(), w.events.clear(), w.past_events.clear(), w.graphs.clear(), w.executables.clear(), w.modules.clear(), w.memory.clear();
  w.legacy = Stream();
  w.retained = 0, w.calls = 0, w.fail_at = -1, w.lost = 0, w.used = 0, w.capacity = SIZE_MAX;
  w.copied.clear(), w.by_name.clear(), w.violations.clear(), w.failed.clear();
  current_depth = 0;
}

API void standin_device(int devices, int major, int minor, const char* name) {
  World& w = world();
  w.devices = devices, w.major = major, w.minor = minor, w.name = name;
}

// The `number`th call from now on (0: the next) returns `code`; a code that means a lost device stays.
API void standin_fail(long number, int code) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  world().fail_at = number < 0 ? -1 : world().calls + number;
  world().fail_with = code;
}

API void standin_capacity(size_t bytes) { world().capacity = bytes; }
// All work that can run now does.
API void standin_run() {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  while (step()) {
  }
}

API void standin_hold(void* stream, int held) { stream_of(stream)->held = held; }
API long standin_calls(const char* name) { return *name ? world().by_name[name] : world().calls; }
// Bytes that copies of this kind ("HtoD", "DtoH", "DtoD") were asked for.
API size_t standin_copied(const char* kind) { return world().copied[kind]; }
API int standin_priority(void* stream) { return stream_of(stream)->priority; }
API const char* standin_failed() { return world().failed.c_str(); }

// "" where nothing of ours lives any more.
API const char* standin_alive() {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  World& w = world();
  std::map<std::string, long> counts = {
      {"streams", w.streams.size()},         {"events", w.events.size()},   {"graphs", w.graphs.size()},
      {"executables", w.executables.size()}, {"modules", w.modules.size()}, {"contexts", w.retained}};
  for (auto& each : w.memory)
    if (each.second.live) ++counts[each.second.device ? "device memory" : "pinned memory"];
  w.text.clear();
  for (auto& each : counts)
    if (each.second) w.text += each.first + ": " + std::to_string(each.second) + "; ";
  return w.text.c_str();
}

API const char* standin_violations() {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  world().text.clear();
  for (auto& each : world().violations) world().text += each + "; ";
  return world().text.c_str();
}

// Work of somebody else's making (the stand-in for TensorRT, another library's stream): `run(number)`, when its turn comes.
API int standin_enqueue(void* stream, void (*run)(long), long number, const uintptr_t* touches, int count) {
  std::lock_guard<std::recursive_mutex> lock(world().mutex);
  if (world().lost) return world().lost;
  Op op;
  op.touches.assign(touches, touches + count);
  op.run = [run, number] { run(number); };
  return put(stream, std::move(op));
}
