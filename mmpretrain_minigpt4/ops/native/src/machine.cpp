// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What the package asks before it calls anything else.

#include "simd.h"

// sources: a checksum of what the library was compiled from. vnni: whether
// this CPU sums products of bytes in vectors of 64, which PyTorch does not
// tell.
EXPORT(describe)(uint32_t* sources, int* vnni) {
    *sources = SOURCES;
#if defined(__x86_64__)
    *vnni = __builtin_cpu_supports("avx512vnni") ? 1 : 0;
#else
    *vnni = 0;
#endif
}
