// The list of backends that most tests link.
#include "error.h"
#include "scripted.h"

namespace gsvnet::engine {
namespace {

std::unique_ptr<Backend> make_broken(const BackendOptions&) { throw backend_error("broken: never works"); }

}  // namespace

const std::vector<BackendEntry>& backends() {
  static const std::vector<BackendEntry> all = {{"broken", make_broken}, {"scripted", scripted::make}};
  return all;
}

}  // namespace gsvnet::engine
