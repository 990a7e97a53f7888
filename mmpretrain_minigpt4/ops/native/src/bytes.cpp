// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Products of a few rows with weights of 8 bits that lie as they were saved,
// [O, I]: each weight is read once and widened on its way.
//
// Legend: R rows, I and O input and output channels.

#include "lanes.h"

namespace {

constexpr int OUTPUTS = 2;  // at a time
constexpr int64_t AHEAD = 16;  // outputs whose weights are asked for early

INLINE Lanes load(const int8_t* from) {
    // GCC makes one instruction of this, and many of a converted vector.
    int32_t wide[LANES];
    for (int64_t i = 0; i < LANES; ++i) wide[i] = from[i];
    IntLanes whole;
    memcpy(&whole, wide, sizeof whole);
    return __builtin_convertvector(whole, Lanes);
}

// ROWS rows of floats, so many numbers apart, times neighbouring weights.
template <int ROWS, typename T>
INLINE void multiply(const float* x, int64_t stride, const int8_t* weight,
                     const float* scales, int64_t inputs, T* out,
                     int64_t out_stride) {
    Lanes sums[OUTPUTS][ROWS] = {};
    const int64_t whole = inputs / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        repeat<OUTPUTS>(EACH(output) {
            const Lanes weights = load(weight + output * inputs + i);
            repeat<ROWS>(EACH(row) {
                sums[output][row] += weights * load(x + row * stride + i);
            });
        });
    }
    repeat<OUTPUTS>(EACH(output) {
        repeat<ROWS>(EACH(row) {
            float product = sum(sums[output][row]);
            for (int64_t i = whole; i < inputs; ++i) {
                product += x[row * stride + i] * weight[output * inputs + i];
            }
            narrow(product * scales[output],
                   out + row * out_stride + output);
        });
    });
}

// All rows times neighbouring weights, which stay in the first cache.
template <typename T>
INLINE void multiply_rows(const float* x, int64_t stride, int64_t rows,
                          const int8_t* weight, const float* scales,
                          int64_t inputs, T* out, int64_t out_stride) {
    fetch(weight + AHEAD * inputs, OUTPUTS * inputs);
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        multiply<4>(x + row * stride, stride, weight, scales, inputs,
                    out + row * out_stride, out_stride);
    }
    for (; row + 2 <= rows; row += 2) {
        multiply<2>(x + row * stride, stride, weight, scales, inputs,
                    out + row * out_stride, out_stride);
    }
    for (; row < rows; ++row) {
        multiply<1>(x + row * stride, stride, weight, scales, inputs,
                    out + row * out_stride, out_stride);
    }
}

template <typename T>
int multiply_all(const T* x, int64_t rows, int64_t inputs, int64_t outputs,
                 const int8_t* weight, const float* scales, T* out,
                 int threads) {
    // Widened once; and room for the last outputs, if they are too few.
    const int64_t stride = round_up(inputs, LANES);
    const Scratch scratch(rows * stride);
    if (scratch.floats == nullptr) return 1;
    float* wide = scratch.floats;
    for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = 0; i < inputs; ++i) {
            wide[row * stride + i] = widen(x[row * inputs + i]);
        }
    }
    const int64_t whole = outputs / OUTPUTS * OUTPUTS;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t at = 0; at < whole; at += OUTPUTS) {
        multiply_rows(wide, stride, rows, weight + at * inputs, scales + at,
                      inputs, out + at, outputs);
    }
    for (int64_t row = 0; whole < outputs && row < rows; ++row) {
        float product = 0.f;
        for (int64_t i = 0; i < inputs; ++i) {
            product += wide[row * stride + i] * weight[whole * inputs + i];
        }
        narrow(product * scales[whole], out + row * outputs + whole);
    }
    return 0;
}

}  // namespace

// x: [R, I], weight: [O, I], scales: [O], out: [R, O]. failed becomes 1
// without memory.
OFFER(byte_linear)(const void* x, int64_t rows, int64_t inputs,
                   int64_t outputs, const int8_t* weight, const float* scales,
                   void* out, int narrow_type, int threads, int* failed) {
    *failed = narrow_type
        ? multiply_all(static_cast<const Narrow*>(x), rows, inputs, outputs,
                       weight, scales, static_cast<Narrow*>(out), threads)
        : multiply_all(static_cast<const float*>(x), rows, inputs, outputs,
                       weight, scales, static_cast<float*>(out), threads);
}
