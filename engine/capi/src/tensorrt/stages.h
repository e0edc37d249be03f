// A video of one size through both networks, its state on the device.
//
//   upload      planes ──▶ device, in bands                    two pinned buffers
//   compute     planes ──▶ i_t, and on keyframes the picture; network, as one CUDA graph; labels
//   download    labels uint8 ──▶ the caller's, in bands         two pinned buffers
//
// S_t and i_t have two buffers each, by the parity of the frame: a step reads one and writes the other, so nothing is
// copied between steps, and a frame that fails has touched nothing that the next one reads. Scores never leave the
// device.
#pragma once

#include <memory>

#include "../backend.h"
#include "../cuda/device.h"
#include "network.h"

namespace gsvnet::tensorrt {

// gsvnet_prepare and gsvnet_labels of plugins/kernels.
struct Kernels {
  cuda::Kernel prepare, labels;
};

struct Networks {
  std::unique_ptr<Network> keyframe, propagate;
};

// Context and kernels must outlive it; the context is current when it is made. band: bytes of each pinned buffer.
std::unique_ptr<engine::Stages> make_stages(const cuda::Context& context, const Kernels& kernels, Networks networks,
                                            const engine::Sizes& sizes, size_t classes, size_t band);

}  // namespace gsvnet::tensorrt
