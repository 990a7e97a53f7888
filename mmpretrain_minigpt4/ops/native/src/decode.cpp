// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// What new tokens of running rows do with the cache of keys and values: rotate
// theirs and put them in, and attend to what is there.
//
// Legend: n rows, w tokens a row, H heads, K key-value heads, G = H / K heads
// that share one, D width of a head, S slots, C entries of a slot.

#include "softmax.h"

namespace {

// Rows of keys or values that are asked for before they are needed: what a
// step reads of the cache, no step before has left nearby.
constexpr int64_t AHEAD = 32;

// Rotates element i of a head with element i + D / 2, modulo D.
template <typename T>
INLINE void apply_rope(const T* head, const T* cosines, const T* sines,
                       int64_t width, T* out) {
    const int64_t half = width / 2;
    for (int64_t side = 0; side < 2; ++side) {
        const int64_t here = side * half, there = half - here;
        int64_t i = 0;
        for (; i + LANES <= half; i += LANES) {
            store(out + here + i,
                  load(head + here + i) * load(cosines + here + i)
                      + load(head + there + i) * load(sines + here + i));
        }
        for (; i < half; ++i) {
            from_float(to_float(head[here + i]) * to_float(cosines[here + i])
                       + to_float(head[there + i]) * to_float(sines[here + i]),
                   out + here + i);
        }
    }
}

template <typename T>
void rotate(const T* qkv, const T* cosines, const T* sines, T* keys,
            T* values, const int64_t* entries, T* queries, int64_t tokens,
            int64_t tokens_a_row, int64_t heads, int64_t kv_heads,
            int64_t width, int64_t room, int64_t slot_stride,
            int64_t head_stride, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t token = 0; token < tokens; ++token) {
        const T* from = qkv + token * (heads + 2 * kv_heads) * width;
        const T* cosine = cosines + token * width;
        const T* sine = sines + token * width;
        for (int64_t head = 0; head < heads; ++head) {
            apply_rope(from + head * width, cosine, sine, width,
                 queries + (token * heads + head) * width);
        }
        const int64_t entry = entries[token];
        if (entry < 0 || entry >= room) continue;
        for (int64_t head = 0; head < kv_heads; ++head) {
            const int64_t to = token / tokens_a_row * slot_stride
                + head * head_stride + entry * width;
            apply_rope(from + (heads + head) * width, cosine, sine, width,
                 keys + to);
            memcpy(values + to, from + (heads + kv_heads + head) * width,
                   static_cast<size_t>(width) * sizeof(T));
        }
    }
}

// Products of a query with neighbouring keys, [entries].
template <typename T>
INLINE void dot_qk(const float* query, const T* keys, int64_t entries,
                   int64_t width, float* scores) {
    const int64_t whole = width / LANES * LANES;
    int64_t entry = 0;
    // Four at a time, so that no product waits for the one before.
    for (; entry + 4 <= entries; entry += 4) {
        const T* key = keys + entry * width;
        prefetch(key + AHEAD * width, 4 * width);
        Lanes sums[4] = {};
        for (int64_t i = 0; i < whole; i += LANES) {
            const Lanes part = load(query + i);
            repeat<4>(EACH(j) {
                sums[j] += part * load(key + j * width + i);
            });
        }
        repeat<4>(EACH(j) {
            float score = sum(sums[j]);
            for (int64_t i = whole; i < width; ++i) {
                score += query[i] * to_float(key[j * width + i]);
            }
            scores[entry + j] = score;
        });
    }
    for (; entry < entries; ++entry) {
        const T* key = keys + entry * width;
        Lanes sums{};
        for (int64_t i = 0; i < whole; i += LANES) {
            sums += load(query + i) * load(key + i);
        }
        float score = sum(sums);
        for (int64_t i = whole; i < width; ++i) {
            score += query[i] * to_float(key[i]);
        }
        scores[entry] = score;
    }
}

// Weighted sum of PARTS * LANES numbers of neighbouring values.
template <int PARTS, typename T>
INLINE void accumulate_part(const float* weights, const T* values,
                            int64_t entries, int64_t width, float scale,
                            T* out) {
    Lanes sums[PARTS] = {};
    for (int64_t entry = 0; entry < entries; ++entry) {
        prefetch(values + (entry + AHEAD) * width, PARTS * LANES);
        repeat<PARTS>(EACH(part) {
            sums[part] += weights[entry]
                * load(values + entry * width + part * LANES);
        });
    }
    repeat<PARTS>(EACH(part) {
        store(out + part * LANES, sums[part] * scale);
    });
}

template <typename T>
INLINE void accumulate_pv(const float* weights, const T* values,
                          int64_t entries, int64_t width, float scale,
                          T* out) {
    int64_t i = 0;
    for (; i + 8 * LANES <= width; i += 8 * LANES) {
        accumulate_part<8>(weights, values + i, entries, width, scale,
                           out + i);
    }
    for (; i + 4 * LANES <= width; i += 4 * LANES) {
        accumulate_part<4>(weights, values + i, entries, width, scale,
                           out + i);
    }
    for (; i + LANES <= width; i += LANES) {
        accumulate_part<1>(weights, values + i, entries, width, scale,
                           out + i);
    }
    for (; i < width; ++i) {
        float total = 0.f;
        for (int64_t entry = 0; entry < entries; ++entry) {
            total += weights[entry] * to_float(values[entry * width + i]);
        }
        from_float(total * scale, out + i);
    }
}

