#include "work.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#include "portable.h"

namespace gsvnet::cuda {
namespace {

constexpr unsigned kEventPlain = 2, kEventTimed = 0;  // CU_EVENT_DISABLE_TIMING, CU_EVENT_DEFAULT
constexpr unsigned kNonBlocking = 1;                  // CU_STREAM_NON_BLOCKING
constexpr int kCaptureThreadLocal = 1;                // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: others go on as they were

Resource nothing() {
  return {nullptr, [](Handle) {}};
}

std::string megabytes(size_t size, const std::string& of) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f MiB ", static_cast<double>(size) / (1 << 20));
  return text + of;
}

}  // namespace

Event::Event(Kind kind) : event_(nothing()) {
  Handle made = nullptr;
  driver().event_create(&made, kind == Kind::timed ? kEventTimed : kEventPlain);
  event_ = {made, [](Handle event) { driver().event_destroy.quietly(event); }};
}

void Event::record(const Stream& stream) const { record(stream.handle()); }
void Event::record(Handle stream) const { driver().event_record(handle(), stream); }
void Event::settle() const { driver().event_synchronize(handle()); }

double Event::ms_since(const Event& earlier) const {
  float ms = 0;
  driver().event_elapsed(&ms, earlier.handle(), handle());
  return ms;
}

Stream::Stream() : stream_(nothing()) {
  Handle made = nullptr;
  driver().stream_create(&made, kNonBlocking, 0);
  stream_ = {made, [](Handle stream) { driver().stream_destroy.quietly(stream); }};
}

void Stream::wait(const Event& event) const { driver().stream_wait(handle(), event.handle(), 0u); }
void Stream::drain() const noexcept { driver().stream_synchronize.quietly(handle()); }

PinnedBuffer::PinnedBuffer(size_t size, const std::string& name) : size_(size), memory_(nothing()) {
  void* made = nullptr;
  driver().pinned_allocate.to(megabytes(size, "of pinned host memory for " + name), &made, size, 0u);
  memory_ = {made, [](Handle memory) { driver().pinned_free.quietly(memory); }};
}

DeviceBuffer::DeviceBuffer(size_t size, const std::string& name) : size_(size), memory_(nothing()) {
  Address made = 0;
  driver().memory_allocate.to(megabytes(size, "for " + name), &made, size);
  memory_ = {reinterpret_cast<Handle>(made),
             [](Handle memory) { driver().memory_free.quietly(reinterpret_cast<Address>(memory)); }};
}

void DeviceBuffer::upload(size_t at, const PinnedBuffer& from, size_t size, const Stream& stream) const {
  driver().upload(address() + at, from.data(), size, stream.handle());
}

void DeviceBuffer::download(size_t at, const PinnedBuffer& into, size_t size, const Stream& stream) const {
  driver().download(into.data(), address() + at, size, stream.handle());
}

void DeviceBuffer::clear(const Stream& stream) const {
  driver().fill(address(), static_cast<unsigned char>(0), size_, stream.handle());
}

Kernel::Kernel(const void* image, const char* name) : module_(nothing()) {
  Handle made = nullptr;
  driver().module_load.to(name, &made, image);
  module_ = {made, [](Handle module) { driver().module_unload.quietly(module); }};
  driver().module_function.to(name, &function_, made, name);
}

void Kernel::launch(const Stream& stream, int64_t width, int64_t height,
                    std::initializer_list<const void*> arguments) const {
  const auto blocks = [](int64_t threads, int block) { return static_cast<unsigned>((threads + block - 1) / block); };
  std::vector<void*> pointers;  // the driver only reads what they point at, and knows no const
  for (const void* argument : arguments) pointers.push_back(const_cast<void*>(argument));
  driver().launch(function_, blocks(width, kBlockColumns), blocks(height, kBlockRows), 1u,
                  static_cast<unsigned>(kBlockColumns), static_cast<unsigned>(kBlockRows), 1u, 0u, stream.handle(),
                  pointers.data(), static_cast<void**>(nullptr));
}

Graph::Graph(const Stream& stream, const std::function<void()>& work) : executable_(nothing()) {
  const Driver& cuda = driver();
  const auto destroy = [](Handle graph) { driver().graph_destroy.quietly(graph); };
  Handle captured = nullptr, made = nullptr;
  cuda.capture_begin(stream.handle(), kCaptureThreadLocal);
  try {
    work();
  } catch (...) {  // a stream left capturing takes no other work
    cuda.capture_end.quietly(stream.handle(), &captured);
    const Resource abandoned{captured, destroy};
    throw;
  }
  cuda.capture_end(stream.handle(), &captured);
  const Resource graph{captured, destroy};
  cuda.graph_instantiate(&made, captured, 0ull);
  executable_ = {made, [](Handle executable) { driver().graph_executable_destroy.quietly(executable); }};
}

void Graph::launch(const Stream& stream) const { driver().graph_launch(executable_.get(), stream.handle()); }

}  // namespace gsvnet::cuda
