// Plans whose model is an ONNX graph: OpenVINO runs it, with the settings and operations of src/openvino.cpp.
#include <openvino/core/op_extension.hpp>
#include <openvino/frontend/onnx/extension/op.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/openvino.hpp>

#include "../../../plugins/openvino/operations.h"
#include "standin_plans.h"

namespace {

template <typename Operation>
void add_operation(ov::Core& to) {
  to.add_extension({std::make_shared<ov::OpExtension<Operation>>(),
                    std::make_shared<ov::frontend::onnx::OpExtension<Operation>>(
                        Operation::get_type_info_static().name, "gsvnet")});
}

ov::Core& core() {
  static ov::Core* const only = [] {
    auto* const made = new ov::Core;  // never freed: src/openvino.cpp says why
    add_operation<gsvnet::SegmentationWarp>(*made);
    add_operation<gsvnet::GuidedFilter>(*made);
    return made;
  }();
  return *only;
}

}  // namespace

standin::Compute standin::compute_of(const std::string& model, const Shapes& inputs, const Shapes& values) {
  const std::shared_ptr<ov::Model> graph = core().read_model(model, ov::Tensor());
  for (const auto& [name, value] : values) {
    const auto parameter = ov::as_type_ptr<ov::op::v0::Parameter>(graph->input(name).get_node_shared_ptr());
    const auto constant = ov::op::v0::Constant::create(ov::element::i64, ov::Shape{value.size()}, value);
    parameter->output(0).replace(constant->output(0));
    graph->remove_parameter(parameter);
  }
  std::map<std::string, ov::PartialShape> shapes;
  for (const auto& [name, shape] : inputs) shapes[name] = ov::PartialShape(ov::Shape(shape.begin(), shape.end()));
  graph->reshape(shapes);
  const ov::AnyMap settings{
      {"INFERENCE_PRECISION_HINT", "f32"}, {"PERFORMANCE_HINT", "LATENCY"}, {"INFERENCE_NUM_THREADS", 1}};
  ov::InferRequest request = core().compile_model(graph, "CPU", settings).create_infer_request();
  return [request, inputs](const Inputs& in, const Outputs& out) mutable {
    for (const auto& [name, shape] : inputs)
      request.set_tensor(name, ov::Tensor(ov::element::f32, ov::Shape(shape.begin(), shape.end()),
                                          const_cast<float*>(in.at(name).data())));
    request.infer();
    for (const auto& [name, to] : out) {
      const ov::Tensor result = request.get_tensor(name);
      std::copy_n(result.data<const float>(), result.get_size(), to);
    }
  };
}

// For Python: the version that the stand-in says it has.
extern "C" __attribute__((visibility("default"))) void standin_tensorrt_version(int major, int minor, int patch) {
  standin::version = {major, minor, patch};
}
