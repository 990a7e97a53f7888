# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Build the tiny twin from seeds: every step, in order, each resumable.

A step whose result is already in the work folder is not run again; delete
the file to run it again.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from mmpretrain_minigpt4.assets import PREFIX

from . import language, vision
from .pictures import draw_pictures
from .reading import score_reading
from .tokenizer import load_encoder, train_tokenizer

# Steps of each part: a full run, and one that only shows that all works.
STEPS = dict(base=8000, chat=1500, vit=3000, reader=1200, through=3000)
QUICK_STEPS = dict.fromkeys(STEPS, 3)
PICTURES = 80_000


class Builder:
    """Make every part of the tiny twin in one work folder.

    Args:
        work_dir: Where the parts go, as ``llm/``, ``vision.safetensors``,
            ``projection_stage1.safetensors``, ``projection.safetensors``.
        root: The checkout, for its configs and ``tools/train.py``.
        quick: A few steps of everything, to try the way.
        log: Gets each line of progress.
    """

    def __init__(self,
                 work_dir: Path,
                 root: Path,
                 quick: bool = False,
                 log: Callable[[str], None] = print) -> None:
        self.work_dir, self.root = work_dir, root
        self.steps = QUICK_STEPS if quick else STEPS
        self.quick, self.log = quick, log
        self.llm = work_dir / 'llm'
        self.base = work_dir / 'base'
        self.vit = work_dir / 'vit.safetensors'
        self.reader = work_dir / 'reader.safetensors'
        self.vision = work_dir / 'vision.safetensors'
        self._tokens = None

    def run(self) -> None:
        """Run every step whose result is not there yet."""
        self._step('tokenizer', self.llm / 'tokenizer.model', self._tokenizer)
        self._step('base language model', self.base / 'model.safetensors',
                   self._base)
        self._step('chat language model', self.llm / 'model.safetensors',
                   self._chat)
        self._step('ViT', self.vit, self._vit)
        self._step('Q-Former, throw-away decoder', self.reader, self._reader)
        self._step('Q-Former, through the base language model', self.vision,
                   self._through)
        for stage in (1, 2):
            self._step(f'projection, stage {stage}', self.projection(stage),
                       lambda stage=stage: self._stage(stage))

    def projection(self, stage: int) -> Path:
        """The file of the projection after a stage."""
        name = 'projection_stage1' if stage == 1 else 'projection'
        return self.work_dir / f'{name}.safetensors'

    def _step(self, name: str, result: Path, make: Callable) -> None:
        if result.exists():
            self.log(f'{name}: there already ({result})')
            return
        self.log(f'{name}: starts')
        started = time.time()
        make()
        self.log(f'{name}: done in {time.time() - started:.0f} s')

    def _tokenizer(self) -> None:
        train_tokenizer(self.llm)

    def _base(self) -> None:
        language.train_base(self.llm, self.base, self.steps['base'])
        if not self.quick:
            self.log(json.dumps(
                score_reading(self.llm, self.base, chat=False)))

    def _chat(self) -> None:
        made = self.work_dir / 'chat'
        language.train_chat(self.base, self.llm, made, self.steps['chat'])
        if not self.quick:
            self.log(json.dumps(score_reading(self.llm, made, chat=True)))
        config = json.loads((made / 'config.json').read_text())
        config.pop('_name_or_path', None)
        config['dtype'] = 'float16'
        (self.llm / 'config.json').write_text(
            json.dumps(config, indent=2, sort_keys=True) + '\n')
        _halve(load_file(made / 'model.safetensors'),
               self.llm / 'model.safetensors')
        shutil.rmtree(made)

    def _pictures(self) -> np.ndarray:
        return draw_pictures(
            range(200 if self.quick else PICTURES), vision.IMG_SIZE,
            self.work_dir / 'pictures.npy')

    def _vit(self) -> None:
        vit = vision.pretrain_vit(
            self._pictures(), steps=self.steps['vit'], log=self.log)
        save_file(vit.state_dict(), self.vit)

    def _part(self) -> tuple[vision.VisionPart, torch.Tensor]:
        """The vision part with its trained ViT, and what that sees."""
        part = vision.new_vision_part()
        part.backbone.load_state_dict(load_file(self.vit))
        if self._tokens is None:
            self._tokens = vision.image_tokens(part.backbone,
                                               self._pictures())
        return part, self._tokens

    def _reader(self) -> None:
        part, tokens = self._part()
        vision.pretrain_with_reader(
            part.neck, tokens, steps=self.steps['reader'], log=self.log)
        save_file(part.neck.state_dict(), self.reader)

    def _through(self) -> None:
        part, tokens = self._part()
        part.neck.load_state_dict(load_file(self.reader))
        vision.pretrain_through_language(
            part.neck,
            tokens,
            self.base,
            load_encoder(self.llm).encode,
            steps=self.steps['through'],
            log=self.log)
        _halve(part.state_dict(), self.vision)

    def _stage(self, stage: int) -> None:
        """Train the projection as a user would: through tools/train.py."""
        run = self.work_dir / f'stage{stage}'
        files = [self.vision] + ([self.projection(1)] if stage == 2 else [])
        options = [
            f'model.head.llm={self.llm}',
            'model.checkpoints=[' + ','.join(f'"{f}"' for f in files) + ']',
        ]
        if self.quick:
            options += [
                'train_cfg.max_iters=3', 'train_dataloader.batch_size=2'
            ]
        subprocess.run([
            sys.executable, 'tools/train.py',
            f'configs/minigpt4/minigpt-4_tiny_stage{stage}.py', '--work-dir',
            str(run), '--cfg-options', *options
        ], cwd=self.root, check=True)
        shutil.copy(run / 'trained.safetensors', self.projection(stage))

    def install(self) -> None:
        """Put the result where ``asset://tiny`` looks."""
        assets = self.root / 'mmpretrain_minigpt4' / 'assets' / 'tiny'
        shutil.copytree(self.llm, assets / 'llm', dirs_exist_ok=True)
        for file in (self.vision, self.projection(1), self.projection(2)):
            shutil.copy(file, assets)
        total = sum(f.stat().st_size for f in assets.rglob('*')
                    if f.is_file())
        self.log(f'{PREFIX}tiny: {total / 1e6:.1f} MB')


def _halve(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Save in float16: half the size, and loaded as float32 again."""
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, path,
              metadata={'format': 'pt'})
