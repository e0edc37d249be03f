// Each graph compiled for its exact sizes, in a precision that is always stated: the settings of
// engine/gsvnet_engine/backends/openvino.py, so that the same version computes the same bits. The operations of
// plugins/openvino are part of this library: PF runs on them, as Python does where its extension loads.

#include "openvino.h"

#include <algorithm>
#include <cstring>
#include <openvino/op/constant.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/frontend/onnx/extension/op.hpp>
#include <openvino/openvino.hpp>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "../../../plugins/openvino/operations.h"
#include "error.h"
#include "host.h"
#include "ports.h"

namespace gsvnet::engine {
namespace {

// The first lines of a runtime's message that say something, without its own source positions.
std::string one_line(const std::string& message) {
  constexpr size_t kLongest = 300;
  std::string text;
  for (size_t at = 0; at < message.size();) {
    const size_t end = std::min(message.find('\n', at), message.size());
    const size_t first = message.find_first_not_of(" \t\r", at);
    if (first < end && message.compare(first, 15, "Exception from ") != 0) {
      size_t last = end;
      while (last > first && std::strchr(" \t\r", message[last - 1])) --last;
      text += (text.empty() ? "" : " ") + message.substr(first, last - first);
    }
    at = end + 1;
  }
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  return text.size() <= kLongest ? text : text.substr(0, kLongest - 3) + "...";
}

// Runs `work`; what OpenVINO throws becomes one line `what: ...` of that status.
template <typename Work>
auto translated(gsvnet_status status, const std::string& what, const Work& work) {
  try {
    return work();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& problem) {
    throw Error(status, what + ": " + one_line(problem.what()));
  }
}

template <typename Operation>
void add_operation(ov::Core& to) {
  to.add_extension({std::make_shared<ov::OpExtension<Operation>>(),
                    std::make_shared<ov::frontend::onnx::OpExtension<Operation>>(
                        Operation::get_type_info_static().name, "gsvnet")});
}

// The one Core of this process, which is never freed. Where the processor has AMX, OpenVINO's CPU plugin gives its
// thread a signal stack, and frees that with the last Core; the host program's next signal would then run on freed
// memory and end the process (2026.4.1).
ov::Core& core() {
  static ov::Core* const only = [] {
    auto made = std::make_unique<ov::Core>();
    add_operation<SegmentationWarp>(*made);
    add_operation<GuidedFilter>(*made);
    return made.release();
  }();
  return *only;
}

std::shared_ptr<ov::Model> read(const Bundle& bundle, std::string_view graph) {
  return core().read_model(bundle.graph(graph), ov::Tensor());
}

// The graph of PF to run: the plain one where the other has operations that are not known here.
std::string_view propagate_graph(const Bundle& bundle) {
  try {
    read(bundle, kPropagate);
    return kPropagate;
  } catch (const std::exception&) {  // whatever else is wrong with the bundle, the plain graph will say
    return kPropagatePlain;
  }
}

Port port_of(const ov::Output<ov::Node>& output) {
  Port port;
  port.name = output.get_names().empty() ? "(unnamed)" : output.get_any_name();
  const ov::element::Type type = output.get_element_type();
  port.type = type == ov::element::f32 ? "float32" : type == ov::element::i64 ? "int64" : type.get_type_name();
  const ov::PartialShape& shape = output.get_partial_shape();
  if (shape.rank().is_static()) {
    port.shape.emplace();
    for (const ov::Dimension& side : shape) port.shape->push_back(side.is_dynamic() ? -1 : side.get_length());
  }
  return port;
}

std::vector<Port> ports_of(const std::vector<ov::Output<ov::Node>>& outputs) {
  std::vector<Port> ports;
  std::transform(outputs.begin(), outputs.end(), std::back_inserter(ports), port_of);
  return ports;
}

// Make constant inputs part of the model, and give the others their sizes: no shape is dynamic.
void fix(const std::shared_ptr<ov::Model>& model, const Signature& expected) {
  for (const auto& [name, value] : expected.constants) {
    const auto parameter = ov::as_type_ptr<ov::op::v0::Parameter>(model->input(name).get_node_shared_ptr());
    const auto constant = ov::op::v0::Constant::create(ov::element::i64, ov::Shape{value.size()}, value);
    parameter->output(0).replace(constant->output(0));
    model->remove_parameter(parameter);
  }
  std::map<std::string, ov::PartialShape> shapes;
  for (const auto& [name, shape] : expected.inputs)
    shapes[name] = ov::PartialShape(ov::Shape(shape.begin(), shape.end()));
  model->reshape(shapes);
}

// AVX2 without VNNI sums pairs of 8-bit products in 16 bits, which overflow; there what is quantised is computed in float32.
bool int8_is_exact() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool avx_vnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
  return !__builtin_cpu_supports("avx2") || __builtin_cpu_supports("avx512vnni") || avx_vnni;
#else
  return true;
#endif
}

// A graph compiled for one set of sizes.
class Graph {
 public:
  Graph(const Bundle& bundle, const Signature& expected, const std::string& precision, int32_t threads)
      : where_(bundle.where(expected.graph)), expected_(expected) {
    ov::AnyMap settings{{"INFERENCE_PRECISION_HINT", precision}, {"PERFORMANCE_HINT", "LATENCY"}};
    if (threads) settings["INFERENCE_NUM_THREADS"] = threads;
    if (!int8_is_exact()) settings["LP_TRANSFORMS_MODE"] = false;
    translated(GSVNET_ERROR_BUNDLE, where_ + ": openvino cannot load it", [&] {
      const auto model = read(bundle, expected.graph);
      check_ports(where_, ports_of(model->inputs()), ports_of(model->outputs()), expected);
      fix(model, expected);
      Signature without_constants = expected;
      without_constants.constants.clear();
      check_ports(where_, ports_of(model->inputs()), ports_of(model->outputs()), without_constants);
      request_ = core().compile_model(model, "CPU", settings).create_infer_request();
    });
  }

