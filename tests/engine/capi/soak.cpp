// soak BUNDLE ENGINES FRAMES: open, push frames of noise, close, ENGINES times over; after each, a line of the bytes in
// use on the main thread's heap, and of the KB of memory that the process holds. With the real library.

#include <malloc.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "gsvnet.hpp"

static long resident_kb() {
  long pages = 0, resident = 0;
  if (std::FILE* file = std::fopen("/proc/self/statm", "r")) {
    if (std::fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
    std::fclose(file);
  }
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char** argv) try {
  if (argc != 4) return std::fprintf(stderr, "soak BUNDLE ENGINES FRAMES\n"), 2;
  constexpr int kWidth = 64, kHeight = 48;
  std::vector<unsigned char> data(kWidth * kHeight * 3);
  unsigned seed = 1;
  for (int e = 0; e < std::atoi(argv[2]); ++e) {
    {
      gsvnet::Engine engine(argv[1]);
      gsvnet::Frame frame(GSVNET_RGB, kWidth, kHeight);
      frame.plane(0, data.data());
      for (int i = 0; i < std::atoi(argv[3]); ++i) {
        for (int k = 0; k < 64; ++k) {
          seed = seed * 1664525u + 1013904223u;
          data[seed % data.size()] = static_cast<unsigned char>(seed >> 24);
        }
        engine.push(frame);
      }
    }
#if defined(__GLIBC__)
    std::printf("%zu ", mallinfo2().uordblks);
#endif
    std::printf("%ld\n", resident_kb());
  }
  return 0;
} catch (const gsvnet::Error& error) {
  return std::fprintf(stderr, "%s\n", error.what()), error.status();
}
