// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Products of rows, rounded to 8 bits on the way, with weights of 8 bits.
// Sums of products are exact, in 32 bits.
//
// Weights lie in panels of 64 outputs, [O / 64][I / 4][64][4], as the
// instruction reads them: it multiplies four inputs without a sign with four
// weights and adds all that to a sum. Inputs are moved up by 128 for it,
// which the sums of the weights take out again.
//
// Legend: R rows, I and O input and output channels.

#include "simd.h"

#if defined(__AVX512VNNI__)
#include <immintrin.h>

namespace {

typedef uint8_t ByteLanes __attribute__((vector_size(16)));
constexpr int VECTORS = 4;
constexpr int64_t PANEL = VECTORS * LANES;
constexpr int64_t INPUTS = 4;  // of one instruction
constexpr int LEVELS = 127, ZERO = 128;

// The rows as they are multiplied: R of them, and then those parts of rows
// that are multiplied apart.
struct Rounded {
    uint8_t* values;  // [2 R][stride]
    float* steps;     // [2 R], what one step of a row is worth
    int64_t* owners;  // [R], whose parts the ones behind the first R are
    int64_t rows, apart, stride;
};

template <typename T>
INLINE Lanes load_or_zero(const T* from, int64_t at, int64_t width) {
    return at + LANES <= width ? load(from + at)
        : at < width ? load_some(from + at, width - at) : Lanes{};
}

INLINE Lanes size_of(Lanes x) { return x < 0.f ? -x : x; }

// Rounds what is not above the limit (or, beyond it, what is) to steps of
// its largest magnitude, which is given.
template <typename T>
INLINE void round_row(const T* x, int64_t width, float limit, bool beyond,
                      float top, uint8_t* out, int64_t stride) {
    // 1.5 * 2^23, which rounds to integers, and the zero of the bytes.
    const Lanes shift = broadcast(12582912.f), zero = broadcast(ZERO);
    const Lanes scale = broadcast(top > 0.f ? 1.f / top : 0.f);
    for (int64_t i = 0; i < stride; i += LANES) {
        const Lanes value = load_or_zero(x, i, width);
        const auto far = size_of(value) > limit;
        const Lanes kept = beyond ? (far ? value : Lanes{})
                                  : (far ? Lanes{} : value);
        const Lanes steps = kept * scale * LEVELS + zero + shift - shift;
        const ByteLanes bytes = __builtin_convertvector(
            __builtin_convertvector(steps, IntLanes), ByteLanes);
        memcpy(out + i, &bytes, sizeof bytes);
    }
}

template <typename T>
void round_rows(const T* x, int64_t width, float outlier, Rounded& to) {
    to.apart = 0;
    for (int64_t row = 0; row < to.rows; ++row) {
        const T* from = x + row * width;
        Lanes near{}, beyond{}, check{};
        for (int64_t i = 0; i < width; i += LANES) {
            const Lanes value = load_or_zero(from, i, width);
            const Lanes size = size_of(value);
            const auto far = size > outlier;
            near = larger(near, far ? Lanes{} : size);
            beyond = larger(beyond, far ? size : Lanes{});
            check += value * 0.f;
        }
        const float top = largest(near), far_top = largest(beyond);
        round_row(from, width, outlier, false, top,
                  to.values + row * to.stride, to.stride);
        // NaN, where there is a number that is none, or infinite.
        to.steps[row] = (top + sum(check)) / LEVELS;
        if (far_top > 0.f) {
            const int64_t place = to.rows + to.apart;
            to.owners[to.apart++] = row;
            to.steps[place] = far_top / LEVELS;
            round_row(from, width, outlier, true, far_top,
                      to.values + place * to.stride, to.stride);
        }
    }
}

// ROWS rows times a panel: [ROWS][PANEL] products.
template <int ROWS>
INLINE void multiply(const uint8_t* rows, int64_t stride, const int8_t* panel,
                     const int32_t* shifts, const float* scales,
                     const float* steps, float* out) {
    IntLanes sums[ROWS][VECTORS] = {};
    for (int64_t i = 0; i < stride; i += INPUTS) {
        __m512i weights[VECTORS];
        repeat<VECTORS>(EACH(j) {
            weights[j] = _mm512_loadu_si512(
                panel + i * PANEL + j * LANES * INPUTS);
        });
        repeat<ROWS>(EACH(row) {
            int32_t four;
            memcpy(&four, rows + row * stride + i, sizeof four);
            const __m512i inputs = _mm512_set1_epi32(four);
            repeat<VECTORS>(EACH(j) {
                sums[row][j] = (IntLanes)_mm512_dpbusd_epi32(
                    (__m512i)sums[row][j], inputs, weights[j]);
            });
        });
    }
    repeat<ROWS>(EACH(row) {
        repeat<VECTORS>(EACH(j) {
            IntLanes shift;
            memcpy(&shift, shifts + j * LANES, sizeof shift);
            const Lanes product =
                __builtin_convertvector(sums[row][j] - shift, Lanes);
            store(out + row * PANEL + j * LANES,
                  product * load(scales + j * LANES) * steps[row]);
        });
    });
}

template <int ROWS>
INLINE int64_t multiply_some(int64_t first, int64_t rows, const Rounded& x,
                             const int8_t* panel, const int32_t* shifts,
                             const float* scales, float* tile) {
    for (; first + ROWS <= rows; first += ROWS) {
        multiply<ROWS>(x.values + first * x.stride, x.stride, panel, shifts,
                       scales, x.steps + first, tile + first * PANEL);
    }
    return first;
}

template <typename T>
void multiply_panel(const Rounded& x, const int8_t* panel,
                    const int32_t* shifts, const float* scales,
                    int64_t outputs, int64_t out_stride, T* out,
                    float* tile) {
    const int64_t rows = x.rows + x.apart;
    int64_t at = 0;
    at = multiply_some<6>(at, rows, x, panel, shifts, scales, tile);
    at = multiply_some<4>(at, rows, x, panel, shifts, scales, tile);
    at = multiply_some<2>(at, rows, x, panel, shifts, scales, tile);
    multiply_some<1>(at, rows, x, panel, shifts, scales, tile);
    for (int64_t part = 0; part < x.apart; ++part) {
        float* to = tile + x.owners[part] * PANEL;
        const float* more = tile + (x.rows + part) * PANEL;
        for (int64_t i = 0; i < PANEL; i += LANES) {
            store(to + i, load(to + i) + load(more + i));
        }
    }
    for (int64_t row = 0; row < x.rows; ++row) {
        for (int64_t i = 0; i < outputs; i += LANES) {
            const Lanes value = load(tile + row * PANEL + i);
            T* to = out + row * out_stride + i;
            if (i + LANES <= outputs) {
                store(to, value);
            } else {
                store_some(to, value, outputs - i);
            }
        }
    }
}

template <typename T>
int multiply_all(const T* x, int64_t rows, int64_t inputs, int64_t outputs,
                 const int8_t* panels, const int32_t* shifts,
                 const float* scales, float outlier, T* out, int threads) {
    const int64_t stride = round_up(inputs, LANES);
    const Scratch values(2 * rows * stride / 4 + 2 * rows + 2 * rows + 64);
    if (values.floats == nullptr) return 1;
    float* steps = values.floats;
    int64_t* owners = reinterpret_cast<int64_t*>(
        steps + round_up(2 * rows, LANES));
    Rounded rounded{reinterpret_cast<uint8_t*>(owners + rows), steps, owners,
                    rows, 0, stride};
    round_rows(x, inputs, outlier, rounded);
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const Scratch tile((rows + rounded.apart) * PANEL);
        if (tile.floats == nullptr) {
#pragma omp atomic write
            failed = 1;
        } else {
#pragma omp for schedule(static)
            for (int64_t at = 0; at < outputs; at += PANEL) {
                multiply_panel(
                    rounded, panels + at * stride, shifts + at, scales + at,
                    outputs - at < PANEL ? outputs - at : PANEL, outputs,
                    out + at, tile.floats);
            }
        }
    }
    return failed;
}

}  // namespace

// x: [R, I], panels: [O / 64][I / 4][64][4] with I rounded up to 16 and O to
// 64, shifts: 128 times the sum of each output's weights, scales: [O], both
// rounded up alike; out: [R, O]. Inputs above outlier are multiplied apart.
// failed becomes 1 without memory.
EXPORT(int8_linear)(const void* x, int64_t rows, int64_t inputs,
                   int64_t outputs, const int8_t* panels,
                   const int32_t* shifts, const float* scales, float outlier,
                   void* out, int narrow_type, int threads, int* failed) {
    in_type(narrow_type, [&](auto number) {
        using T = decltype(number);
        *failed = multiply_all(static_cast<const T*>(x), rows, inputs,
                               outputs, panels, shifts, scales, outlier,
                               static_cast<T*>(out), threads);
    });
}

#endif