// All tokens of a row that read one key head.
template <typename T>
INLINE void attend_head(const T* queries, const T* keys, const T* values,
                        int64_t entries, const T* bias, int64_t bias_stride,
                        int64_t tokens, int64_t heads, int64_t group,
                        int64_t width, float scale, T* out, float* scratch) {
    float* query = scratch;
    float* scores = scratch + round_up(width, LANES);
    for (int64_t token = 0; token < tokens; ++token) {
        for (int64_t member = 0; member < group; ++member) {
            const int64_t at = (token * heads + member) * width;
            for (int64_t i = 0; i < width; ++i) {
                query[i] = to_float(queries[at + i]) * scale;
            }
            dot_qk(query, keys, entries, width, scores);
            if (bias != nullptr) {
                const T* own = bias + token * bias_stride;
                for (int64_t i = 0; i < entries; ++i) {
                    scores[i] += to_float(own[i]);
                }
            }
            const float all =
                exp_and_sum(scores, entries, round_up(entries, LANES));
            if (all == 0.f) {
                memset(out + at, 0, static_cast<size_t>(width) * sizeof(T));
            } else {
                accumulate_pv(scores, values, entries, width, 1.f / all,
                              out + at);
            }
        }
    }
}

template <typename T>
int attend(const T* queries, const T* keys, const T* values,
           const int64_t* lengths, const T* bias, int64_t bias_row,
           int64_t bias_token, T* out, int64_t rows, int64_t tokens,
           int64_t heads, int64_t kv_heads, int64_t width, int64_t room,
           int64_t slot_stride, int64_t head_stride, float scale,
           int threads) {
    const int64_t group = heads / kv_heads;
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const Scratch scratch(round_up(width, LANES) + round_up(room, LANES));
        if (scratch.floats == nullptr) {
#pragma omp atomic write
            failed = 1;
        } else {
            // Rows may differ much in length.
#pragma omp for schedule(dynamic)
            for (int64_t task = 0; task < rows * kv_heads; ++task) {
                const int64_t row = task / kv_heads, head = task % kv_heads;
                const int64_t length = lengths[row];
                const int64_t entries = length < 0 ? 0
                    : (length > room ? room : length);
                const int64_t at =
                    (row * tokens * heads + head * group) * width;
                const int64_t cached = row * slot_stride + head * head_stride;
                attend_head(queries + at, keys + cached, values + cached,
                            entries,
                            bias == nullptr ? nullptr : bias + row * bias_row,
                            bias_token, tokens, heads, group, width, scale,
                            out + at, scratch.floats);
            }
        }
    }
    return failed;
}

}  // namespace

// qkv: [n, w, (H + 2 K) * D], cosines and sines: [n, w, D], entries: [n, w],
// queries: [n, w, H, D]; keys and values: [S, K, C, D] with these strides.
EXPORT(apply_rope_and_write)(const void* qkv, const void* cosines,
                        const void* sines, void* keys, void* values,
                        const int64_t* entries, void* queries, int64_t tokens,
                        int64_t tokens_a_row, int64_t heads, int64_t kv_heads,
                        int64_t width, int64_t room, int64_t slot_stride,
                        int64_t head_stride, int narrow_type, int threads) {
    in_type(narrow_type, [&](auto number) {
        using T = decltype(number);
        rotate(static_cast<const T*>(qkv), static_cast<const T*>(cosines),
               static_cast<const T*>(sines), static_cast<T*>(keys),
               static_cast<T*>(values), entries, static_cast<T*>(queries),
               tokens, tokens_a_row, heads, kv_heads, width, room,
               slot_stride, head_stride, threads);
    });
}

// queries and out: [n, w, H, D], keys and values: [S, K, C, D] and bias:
// [n, w, C], or null, with these strides. failed becomes 1 without memory.
EXPORT(decode_attention)(const void* queries, const void* keys,
                        const void* values, const int64_t* lengths,
                        const void* bias, int64_t bias_row,
                        int64_t bias_token, void* out, int64_t rows,
                        int64_t tokens, int64_t heads, int64_t kv_heads,
                        int64_t width, int64_t room, int64_t slot_stride,
                        int64_t head_stride, float scale, int narrow_type,
                        int threads, int* failed) {
    in_type(narrow_type, [&](auto number) {
        using T = decltype(number);
        *failed = attend(
            static_cast<const T*>(queries), static_cast<const T*>(keys),
            static_cast<const T*>(values), lengths,
            static_cast<const T*>(bias), bias_row, bias_token,
            static_cast<T*>(out), rows, tokens, heads, kv_heads, width, room,
            slot_stride, head_stride, scale, threads);
    });
}
