// The kernels of plugins/kernels as machine code of the GPUs that this library was built for. kernels.cpp holds what
// nvcc made of them; tests link what the stand-in for the driver takes.
#pragma once

namespace gsvnet::tensorrt {

const void* frame_image();   // of frame/frame.cu: gsvnet_prepare
const void* labels_image();  // of labels/labels.cu: gsvnet_labels

}  // namespace gsvnet::tensorrt
