# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's ablations and its data curve, in miniature.

Every variant goes through ``tools/train.py`` and ``tools/test.py``, as a user
would do it. What is done already is not done again.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

STEPS, WARMUP = 800, 100  # of the tiny twin's first stage
CONFIGS = 'configs/minigpt4/'


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        title: Its row in the table.
        paper: What the paper reports of it.
        model: Options of both stages and of the test.
        first: Options of the first stage alone.
        second: Options of the second stage and of its test.
        stem: The variant whose first stage it shares; itself by default.
    """
    title: str
    paper: str
    model: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    second: tuple[str, ...] = ()
    stem: str | None = None


def _share(percent: int) -> tuple[str, ...]:
    """Less of the first stage: fewer steps over fewer scenes."""
    steps, warmup = STEPS * percent // 100, WARMUP * percent // 100
    return (f'train_cfg.max_iters={steps}',
            f'train_dataloader.dataset.num_scenes={64 * steps}',
            f'param_scheduler.0.end={warmup}',
            f'param_scheduler.1.begin={warmup}',
            f'param_scheduler.1.T_max={steps - warmup}',
            f'param_scheduler.1.end={steps}')


VARIANTS = {
    'one-layer': Variant('one layer, all of stage 1',
                         'AOK-VQA 58.2, GQA 32.2; covered captions 2.22'),
    'data-50': Variant('50 % of stage 1', 'covered captions 2.26',
                       first=_share(50)),
    'data-30': Variant('30 % of stage 1', 'covered captions 2.15',
                       first=_share(30)),
    'data-10': Variant('10 % of stage 1', 'covered captions 1.62',
                       first=_share(10)),
    'three-layers': Variant('three layers', 'AOK-VQA 49.7, GQA 31.0',
                            ('model.projector.num_layers=3', )),
    'no-qformer': Variant('no Q-Former', 'AOK-VQA 56.9, GQA 33.4', (
        'model.neck=None', 'model.projector.in_channels=160')),
    'train-qformer': Variant('Q-Former trained too', 'AOK-VQA 52.1, GQA 28.0',
                             ('model.freeze=["backbone","head"]', )),
    'lora': Variant(
        'LoRA in stage 2', 'AOK-VQA 67.2, GQA 43.5, with VQA data',
        second=('model.lora.r=8', 'model.lora.alpha=16',
                'model.lora.target_modules=["q_proj","v_proj"]'),
        stem='one-layer'),
}
COLUMNS = (
    ('failed, stage 1', 1, 'shapes/failed'),
    ('failed', 2, 'shapes/failed'),
    ('objects F1', 2, 'shapes/objects_f1'),
    ('all facts F1', 2, 'shapes/full_f1'),
    ('questions', 2, 'shapes/accuracy'),
)


class Study:
    """Trains and tests variants in one work folder.

    Args:
        work_dir: Where the runs go.
        root: The checkout, for its configs and tools.
        twin: A folder made by ``tools/make_tiny_twin.py``; None for the
            weights of the package.
        scenes: Test scenes.
        quick: A few steps of everything, to try the way.
        log: Gets each line of progress.
    """

    def __init__(self, work_dir: Path, root: Path, twin: Path | None = None,
                 scenes: int = 500, quick: bool = False,
                 log: Callable[[str], None] = print) -> None:
        self.work_dir, self.root, self.log = work_dir, root, log
        self.scenes, self.quick = scenes, quick
        self.twin = 'asset://tiny' if twin is None else str(twin)

    def run(self, names: Iterable[str]) -> str:
        """Train and test variants; a Markdown table of them, in percent."""
        lines = ['| | ' + ' | '.join(title for title, *_ in COLUMNS)
                 + ' | the paper |', '|---' * (len(COLUMNS) + 2) + '|']
        for name in names:
            variant = VARIANTS[name]
            found = {stage: self._score(name, stage) for stage in (1, 2)}
            cells = [f'{found[stage][key]:.1f}' for _, stage, key in COLUMNS]
            lines.append('| ' + ' | '.join(
                [variant.title, *cells, variant.paper]) + ' |')
            self.log(lines[-1])
        return '\n'.join(lines)

    def _trained(self, name: str, stage: int) -> Path:
        """What a stage of a variant has trained; trained now if need be."""
        variant = VARIANTS[name]
        if stage == 1 and variant.stem:
            return self._trained(variant.stem, 1)
        run = self.work_dir / f'{name}_stage{stage}'
        result = run / 'trained.safetensors'
        if result.exists():
            return result
        options = [*variant.model,
                   *(variant.first if stage == 1 else variant.second),
                   self._files(self._trained(name, 1) if stage == 2 else
                               None)]
        if self.quick:
            options += ['train_cfg.max_iters=3',
                        'train_dataloader.batch_size=2']
        self.log(f'{name}: trains stage {stage}')
        self._call('train', f'minigpt-4_tiny_stage{stage}.py', run,
                   ['--resume', 'auto'], options)
        return result

    def _score(self, name: str, stage: int) -> dict[str, float]:
        variant = VARIANTS[name]
        if stage == 1 and variant.stem:
            return self._score(variant.stem, 1)
        trained = self._trained(name, stage)
        run = self.work_dir / f'{name}_test{stage}'
        summary = run / 'answers.json'
        if not summary.exists():
            options = [*variant.model,
                       *(variant.second if stage == 2 else ()),
                       self._files(trained),
                       f'test_dataloader.dataset.num_scenes={self.scenes}']
            self._call('test', 'benchmarks/minigpt-4_tiny_shapes.py', run,
                       [], options)
        return json.loads(summary.read_text())['metrics']

    def _files(self, trained: Path | None) -> str:
        files = [f'{self.twin}/vision.safetensors']
        files += [str(trained)] if trained else []
        return 'model.checkpoints=[' + ','.join(
            f'"{file}"' for file in files) + ']'

    def _call(self, tool: str, config: str, run: Path, arguments: list[str],
              options: list[str]) -> None:
        subprocess.run([
            sys.executable, f'tools/{tool}.py', CONFIGS + config,
            '--work-dir', str(run), *arguments, '--cfg-options',
            f'model.head.llm={self.twin}/llm', *options
        ], cwd=self.root, check=True, stdout=subprocess.DEVNULL)
