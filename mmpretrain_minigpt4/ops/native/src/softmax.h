// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0

#ifndef MINIGPT4_SOFTMAX_H
#define MINIGPT4_SOFTMAX_H

#include "simd.h"

namespace {

// Weights of so many scores, in place, not yet divided by their sum, which
// is returned: zero where every score is minus infinity. What is behind them
// in the room, a multiple of LANES, becomes zero.
INLINE float exp_and_sum(float* scores, int64_t number, int64_t room) {
    const float none = -__builtin_inff();
    const int64_t whole = round_up(number, LANES);
    for (int64_t i = number; i < whole; ++i) scores[i] = none;
    Lanes tops = broadcast(none);
    for (int64_t i = 0; i < whole; i += LANES) {
        tops = larger(tops, load(scores + i));
    }
    // Minus infinity less itself would be no number.
    const float top = largest(tops);
    const float base = top == none ? 0.f : top;
    Lanes sums{};
    for (int64_t i = 0; i < whole; i += LANES) {
        const Lanes weight = exponential(load(scores + i) - base);
        store(scores + i, weight);
        sums += weight;
    }
    for (int64_t i = whole; i < room; i += LANES) store(scores + i, Lanes{});
    return sum(sums);
}

}  // namespace

#endif
