/* libgsvnet: real-time semantic segmentation of video, from C. Frames in, labels out.
 *
 *   gsvnet_error error;
 *   gsvnet_engine* engine = NULL;
 *   if (gsvnet_open("path/to/street", NULL, &engine, &error)) return complain(error.message);
 *
 *   gsvnet_frame frame = GSVNET_FRAME_INIT;
 *   frame.format = GSVNET_NV12, frame.width = 1280, frame.height = 720;
 *   gsvnet_output output = GSVNET_OUTPUT_INIT;
 *   output.labels = labels, output.labels_size = 1280 * 720;
 *   while (next_picture(&frame.planes[0], &frame.strides[0]))           // your camera or decoder
 *     if (gsvnet_push(engine, &frame, &output, NULL, &error)) return complain(error.message);
 *   gsvnet_close(&engine);                                              // labels[y * 1280 + x]: a pixel's class
 *
 * This header is the whole contract. It holds for C99 and C++17.
 *
 * Errors. A function that can fail returns a gsvnet_status, 0 where all went well, and takes a gsvnet_error of the
 * caller's (or NULL) that it fills with the same status and one sentence: what, where, and how to mend it. A call that
 * fails leaves the engine as it was. No exception leaves the library; it never ends the process, prints nothing and
 * reads no environment variable of its own. It cannot tell a pointer to memory that is not there from a good one:
 * buffers must be as large as their sizes and strides say.
 *
 * Threads. An engine follows one video. Any thread may call it; gsvnet_push, gsvnet_warm and gsvnet_reset that come at
 * the same time wait for one another, the others never wait. Several engines run side by side. gsvnet_close must not
 * overlap another call on the same engine.
 *
 * Growth. Structs begin with their size: start each from its GSVNET_..._INIT. Later versions append fields; a program
 * that was compiled against an earlier header goes on working, and so does one that was compiled against a later header
 * as long as what it sets in the fields unknown here is zero.
 *
 * Global state: none of this library's. OpenVINO keeps its own (one ov::Core, its thread pool) from the first
 * gsvnet_open on to the end of the process, and so do NVIDIA's driver and TensorRT; so libgsvnet stays loaded once
 * loaded, whatever dlclose says. */
#ifndef GSVNET_H
#define GSVNET_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define GSVNET_EXPORT
#else
#define GSVNET_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---------------------------------------------------------------------------------------------------- */

/* The numbers are the exit codes of the gsvnet-engine command line. */
typedef int32_t gsvnet_status;
enum {
  GSVNET_OK = 0,
  GSVNET_ERROR_INTERNAL = 1, /* memory ran out, or a fault of this library */
  GSVNET_ERROR_USAGE = 2,    /* the call itself: a null pointer, an unknown option, a buffer too small */
  GSVNET_ERROR_INPUT = 3,    /* a frame that cannot be read: its format, size or strides */
  GSVNET_ERROR_BUNDLE = 4,   /* a bundle that is missing, damaged or hostile */
  GSVNET_ERROR_BACKEND = 6   /* an inference runtime that is missing, failed or cannot do what is asked */
};

/* Where an error is told. The caller's own; need not be initialised; never grows. `message`: UTF-8, one line, empty
 * where the call went well. */
typedef struct gsvnet_error {
  gsvnet_status status;
  char message[1020];
} gsvnet_error;

/* ---- Opening and closing --------------------------------------------------------------------------------------- */

/* One video's segmentation: a bundle, its networks, and what propagation starts from. */
typedef struct gsvnet_engine gsvnet_engine;

typedef struct gsvnet_options {
  uint32_t struct_size;
  int32_t interval;          /* a keyframe every so many frames; 0: the bundle's own */
  int32_t threads;           /* for the networks and the kernels; 0: their own choice */
  const char* backend;       /* "tensorrt", "openvino"; NULL or "auto": the first that works here */
  const char* cpu_precision; /* what float networks are computed in: "f32" (NULL) or "bf16" */
  /* Of "tensorrt" alone; the others do not look at them. */
  int32_t device;         /* the GPU's number */
  int32_t reserved;       /* 0 */
  const char* plan_cache; /* the folder that gsvnet-engine build --plan-cache filled; NULL: the one that it fills unless
                             told otherwise, .cache/gsvnet-engine in this user's home folder */
  const char* plugins;    /* the plugin library that the plans were built with (--plugin); NULL: none */
} gsvnet_options;
#define GSVNET_OPTIONS_INIT {(uint32_t)sizeof(gsvnet_options), 0, 0, NULL, NULL, 0, 0, NULL, NULL}

