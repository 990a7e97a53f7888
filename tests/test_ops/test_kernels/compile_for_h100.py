# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Compile every kernel for an H100, by the ordinary launches but without one.

Prints a JSON line for each: its name, registers a thread, bytes of stack a
thread (spilled registers) and of shared memory a program, and how many of its
loads are of 16 bytes, and of fewer.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from mmpretrain_minigpt4.ops.triton import int8_gemv as byte_rows
from mmpretrain_minigpt4.ops.triton import kernels

TOOL = Path(triton.__file__).parent / 'backends/nvidia/bin/cuobjdump'


class NoDriver:
    """What a launch asks of a driver before it would start."""

    def get_current_target(self):
        return GPUTarget('cuda', 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0


def main():
    driver.set_active(NoDriver())
    launch = JITFunction.run

    def compile_only(self, *args, warmup, **kwargs):
        built = launch(self, *args, warmup=True, **kwargs)
        show(self.fn.__name__, built)

    JITFunction.run = compile_only
    launch_all(torch.bfloat16, 32, 32, 128)
    launch_all(torch.bfloat16, 32, 8, 88)
    launch_all(torch.float32, 4, 4, 128)
    for kind in (torch.int8, torch.float8_e4m3fn):
        byte_rows.int8_gemv(
            torch.empty(1, 4096, dtype=torch.bfloat16),
            torch.empty(4096, 4096, dtype=kind), torch.empty(4096))


def launch_all(dtype, heads, kv_heads, dims):
    rows, room = 8, 256
    x = torch.empty(rows, 1, heads * dims, dtype=dtype)
    kernels.rms_norm(x, x[0, 0], 1e-5)
    kernels.add_rms_norm(x, x, x[0, 0], 1e-5)
    kernels.silu_mul(x)
    keys, values = torch.empty(2, rows, kv_heads, room, dims, dtype=dtype)
    turns = torch.empty(rows, 1, dims, dtype=dtype)
    kernels.apply_rope_and_write(
        torch.empty(rows, 1, (heads + 2 * kv_heads) * dims, dtype=dtype),
        turns, turns, keys, values, torch.zeros(rows, 1, dtype=torch.long),
        heads, kv_heads)
    lengths = torch.zeros(rows, dtype=torch.long)
    for tokens in (1, 5):
        q = torch.empty(rows, tokens, heads, dims, dtype=dtype)
        bias = torch.empty(rows, tokens, room, dtype=dtype)
        kernels.decode_attention(q, keys, values, lengths,
                                 bias if tokens > 1 else None)
        # Without splitting.
        kernels.decode_attention(q, keys, values, lengths, multiprocessors=1)


def show(name, built):
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(built.asm['cubin'])
        file.flush()
        used, code = (subprocess.run([TOOL, option, file.name], text=True,
                                     capture_output=True, check=True).stdout
                      for option in ('-res-usage', '-sass'))
    found = re.search(r'REG:(\d+) STACK:(\d+)', used)
    loads = re.findall(r'\b(?:LDG|LDGSTS)\.E\S*', code)
    wide = sum('.128' in load for load in loads)
    print(json.dumps(dict(
        name=name, registers=int(found[1]), stack=int(found[2]),
        shared=built.metadata.shared, wide=wide, narrow=len(loads) - wide)))


if __name__ == '__main__':
    main()
