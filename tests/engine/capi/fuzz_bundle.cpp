// Bundles from anybody: a manifest of any bytes, graphs of any bytes under their true hash, and folders in which links,
// pipes and folders stand where files belong. The loader refuses with a sentence or opens; nothing else.
//
// The input's first byte says which of the three; the rest is the manifest, the graph, or what stands where.

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "gsvnet.h"
#include "scripted.h"
#include "toy.h"

namespace {

const char* const kFiles[] = {"manifest.json", "keyframe.onnx",        "propagate.onnx",
                              "labels.onnx",   "propagate.plain.onnx", "labels.plain.onnx"};

void open_and_close(const toy::Folder& folder) {
  gsvnet_engine* engine = nullptr;
  gsvnet_error error;
  const gsvnet_status status = gsvnet_open(folder.path().c_str(), nullptr, &engine, &error);
  if (status != error.status || (status == 0) != (engine != nullptr) || (status == 0) != (error.message[0] == 0))
    std::abort();
  if (status != GSVNET_OK && status != GSVNET_ERROR_BUNDLE) std::abort();
  for (const char* c = error.message; *c; ++c)
    if (static_cast<unsigned char>(*c) < 0x20 || *c == 0x7F) std::abort();  // one line, and no terminal's commands
  if (engine) {                                                             // whatever opens can be asked and warmed
    gsvnet_info info = GSVNET_INFO_INIT;
    if (gsvnet_get_info(engine, &info, nullptr) || info.classes < 2 || info.classes > 256) std::abort();
    for (int32_t i = 0; i < info.classes; ++i) {
      gsvnet_class one = GSVNET_CLASS_INIT;
      if (gsvnet_get_class(engine, i, &one, nullptr) || !*one.name) std::abort();
    }
  }
  gsvnet_close(&engine);
}

void stand_in(const toy::Folder& folder, const char* name, uint8_t what) {
  const std::string at = folder.file(name);
  const auto ignored = [](int) {};  // what cannot be made is left out
  ignored(::unlink(at.c_str()));
  switch (what % 8) {
    case 0:
      return;  // missing
    case 1:
      return ignored(::symlink("/etc/passwd", at.c_str()));
    case 2:
      return ignored(::symlink("labels.onnx", at.c_str()));
    case 3:
      return ignored(::mkfifo(at.c_str(), 0600));
    case 4:
      return ignored(::mkdir(at.c_str(), 0700));
    case 5:
      return ignored(::symlink("../../../../../../dev/zero", at.c_str()));
    case 6:
      return toy::write_file(at, "");
    default:
      return toy::write_file(at, toy::kGraph);
  }
}

void restore(const toy::Folder& folder) {
  for (const char* name : kFiles)
    if (::unlink(folder.file(name).c_str())) ::rmdir(folder.file(name).c_str());
  toy::write_bundle(folder);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const toy::Folder folder;
  static const bool written = (toy::write_bundle(folder), true);
  if (!written || size == 0) return 0;
  const std::string rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      toy::write_file(folder.file("manifest.json"), rest);
      open_and_close(folder);
      break;
    case 1:
      toy::write_file(folder.file("keyframe.onnx"), rest);
      toy::write_file(folder.file("manifest.json"), toy::manifest(toy::kGraph, "\"source\"", 3, rest));
      open_and_close(folder);
      toy::write_file(folder.file("keyframe.onnx"), toy::kGraph);
      break;
    default:
      toy::write_file(folder.file("manifest.json"), toy::manifest(toy::kGraph));
      for (size_t i = 0; i < 6 && i < rest.size(); ++i)
        if (rest[i]) stand_in(folder, kFiles[i], static_cast<uint8_t>(rest[i]));
      open_and_close(folder);
      restore(folder);
  }
  return 0;
}
