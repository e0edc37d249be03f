#include "kernels.h"

// The fatbins, which CMake made of the .cu files, as they are; the driver picks the card's own.
#define GSVNET_EMBED(name, file)                       \
  asm(".section .rodata\n.balign 16\n" #name ":\n"     \
      ".incbin \"" file "\"\n.previous\n");            \
  extern "C" __attribute__((visibility("hidden"))) const unsigned char name[]

GSVNET_EMBED(gsvnet_frame_fatbin, GSVNET_FATBINS "/frame.fatbin");
GSVNET_EMBED(gsvnet_labels_fatbin, GSVNET_FATBINS "/labels.fatbin");

namespace gsvnet::tensorrt {

const void* frame_image() { return gsvnet_frame_fatbin; }
const void* labels_image() { return gsvnet_labels_fatbin; }

}  // namespace gsvnet::tensorrt
