/* The kernels' C interface: what Python (ctypes) and libgsvnet call. C99.
 *
 * No function keeps state, allocates what it does not free, or throws. Each returns 0, or -1 where an argument makes no
 * sense (a null pointer, a size below 1, more than 256 classes). Outputs must not overlap inputs. `threads` 0: one for
 * each processor. Results do not depend on the number of threads or on the processor's instruction set. */
#ifndef GSVNET_KERNELS_H
#define GSVNET_KERNELS_H

#include <stdint.h>

#if defined(_WIN32)
#define GSVNET_API __declspec(dllexport)
#else
#define GSVNET_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* One plane of a picture: `rows` x `columns` samples of `bytes` (1 or 2, native order) each, `row_stride` and
 * `pixel_stride` bytes apart (NV12 chroma and RGB channels lie apart; strides may be negative). `shift` low bits of each
 * sample are dropped (P010: 6). The picture covers `extent_rows` x `extent_columns` samples of it: less than the plane
 * has where subsampling does not divide the picture (4:2:0 chroma of a picture 9 wide: 5 samples, extent 4.5). */
typedef struct gsvnet_plane {
  const void* data;
  int64_t row_stride;
  int64_t pixel_stride;
  int32_t rows;
  int32_t columns;
  int32_t bytes;
  int32_t shift;
  double extent_rows;
  double extent_columns;
} gsvnet_plane;

enum { GSVNET_AREA = 0, GSVNET_BILINEAR = 1 };

/* out[out_rows][out_columns] float32 = the plane resampled, in sample values (0..255, 0..1023).
 * GSVNET_AREA: mean over each output cell. GSVNET_BILINEAR: triangle filter, antialiased when shrinking. */
GSVNET_API int gsvnet_resample(const gsvnet_plane* plane, int32_t filter, float* out, int32_t out_rows,
                               int32_t out_columns, int32_t threads);

/* How gsvnet_resample weighs one axis, for resampling elsewhere (frame/frame.cu). Returns the taps that an output takes at
 * most, or -1. Where that is `capacity` or less: output i = sum over t of weights[t][i] * sample[first[i] + t], with
 * first[outputs] and weights[taps][outputs]; taps that an output lacks weigh 0 and may lie beyond the last sample. Else
 * nothing is written. */
GSVNET_API int gsvnet_taps(int32_t filter, int32_t outputs, double extent, int32_t samples, int32_t* first,
                           float* weights, int32_t capacity);

/* planes[3][count] float32 in place: v <- clip(matrix (v - offset), 0, 1), `matrix` row-major 3 x 3. */
GSVNET_API int gsvnet_convert(float* planes, int64_t count, const float offset[3], const float matrix[9],
                              int32_t threads);

/* labels[height][width] uint8, rows `row_stride` bytes apart = argmax over classes of scores[classes][rows][columns]
 * float32, bilinear with half-pixel centres; ties go to the lowest class. Equal to the bit to labels/reference.py for
 * finite scores; for others some class below `classes`. */
GSVNET_API int gsvnet_label_upsample(const float* scores, int32_t classes, int32_t rows, int32_t columns,
                                     uint8_t* labels, int32_t height, int32_t width, int64_t row_stride,
                                     int32_t threads);

/* scores[batch][classes][rows][columns] float32 sampled at (x + flow_x, y + flow_y), bilinear, the border replicated:
 * warped, of the same shape. flow[batch][2][rows][columns], in cells, x then y; NaN counts as 0, and 1e4 is the most.
 * edges[batch][1][rows][columns] = sigmoid of the 3x3 Laplacian (8 and -1) of the number of the best class, ties to the
 * lowest, the border replicated. Zero flow is the identity. rows * columns below 2^31. Equal to the bit to
 * warp/reference.py for finite scores. */
GSVNET_API int gsvnet_segmentation_warp(const float* scores, const float* flow, int32_t batch, int32_t classes,
                                        int32_t rows, int32_t columns, float* warped, float* edges, int32_t threads);

/* out[batch][classes][rows][columns] float32 = sum over d of weights_d * warped(neighbour d) + weights_D * intra, one
 * weight for all classes; weights[batch][neighbours + 1][rows][columns]. neighbours 9: the 3x3 window; 17: those and the
 * eight at distance 2 on axes and diagonals; outside, the border is replicated. Equal to the bit to filter/reference.py. */
GSVNET_API int gsvnet_guided_filter(const float* warped, const float* intra, const float* weights, int32_t batch,
                                    int32_t classes, int32_t rows, int32_t columns, int32_t neighbours, float* out,
                                    int32_t threads);

/* The instruction set that the kernels chose on this processor: "avx512", "avx2" or "baseline". */
GSVNET_API const char* gsvnet_instruction_set(void);

#ifdef __cplusplus
}
#endif
#endif
