// Code for several instruction sets in one library, the best chosen when it is loaded.
//
// GSVNET_CLONES before a function makes the compiler build it for AVX-512, AVX2 and the baseline. Results are equal to
// the bit: floating-point contraction is off (-ffp-contract=off), so wider registers change nothing else. Sanitizers
// cannot see through the loader's choice, and other platforms than x86 with ELF have no such clones. Nor has musl, whose
// loader knows no such choice (ifunc): a C library header says which one this is.
#pragma once

#include <cstdint>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GSVNET_NO_CLONES
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__) || !defined(__ELF__) || \
    (defined(__linux__) && !defined(__GLIBC__))
#define GSVNET_NO_CLONES
#endif

#ifdef GSVNET_NO_CLONES
#define GSVNET_CLONES
#else
#define GSVNET_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#endif