/* Open the bundle in that folder (or its manifest.json) and check it in full: every graph is read and hashed. Options
 * may be NULL and, like the path, need not outlive the call. *engine is the caller's to close; NULL after an error. */
GSVNET_EXPORT gsvnet_status gsvnet_open(const char* bundle, const gsvnet_options* options, gsvnet_engine** engine,
                                        gsvnet_error* error);

/* Free the engine and everything obtained from it, and set *engine to NULL, so that a later call with it is an error
 * and no crash. NULL and a pointer to NULL are fine. Copies of the pointer must not be used any more. */
GSVNET_EXPORT void gsvnet_close(gsvnet_engine** engine);

/* ---- Frames ---------------------------------------------------------------------------------------------------- */

/* How the pixels lie in memory. 10-bit samples are uint16_t in this machine's byte order. Chroma of an odd size is
 * rounded up: a picture 9 wide has 5 samples of it in a row. */
enum {
  GSVNET_I420 = 1, /* Y, U, V; 4:2:0 */
  GSVNET_NV12 = 2, /* Y, UV interleaved; 4:2:0 */
  GSVNET_I010 = 3, /* as I420, 10 bits in the low bits of uint16_t (FFmpeg: yuv420p10le) */
  GSVNET_P010 = 4, /* as NV12, 10 bits in the high bits of uint16_t */
  GSVNET_RGB = 5,  /* three bytes a pixel */
  GSVNET_BGR = 6,
  GSVNET_BGRA = 7 /* four bytes a pixel; the last is not looked at */
};

/* AUTO: as players take an untagged stream: BT.709 from 720 rows on, BT.601 below. */
enum { GSVNET_MATRIX_AUTO = 0, GSVNET_MATRIX_BT601 = 1, GSVNET_MATRIX_BT709 = 2, GSVNET_MATRIX_BT2020 = 3 };
/* AUTO: limited (16..235). */
enum { GSVNET_RANGE_AUTO = 0, GSVNET_RANGE_LIMITED = 1, GSVNET_RANGE_FULL = 2 };
/* CUDA: planes are device pointers, in the primary context (the CUDA runtime's own) of options.device. For GPU
 * backends; the others refuse it. */
enum { GSVNET_MEMORY_HOST = 0, GSVNET_MEMORY_CUDA = 1 };

/* A picture, upright. The library only reads it, during gsvnet_push only. */
typedef struct gsvnet_frame {
  uint32_t struct_size;
  int32_t format;         /* GSVNET_I420 .. GSVNET_BGRA */
  int32_t width, height;  /* pixels; at most 65536 each */
  const void* planes[3];  /* the first row of each plane that the format has; the others are not looked at */
  int64_t strides[3];     /* bytes from a row to the next; negative where rows are stored from the bottom up; 0: rows
                             follow one another without a gap */
  int64_t plane_sizes[3]; /* bytes from planes[i] on that may be read: a frame that needs more is refused. 0: not
                             stated. Must be 0 with a negative stride */
  int32_t matrix;         /* YUV only: GSVNET_MATRIX_... */
  int32_t range;          /* YUV only: GSVNET_RANGE_... */
  int32_t memory;         /* GSVNET_MEMORY_... */
  int32_t reserved;       /* 0 */
  double pts_s;           /* presentation time in seconds. Where it runs backwards or leaps by more than 0.5, the frame
                             is a keyframe; 0 for every frame where times are not known */
  void* cuda_stream;      /* GSVNET_MEMORY_CUDA: the CUstream or cudaStream_t whose work so far comes before the planes
                             are read; NULL: they are ready. Host memory: NULL */
} gsvnet_frame;
#define GSVNET_FRAME_INIT \
  {(uint32_t)sizeof(gsvnet_frame), 0, 0, 0, {NULL, NULL, NULL}, {0, 0, 0}, {0, 0, 0}, 0, 0, 0, 0, 0.0, NULL}

/* Where the results go: the caller's buffers, apart from the frame's. */
typedef struct gsvnet_output {
  uint32_t struct_size;
  int32_t counts_length; /* entries that `counts` has room for: at least the number of classes */
  uint8_t* labels;       /* [height][width], the class of every pixel of the frame; always host memory */
  int64_t labels_stride; /* bytes from a row to the next; 0: width. What lies between rows is left alone */
  int64_t labels_size;   /* bytes that may be written from `labels` on; a buffer too small is refused */
  int64_t* counts;       /* [classes]: pixels of each class; NULL: not wanted */
} gsvnet_output;
#define GSVNET_OUTPUT_INIT {(uint32_t)sizeof(gsvnet_output), 0, NULL, 0, 0, NULL}

