/* Raw RGB video on stdin, the same with the classes' colours over it on stdout; names and colours on stderr.
 *
 *   ffmpeg -v error -i road.mp4 -pix_fmt rgb24 -f rawvideo - | ./overlay path/to/street 1280 720 |
 *     ffmpeg -v error -f rawvideo -pix_fmt rgb24 -s 1280x720 -i - overlay.mp4 */
#include <gsvnet.h>
#include <stdio.h>
#include <stdlib.h>

static int complain(const char* what) { return fprintf(stderr, "overlay: %s\n", what), 1; }

int main(int argc, char** argv) {
  if (argc != 4) return complain("BUNDLE WIDTH HEIGHT < rgb24.raw > overlay.raw");
  int width = atoi(argv[2]), height = atoi(argv[3]);
  if (width < 1 || height < 1 || width > 8192 || height > 8192) return complain("no such size");

  gsvnet_error error;
  gsvnet_engine* engine = NULL;
  if (gsvnet_open(argv[1], NULL, &engine, &error)) return complain(error.message);
  gsvnet_info info = GSVNET_INFO_INIT;
  gsvnet_get_info(engine, &info, NULL);
  unsigned char colors[256][3] = {{0}};
  for (int i = 0; i < info.classes; ++i) {
    gsvnet_class one = GSVNET_CLASS_INIT;
    gsvnet_get_class(engine, i, &one, NULL);
    colors[i][0] = one.red, colors[i][1] = one.green, colors[i][2] = one.blue;
    fprintf(stderr, "#%02x%02x%02x %s\n", one.red, one.green, one.blue, one.name);
  }

  size_t pixels = (size_t)width * height;
  unsigned char *picture = malloc(3 * pixels), *labels = malloc(pixels);
  if (!picture || !labels) return complain("no memory");
  gsvnet_frame frame = GSVNET_FRAME_INIT;
  frame.format = GSVNET_RGB, frame.width = width, frame.height = height, frame.planes[0] = picture;
  gsvnet_output output = GSVNET_OUTPUT_INIT;
  output.labels = labels, output.labels_size = (int64_t)pixels;

  while (fread(picture, 3, pixels, stdin) == pixels) {
    if (gsvnet_push(engine, &frame, &output, NULL, &error)) return complain(error.message);
    for (size_t i = 0; i < pixels; ++i) /* half the picture, half the class's colour */
      for (int c = 0; c < 3; ++c) picture[3 * i + c] = (unsigned char)((picture[3 * i + c] + colors[labels[i]][c]) / 2);
    if (fwrite(picture, 3, pixels, stdout) != pixels) return complain("stdout is closed or full");
  }
  gsvnet_close(&engine);
  free(picture), free(labels);
  return 0;
}
