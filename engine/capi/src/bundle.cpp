#include "bundle.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "error.h"
#include "onnx_wire.h"
#include "sha256.h"

namespace gsvnet::engine {
namespace {

constexpr int64_t kLargestManifest = 1 << 20;
constexpr int64_t kLargestGraph = int64_t{2} << 30;  // protobuf's own limit
constexpr int64_t kLargestArea = kLargestSide * kLargestSide;
constexpr const char* kMend = "; copy the bundle anew or export it again";

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int number() const { return number_; }
  bool open() const { return number_ >= 0; }

 private:
  int number_;
};

// strerror_r returns the text (GNU) or a number, with the text in the buffer (POSIX).
[[maybe_unused]] const char* text_of(const char* text, const char*) { return text; }
[[maybe_unused]] const char* text_of(int, const char* buffer) { return buffer; }

std::string reason(int error) {
  char buffer[256] = "";
  return text_of(strerror_r(error, buffer, sizeof buffer), buffer);
}

std::string resolved(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr), &std::free);
  return real ? real.get() : "";
}

std::string parent(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('/') + 1); }

struct Opened {
  Descriptor file;
  int64_t bytes;
};

// A regular file of this very folder. A link may stand there if it points to another file of the folder: what is opened
// is that file, by its name in the opened folder, no link followed, so that nothing can be swapped in between. Opening
// does not block, as a pipe's would.
Opened open_inside(const std::string& folder, const Descriptor& directory, std::string_view name) {
  const std::string path = folder + "/" + std::string(name);
  const std::string real = resolved(path);
  if (real.empty()) {
    if (errno == ENOENT || errno == ELOOP) throw bundle_error(path + ": is missing" + kMend);
    throw bundle_error(path + ": cannot be read: " + reason(errno));
  }
  if (parent(real) != resolved(folder))
    throw bundle_error(path + ": is a link that leaves the bundle; put the file itself there");
  Descriptor file(
      ::openat(directory.number(), last_part(real).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!file.open()) {
    const int error = errno;
    struct stat status;
    const bool there = ::fstatat(directory.number(), last_part(real).c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && !S_ISREG(status.st_mode)) throw bundle_error(path + ": is not a file" + kMend);  // a socket
    throw bundle_error(path + ": cannot be read: " + reason(error));
  }
  struct stat status;
  if (::fstat(file.number(), &status) != 0) throw bundle_error(path + ": cannot be read: " + reason(errno));
  if (!S_ISREG(status.st_mode)) throw bundle_error(path + ": is not a file" + kMend);
  return {std::move(file), static_cast<int64_t>(status.st_size)};
}

// Calls take(data, bytes) on the file's content, piece by piece, `most` bytes at most.
void read_file(const std::string& path, const Descriptor& file, int64_t most,
               const std::function<void(const char*, size_t)>& take) {
  std::vector<char> piece(1 << 16);
  for (int64_t total = 0; total < most;) {
    const auto wanted = static_cast<size_t>(std::min<int64_t>(most - total, static_cast<int64_t>(piece.size())));
    const ssize_t got = ::read(file.number(), piece.data(), wanted);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw bundle_error(path + ": cannot be read: " + reason(errno));
    if (got == 0) return;
    take(piece.data(), static_cast<size_t>(got));
    total += got;
  }
}

std::string read_manifest_file(const std::string& folder, const Descriptor& directory) {
  const std::string path = folder + "/" + std::string(kManifest);
  struct stat status;
  if (::fstatat(directory.number(), std::string(kManifest).c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 &&
      errno == ENOENT)
    throw bundle_error(folder + ": has no " + std::string(kManifest) + "; give the folder that `export` wrote");
  const Opened opened = open_inside(folder, directory, kManifest);
  std::string data;
  read_file(path, opened.file, kLargestManifest + 1,
            [&](const char* piece, size_t bytes) { data.append(piece, bytes); });
  if (static_cast<int64_t>(data.size()) > kLargestManifest)
    throw bundle_error(path + ": is larger than 1 MiB; this is no bundle's manifest");
  return data;
}

// Hashed before it is kept: a file that claims to be large takes no memory until its hash was right.
std::string read_graph(const std::string& path, const Opened& opened, const std::string& expected) {
  if (opened.bytes <= 0 || opened.bytes > kLargestGraph)
    throw bundle_error(path + ": is " + std::to_string(opened.bytes) +
                       " bytes; a graph has 1 byte to 2 GiB; export the bundle again");
  const auto check = [&](Sha256& hash) {
    if (hash.hex() != expected)
      throw bundle_error(path + ": its sha256 is not the one in " + std::string(kManifest) +
                         "; the file was changed or damaged: copy the bundle anew or export it again");
  };
  Sha256 first;
  read_file(path, opened.file, kLargestGraph, [&](const char* piece, size_t bytes) { first.add(piece, bytes); });
  check(first);
  if (::lseek(opened.file.number(), 0, SEEK_SET) != 0) throw bundle_error(path + ": cannot be read: " + reason(errno));
  std::string data;
  data.reserve(static_cast<size_t>(opened.bytes));
  Sha256 second;  // of the bytes that are kept: the file may have changed since
  read_file(path, opened.file, kLargestGraph, [&](const char* piece, size_t bytes) {
    second.add(piece, bytes);
    data.append(piece, bytes);
  });
  check(second);
  bool external = false;
  try {
    external = has_external_data(data);
  } catch (const WireError& error) {
    throw bundle_error(path + ": is not an ONNX graph (" + error.what() + "); export the bundle again");
  }
  if (external) throw bundle_error(path + ": keeps weights in other files; export the bundle again with them inside");
  return data;
}

}  // namespace

Bundle::Bundle(std::string path, const std::vector<std::string_view>& kept) : path_(std::move(path)) {
  if (last_part(path_) == kManifest) path_ = parent(path_);
  while (path_.size() > 1 && path_.back() == '/') path_.pop_back();
  const Descriptor directory(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.open())
    throw bundle_error(path_ + ": no such bundle (" + reason(errno) + "); give the folder that `export` wrote");
  manifest_ = read_manifest(where(kManifest), read_manifest_file(path_, directory));
  std::vector<Opened> files;  // every file is looked at before the first is read
  for (const auto& [name, hash] : manifest_.graphs) files.push_back(open_inside(path_, directory, name));
  for (size_t i = 0; i < files.size(); ++i) {
    const auto& [name, hash] = manifest_.graphs[i];
    std::string data = read_graph(where(name), files[i], hash);
    if (std::find(kept.begin(), kept.end(), name) != kept.end()) graphs_.emplace(name, std::move(data));
  }
}

const std::string& Bundle::graph(std::string_view name) const {
  const auto found = graphs_.find(name);
  if (found == graphs_.end()) throw Error(GSVNET_ERROR_INTERNAL, where(name) + ": was not kept: a fault of libgsvnet");
  return found->second;
}

Sizes Bundle::plan(Size source) const {
  const Sizes sizes = plan_sizes(manifest_.working_size, manifest_.keyframe_size, source);
  const auto text = [](Size size) { return std::to_string(size.width) + "x" + std::to_string(size.height); };
  for (const Size size : {sizes.working, sizes.keyframe})
    if (size.height < 1 || size.width < 1 || size.height * size.width > kLargestArea)
      throw input_error("a picture of " + text(source) + " would be worked on at " + text(size) + " by bundle " +
                        manifest_.name + ": crop it, or use a bundle with another working size");
  return sizes;
}

}  // namespace gsvnet::engine
