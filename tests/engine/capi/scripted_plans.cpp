// Plans whose model is "keyframe" or "propagate": the networks of scripted.cpp.
#include <stdexcept>

#include "scripted.h"
#include "standin_plans.h"

using gsvnet::engine::Size;

standin::Compute standin::compute_of(const std::string& model, const Shapes& inputs, const Shapes& values) {
  if (model == "keyframe") {
    const auto& picture = inputs.at("frame");
    return [=](const Inputs& in, const Outputs& out) {
      const auto& grid = values.at("grid");
      scripted::keyframe(4, Size{picture[2], picture[3]}, Size{grid[0], grid[1]}, in.at("frame").data(),
                         out.at("scores"));
    };
  }
  if (model != "propagate") throw std::runtime_error("no such model");
  const auto& scores = inputs.at("scores");
  return [=](const Inputs& in, const Outputs& out) {
    scripted::propagate(scores[1], Size{scores[2], scores[3]}, in.at("current").data(), in.at("previous").data(),
                        in.at("scores").data(), out.at("propagated"));
  };
}
