#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What fewer bits cost: quality of the tiny twin, and bytes of its LLM.

    python tools/measure_precision.py --scenes 200

Prints the table of docs/precision.md. Scenes are those of the twin's test
set; greedy decoding.
"""

import argparse
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

import torch
import transformers

# In a checkout, its own package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# ruff: noqa: E402
from mmpretrain_minigpt4.cli.log_filters import quiet_imports

quiet_imports()

from mmpretrain_minigpt4.apis import CaptionInferencer, VQAInferencer
from mmpretrain_minigpt4.cli.exit_codes import run_command
from mmpretrain_minigpt4.datasets.shapes import TEST_SEED, draw_scene
from mmpretrain_minigpt4.datasets.shapes.language import (
    is_failed,
    read_description,
)
from mmpretrain_minigpt4.evaluation.metrics.shapes import f1, overlap
from mmpretrain_minigpt4.llm.quantization.methods import weight_bytes

ROWS = (('float32', 'none'), ('bfloat16', 'none'), ('float32', 'int8'),
        ('bfloat16', 'int8'), ('float32', 'int8-dynamic'),
        ('bfloat16', 'int8-dynamic'), ('float32', 'int4'),
        ('bfloat16', 'int4'))


def main() -> None:
    """Measure each row, and print it when it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--scenes', type=int, default=200, metavar='N')
    parser.add_argument('--batch-size', type=int, default=50, metavar='N')
    args = parser.parse_args()
    scenes = [draw_scene(TEST_SEED + i) for i in range(args.scenes)]
    print(f'{args.scenes} test scenes, greedy; {platform.machine()}, '
          f'{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch '
          f'{torch.__version__}, transformers {transformers.__version__}, '
          f'{date.today()}\n')
    print('| type | quantization | decoder layers, MB | language model, MB | '
          '(color, shape) F1 | all facts F1 | broken off | answers right | '
          'CPU s |\n|---|---|---|---|---|---|---|---|---|')
    for dtype, quantization in ROWS:
        print(_row(scenes, args.batch_size, dtype=dtype,
                   quantization=quantization), flush=True)


def _row(scenes: list, batch_size: int, **precision: str) -> str:
    caption = CaptionInferencer('minigpt-4_tiny_caption', **precision)
    ask = VQAInferencer('minigpt-4_tiny_vqa', **precision)
    started = time.process_time()
    texts = [item['pred_caption'] for item in caption(
        [scene.image for scene in scenes], batch_size=batch_size)]
    found = [read_description(text)[0] for text in texts]
    facts = [[(o.color, o.shape, o.size, o.place) for o in scene.objects]
             for scene in scenes]
    scores = [f1([
        overlap([o[:n] for o in a], [o[:n] for o in b])
        for a, b in zip(found, facts, strict=True)]) for n in (2, 4)]
    asked = [(s.image, q, a) for s in scenes for q, a in s.qa[:2]]
    answers = ask([image for image, _, _ in asked],
                  [question for _, question, _ in asked],
                  batch_size=batch_size)
    right = sum(item['pred_answer'] == a
                for item, (_, _, a) in zip(answers, asked, strict=True))
    seconds = time.process_time() - started
    llm = caption.model.head.llm
    cells = [
        *precision.values(),
        f'{weight_bytes(llm.get_decoder().layers) / 1e6:.2f}',
        f'{weight_bytes(llm) / 1e6:.2f}', *(f'{x:.1f}' for x in scores),
        f'{100 * sum(map(is_failed, texts)) / len(texts):.1f}',
        f'{100 * right / len(asked):.1f}', f'{seconds:.0f}'
    ]
    return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
    sys.exit(run_command(main, 'measure_precision'))
