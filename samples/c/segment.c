/* Raw video on stdin, labels on stdout, one byte a pixel; shares of the classes on stderr.
 *
 *   ffmpeg -v error -i road.mp4 -pix_fmt yuv420p -f rawvideo - | ./segment path/to/street 1280 720 > labels.raw */
#include <gsvnet.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char** argv) {
  if (argc != 4) return fprintf(stderr, "segment BUNDLE WIDTH HEIGHT < i420.raw > labels.raw\n"), 2;
  int width = atoi(argv[2]), height = atoi(argv[3]);
  if (width < 1 || height < 1 || width > 8192 || height > 8192) return fprintf(stderr, "no such size\n"), 2;

  gsvnet_error error;
  gsvnet_engine* engine = NULL;
  if (gsvnet_open(argv[1], NULL, &engine, &error)) return fprintf(stderr, "%s\n", error.message), error.status;
  gsvnet_info info = GSVNET_INFO_INIT;
  gsvnet_get_info(engine, &info, NULL);

  size_t luma = (size_t)width * height, chroma = (size_t)((width + 1) / 2) * ((height + 1) / 2);
  unsigned char *picture = malloc(luma + 2 * chroma), *labels = malloc(luma);
  int64_t counts[256];
  gsvnet_frame frame = GSVNET_FRAME_INIT;
  frame.format = GSVNET_I420, frame.width = width, frame.height = height;
  frame.planes[0] = picture, frame.planes[1] = picture + luma, frame.planes[2] = picture + luma + chroma;
  gsvnet_output output = GSVNET_OUTPUT_INIT;
  output.labels = labels, output.labels_size = (int64_t)luma, output.counts = counts, output.counts_length = 256;

  while (picture && labels && fread(picture, 1, luma + 2 * chroma, stdin) == luma + 2 * chroma) {
    if (gsvnet_push(engine, &frame, &output, NULL, &error)) return fprintf(stderr, "%s\n", error.message), error.status;
    fwrite(labels, 1, luma, stdout);
    for (int i = 0; i < info.classes; ++i) fprintf(stderr, "%s%.3f", i ? " " : "", (double)counts[i] / (double)luma);
    fprintf(stderr, "\n");
  }
  gsvnet_close(&engine);
  free(picture), free(labels);
  return 0;
}
