// The three operations of the domain `gsvnet` as OpenVINO operations over the CPU loops of plugins/kernels.
//
// OpenVINO's CPU plugin gives an operation that it does not know plain planar tensors of the element types that the
// operation declares, whatever precision the rest of the model runs in: float32 here, always. It calls `evaluate` inside
// its own TBB arena, in which the loops run as well (parallel.h): they use the threads that the model was compiled for,
// and no others.
#pragma once

#include <memory>

#include "openvino/op/op.hpp"

namespace gsvnet {

// scores [N,C,h,w], flow [N,2,h,w] -> warped [N,C,h,w], edges [N,1,h,w]; float32.
class SegmentationWarp : public ov::op::Op {
 public:
  OPENVINO_OP("SegmentationWarp", "gsvnet");
  SegmentationWarp() = default;
  explicit SegmentationWarp(const ov::OutputVector& inputs);
  void validate_and_infer_types() override;
  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
  bool visit_attributes(ov::AttributeVisitor&) override { return true; }
  bool has_evaluate() const override { return true; }
  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;
};

// warped, intra [N,C,h,w], weights [N,D+1,h,w], D 9 or 17 -> filtered [N,C,h,w]; float32.
class GuidedFilter : public ov::op::Op {
 public:
  OPENVINO_OP("GuidedFilter", "gsvnet");
  GuidedFilter() = default;
  explicit GuidedFilter(const ov::OutputVector& inputs);
  void validate_and_infer_types() override;
  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
  bool visit_attributes(ov::AttributeVisitor&) override { return true; }
  bool has_evaluate() const override { return true; }
  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;
};

// scores [N,C,h,w] float32, size [2] int64 or int32 (H, W) -> labels [N,H,W] uint8.
class LabelUpsample : public ov::op::Op {
 public:
  OPENVINO_OP("LabelUpsample", "gsvnet");
  LabelUpsample() = default;
  explicit LabelUpsample(const ov::OutputVector& inputs);
  void validate_and_infer_types() override;
  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override;
  bool visit_attributes(ov::AttributeVisitor&) override { return true; }
  bool has_evaluate() const override { return true; }
  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override;
};

}  // namespace gsvnet
