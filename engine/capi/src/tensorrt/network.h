// A plan, ready to run: its tensors are checked once, its addresses are set, and it is put on a stream.
#pragma once

#include <initializer_list>
#include <memory>
#include <utility>
#include <vector>

#include "../cuda/work.h"
#include "plan.h"

namespace gsvnet::tensorrt {

// Never on two streams at once. Throws Error with GSVNET_ERROR_BACKEND, with the runtime's own last words; `where`
// begins each message. The runtime must outlive it.
class Network {
 public:
  Network(const Runtime& runtime, std::unique_ptr<Plan> plan, const engine::Signature& expected, std::string where);

  // Put it on the stream, reading and writing device memory: tensor -> address.
  void enqueue(const cuda::Stream& stream,
               std::initializer_list<std::pair<const char*, const cuda::DeviceBuffer*>> tensors) const;

 private:
  void check_names(const engine::Signature& expected) const;
  void set_inputs(const engine::Signature& expected);
  void check_outputs(const engine::Signature& expected) const;
  engine::Error failure(const std::string& what) const;

  const Runtime& runtime_;
  std::unique_ptr<Plan> plan_;
  std::string where_;
  std::vector<std::vector<unsigned char>> constants_;  // whose memory is read at each run
};

}  // namespace gsvnet::tensorrt
