// gsvnet.h and gsvnet.hpp compile alone as C++17; the sizes that callers were compiled with never shrink.
#include "gsvnet.h"
#include "gsvnet.hpp"

static_assert(sizeof(gsvnet_error) == 1024);
static_assert(sizeof(void*) != 8 ||
              (sizeof(gsvnet_options) == 56 && sizeof(gsvnet_frame) == 120 && sizeof(gsvnet_output) == 40 &&
               sizeof(gsvnet_result) == 48 && sizeof(gsvnet_info) == 56 && sizeof(gsvnet_class) == 16));

int uses_everything();
int uses_everything() {
  const gsvnet_options options = GSVNET_OPTIONS_INIT;
  const gsvnet_frame frame = GSVNET_FRAME_INIT;
  const gsvnet_output output = GSVNET_OUTPUT_INIT;
  const gsvnet_result result = GSVNET_RESULT_INIT;
  const gsvnet_info info = GSVNET_INFO_INIT;
  const gsvnet_class one = GSVNET_CLASS_INIT;
  return static_cast<int>(options.struct_size + frame.struct_size + output.struct_size + result.struct_size +
                          info.struct_size + one.struct_size);
}
