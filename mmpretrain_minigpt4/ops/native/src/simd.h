// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Some floats at a time, as many as a register holds, and numbers of 16 bits
// as floats.
//
// Each source is compiled once for every instruction set in setup.py, and
// all of them are linked together. So nothing here may have a name that the
// linker sees (one set's code would serve another's): all is in an unnamed
// namespace, and no templates of the standard library are used.

#ifndef MINIGPT4_LANES_H
#define MINIGPT4_LANES_H

#include <cstdint>
#include <cstdlib>
#include <cstring>

#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)
// What the library offers: a function's name, and the set it is compiled for.
#define EXPORT(name) extern "C" __attribute__((visibility("default"))) \
    void JOIN(name, INSTRUCTIONS)
#define INLINE inline __attribute__((always_inline))

namespace {

// Of vectors wider than a register, GCC keeps every step in memory.
#if defined(__AVX512F__)
constexpr int64_t LANES = 16;
#elif defined(__AVX2__)
constexpr int64_t LANES = 8;
#else
constexpr int64_t LANES = 4;
#endif
typedef float Lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t IntLanes __attribute__((vector_size(4 * LANES)));
typedef uint32_t BitLanes __attribute__((vector_size(4 * LANES)));
typedef uint16_t HalfLanes __attribute__((vector_size(2 * LANES)));
typedef float Four __attribute__((vector_size(16)));

// A bfloat16 number, the upper half of a float.
struct bf16 {
    uint16_t bits;
};

INLINE Lanes load(const float* from) {
    Lanes x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE Lanes load(const bf16* from) {
    HalfLanes half;
    memcpy(&half, from, sizeof half);
    const BitLanes bits = __builtin_convertvector(half, BitLanes) << 16;
    Lanes x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE void store(float* to, Lanes x) { memcpy(to, &x, sizeof x); }

// To the nearest, and of two as near to the even one; NaN stays NaN.
INLINE void store(bf16* to, Lanes x) {
    BitLanes bits;
    memcpy(&bits, &x, sizeof bits);
    const BitLanes odd = (bits >> 16) & 1u;
    const BitLanes rounded = (bits + 0x7fffu + odd) >> 16;
    const BitLanes quiet = (bits >> 16) | 0x40u;
    const HalfLanes half =
        __builtin_convertvector(x == x ? rounded : quiet, HalfLanes);
    memcpy(to, &half, sizeof half);
}

INLINE float to_float(float x) { return x; }

INLINE float to_float(bf16 x) {
    const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

INLINE void from_float(float x, float* to) { *to = x; }

INLINE void from_float(float x, bf16* to) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to->bits = static_cast<uint16_t>(x == x ? rounded : (bits >> 16) | 0x40u);
}

// What a number becomes when it is kept in this type.
template <typename T>
INLINE Lanes rounded(Lanes x) {
    T kept[LANES];
    store(kept, x);
    return load(kept);
}

template <typename T>
INLINE float rounded(float x) {
    T kept;
    from_float(x, &kept);
    return to_float(kept);
}

// Less zero, since zero and a negative zero would be zero: no instruction.
INLINE Lanes broadcast(float x) { return x - Lanes{}; }

// The first numbers of a row, and zeros: fewer than LANES of them.
template <typename T>
INLINE Lanes load_some(const T* from, int64_t number) {
    float some[LANES] = {};
    for (int64_t i = 0; i < number; ++i) some[i] = to_float(from[i]);
    return load(some);
}

template <typename T>
INLINE void store_some(T* to, Lanes x, int64_t number) {
    float some[LANES];
    store(some, x);
    for (int64_t i = 0; i < number; ++i) from_float(some[i], to + i);
}

INLINE float sum(Lanes x) {
    Four parts[LANES / 4];
    memcpy(parts, &x, sizeof x);
    Four four = parts[0];
    for (int64_t i = 1; i < LANES / 4; ++i) four += parts[i];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

INLINE Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }

INLINE float largest(Lanes x) {
    float best = x[0];
    for (int64_t i = 1; i < LANES; ++i) best = x[i] > best ? x[i] : best;
    return best;
}

// e to the x, to two units in the last place; below -87 it is zero, and
// minus infinity may be given. Above 88 it is the value there.
//
// x = n ln 2 + r with |r| <= ln 2 / 2, ln 2 in two parts so that r is exact;
// e^r is its Taylor series to the seventh power, which leaves an error of
// 1e-8 there.
INLINE Lanes exponential(Lanes x) {
    const Lanes least = broadcast(-87.f), most = broadcast(88.f);
    const Lanes within = x < least ? least : (x > most ? most : x);
    // 1.5 * 2^23 rounds to integers
    const Lanes shift = broadcast(12582912.f);
    const Lanes n = (within * 1.44269504f + shift) - shift;
    const Lanes r = (within - n * 0.693359375f) - n * -2.12194440e-4f;
    Lanes p = broadcast(1.f / 5040);
    p = p * r + 1.f / 720;
    p = p * r + 1.f / 120;
    p = p * r + 1.f / 24;
    p = p * r + 1.f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.f;
    p = p * r + 1.f;
    const IntLanes power =
        (__builtin_convertvector(n, IntLanes) + 127) << 23;
    Lanes scale;
    memcpy(&scale, &power, sizeof scale);
    return x < least ? Lanes{} : p * scale;
}

// Memory for one call, in whole cache lines; null if there is none.
struct Scratch {
    float* floats;
    explicit Scratch(int64_t number)
        : floats(static_cast<float*>(aligned_alloc(
              64, (static_cast<size_t>(number) * sizeof(float) + 127) / 64
                      * 64))) {}
    ~Scratch() { free(floats); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
};

template <int I>
struct Index {
    constexpr operator int() const { return I; }
};

// Calls a function with 0 to N - 1, each known when compiling. Arrays that
// are indexed so stay in registers; in a loop, GCC would store them.
template <int N, typename Body>
INLINE void repeat(const Body& body) {
    if constexpr (N > 0) {
        repeat<N - 1>(body);
        body(Index<N - 1>{});
    }
}
#define EACH(i) [&](auto i) __attribute__((always_inline))

// Calls a function with a number of the type that is meant.
template <typename Body>
INLINE void in_type(int narrow_type, const Body& body) {
    if (narrow_type) {
        body(bf16{});
    } else {
        body(0.f);
    }
}

// Asks for numbers that are read soon.
template <typename T>
INLINE void prefetch(const T* from, int64_t number) {
    constexpr int64_t LINE = 64 / sizeof(T);
    for (int64_t i = 0; i < number; i += LINE) __builtin_prefetch(from + i);
}

INLINE int64_t round_up(int64_t x, int64_t step) {
    return (x + step - 1) / step * step;
}

}  // namespace

#endif
