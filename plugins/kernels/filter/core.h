// Guided filter, the arithmetic: which neighbours a window has, and the order of the sum.
#pragma once

#include "../portable.h"

namespace gsvnet {

// Offset of neighbour d along y (axis 0) or x (axis 1): 0 to 8 are the 3x3 window row by row, 9 to 16 the eight at
// distance 2 on axes and diagonals, row by row as well.
GSVNET_HD constexpr int offset(int d, int axis) {
  const int far = d < 9 ? 0 : 1, place = far ? (d - 9) + (d >= 13 ? 1 : 0) : d;
  return ((axis == 0 ? place / 3 : place % 3) - 1) * (far + 1);
}

GSVNET_HD constexpr int reach(int neighbours) { return neighbours == 9 ? 1 : 2; }

}  // namespace gsvnet
