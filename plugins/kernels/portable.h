// What lets the same arithmetic compile for the host (g++), for a GPU (nvcc, NVRTC) and for a GPU's stand-in (on_host.h).
// No header is included: NVRTC has none.
//
// Every kernel runs in blocks of 32 x 8 threads, in a grid of ceil(columns / 32) x ceil(rows / 8) x depth blocks, with
// columns, rows and depth as its comment says; threads beyond columns and rows do nothing. Kernels share no memory and
// wait for nobody. Compile them without contraction (-fmad=false, -ffp-contract=off) and without fast mathematics: the
// roundings of blends and divisions are part of the definition.
#pragma once

#ifdef __CUDACC__
#define GSVNET_HD __host__ __device__
#else
#define GSVNET_HD
#endif

namespace gsvnet {

constexpr int kBlockColumns = 32, kBlockRows = 8;

GSVNET_HD inline int clamp(int value, int most) { return value < 0 ? 0 : value > most ? most : value; }

// A float16 as stored. Arithmetic is float32: it is widened when read and rounded to nearest even when written.
struct Half {
  unsigned short bits;
};

GSVNET_HD inline float load(const float* at) { return *at; }
GSVNET_HD inline void store(float* at, float value) { *at = value; }

#ifdef __CUDA_ARCH__

__device__ inline float load(const Half* at) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(at->bits));
  return value;
}

__device__ inline void store(Half* at, float value) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(at->bits) : "f"(value));
}

#else

union FloatBits {
  float value;
  unsigned bits;
};

// A float16's exponent and mantissa, moved up, are a float32 too small by 2^112; one product mends that, subnormals too.
GSVNET_HD inline float load(const Half* at) {
  FloatBits word;
  word.bits = (at->bits & 0x7fffu) << 13;
  const bool finite = word.bits < 0x0f800000u;
  word.value *= 5.192296858534828e33f;  // 2^112
  if (!finite) word.bits |= 0x7f800000u;
  word.bits |= (at->bits & 0x8000u) << 16;
  return word.value;
}

GSVNET_HD inline void store(Half* at, float value) {
  FloatBits word;
  word.value = value;
  const unsigned sign = word.bits >> 16 & 0x8000u;
  word.bits &= 0x7fffffffu;
  unsigned half;
  if (word.bits > 0x7f800000u) {
    half = 0x7fffu;  // NaN
  } else if (word.bits >= 0x477ff000u) {
    half = 0x7c00u;  // 65520 and more round to infinity
  } else if (word.bits < 0x38800000u) {
    word.value += 0.5f;  // below 2^-14: the sum's last bits count steps of 2^-24, rounded as wanted
    half = word.bits - 0x3f000000u;
  } else {
    half = (word.bits - 0x38000000u + 0xfffu + (word.bits >> 13 & 1u)) >> 13;
  }
  at->bits = static_cast<unsigned short>(sign | half);
}

#endif

// The value that is there after store(at, value).
GSVNET_HD inline float stored(const float*, float value) { return value; }
GSVNET_HD inline float stored(const Half*, float value) {
  Half half;
  store(&half, value);
  return load(&half);
}

}  // namespace gsvnet