/* What gsvnet_push tells of a frame. Stages that did not run took 0 ms. On a GPU the first three are told by its own
 * clock, and labels_ms is the rest of the call. */
typedef struct gsvnet_result {
  uint32_t struct_size;
  int32_t is_keyframe; /* 1: segmented anew; 0: propagated */
  int32_t age;         /* frames since the keyframe; 0 for a keyframe itself */
  int32_t reserved;
  double prepare_ms;   /* planes to the networks' input */
  double keyframe_ms;  /* the image network */
  double propagate_ms; /* the propagation network */
  double labels_ms;    /* scores to labels, and counts */
} gsvnet_result;
#define GSVNET_RESULT_INIT {(uint32_t)sizeof(gsvnet_result), 0, 0, 0, 0.0, 0.0, 0.0, 0.0}

/* Segment the video's next frame. All work on it is done when this returns, on a GPU too. `result` may be NULL. The
 * first frame of a size compiles the networks for it (a second or two: gsvnet_warm), or reads their plans; the last
 * three sizes are kept. A frame of another size than the one before is a keyframe. */
GSVNET_EXPORT gsvnet_status gsvnet_push(gsvnet_engine* engine, const gsvnet_frame* frame, const gsvnet_output* output,
                                        gsvnet_result* result, gsvnet_error* error);

/* Make the networks ready for frames of this size now. */
GSVNET_EXPORT gsvnet_status gsvnet_warm(gsvnet_engine* engine, int32_t width, int32_t height, gsvnet_error* error);

/* ---- Steering -------------------------------------------------------------------------------------------------- */

/* A keyframe every `interval` frames, from the next frame on. */
GSVNET_EXPORT gsvnet_status gsvnet_set_interval(gsvnet_engine* engine, int32_t interval, gsvnet_error* error);

/* Make the next frame a keyframe: after a scene cut, or where the decoder lost data. */
GSVNET_EXPORT gsvnet_status gsvnet_request_keyframe(gsvnet_engine* engine, gsvnet_error* error);

/* Forget the video so far, as after a seek or for another video. Networks and interval stay. */
GSVNET_EXPORT gsvnet_status gsvnet_reset(gsvnet_engine* engine, gsvnet_error* error);

/* ---- Asking ---------------------------------------------------------------------------------------------------- */

/* Strings are the engine's, UTF-8, and live until gsvnet_close. */
typedef struct gsvnet_info {
  uint32_t struct_size;
  int32_t classes;  /* 2..256; labels are below it */
  int32_t interval; /* in force now */
  int32_t reserved;
  const char* name;            /* the bundle's */
  const char* license;         /* of its weights: SPDX */
  const char* backend;         /* "tensorrt" or "openvino" */
  const char* backend_version; /* as the runtime gives it; of "tensorrt" also the GPU */
  const char* cpu_precision;   /* "f32" or "bf16" */
} gsvnet_info;
#define GSVNET_INFO_INIT {(uint32_t)sizeof(gsvnet_info), 0, 0, 0, NULL, NULL, NULL, NULL, NULL}

GSVNET_EXPORT gsvnet_status gsvnet_get_info(const gsvnet_engine* engine, gsvnet_info* info, gsvnet_error* error);

typedef struct gsvnet_class {
  uint32_t struct_size;
  uint8_t red, green, blue, reserved;
  const char* name; /* the engine's, UTF-8, until gsvnet_close */
} gsvnet_class;
#define GSVNET_CLASS_INIT {(uint32_t)sizeof(gsvnet_class), 0, 0, 0, 0, NULL}

/* Name and colour of class `index`, 0 <= index < classes. */
GSVNET_EXPORT gsvnet_status gsvnet_get_class(const gsvnet_engine* engine, int32_t index, gsvnet_class* out,
                                             gsvnet_error* error);

/* The library's version, "0.1.0"; static memory. */
GSVNET_EXPORT const char* gsvnet_version(void);

/* The backends that this library was built with, in the order in which "auto" tries them, separated by commas; static
 * memory. */
GSVNET_EXPORT const char* gsvnet_backends(void);

#ifdef __cplusplus
}
#endif
#endif
