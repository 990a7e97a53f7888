// Copyright (c) mmpretrain_minigpt4 contributors.
// SPDX-License-Identifier: Apache-2.0
//
// Attention of many queries to many keys, a head at a time.
//
// Keys and values of a head are laid out in panels of a few columns, which
// stay in the first cache while block after block of queries is multiplied
// with them. A block's scores are computed whole, so softmax is exact. All
// sums are float32.
//
// Legend: B rows, H heads, K key-value heads, T queries, N keys, D width of
// a head.

#include "softmax.h"

namespace {

// Queries of a block and columns of a panel, in vectors: their products fill
// the registers of the instruction set, 32 of them or 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int QUERIES = 12, COLUMNS = 2;
#elif defined(__AVX2__)
constexpr int QUERIES = 6, COLUMNS = 2;
#else
constexpr int QUERIES = 4, COLUMNS = 2;
#endif
constexpr int64_t PANEL = COLUMNS * LANES;

struct Shape {
    int64_t batch, heads, kv_heads, queries, keys, width;
};

struct Strides {
    int64_t row, head, token;
};

// out[ROWS, WIDE * LANES] = left[ROWS, depth] x panel[depth, PANEL].
template <int ROWS, int WIDE>
INLINE void multiply(const float* left, int64_t left_stride,
                     const float* panel, int64_t depth, float* out,
                     int64_t out_stride) {
    Lanes sums[ROWS][WIDE] = {};
    for (int64_t i = 0; i < depth; ++i) {
        Lanes right[WIDE];
        repeat<WIDE>(EACH(j) {
            right[j] = load(panel + i * PANEL + j * LANES);
        });
        repeat<ROWS>(EACH(row) {
            const Lanes one = broadcast(left[row * left_stride + i]);
            repeat<WIDE>(EACH(j) { sums[row][j] += one * right[j]; });
        });
    }
    repeat<ROWS>(EACH(row) {
        repeat<WIDE>(EACH(j) {
            store(out + row * out_stride + j * LANES, sums[row][j]);
        });
    });
}

// As above, over all panels of a matrix of so many columns. A last panel
// that is at most half full is multiplied by half.
template <int ROWS>
void multiply_all(const float* left, int64_t left_stride, const float* panels,
                  int64_t panel_stride, int64_t depth, int64_t columns,
                  float* out, int64_t out_stride) {
    for (int64_t at = 0; at < columns; at += PANEL) {
        const float* panel = panels + at / PANEL * panel_stride;
        if (COLUMNS > 1 && columns - at <= LANES) {
            multiply<ROWS, 1>(left, left_stride, panel, depth, out + at,
                              out_stride);
        } else {
            multiply<ROWS, COLUMNS>(left, left_stride, panel, depth, out + at,
                                    out_stride);
        }
    }
}

// Keys [N, D] to panels of columns: [N / PANEL][D][PANEL], zeros behind.
template <typename T>
void lay_out_keys(const T* keys, int64_t stride, int64_t number,
                  int64_t width, float* panels) {
    for (int64_t at = 0; at < number; at += PANEL) {
        float* panel = panels + at * width;
        const int64_t here = number - at < PANEL ? number - at : PANEL;
        if (here < PANEL) {
            memset(panel, 0, static_cast<size_t>(PANEL * width)
                                 * sizeof(float));
        }
        for (int64_t first = 0; first < here; first += LANES) {
            const int64_t last = first + LANES < here ? first + LANES : here;
            // A few keys: their lines stay in cache over all of the width.
            for (int64_t i = 0; i < width; ++i) {
                for (int64_t key = first; key < last; ++key) {
                    panel[i * PANEL + key] =
                        to_float(keys[(at + key) * stride + i]);
                }
            }
        }
    }
}

// Values [N, D] to panels of columns: [D / PANEL][N][PANEL], zeros behind.
template <typename T>
void lay_out_values(const T* values, int64_t stride, int64_t number,
                    int64_t width, float* panels) {
    for (int64_t at = 0; at < width; at += PANEL) {
        float* panel = panels + at * number;
        for (int64_t key = 0; key < number; ++key) {
            for (int64_t i = 0; i < PANEL; i += LANES) {
                const int64_t rest = width - at - i;
                const T* from = values + key * stride + at + i;
                store(panel + key * PANEL + i,
                      rest >= LANES ? load(from)
                          : rest > 0 ? load_some(from, rest) : Lanes{});
            }
        }
    }
}

template <int ROWS, typename T>
INLINE void attend_block(const T* queries, int64_t query_stride,
                         const float* keys, const float* values,
                         int64_t first, int64_t before, const Shape& shape,
                         float scale, T* out, int64_t out_stride,
                         float* scratch) {
    // What the last query of the block sees; all, if before is negative.
    const int64_t most =
        before < 0 || first + ROWS + before > shape.keys
        ? shape.keys : first + ROWS + before;
    const int64_t room = round_up(shape.keys, PANEL);
    const int64_t columns = round_up(shape.width, PANEL);
    float* block = scratch;
    float* scores = block + ROWS * columns;
    float* mixed = block;  // the queries are no longer needed then
    float divisors[ROWS];
    for (int row = 0; row < ROWS; ++row) {
        const T* from = queries + (first + row) * query_stride;
        for (int64_t i = 0; i < shape.width; ++i) {
            block[row * columns + i] = to_float(from[i]) * scale;
        }
    }
    multiply_all<ROWS>(block, columns, keys, PANEL * shape.width,
                       shape.width, most, scores, room);
    for (int row = 0; row < ROWS; ++row) {
        const int64_t own = first + row + 1 + before;
        divisors[row] = exp_and_sum(scores + row * room,
                              before >= 0 && own < most ? own : most,
                              round_up(most, LANES));
    }
    multiply_all<ROWS>(scores, room, values, PANEL * shape.keys, most,
                       shape.width, mixed, columns);
    for (int row = 0; row < ROWS; ++row) {
        const float share = 1.f / divisors[row];
        T* to = out + (first + row) * out_stride;
        int64_t i = 0;
        for (; i + LANES <= shape.width; i += LANES) {
            store(to + i, load(mixed + row * columns + i) * share);
        }
        if (i < shape.width) {
            store_some(to + i, load(mixed + row * columns + i) * share,
                       shape.width - i);
        }
    }
}

template <typename T>
int attend(const T* queries, const T* keys, const T* values, T* out,
           const Shape& shape, const Strides& of_queries,
           const Strides& of_keys, const Strides& of_values,
           const int64_t* seen_before, float scale, int threads) {
    const int64_t group = shape.heads / shape.kv_heads;
    const int64_t room = round_up(shape.keys, PANEL);
    const int64_t columns = round_up(shape.width, PANEL);
    const int64_t key_floats = room * shape.width;
    const int64_t value_floats = columns * shape.keys;
    // float[B, T, H, D]
    const int64_t out_stride = shape.heads * shape.width;
    int failed = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        const Scratch scratch(key_floats + value_floats
                              + QUERIES * (columns + room));
        if (scratch.floats == nullptr) {
#pragma omp atomic write
            failed = 1;
        } else {
            float* key_panels = scratch.floats;
            float* value_panels = key_panels + key_floats;
            float* block = value_panels + value_floats;
#pragma omp for schedule(dynamic)
            for (int64_t task = 0; task < shape.batch * shape.kv_heads;
                 ++task) {
                const int64_t row = task / shape.kv_heads;
                const int64_t kv_head = task % shape.kv_heads;
                const int64_t before =
                    seen_before == nullptr ? -1 : seen_before[row];
                lay_out_keys(keys + row * of_keys.row
                                 + kv_head * of_keys.head,
                             of_keys.token, shape.keys, shape.width,
                             key_panels);
                lay_out_values(values + row * of_values.row
                                   + kv_head * of_values.head,
                               of_values.token, shape.keys, shape.width,
                               value_panels);
                for (int64_t head = kv_head * group;
                     head < (kv_head + 1) * group; ++head) {
                    const T* from = queries + row * of_queries.row
                        + head * of_queries.head;
                    T* to = out + row * shape.queries * out_stride
                        + head * shape.width;
                    const auto blocks_of = [&](auto rows, int64_t first) {
                        for (; first + rows <= shape.queries; first += rows) {
                            attend_block<rows>(
                                from, of_queries.token, key_panels,
                                value_panels, first, before, shape, scale,
                                to, out_stride, block);
                        }
                        return first;
                    };
                    int64_t first = blocks_of(Index<QUERIES>{}, 0);
                    first = blocks_of(Index<4>{}, first);
                    blocks_of(Index<1>{}, first);
                }
            }
        }
    }
    return failed;
}

}  // namespace

// queries: [B, H, T, D], keys and values: [B, K, N, D], each with the strides
// of its row, head and token; out: [B, T, H, D]. Query t of row b sees keys 0
// to t + seen_before[b]; all of them where seen_before is null. failed becomes
// 1 without memory.
EXPORT(attention)(const void* queries, const void* keys, const void* values,
                 void* out, int64_t batch, int64_t heads, int64_t kv_heads,
                 int64_t num_queries, int64_t num_keys, int64_t width,
                 const int64_t* strides, const int64_t* seen_before,
                 float scale, int narrow_type, int threads, int* failed) {
    const Shape shape{batch, heads, kv_heads, num_queries, num_keys, width};
    const Strides of_queries{strides[0], strides[1], strides[2]};
    const Strides of_keys{strides[3], strides[4], strides[5]};
    const Strides of_values{strides[6], strides[7], strides[8]};
    in_type(narrow_type, [&](auto number) {
        using T = decltype(number);
        *failed = attend(
            static_cast<const T*>(queries), static_cast<const T*>(keys),
            static_cast<const T*>(values), static_cast<T*>(out), shape,
            of_queries, of_keys, of_values, seen_before, scale, threads);
    });
}
