// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Products of a few rows with weights of 8 bits that lie as they were saved,
// [O, I]: each weight is read once and widened on its way.
//
// Legend: R rows, I and O input and output channels.

#include "simd.h"

namespace {

constexpr int TOGETHER = 2;  // outputs at a time
constexpr int64_t AHEAD = 16;  // outputs whose weights are asked for early

INLINE Lanes load(const int8_t* from) {
    // GCC makes one instruction of this, and many of a converted vector.
    int32_t wide[LANES];
    for (int64_t i = 0; i < LANES; ++i) wide[i] = from[i];
    IntLanes whole;
    memcpy(&whole, wide, sizeof whole);
    return __builtin_convertvector(whole, Lanes);
}

// ROWS rows of floats times the weights of neighbouring outputs.
template <int ROWS, int OUTPUTS, typename T>
INLINE void multiply(const float* x, const int8_t* weight,
                     const float* scales, int64_t inputs, T* out,
                     int64_t out_stride) {
    Lanes sums[OUTPUTS][ROWS] = {};
    const int64_t whole = inputs / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        repeat<OUTPUTS>(EACH(output) {
            const Lanes weights = load(weight + output * inputs + i);
            repeat<ROWS>(EACH(row) {
                sums[output][row] += weights * load(x + row * inputs + i);
            });
        });
    }
    repeat<OUTPUTS>(EACH(output) {
        repeat<ROWS>(EACH(row) {
            float product = sum(sums[output][row]);
            for (int64_t i = whole; i < inputs; ++i) {
                product += x[row * inputs + i] * weight[output * inputs + i];
            }
            from_float(product * scales[output],
                   out + row * out_stride + output);
        });
    });
}

// All rows times neighbouring weights, which stay in the first cache.
template <int OUTPUTS, typename T>
INLINE void multiply_rows(const float* x, int64_t rows, const int8_t* weight,
                          const float* scales, int64_t inputs, T* out,
                          int64_t out_stride) {
    prefetch(weight + AHEAD * inputs, OUTPUTS * inputs);
    const auto blocks_of = [&](auto together, int64_t row) {
        for (; row + together <= rows; row += together) {
            multiply<together, OUTPUTS>(x + row * inputs, weight, scales,
                                        inputs, out + row * out_stride,
                                        out_stride);
        }
        return row;
    };
    int64_t row = blocks_of(Index<4>{}, 0);
    row = blocks_of(Index<2>{}, row);
    blocks_of(Index<1>{}, row);
}

template <typename T>
int multiply_all(const T* x, int64_t rows, int64_t inputs, int64_t outputs,
                 const int8_t* weight, const float* scales, T* out,
                 int threads) {
    const Scratch scratch(rows * inputs);
    if (scratch.floats == nullptr) return 1;
    float* wide = scratch.floats;
    for (int64_t i = 0; i < rows * inputs; ++i) wide[i] = to_float(x[i]);
    const int64_t whole = outputs / TOGETHER * TOGETHER;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t at = 0; at < whole; at += TOGETHER) {
        multiply_rows<TOGETHER>(wide, rows, weight + at * inputs, scales + at,
                                inputs, out + at, outputs);
    }
    for (int64_t at = whole; at < outputs; ++at) {
        multiply_rows<1>(wide, rows, weight + at * inputs, scales + at,
                         inputs, out + at, outputs);
    }
    return 0;
}

}  // namespace

// x: [R, I], weight: [O, I], scales: [O], out: [R, O]. failed becomes 1
// without memory.
EXPORT(int8_gemv)(const void* x, int64_t rows, int64_t inputs,
                   int64_t outputs, const int8_t* weight, const float* scales,
                   void* out, int narrow_type, int threads, int* failed) {
    in_type(narrow_type, [&](auto number) {
        using T = decltype(number);
        *failed = multiply_all(static_cast<const T*>(x), rows, inputs,
                               outputs, weight, scales, static_cast<T*>(out),
                               threads);
    });
}
