// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What PyTorch does not tell of the machine.

#include "lanes.h"

// Whether there are sums of products of bytes, in vectors of 64.
OFFER(has_vnni)(int* found) {
#if defined(__x86_64__)
    *found = __builtin_cpu_supports("avx512vnni") ? 1 : 0;
#else
    *found = 0;
#endif
}
