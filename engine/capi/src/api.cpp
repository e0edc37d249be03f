// The boundary: C in, C++ inside, and nothing thrown out.

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>

#include "engine.h"
#include "error.h"
#include "gsvnet.h"

struct gsvnet_engine : gsvnet::engine::Engine {
  using Engine::Engine;
};

namespace {

using gsvnet::engine::Error;
using gsvnet::engine::usage_error;

constexpr uint32_t kLargestStruct = 4096;

gsvnet_status tell(gsvnet_error* error, gsvnet_status status, const char* message) noexcept {
  if (!error) return status;
  error->status = status;
  const size_t most = sizeof error->message - 1, length = std::strlen(message);
  size_t kept = std::min(length, most);
  if (kept < length)  // cut before a character, not inside one
    while (kept && (static_cast<unsigned char>(message[kept]) & 0xC0) == 0x80) --kept;
  std::memcpy(error->message, message, kept);
  error->message[kept] = '\0';
  return status;
}

template <typename Work>
gsvnet_status guarded(gsvnet_error* error, const Work& work) noexcept {
  try {
    work();
    return tell(error, GSVNET_OK, "");
  } catch (const Error& problem) {
    return tell(error, problem.status(), problem.what());
  } catch (const std::bad_alloc&) {
    return tell(error, GSVNET_ERROR_INTERNAL, "memory ran out");
  } catch (const std::exception& problem) {
    return tell(error, GSVNET_ERROR_INTERNAL, problem.what());
  } catch (...) {
    return tell(error, GSVNET_ERROR_INTERNAL, "an unknown failure inside libgsvnet");
  }
}

template <typename Engine>
Engine& alive(Engine* engine) {
  if (!engine) throw usage_error("engine is null: it was never opened, or is closed");
  return *engine;
}

// How large a struct was in the version that had it first.
template <typename Struct>
constexpr size_t kFirstSize = sizeof(Struct);
template <>
constexpr size_t kFirstSize<gsvnet_options> = offsetof(gsvnet_options, device);
template <>
constexpr size_t kFirstSize<gsvnet_frame> = offsetof(gsvnet_frame, cuda_stream);

// The size that a caller's struct claims to have.
template <typename Struct>
uint32_t checked_size(const Struct* given, const char* name, const char* init) {
  if (!given) throw usage_error(std::string(name) + " is null");
  if (given->struct_size < kFirstSize<Struct> || given->struct_size > kLargestStruct)
    throw usage_error(std::string(name) + ".struct_size is " + std::to_string(given->struct_size) +
                      "; start the struct from " + init);
  return given->struct_size;
}

// A copy of a caller's struct. Fields that an earlier version did not know are zero; those of a later version that this
// one does not know must be.
template <typename Struct>
Struct read(const Struct* given, const char* name, const char* init) {
  const size_t size = checked_size(given, name, init), known = std::min(size, sizeof(Struct));
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  if (std::any_of(bytes + known, bytes + size, [](unsigned char byte) { return byte != 0; }))
    throw usage_error(std::string(name) + " sets fields that libgsvnet " GSVNET_VERSION_TEXT
                                          " does not know; update it, or leave them 0");
  Struct value{};
  std::memcpy(&value, given, known);
  return value;
}

// Fills in a caller's struct and leaves what a later version added to it alone.
template <typename Struct>
void write(Struct* out, Struct value) {
  value.struct_size = out->struct_size;
  *out = value;
}

}  // namespace

