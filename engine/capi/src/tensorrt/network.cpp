#include "network.h"

#include <algorithm>
#include <cstring>

namespace gsvnet::tensorrt {
namespace {

template <typename Integer>
std::vector<unsigned char> bytes_of(const engine::Shape& values) {
  const std::vector<Integer> numbers(values.begin(), values.end());
  std::vector<unsigned char> bytes(numbers.size() * sizeof(Integer));
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes;
}

std::string listed(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

}  // namespace

Network::Network(const Runtime& runtime, std::unique_ptr<Plan> plan, const engine::Signature& expected,
                 std::string where)
    : runtime_(runtime), plan_(std::move(plan)), where_(std::move(where)) {
  if (!plan_) throw failure("does not take the plan, or has no room to run it");
  check_names(expected);
  set_inputs(expected);
  check_outputs(expected);
}

void Network::enqueue(const cuda::Stream& stream,
                      std::initializer_list<std::pair<const char*, const cuda::DeviceBuffer*>> tensors) const {
  for (const auto& [name, memory] : tensors)
    if (!plan_->set_address(name, reinterpret_cast<void*>(memory->address())))
      throw failure(std::string("does not take the address of ") + name);
  if (!plan_->enqueue(stream.handle())) throw failure("failed to run it");
}

void Network::check_names(const engine::Signature& expected) const {
  std::vector<std::string> wanted;
  for (const auto* among : {&expected.inputs, &expected.constants, &expected.outputs})
    for (const engine::Named& named : *among) wanted.push_back(named.name);
  const std::string found = listed(plan_->tensors()), all = listed(wanted);
  if (found != all)
    throw engine::backend_error(where_ + ": its plan has " + found + ", not " + all +
                                ": gsvnet-engine cache clear, and build it again");
}

void Network::set_inputs(const engine::Signature& expected) {
  for (const engine::Named& input : expected.inputs)
    if (!plan_->set_shape(input.name, input.shape))
      throw failure("does not take " + input.name + " " + engine::shown(input.shape));
  for (const engine::Named& constant : expected.constants) {
    if (!plan_->on_host(constant.name)) throw failure("wants " + constant.name + " on the device");
    const bool narrow = plan_->type(constant.name) == "int32";  // 8.6 has no int64
    constants_.push_back(narrow ? bytes_of<int32_t>(constant.shape) : bytes_of<int64_t>(constant.shape));
    if (!plan_->set_address(constant.name, constants_.back().data()))
      throw failure("does not take the value of " + constant.name);
  }
}

void Network::check_outputs(const engine::Signature& expected) const {
  for (const engine::Named& output : expected.outputs) {
    const engine::Shape found = plan_->shape(output.name);
    if (found != output.shape || plan_->type(output.name) != "float32")
      throw engine::backend_error(where_ + ": " + output.name + " comes out as " + plan_->type(output.name) + " " +
                                  engine::shown(found) + " where the manifest's classes and sizes make it float32 " +
                                  engine::shown(output.shape) + ": export the bundle again");
  }
}

engine::Error Network::failure(const std::string& what) const {
  const std::string said = runtime_.last_error();
  return engine::backend_error(where_ + ": TensorRT " + what + ": " + (said.empty() ? "it gives no reason" : said));
}

}  // namespace gsvnet::tensorrt
