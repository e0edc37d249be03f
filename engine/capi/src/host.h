// What the backends share whose networks read and write host memory: preparation and labels by our kernels.
#pragma once

#include <memory>

#include "backend.h"

namespace gsvnet::engine {

// A bundle's two networks, ready for one set of sizes. Arrays are float32, dense, and the caller's.
class Networks {
 public:
  virtual ~Networks() = default;
  // frame [1,3,H',W'] RGB in 0..1 -> scores [1,C,h,w].
  virtual void keyframe(const float* frame, float* scores) = 0;
  // i_t, i_{t-1} [1,3,h,w] RGB in 0..1, S_{t-1} [1,C,h,w] -> S_t [1,C,h,w].
  virtual void propagate(const float* current, const float* previous, const float* scores, float* propagated) = 0;
};

class HostBackend : public Backend {
 public:
  std::unique_ptr<Stages> open(const Bundle& bundle, const Sizes& sizes, int32_t threads) final;

 protected:
  virtual std::unique_ptr<Networks> load(const Bundle& bundle, const Sizes& sizes, int32_t threads) = 0;
};

}  // namespace gsvnet::engine
