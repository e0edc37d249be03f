/* gsvnet.h compiles alone as C99, and its initialisers fill every field. */
#include "gsvnet.h"

int uses_everything(void);
int uses_everything(void) {
  gsvnet_options options = GSVNET_OPTIONS_INIT;
  gsvnet_frame frame = GSVNET_FRAME_INIT;
  gsvnet_output output = GSVNET_OUTPUT_INIT;
  gsvnet_result result = GSVNET_RESULT_INIT;
  gsvnet_info info = GSVNET_INFO_INIT;
  gsvnet_class one = GSVNET_CLASS_INIT;
  return (int)(options.struct_size + frame.struct_size + output.struct_size + result.struct_size + info.struct_size +
               one.struct_size);
}