  // inputs: in the order of the signature. out: the one output.
  void run(std::initializer_list<const float*> inputs, float* out) {
    translated(GSVNET_ERROR_BACKEND, where_ + ": openvino failed", [&] {
      auto input = inputs.begin();
      for (const auto& [name, shape] : expected_.inputs) {
        // OpenVINO does not write to inputs; its tensors over given memory know no const.
        auto* data = const_cast<float*>(*input++);
        request_.set_tensor(name, ov::Tensor(ov::element::f32, ov::Shape(shape.begin(), shape.end()), data));
      }
      request_.infer();
      const Named& wanted = expected_.outputs.front();
      const ov::Tensor result = request_.get_tensor(wanted.name);
      const ov::Shape shape = result.get_shape();
      const Shape found(shape.begin(), shape.end());
      if (found != wanted.shape)
        throw bundle_error(where_ + ": " + wanted.name + " came out as " + shown(found) +
                           " where the manifest's classes and sizes make it " + shown(wanted.shape) +
                           "; export the bundle again");
      std::memcpy(out, result.data<const float>(), result.get_byte_size());
    });
  }

 private:
  std::string where_;
  Signature expected_;
  ov::InferRequest request_;
};

class OpenVinoNetworks final : public Networks {
 public:
  OpenVinoNetworks(const Bundle& bundle, const Sizes& sizes, const std::string& precision, int32_t threads)
      : keyframe_(bundle, keyframe_signature(bundle, sizes), precision, threads),
        propagate_(bundle, propagate_signature(bundle, sizes, propagate_graph(bundle)), precision, threads) {}

  void keyframe(const float* frame, float* scores) override { keyframe_.run({frame}, scores); }
  void propagate(const float* current, const float* previous, const float* scores, float* propagated) override {
    propagate_.run({current, previous, scores}, propagated);
  }

 private:
  Graph keyframe_, propagate_;
};

// Runs propagate.onnx on the operations, propagate.plain.onnx where it has others.
class OpenVino final : public HostBackend {
 public:
  explicit OpenVino(std::string precision) : precision_(std::move(precision)) {
    translated(GSVNET_ERROR_BACKEND, "openvino", [&] {
      const auto can = core().get_property("CPU", ov::device::capabilities);
      if (precision_ == "bf16" && std::find(can.begin(), can.end(), "BF16") == can.end())
        throw backend_error("openvino: this processor has no bf16 arithmetic; use options.cpu_precision f32");
    });
  }

  std::string version() const override { return ov::get_openvino_version().buildNumber; }
  std::vector<std::string_view> graphs() const override { return {kKeyframe, kPropagate, kPropagatePlain}; }

 protected:
  std::unique_ptr<Networks> load(const Bundle& bundle, const Sizes& sizes, int32_t threads) override {
    return std::make_unique<OpenVinoNetworks>(bundle, sizes, precision_, threads);
  }

 private:
  std::string precision_;
};

}  // namespace

std::unique_ptr<Backend> make_openvino(const BackendOptions& options) {
  return std::make_unique<OpenVino>(options.cpu_precision);
}

}  // namespace gsvnet::engine
