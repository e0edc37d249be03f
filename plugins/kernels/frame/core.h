// Frame preparation, the arithmetic: which samples make an output sample, with what weights. Usable on host and device.
#pragma once

#include "../portable.h"

namespace gsvnet {

// Samples [first, end) of `samples` that contribute to output i of `outputs`, when the picture covers `extent` samples.
struct Reach {
  int first, end;
};

GSVNET_HD inline double smaller(double a, double b) { return a < b ? a : b; }
GSVNET_HD inline double larger(double a, double b) { return a > b ? a : b; }

// Area: output i covers [i, i + 1) * extent / outputs of the axis; sample j covers [j, j + 1), the last up to `extent`.
GSVNET_HD inline Reach area_reach(int i, int outputs, double extent, int samples) {
  const double begin = i * extent / outputs, end = (i + 1) * extent / outputs;
  int first = static_cast<int>(begin), last = static_cast<int>(end);
  if (last < end) ++last;
  if (first > samples - 1) first = samples - 1;
  if (last > samples) last = samples;
  return {first, last > first ? last : first + 1};
}

GSVNET_HD inline double area_weight(int i, int outputs, double extent, int j) {
  const double begin = i * extent / outputs, end = (i + 1) * extent / outputs;
  return larger(0.0, smaller(smaller(j + 1.0, extent), end) - larger(j, begin));
}

// Bilinear: a triangle around the output's centre, as wide as an output sample when shrinking and two samples otherwise.
GSVNET_HD inline Reach bilinear_reach(int i, int outputs, double extent, int samples) {
  const double scale = extent / outputs, support = larger(1.0, scale), centre = (i + 0.5) * scale;
  int first = static_cast<int>(larger(0.0, centre - support + 0.5));
  int end = static_cast<int>(centre + support + 0.5);
  if (first > samples - 1) first = samples - 1;
  if (end > samples) end = samples;
  return {first, end > first ? end : first + 1};
}

GSVNET_HD inline double bilinear_weight(int i, int outputs, double extent, int j) {
  const double scale = extent / outputs, support = larger(1.0, scale), centre = (i + 0.5) * scale;
  const double distance = (j + 0.5 - centre) / support;
  return larger(0.0, 1.0 - (distance < 0 ? -distance : distance));
}

// One channel: row . values, clipped to 0..1 (NaN: 0).
GSVNET_HD inline float to_unit(const float* row, const float* values) {
  const float value = row[0] * values[0] + row[1] * values[1] + row[2] * values[2];
  return value > 0 ? (value < 1 ? value : 1.0f) : 0.0f;
}

// What frame.cu takes, all of it in the device's memory but for the structure itself.

// How one axis of a plane is resampled: gsvnet_taps makes first [outputs] and weights [taps][outputs].
struct Axis {
  const int* first;
  const float* weights;
  int taps;
  int samples;  // that the plane has along it
};

// Strides in bytes; item_stride leads from one picture of a batch to the next. bytes, shift: as in gsvnet_plane.
struct SourcePlane {
  const void* data;
  long long item_stride;
  long long row_stride;
  long long pixel_stride;
  Axis rows;
  Axis columns;
  int bytes;
  int shift;
};

// Three planes (Y, U, V or R, G, B; grey: one plane thrice), the conversion's offset, and its matrix row by row.
struct Preparation {
  SourcePlane planes[3];
  float offset[3];
  float matrix[9];
};

}  // namespace gsvnet
