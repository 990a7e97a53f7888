# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The operators once more, token by token in float64 on a CPU."""

import torch


def wide(x):
    return x.detach().cpu().double()


def rms_norm(x, weight, eps):
    x = wide(x)
    return wide(weight) * x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def silu_mul(gate_up):
    gate, up = wide(gate_up).chunk(2, dim=-1)
    return gate / (1 + (-gate).exp()) * up


def rotate(x, cos, sin):
    """One head, float[D]; the first half of the sines comes negated."""
    first, second = wide(x).chunk(2)
    turned = torch.cat((second, first))
    return wide(x) * wide(cos) + turned * wide(sin)


def decode_attention(q, keys, values, lengths, bias=None, scale=None):
    rows, tokens, heads, dims = q.shape
    shared = heads // keys.shape[1]
    out = torch.zeros(q.shape, dtype=torch.float64)
    for row in range(rows):
        length = int(lengths[row])
        for head in range(heads):
            k = wide(keys[row, head // shared, :length])
            v = wide(values[row, head // shared, :length])
            for token in range(tokens):
                scores = k @ wide(q[row, token, head])
                scores = scores * (dims**-0.5 if scale is None else scale)
                if bias is not None:
                    scores = scores + wide(bias[row, token, :length])
                if length and scores.max() > -torch.inf:
                    out[row, token, head] = scores.softmax(0) @ v
    return out


def error(found, wanted):
    """Relative distance; infinite if anything is no number."""
    difference = (wide(found) - wanted).norm() / wanted.norm()
    return float('inf') if difference.isnan() else float(difference)


# What rounding to a type may cost. Triton's interpreter cuts bfloat16 off
# where a GPU rounds, which costs twice as much.
CLOSE = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1.2e-2}