gsvnet_status gsvnet_open(const char* bundle, const gsvnet_options* given, gsvnet_engine** engine,
                          gsvnet_error* error) {
  return guarded(error, [&] {
    if (!engine) throw usage_error("engine is null: give the address of a gsvnet_engine*");
    *engine = nullptr;
    if (!bundle) throw usage_error("bundle is null: give the path of a bundle's folder");
    gsvnet::engine::Options options;
    if (given) {
      const gsvnet_options all = read(given, "options", "GSVNET_OPTIONS_INIT");
      options.interval = all.interval;
      options.threads = all.threads;
      if (all.backend) options.backend = all.backend;
      if (all.cpu_precision) options.runtime.cpu_precision = all.cpu_precision;
      if (all.reserved) throw usage_error("options.reserved must be 0; start options from GSVNET_OPTIONS_INIT");
      options.runtime.device = all.device;
      if (all.plan_cache) options.runtime.plan_cache = all.plan_cache;
      if (all.plugins) options.runtime.plugins = all.plugins;
    }
    *engine = new gsvnet_engine(bundle, options);
  });
}

void gsvnet_close(gsvnet_engine** engine) {
  if (!engine) return;
  delete *engine;
  *engine = nullptr;
}

gsvnet_status gsvnet_push(gsvnet_engine* engine, const gsvnet_frame* frame, const gsvnet_output* output,
                          gsvnet_result* result, gsvnet_error* error) {
  return guarded(error, [&] {
    alive(engine);
    if (result) checked_size(result, "result", "GSVNET_RESULT_INIT");
    const gsvnet_result told =
        engine->push(read(frame, "frame", "GSVNET_FRAME_INIT"), read(output, "output", "GSVNET_OUTPUT_INIT"));
    if (result) write(result, told);
  });
}

gsvnet_status gsvnet_warm(gsvnet_engine* engine, int32_t width, int32_t height, gsvnet_error* error) {
  return guarded(error, [&] { alive(engine).warm(width, height); });
}

gsvnet_status gsvnet_set_interval(gsvnet_engine* engine, int32_t interval, gsvnet_error* error) {
  return guarded(error, [&] { alive(engine).set_interval(interval); });
}

gsvnet_status gsvnet_request_keyframe(gsvnet_engine* engine, gsvnet_error* error) {
  return guarded(error, [&] { alive(engine).request_keyframe(); });
}

gsvnet_status gsvnet_reset(gsvnet_engine* engine, gsvnet_error* error) {
  return guarded(error, [&] { alive(engine).reset(); });
}

gsvnet_status gsvnet_get_info(const gsvnet_engine* engine, gsvnet_info* info, gsvnet_error* error) {
  return guarded(error, [&] {
    alive(engine);
    checked_size(info, "info", "GSVNET_INFO_INIT");
    gsvnet_info told = GSVNET_INFO_INIT;
    told.classes = static_cast<int32_t>(engine->manifest().classes.size());
    told.interval = engine->interval();
    told.name = engine->manifest().name.c_str();
    told.license = engine->manifest().license.c_str();
    told.backend = engine->backend().c_str();
    told.backend_version = engine->backend_version().c_str();
    told.cpu_precision = engine->cpu_precision().c_str();
    write(info, told);
  });
}

gsvnet_status gsvnet_get_class(const gsvnet_engine* engine, int32_t index, gsvnet_class* out, gsvnet_error* error) {
  return guarded(error, [&] {
    alive(engine);
    checked_size(out, "out", "GSVNET_CLASS_INIT");
    const auto& classes = engine->manifest().classes;
    if (index < 0 || static_cast<size_t>(index) >= classes.size())
      throw usage_error("class " + std::to_string(index) + " is none of this bundle's; it has 0.." +
                        std::to_string(classes.size() - 1));
    const auto& info = classes[static_cast<size_t>(index)];
    gsvnet_class told = GSVNET_CLASS_INIT;
    told.red = info.color[0], told.green = info.color[1], told.blue = info.color[2];
    told.name = info.name.c_str();
    write(out, told);
  });
}

const char* gsvnet_version(void) { return GSVNET_VERSION_TEXT; }

const char* gsvnet_backends(void) try {
  static const std::string names = [] {
    std::string all;
    for (const auto& entry : gsvnet::engine::backends()) all += (all.empty() ? "" : ",") + std::string(entry.name);
    return all;
  }();
  return names.c_str();
} catch (...) {
  return "";  // memory ran out
}
