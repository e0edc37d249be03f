#include "operations.h"

#include <climits>

#include "../kernels/gsvnet_kernels.h"
#include "openvino/op/constant.hpp"

namespace gsvnet {
namespace {

constexpr int64_t kLongestSide = 1 << 20;
constexpr size_t kSmall = 1 << 16;  // scores: a tenth of a millisecond's work, which waiting for another thread can double

// Threads to work on `scores` with: 0, all of the arena that the caller is in, or none but the caller's own.
int threads(const ov::Tensor& scores) { return scores.get_size() < kSmall ? 1 : 0; }

ov::PartialShape require_rank(const ov::Node* op, size_t i, int64_t rank) {
  const ov::PartialShape& shape = op->get_input_partial_shape(i);
  NODE_VALIDATION_CHECK(op, shape.rank().compatible(rank), "input ", i, " must have ", rank, " dimensions, not ",
                        shape);
  return shape.rank().is_static() ? shape : ov::PartialShape::dynamic(rank);
}

// The shape of input `i` of `op`, which must be float32 [N,channels,h,w].
ov::PartialShape require(const ov::Node* op, size_t i) {
  NODE_VALIDATION_CHECK(op, op->get_input_element_type(i) == ov::element::f32, "input ", i, " must be f32, not ",
                        op->get_input_element_type(i));
  return require_rank(op, i, 4);
}

// Batch, rows and columns, which every input of `op` shares: one takes what the other knows.
void share(const ov::Node* op, ov::PartialShape& a, ov::PartialShape& b) {
  for (const size_t axis : {0, 2, 3}) {
    NODE_VALIDATION_CHECK(op, ov::Dimension::merge(a[axis], a[axis], b[axis]), "inputs ", a, " and ", b,
                          " differ in axis ", axis);
    b[axis] = a[axis];
  }
}

int side(const ov::Tensor& tensor, size_t axis) {
  const size_t length = tensor.get_shape()[axis];
  OPENVINO_ASSERT(length <= INT_MAX, "a side of ", length, " is too long");
  return static_cast<int>(length);
}

}  // namespace

SegmentationWarp::SegmentationWarp(const ov::OutputVector& inputs) : Op(inputs) { constructor_validate_and_infer_types(); }

void SegmentationWarp::validate_and_infer_types() {
  NODE_VALIDATION_CHECK(this, get_input_size() == 2, "takes scores and flow");
  ov::PartialShape scores = require(this, 0), flow = require(this, 1);
  share(this, scores, flow);
  NODE_VALIDATION_CHECK(this, flow[1].compatible(2), "flow must have two channels, not ", flow);
  set_output_type(0, ov::element::f32, scores);
  set_output_type(1, ov::element::f32, {scores[0], 1, scores[2], scores[3]});
}

std::shared_ptr<ov::Node> SegmentationWarp::clone_with_new_inputs(const ov::OutputVector& inputs) const {
  return std::make_shared<SegmentationWarp>(inputs);
}

bool SegmentationWarp::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
  const ov::Tensor& scores = inputs[0];
  const ov::Shape shape = scores.get_shape();
  outputs[0].set_shape(shape);
  outputs[1].set_shape({shape[0], 1, shape[2], shape[3]});
  return gsvnet_segmentation_warp(scores.data<const float>(), inputs[1].data<const float>(), side(scores, 0),
                                  side(scores, 1), side(scores, 2), side(scores, 3), outputs[0].data<float>(),
                                  outputs[1].data<float>(), threads(scores)) == 0;
}

GuidedFilter::GuidedFilter(const ov::OutputVector& inputs) : Op(inputs) { constructor_validate_and_infer_types(); }

