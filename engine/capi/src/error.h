// What goes wrong inside travels as one exception type up to api.cpp, which turns it into a status and a sentence.
#pragma once

#include <stdexcept>
#include <string>

#include "gsvnet.h"

namespace gsvnet::engine {

class Error : public std::runtime_error {
 public:
  Error(gsvnet_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  gsvnet_status status() const { return status_; }

 private:
  gsvnet_status status_;
};

inline Error usage_error(const std::string& message) { return {GSVNET_ERROR_USAGE, message}; }
inline Error input_error(const std::string& message) { return {GSVNET_ERROR_INPUT, message}; }
inline Error bundle_error(const std::string& message) { return {GSVNET_ERROR_BUNDLE, message}; }
inline Error backend_error(const std::string& message) { return {GSVNET_ERROR_BACKEND, message}; }

}  // namespace gsvnet::engine
