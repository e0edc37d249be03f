// The most that one thread multiplies and adds, in GMAC/s: float32, then bf16 where the compiler targets it. Registers
// only; the best of many short stretches, some of which a busy machine leaves undisturbed.
//
//   g++ -O2 -march=native docs/peak.cpp -o peak && ./peak
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

constexpr int kChains = 16, kSteps = 20000, kStretches = 2000;  // enough chains to hide a product's latency

template <typename Step>
double best(int products, const Step& step) {
  double least = 1e9;
  for (int stretch = 0; stretch < kStretches; ++stretch) {
    const auto start = std::chrono::steady_clock::now();
    step();
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 1e-9 * products * kChains * kSteps / least;
}

int main() {
  __m512 sums[kChains] = {};
  const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
  const double f32 = best(16, [&] {
    for (int i = 0; i < kSteps; ++i)
#pragma GCC unroll 16
      for (__m512& sum : sums) sum = _mm512_fmadd_ps(a, b, sum);
  });
  std::printf("%.1f", f32);
#ifdef __AVX512BF16__
  const __m512bh halves = _mm512_cvtne2ps_pbh(a, b);
  const double bf16 = best(32, [&] {
    for (int i = 0; i < kSteps; ++i)
#pragma GCC unroll 16
      for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, halves, halves);
  });
  std::printf(" %.1f", bf16);
#endif
  float total = 0;
  for (const __m512& sum : sums) total += _mm512_reduce_add_ps(sum);
  std::printf("\n");
  return total < 0;  // keeps the sums alive
}
