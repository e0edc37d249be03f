/* Any video that GStreamer decodes (a file, a camera, RTSP): a line a frame with the largest class.
 *
 *   ./gstreamer path/to/street "filesrc location=road.mp4 ! decodebin"
 *   ./gstreamer path/to/street "v4l2src device=/dev/video0"
 *
 * Built where libgstreamer-plugins-base1.0-dev is. */
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <gst/video/video.h>
#include <gsvnet.h>
#include <stdio.h>
#include <stdlib.h>

static int complain(const char* what) { return fprintf(stderr, "gstreamer: %s\n", what), 1; }

/* How a decoded picture lies in memory, with its colours and time. NV12 alone comes: the pipeline asks for it. */
static gsvnet_frame frame_of(const GstVideoFrame* picture, GstClockTime pts) {
  const GstVideoInfo* info = &picture->info;
  const GstVideoColorMatrix matrix = info->colorimetry.matrix;
  gsvnet_frame frame = GSVNET_FRAME_INIT;
  frame.format = GSVNET_NV12, frame.width = info->width, frame.height = info->height;
  for (int i = 0; i < 2; ++i) {
    frame.planes[i] = GST_VIDEO_FRAME_PLANE_DATA(picture, i);
    frame.strides[i] = GST_VIDEO_FRAME_PLANE_STRIDE(picture, i);
  }
  frame.matrix = matrix == GST_VIDEO_COLOR_MATRIX_BT709    ? GSVNET_MATRIX_BT709
                 : matrix == GST_VIDEO_COLOR_MATRIX_BT601  ? GSVNET_MATRIX_BT601
                 : matrix == GST_VIDEO_COLOR_MATRIX_BT2020 ? GSVNET_MATRIX_BT2020
                                                           : GSVNET_MATRIX_AUTO;
  frame.range = info->colorimetry.range == GST_VIDEO_COLOR_RANGE_0_255 ? GSVNET_RANGE_FULL : GSVNET_RANGE_AUTO;
  frame.pts_s = GST_CLOCK_TIME_IS_VALID(pts) ? (double)pts / GST_SECOND : 0;
  return frame;
}

int main(int argc, char** argv) {
  gst_init(&argc, &argv);
  if (argc != 3) return complain("BUNDLE \"SOURCE ! DECODER\"");
  gsvnet_error error;
  gsvnet_engine* engine = NULL;
  if (gsvnet_open(argv[1], NULL, &engine, &error)) return complain(error.message);

  /* One buffer, old ones dropped: a live camera must not run ahead of us. */
  gchar* text = g_strdup_printf(
      "%s ! videoconvert ! video/x-raw,format=NV12 ! appsink name=out max-buffers=1 sync=false", argv[2]);
  GError* problem = NULL;
  GstElement* pipeline = gst_parse_launch(text, &problem);
  if (problem) return complain(problem->message);
  GstAppSink* sink = GST_APP_SINK(gst_bin_get_by_name(GST_BIN(pipeline), "out"));
  gst_element_set_state(pipeline, GST_STATE_PLAYING);

  unsigned char* labels = NULL;
  int64_t counts[256];
  int failed = 0;
  for (GstSample* sample; !failed && (sample = gst_app_sink_pull_sample(sink)); gst_sample_unref(sample)) {
    GstVideoInfo info;
    GstVideoFrame picture;
    GstBuffer* buffer = gst_sample_get_buffer(sample);
    if (!gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) ||
        !gst_video_frame_map(&picture, &info, buffer, GST_MAP_READ))
      continue;
    const gsvnet_frame frame = frame_of(&picture, GST_BUFFER_PTS(buffer));
    gsvnet_output output = GSVNET_OUTPUT_INIT;
    output.labels_size = (int64_t)frame.width * frame.height;
    output.labels = labels = realloc(labels, (size_t)output.labels_size);
    output.counts = counts, output.counts_length = 256;
    gsvnet_result result = GSVNET_RESULT_INIT;
    failed = gsvnet_push(engine, &frame, &output, &result, &error) ? complain(error.message) : 0;
    gst_video_frame_unmap(&picture);
    if (failed) continue;
    gsvnet_info about = GSVNET_INFO_INIT;
    gsvnet_get_info(engine, &about, NULL);
    int largest = 0;
    for (int i = 1; i < about.classes; ++i) largest = counts[i] > counts[largest] ? i : largest;
    gsvnet_class one = GSVNET_CLASS_INIT;
    gsvnet_get_class(engine, largest, &one, NULL);
    printf("%8.3f s %s %s\n", frame.pts_s, result.is_keyframe ? "key " : "prop", one.name);
  }
  gst_element_set_state(pipeline, GST_STATE_NULL);
  gst_object_unref(sink), gst_object_unref(pipeline), g_free(text), free(labels);
  gsvnet_close(&engine);
  return failed;
}
