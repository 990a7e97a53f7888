# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The kernels of :mod:`.attention`.

Program (i, p) of the first pass reads part p of row i // K for key head
i % K. Parts are counted from the row's own length, so that all of them have
work where a short row stands in a large cache; those beyond it end at once.

Legend: as in :mod:`.attention`; N entries in a block.
"""

import triton
import triton.language as tl

# Scores are kept in units of log 2, as exp2 wants them.
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def part_size(length, parts, LEAST: tl.constexpr, BLOCK: tl.constexpr):
    """Entries of a part: whole blocks."""
    size = tl.maximum(tl.cdiv(length, parts), LEAST)
    return tl.cdiv(size, BLOCK) * BLOCK


@triton.jit
def product(a, b, c, INTERPRETED: tl.constexpr):
    """c + a x b, summed in float32, of which float32 is not cut to tf32."""
    if INTERPRETED:
        # Triton's interpreter takes the bits of bfloat16 for integers here.
        a, b = a.to(tl.float32), b.to(tl.float32)
    return tl.dot(a, b, c, input_precision='ieee')


@triton.jit
def attend_single(q, keys, values, lengths, bias, out, mixed, peaks, sums,
                  k_slot, k_head, v_slot, v_head, room, parts,
                  scale, K_ENTRY: tl.constexpr, V_ENTRY: tl.constexpr,
                  WHOLE: tl.constexpr, BIASED: tl.constexpr,
                  LEAST: tl.constexpr,
                  KV_HEADS: tl.constexpr, TOKENS: tl.constexpr,
                  SHARED: tl.constexpr, DIMS: tl.constexpr,
                  WIDTH: tl.constexpr, BLOCK: tl.constexpr,
                  STAGES: tl.constexpr):
    """One query a key head: products are sums of vectors.

    Each of the N places in a block keeps a maximum, a sum and a mixture of
    its own, as if it were a part; they are merged once, at the end. So a
    block costs no exchange between warps.
    """
    pair = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    row = pair // KV_HEADS
    length = tl.minimum(tl.load(lengths + row).to(tl.int32), room)
    size = part_size(length, parts, LEAST, BLOCK)
    start = part * size
    if not WHOLE:
        if start >= length:
            return
    stop = tl.minimum(start + size, length)

    head = pair % KV_HEADS
    dim = tl.arange(0, WIDTH)
    real = dim < DIMS
    query = tl.load(q + pair * DIMS + dim, mask=real, other=0)
    query = query.to(tl.float32) * scale
    keys += row * k_slot + head * k_head
    values += row * v_slot + head * v_head
    peak = tl.full([BLOCK], float('-inf'), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    mix = tl.zeros([BLOCK, WIDTH], tl.float32)
    # Asked for by number, stages are loaded into shared memory ahead of their
    # use; the compiler would else load into the same registers one by one.
    for first in tl.range(start, stop, BLOCK, num_stages=STAGES):
        entry = first + tl.arange(0, BLOCK)
        seen = entry < stop
        mask = seen[:, None] & real[None, :]
        at = entry.to(tl.int64)[:, None]
        key = tl.load(keys + at * K_ENTRY + dim[None, :], mask=mask, other=0)
        value = tl.load(
            values + at * V_ENTRY + dim[None, :], mask=mask, other=0)
        # float[N, D] -> float[N]
        score = tl.sum(key.to(tl.float32) * query[None, :], axis=1)
        if BIASED:
            score += LOG2E * tl.load(
                bias + row * room + entry, mask=seen, other=0).to(tl.float32)
        score = tl.where(seen, score, float('-inf'))
        new = tl.maximum(peak, score)
        # Minus infinity less itself would be no number.
        base = tl.where(new == float('-inf'), 0.0, new)
        old = tl.exp2(peak - base)
        weight = tl.exp2(score - base)
        total = total * old + weight
        mix = mix * old[:, None] + weight[:, None] * value.to(tl.float32)
        peak = new
    # float[N, D] -> float[D]
    top = tl.max(peak, axis=0)
    share = tl.exp2(peak - tl.where(top == float('-inf'), 0.0, top))
    total_1 = tl.sum(total * share, axis=0)
    mix_1 = tl.sum(mix * share[:, None], axis=0)
    if WHOLE:
        mix_1 = mix_1 / tl.where(total_1 == 0, 1.0, total_1)
        tl.store(out + pair * DIMS + dim, mix_1.to(out.dtype.element_ty),
                 mask=real)
    else:
        at_part = pair * parts + part
        tl.store(mixed + at_part * DIMS + dim, mix_1, mask=real)
        tl.store(peaks + at_part, top)
        tl.store(sums + at_part, total_1)


@triton.jit
def attend_grouped(q, keys, values, lengths, bias, out, mixed, peaks, sums,
                   k_slot, k_head, v_slot, v_head, room, parts,
                   scale, K_ENTRY: tl.constexpr, V_ENTRY: tl.constexpr,
                   WHOLE: tl.constexpr, BIASED: tl.constexpr,
                   LEAST: tl.constexpr,
                   KV_HEADS: tl.constexpr, TOKENS: tl.constexpr,
                   SHARED: tl.constexpr, DIMS: tl.constexpr,
                   WIDTH: tl.constexpr, BLOCK: tl.constexpr,
                   STAGES: tl.constexpr, QUERIES: tl.constexpr,
                   INTERPRETED: tl.constexpr):
    """Several queries a key head: products are those of tensor cores."""
    pair = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    row = pair // KV_HEADS
    length = tl.minimum(tl.load(lengths + row).to(tl.int32), room)
    size = part_size(length, parts, LEAST, BLOCK)
    start = part * size
    if not WHOLE:
        if start >= length:
            return
    stop = tl.minimum(start + size, length)

    head = pair % KV_HEADS
    dim = tl.arange(0, WIDTH)
    real = dim < DIMS
    index = tl.program_id(2) * QUERIES + tl.arange(0, QUERIES)
    asked = index < TOKENS * SHARED
    token = row * TOKENS + index // SHARED
    # float[n, w, K, G, D]
    place = ((token * KV_HEADS + head) * SHARED + index % SHARED) * DIMS
    place = place[:, None] + dim[None, :]
    wanted = asked[:, None] & real[None, :]
    query = tl.load(q + place, mask=wanted, other=0)
    keys += row * k_slot + head * k_head
    values += row * v_slot + head * v_head
    peak = tl.full([QUERIES], float('-inf'), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    mix = tl.zeros([QUERIES, WIDTH], tl.float32)
    for first in tl.range(start, stop, BLOCK, num_stages=STAGES):
        entry = first + tl.arange(0, BLOCK)
        seen = entry < stop
        at = entry.to(tl.int64)
        # float[D, N]
        key = tl.load(
            keys + at[None, :] * K_ENTRY + dim[:, None],
            mask=seen[None, :] & real[:, None], other=0)
        # float[Q, D] x float[D, N] -> float[Q, N]
        score = product(
            query, key.to(query.dtype), tl.zeros([QUERIES, BLOCK],
                                                 tl.float32), INTERPRETED)
        score *= scale
        if BIASED:
            score += LOG2E * tl.load(
                bias + token[:, None] * room + entry[None, :],
                mask=asked[:, None] & seen[None, :], other=0).to(tl.float32)
        score = tl.where(seen[None, :], score, float('-inf'))
        new = tl.maximum(peak, tl.max(score, axis=1))
        base = tl.where(new == float('-inf'), 0.0, new)
        old = tl.exp2(peak - base)
        weight = tl.exp2(score - base[:, None])
        total = total * old + tl.sum(weight, axis=1)
        value = tl.load(
            values + at[:, None] * V_ENTRY + dim[None, :],
            mask=seen[:, None] & real[None, :], other=0)
        # float[Q, N] x float[N, D] -> float[Q, D]
        mix = product(weight.to(query.dtype), value.to(query.dtype),
                      mix * old[:, None], INTERPRETED)
        peak = new
    if WHOLE:
        mix = mix / tl.where(total == 0, 1.0, total)[:, None]
        tl.store(out + place, mix.to(out.dtype.element_ty), mask=wanted)
    else:
        at_part = (pair * parts + part) * (TOKENS * SHARED) + index
        tl.store(mixed + at_part[:, None] * DIMS + dim[None, :], mix,
                 mask=wanted)
        tl.store(peaks + at_part, peak, mask=asked)
        tl.store(sums + at_part, total, mask=asked)


@triton.jit
def merge_parts(mixed, peaks, sums, lengths, out, room, PARTS: tl.constexpr,
                LEAST: tl.constexpr, BLOCK: tl.constexpr,
                KV_HEADS: tl.constexpr, TOKENS: tl.constexpr,
                SHARED: tl.constexpr, DIMS: tl.constexpr,
                WIDTH: tl.constexpr):
    """One query: weigh its parts by their sums and maxima."""
    QUERIES: tl.constexpr = TOKENS * SHARED
    program = tl.program_id(0).to(tl.int64)
    pair, index = program // QUERIES, program % QUERIES
    row, head = pair // KV_HEADS, pair % KV_HEADS
    length = tl.minimum(tl.load(lengths + row).to(tl.int32), room)
    size = part_size(length, PARTS, LEAST, BLOCK)
    part = tl.arange(0, PARTS)
    # Parts beyond the row have not been written.
    written = part * size < length
    at_part = (pair * PARTS + part) * QUERIES + index
    peak = tl.load(peaks + at_part, mask=written, other=float('-inf'))
    total = tl.load(sums + at_part, mask=written, other=0)
    top = tl.max(peak, axis=0)
    share = tl.exp2(peak - tl.where(top == float('-inf'), 0.0, top))
    dim = tl.arange(0, WIDTH)
    real = dim < DIMS
    # float[P, D] -> float[D]
    mix = tl.load(
        mixed + at_part[:, None] * DIMS + dim[None, :],
        mask=written[:, None] & real[None, :], other=0)
    mix = tl.sum(mix * share[:, None], axis=0)
    total_1 = tl.sum(total * share, axis=0)
    mix = mix / tl.where(total_1 == 0, 1.0, total_1)
    place = row * TOKENS + index // SHARED
    place = (place * KV_HEADS + head) * SHARED + index % SHARED
    tl.store(out + place * DIMS + dim, mix.to(out.dtype.element_ty),
             mask=real)
