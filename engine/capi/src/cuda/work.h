// Memory, streams, events, kernels and graphs of the context that is current: when they are made, used and freed alike.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>

#include "driver.h"

namespace gsvnet::cuda {

// Frees what it holds; the driver's failure to do so is not told.
using Resource = std::unique_ptr<void, void (*)(Handle)>;

class Stream;

// A point in a stream's work. `timed`: it also notes when it is reached.
class Event {
 public:
  enum class Kind { plain, timed };
  explicit Event(Kind kind = Kind::plain);
  // It is reached when all that the stream was given so far is done. The handle: of a stream that others own.
  void record(const Stream& stream) const;
  void record(Handle stream) const;
  // Wait here, on the host, until it is reached; at once if it was never recorded.
  void settle() const;
  // Milliseconds since another, both timed and reached.
  double ms_since(const Event& earlier) const;
  Handle handle() const { return event_.get(); }

 private:
  Resource event_;
};

// A queue of device work. Work on one stream runs in order; only an event orders work on two.
class Stream {
 public:
  Stream();
  // What is given to it from now on runs after the event, as last recorded, is reached.
  void wait(const Event& event) const;
  // Wait here, on the host, until all of its work is done; goes on where the device is lost.
  void drain() const noexcept;
  Handle handle() const { return stream_.get(); }

 private:
  Resource stream_;
};

// `size` bytes of host memory that the device copies from and to by itself. `name` says in errors what it is for.
class PinnedBuffer {
 public:
  PinnedBuffer(size_t size, const std::string& name);
  unsigned char* data() const { return static_cast<unsigned char*>(memory_.get()); }
  size_t size() const { return size_; }

 private:
  size_t size_;
  Resource memory_;
};

// `size` bytes on the device. All it does is put on a stream.
class DeviceBuffer {
 public:
  DeviceBuffer(size_t size, const std::string& name);
  void upload(size_t at, const PinnedBuffer& from, size_t size, const Stream& stream) const;
  void download(size_t at, const PinnedBuffer& into, size_t size, const Stream& stream) const;
  void clear(const Stream& stream) const;
  Address address() const { return reinterpret_cast<Address>(memory_.get()); }
  size_t size() const { return size_; }

 private:
  size_t size_;
  Resource memory_;
};

// One kernel of plugins/kernels on the device.
class Kernel {
 public:
  // image: a cubin, fatbin or PTX text, whose module holds `name`.
  Kernel(const void* image, const char* name);
  // One thread for each of width x height outputs. Arguments are copied at the call.
  void launch(const Stream& stream, int64_t width, int64_t height, std::initializer_list<const void*> arguments) const;

 private:
  Resource module_;
  Handle function_ = nullptr;
};

// Work that was captured from a stream, not run, to be launched as one call. All that it touches must outlive it.
class Graph {
 public:
  Graph(const Stream& stream, const std::function<void()>& work);
  void launch(const Stream& stream) const;

 private:
  Resource executable_;
};

}  // namespace gsvnet::cuda
