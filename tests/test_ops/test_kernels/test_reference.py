# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The plain twins round as transformers does, and read tables as it does."""

import torch
from transformers.models.llama.modeling_llama import (
    LlamaConfig,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
)

from mmpretrain_minigpt4.ops.kernels import reference


def test_norms_are_bit_equal_to_those_of_transformers():
    for dtype in (torch.float32, torch.bfloat16):
        norm = LlamaRMSNorm(24, eps=1e-5).to(dtype)
        norm.weight.data.normal_()
        x = torch.randn(3, 2, 24).to(dtype)
        assert torch.equal(reference.rms_norm(x, norm.weight, 1e-5), norm(x))
        y, total = reference.add_rms_norm(x, x.flip(0), norm.weight, 1e-5)
        assert torch.equal(total, x + x.flip(0))
        assert torch.equal(y, norm(x + x.flip(0)))


def test_rotation_is_that_of_transformers_and_the_cache_is_filled():
    heads, kv_heads, dims = 4, 2, 8
    config = LlamaConfig(
        hidden_size=heads * dims, num_attention_heads=heads,
        num_key_value_heads=kv_heads)
    qkv = torch.randn(2, 1, (heads + 2 * kv_heads) * dims)
    positions = torch.tensor([[3], [5]])
    cos, sin = LlamaRotaryEmbedding(config)(qkv, positions)
    q, k, v = (x.unflatten(-1, (-1, dims)).transpose(1, 2) for x in qkv.split(
        (heads * dims, kv_heads * dims, kv_heads * dims), -1))
    q, k = apply_rotary_pos_emb(q, k, cos, sin)
    keys, values = torch.zeros(2, 3, kv_heads, 6, dims)
    signed = torch.cat((-sin[..., :dims // 2], sin[..., dims // 2:]), -1)
    found = reference.apply_rope_and_write(
        qkv, cos, signed, keys, values, torch.tensor([[5], [0]]), heads,
        kv_heads)
    torch.testing.assert_close(found, q.transpose(1, 2))
    for cache, new in ((keys, k), (values, v)):
        torch.testing.assert_close(cache[0, :, 5], new[0, :, 0])
        torch.testing.assert_close(cache[1, :, 0], new[1, :, 0])
        assert cache.count_nonzero() == 2 * kv_heads * dims
