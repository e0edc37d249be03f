// What ov::Core::add_extension finds in the library: the operations, and how the ONNX frontend makes them of nodes.

#include <memory>
#include <vector>

#include "openvino/core/extension.hpp"
#include "openvino/core/op_extension.hpp"
#include "openvino/frontend/onnx/extension/op.hpp"
#include "operations.h"

namespace {

template <typename Operation>
void add(std::vector<ov::Extension::Ptr>& extensions) {
  extensions.push_back(std::make_shared<ov::OpExtension<Operation>>());
  extensions.push_back(std::make_shared<ov::frontend::onnx::OpExtension<Operation>>(
      Operation::get_type_info_static().name, "gsvnet"));
}

std::vector<ov::Extension::Ptr> all() {
  std::vector<ov::Extension::Ptr> extensions;
  add<gsvnet::SegmentationWarp>(extensions);
  add<gsvnet::GuidedFilter>(extensions);
  add<gsvnet::LabelUpsample>(extensions);
  return extensions;
}

}  // namespace

OPENVINO_CREATE_EXTENSIONS(all())
