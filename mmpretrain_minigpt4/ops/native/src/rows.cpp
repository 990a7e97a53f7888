// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Norms and gates of vectors, each read once.

#include "simd.h"

#include <cmath>

namespace {

// Norms a vector; with another one, their sum, which is kept.
template <typename T>
INLINE void norm_row(const T* x, const T* other, const T* weight, float eps,
                     int64_t width, T* out, T* total) {
    Lanes squares{};
    const int64_t whole = width / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        Lanes value = load(x + i);
        if (other != nullptr) {
            value = rounded<T>(value + load(other + i));
            store(total + i, value);
        }
        squares += value * value;
    }
    float square = sum(squares);
    for (int64_t i = whole; i < width; ++i) {
        float value = to_float(x[i]);
        if (other != nullptr) {
            value = rounded<T>(value + to_float(other[i]));
            from_float(value, total + i);
        }
        square += value * value;
    }
    const float scale = 1.f / sqrtf(square / static_cast<float>(width) + eps);
    const T* source = other != nullptr ? total : x;
    for (int64_t i = 0; i < whole; i += LANES) {
        const Lanes normed = rounded<T>(load(source + i) * scale);
        store(out + i, load(weight + i) * normed);
    }
    for (int64_t i = whole; i < width; ++i) {
        from_float(to_float(weight[i])
                       * rounded<T>(to_float(source[i]) * scale),
               out + i);
    }
}

template <typename T>
void norm(const T* x, const T* other, const T* weight, float eps,
          int64_t rows, int64_t width, T* out, T* total, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const int64_t at = row * width;
        norm_row(x + at, other == nullptr ? nullptr : other + at, weight, eps,
                 width, out + at, total == nullptr ? nullptr : total + at);
    }
}

template <typename T>
INLINE Lanes gated(Lanes gate, Lanes up) {
    return rounded<T>(gate / (1.f + exponential(-gate))) * up;
}

template <typename T>
void gate(const T* gate_up, int64_t rows, int64_t width, T* out,
          int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; ++row) {
        const T* gates = gate_up + 2 * row * width;
        const T* ups = gates + width;
        T* to = out + row * width;
        const int64_t whole = width / LANES * LANES;
        for (int64_t i = 0; i < whole; i += LANES) {
            store(to + i, gated<T>(load(gates + i), load(ups + i)));
        }
        const int64_t rest = width - whole;
        if (rest > 0) {
            store_some(to + whole,
                       gated<T>(load_some(gates + whole, rest),
                                load_some(ups + whole, rest)),
                       rest);
        }
    }
}

}  // namespace

// x, other and total: [rows, width]; other and total may be null.
EXPORT(rms_norm)(const void* x, const void* other, const void* weight,
                float eps, int64_t rows, int64_t width, void* out,
                void* total, int narrow_type, int threads) {
    in_type(narrow_type, [&](auto number) {
        using T = decltype(number);
        norm(static_cast<const T*>(x), static_cast<const T*>(other),
             static_cast<const T*>(weight), eps, rows, width,
             static_cast<T*>(out), static_cast<T*>(total), threads);
    });
}

// gate_up: [rows, 2 * width], out: [rows, width].
EXPORT(silu_mul)(const void* gate_up, int64_t rows, int64_t width, void* out,
                int narrow_type, int threads) {
    in_type(narrow_type, [&](auto number) {
        using T = decltype(number);
        gate(static_cast<const T*>(gate_up), rows, width,
             static_cast<T*>(out), threads);
    });
}
