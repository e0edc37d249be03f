// The caller's frame, checked: planes that the kernels can read, and how their samples mean colour.
#pragma once

#include "geometry.h"
#include "gsvnet.h"
#include "gsvnet_kernels.h"

namespace gsvnet::engine {

enum class Matrix { bt601, bt709, bt2020 };

// A plane as it lies in memory: `rows` of `row_bytes`, `stride` bytes apart.
struct StoredPlane {
  const uint8_t* data = nullptr;
  int64_t stride = 0, rows = 0, row_bytes = 0;
};

// In which stored plane a component lies, and how many bytes after its start.
struct Component {
  int plane = 0;
  int64_t offset = 0;
};

// A picture whose every sample lies in memory that the caller vouched for. planes: Y, U, V or R, G, B.
struct Picture {
  Size size;
  gsvnet_plane planes[3] = {};
  Component components[3];  // where planes[i] lies among the stored ones
  StoredPlane stored[3];
  int stored_planes = 0;
  bool yuv = false, full_range = false, on_cuda = false;
  int depth = 8;  // bits a sample
  Matrix matrix = Matrix::bt709;
  double pts_s = 0;
  void* cuda_stream = nullptr;  // whose work comes before the picture is read; on_cuda only
};

// Throws Error with GSVNET_ERROR_INPUT, saying what of the frame cannot be.
Picture checked_picture(const gsvnet_frame& frame);

// Throws Error with GSVNET_ERROR_INPUT for a size that no frame has.
Size checked_size(int32_t width, int32_t height);

}  // namespace gsvnet::engine