void GuidedFilter::validate_and_infer_types() {
  NODE_VALIDATION_CHECK(this, get_input_size() == 3, "takes warped, intra and weights");
  ov::PartialShape warped = require(this, 0), intra = require(this, 1);
  ov::PartialShape weights = require(this, 2);
  share(this, warped, intra);
  share(this, warped, weights);
  NODE_VALIDATION_CHECK(this, ov::Dimension::merge(warped[1], warped[1], intra[1]), "warped ", warped, " and intra ",
                        intra, " differ in classes");
  NODE_VALIDATION_CHECK(this, weights[1].compatible(10) || weights[1].compatible(18),
                        "weights must have 10 or 18 channels, not ", weights);
  set_output_type(0, ov::element::f32, warped);
}

std::shared_ptr<ov::Node> GuidedFilter::clone_with_new_inputs(const ov::OutputVector& inputs) const {
  return std::make_shared<GuidedFilter>(inputs);
}

bool GuidedFilter::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
  const ov::Tensor &warped = inputs[0], &weights = inputs[2];
  outputs[0].set_shape(warped.get_shape());
  return gsvnet_guided_filter(warped.data<const float>(), inputs[1].data<const float>(), weights.data<const float>(),
                              side(warped, 0), side(warped, 1), side(warped, 2), side(warped, 3),
                              side(weights, 1) - 1, outputs[0].data<float>(), threads(warped)) == 0;
}

LabelUpsample::LabelUpsample(const ov::OutputVector& inputs) : Op(inputs) { constructor_validate_and_infer_types(); }

void LabelUpsample::validate_and_infer_types() {
  NODE_VALIDATION_CHECK(this, get_input_size() == 2, "takes scores and size");
  const ov::PartialShape scores = require(this, 0), size = require_rank(this, 1, 1);
  const ov::element::Type type = get_input_element_type(1);  // i64 in the file; the CPU plugin makes i32 of it
  NODE_VALIDATION_CHECK(this, type == ov::element::i64 || type == ov::element::i32, "size must be i64, not ", type);
  NODE_VALIDATION_CHECK(this, size[0].compatible(2), "size must have two elements, not ", size);
  ov::PartialShape labels{scores[0], ov::Dimension::dynamic(), ov::Dimension::dynamic()};
  if (const auto known = ov::as_type_ptr<ov::op::v0::Constant>(input_value(1).get_node_shared_ptr())) {
    const auto sides = known->cast_vector<int64_t>();
    for (size_t i = 0; i < 2; ++i) {
      NODE_VALIDATION_CHECK(this, sides[i] >= 1 && sides[i] <= kLongestSide, "labels cannot be ", sides[i], " long");
      labels[i + 1] = sides[i];
    }
  }
  set_output_type(0, ov::element::u8, labels);
}

std::shared_ptr<ov::Node> LabelUpsample::clone_with_new_inputs(const ov::OutputVector& inputs) const {
  return std::make_shared<LabelUpsample>(inputs);
}

bool LabelUpsample::evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const {
  const ov::Tensor& scores = inputs[0];
  const ov::Shape shape = scores.get_shape();
  const auto length = [&](size_t axis) {
    const int64_t found = inputs[1].get_element_type() == ov::element::i64 ? inputs[1].data<const int64_t>()[axis]
                                                                           : inputs[1].data<const int32_t>()[axis];
    OPENVINO_ASSERT(found >= 1 && found <= kLongestSide, "labels cannot be ", found, " long");
    return static_cast<size_t>(found);
  };
  const size_t rows = length(0), columns = length(1);
  outputs[0].set_shape({shape[0], rows, columns});
  const float* from = scores.data<const float>();
  uint8_t* to = outputs[0].data<uint8_t>();
  for (size_t item = 0; item < shape[0]; ++item) {
    if (gsvnet_label_upsample(from, side(scores, 1), side(scores, 2), side(scores, 3), to, static_cast<int32_t>(rows),
                              static_cast<int32_t>(columns), static_cast<int64_t>(columns), 0) != 0)
      return false;
    from += shape[1] * shape[2] * shape[3];
    to += rows * columns;
  }
  return true;
}

}  // namespace gsvnet
