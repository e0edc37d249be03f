// A strict JSON reader (RFC 8259) for manifests: UTF-8 only, no extensions, numbers kept as they are written.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gsvnet::engine {

struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Json {
  enum class Kind { null, boolean, integer, real, text, array, object };

  Kind kind = Kind::null;
  bool truth = false;
  std::string text;  // of a text: its UTF-8; of a number: as written, for it may be larger than any type
  std::vector<Json> items;
  std::vector<std::pair<std::string, Json>> members;  // in the order of the file; a name given twice keeps the last

  // Throws JsonError, which says where and why.
  static Json parse(std::string_view data);

  const Json* find(std::string_view name) const;
  std::optional<int64_t> whole() const;  // of an integer that fits
  double number() const;                 // of an integer or a real; infinite where it is too large
  std::string dump() const;              // ASCII, as Python's json.dumps writes it
};

}  // namespace gsvnet::engine
