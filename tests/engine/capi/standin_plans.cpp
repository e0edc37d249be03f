#include "standin_plans.h"

#include <dlfcn.h>

#include <cstring>
#include <list>
#include <numeric>
#include <stdexcept>

#include "json.h"
#include "tensorrt/kernels.h"

namespace standin {

gsvnet::tensorrt::Version version{11, 4, 0};
std::string plugins;

namespace {

using gsvnet::engine::Json;
using gsvnet::engine::Shape;

size_t numbers(const Shape& shape) {
  return static_cast<size_t>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()));
}

Shapes shapes_of(const Json* object) {
  if (!object || object->kind != Json::Kind::object) throw std::runtime_error("no plan");
  Shapes shapes;
  for (const auto& [name, sides] : object->members)
    for (const Json& side : sides.items) shapes[name].push_back(side.whole().value());
  return shapes;
}

// The driver of this process, whoever loaded it.
template <typename Function>
Function* control(const char* name) {
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(dlsym(driver, name));
}

class StandinPlan final : public gsvnet::tensorrt::Plan {
 public:
  StandinPlan(Shapes inputs, Shapes values, Shapes outputs, Compute compute, std::string& error)
      : inputs_(std::move(inputs)),
        values_(std::move(values)),
        outputs_(std::move(outputs)),
        compute_(std::move(compute)),
        error_(error) {}

  std::vector<std::string> tensors() const override {
    std::vector<std::string> names;
    for (const Shapes* shapes : {&inputs_, &values_, &outputs_})
      for (const auto& each : *shapes) names.push_back(each.first);
    return names;
  }
  std::string type(const std::string& tensor) const override {
    return !values_.count(tensor) ? "float32" : version.major < 9 ? "int32" : "int64";
  }
  bool on_host(const std::string& tensor) const override { return values_.count(tensor); }
  Shape shape(const std::string& tensor) const override { return outputs_.at(tensor); }
  bool set_shape(const std::string& tensor, const Shape& shape) override {
    return inputs_.count(tensor) && inputs_.at(tensor) == shape;
  }
  bool set_address(const std::string& tensor, void* address) override {
    addresses_[tensor] = address;
    return true;
  }

  bool enqueue(void* stream) override {
    if (addresses_.size() != tensors().size()) return failed("a tensor without an address");
    Run& run = run_of(addresses_);
    std::vector<uintptr_t> touched;
    for (const auto& [name, address] : addresses_)
      if (!on_host(name)) touched.push_back(reinterpret_cast<uintptr_t>(address));
    static const auto put = control<decltype(standin_enqueue)>("standin_enqueue");
    for (void (*work)(long) : {&read, &compute})
      if (put(stream, work, reinterpret_cast<long>(&run), touched.data(), static_cast<int>(touched.size())))
        return failed("the device is lost");
    return true;
  }

 private:
  using Addresses = std::map<std::string, void*>;
  struct Run {
    StandinPlan* plan;
    Addresses addresses;
  };

  bool failed(const char* why) {
    error_ = why;
    return false;
  }

  Run& run_of(const Addresses& addresses) {  // a graph that was captured launches it again and again
    for (Run& run : runs_)
      if (run.addresses == addresses) return run;
    return runs_.emplace_back(Run{this, addresses});
  }

  static void read(long number) {
    const Run& run = *reinterpret_cast<const Run*>(number);
    StandinPlan& plan = *run.plan;
    for (const auto& [name, shape] : plan.inputs_) {
      const auto* from = static_cast<const float*>(run.addresses.at(name));
      plan.scratch_[name].assign(from, from + numbers(shape));
    }
    for (const auto& [name, values] : plan.values_) plan.check_constant(run.addresses.at(name), values);
  }

  // What TensorRT would read for the shape; a wrong one shows as labels that are.
  void check_constant(const void* from, const Shape& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      const bool narrow = version.major < 9;
      const int64_t found = narrow ? static_cast<const int32_t*>(from)[i] : static_cast<const int64_t*>(from)[i];
      if (found != values[i]) scratch_.clear();
    }
  }

  static void compute(long number) {
    const Run& run = *reinterpret_cast<const Run*>(number);
    Outputs outputs;
    for (const auto& each : run.plan->outputs_) outputs[each.first] = static_cast<float*>(run.addresses.at(each.first));
    if (run.plan->scratch_.size() == run.plan->inputs_.size()) run.plan->compute_(run.plan->scratch_, outputs);
  }

  Shapes inputs_, values_, outputs_;
  Compute compute_;
  std::string& error_;
  Addresses addresses_;
  std::list<Run> runs_;
  Inputs scratch_;
};

class StandinRuntime final : public gsvnet::tensorrt::Runtime {
 public:
  gsvnet::tensorrt::Version version() const override { return standin::version; }
  void load_plugins(const std::string& library) override { plugins = library; }
  std::unique_ptr<gsvnet::tensorrt::Plan> load(const std::string& plan) override try {
    const size_t end = plan.find('\n');
    const Json header = Json::parse(plan.substr(0, end));
    Shapes inputs = shapes_of(header.find("shapes")), values = shapes_of(header.find("values"));
    Shapes outputs = shapes_of(header.find("outputs"));
    Compute compute = compute_of(plan.substr(end + 1), inputs, values);
    return std::make_unique<StandinPlan>(std::move(inputs), std::move(values), std::move(outputs), std::move(compute),
                                         error_);
  } catch (const std::exception&) {
    error_ = "the plan was made by another version";
    return nullptr;
  }
  std::string last_error() const override { return error_; }

 private:
  std::string error_;
};

}  // namespace
}  // namespace standin

std::unique_ptr<gsvnet::tensorrt::Runtime> gsvnet::tensorrt::load_runtime() {
  return std::make_unique<standin::StandinRuntime>();
}

// Kernels are compiled into the stand-in for the driver: an image is the operation's name.
const void* gsvnet::tensorrt::frame_image() { return "frame"; }
const void* gsvnet::tensorrt::labels_image() { return "labels"; }
