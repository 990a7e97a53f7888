# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The configs of both stages: the official numbers, and runs on tiny parts."""

import json
import signal
from pathlib import Path

import pytest
import torch
from helpers.tiny_llm import LLAMA, write_tokenizer
from helpers.training_data import write_align, write_images, write_shard
from mmengine.config import Config

from mmpretrain_minigpt4.engine.optimizers.schedule import warmup_cosine

CONFIGS = Path(__file__).resolve().parents[1] / 'configs' / 'minigpt4'
LLMS = ('vicuna-7b', 'vicuna-13b', 'llama2-7b')


def read(llm, stage):
    return Config.fromfile(CONFIGS / f'minigpt-4_{llm}_stage{stage}.py')


@pytest.mark.parametrize('llm', LLMS)
def test_stage_1_is_the_official_recipe(llm):
    cfg = read(llm, 1)
    data = cfg.train_dataloader
    assert data.batch_size * 4 == 256
    assert [source.weight for source in data.dataset.sources] == [115, 14]
    assert [source.shards.rsplit('/', 1)[1] for source in
            data.dataset.sources] == ['{00000..10488}.tar',
                                      '{00000..01255}.tar']
    assert cfg.model.head.template == 'bare'
    assert cfg.model.head.max_txt_len == 32
    clean, = [x for x in data.dataset.pipeline if 'Clean' in x.type]
    assert clean.max_words == 50
    assert cfg.train_cfg.max_iters == 20_000
    check_optimizer(cfg, lr=1e-4)
    check_rates(cfg, {0: 1e-6, 5000: 9.70710678118655e-5, 20_000: 8e-5})
    assert 'projector' in cfg.model.from_scratch


@pytest.mark.parametrize('llm', LLMS)
def test_stage_2_is_the_official_recipe(llm):
    cfg = read(llm, 2)
    assert cfg.train_dataloader.batch_size == 12
    assert cfg.train_dataloader.dataset.type.endswith('CCSBUAlign')
    assert cfg.model.head.template == (
        'llama2' if llm.startswith('llama') else 'vicuna_v0')
    assert cfg.model.head.max_txt_len == 160
    assert cfg.train_cfg.max_iters == 1000
    check_optimizer(cfg, lr=3e-5)
    check_rates(cfg, {0: 1e-6, 200: 2.80901699437495e-5, 1000: 1e-5})
    assert f'{llm}_stage1/trained.safetensors' in cfg.model.checkpoints[-1]
    assert cfg.model.get('from_scratch') is None


def check_optimizer(cfg, lr):
    wrapper = cfg.optim_wrapper
    assert wrapper.optimizer == dict(
        type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05)
    assert wrapper.paramwise_cfg == dict(bias_decay_mult=0.)
    assert 'clip_grad' not in wrapper
    assert cfg.randomness.seed == 42


def check_rates(cfg, golden):
    curve = cfg.param_scheduler.to_dict()
    assert curve.pop('type') == 'mmpretrain_minigpt4.WarmupCosineLR'
    assert curve.pop('by_epoch') is False
    for step, rate in golden.items():
        assert warmup_cosine(
            step, peak=cfg.optim_wrapper.optimizer.lr,
            **curve) == pytest.approx(rate, rel=1e-12)


# ------------------------------------------------------------ runs, in small


@pytest.fixture(scope='module')
def llm_folder(tmp_path_factory):
    from transformers import LlamaConfig, LlamaForCausalLM
    folder = tmp_path_factory.mktemp('llm')
    settings = {k: v for k, v in LLAMA.items() if k != 'model_type'}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    write_tokenizer(folder / 'tokenizer.model')
    return folder


def shrink(cfg, llm_folder, work_dir, steps):
    """The same config with parts and pictures of a few pixels."""
    cfg.merge_from_dict({
        'model.backbone': dict(
            img_size=28, embed_dims=16, num_layers=2, num_heads=2,
            feedforward_channels=24),
        'model.neck': dict(
            num_queries=4, embed_dims=24, num_layers=2, num_heads=2,
            feedforward_channels=32, encoder_dims=16),
        'model.projector': dict(in_channels=24, out_channels=32),
        'model.head.llm': str(llm_folder),
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_cfg.max_iters': steps,
        'optim_wrapper.dtype': None,
        'work_dir': str(work_dir),
        'log_level': 'WARNING',
        'default_hooks.checkpoint.interval': 2,
        'experiment_name': f'{work_dir.name}-{cfg.filename}',
    })
    cfg.model.checkpoints = None
    cfg.model.pop('from_scratch', None)
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (28, 28)
    return cfg


def run(cfg, name, stop_at=None, resume=False):
    """Train; the loss and the learning rate of each step done here."""
    from mmengine.hooks import Hook
    from mmengine.registry import RUNNERS
    seen = []

    class Watch(Hook):

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.rate = runner.optim_wrapper.get_lr()['lr'][0]

        def after_train_iter(self, runner, batch_idx, data_batch=None,
                             outputs=None):
            seen.append((outputs['loss'].item(), self.rate))
            if batch_idx == stop_at:
                signal.raise_signal(signal.SIGTERM)

    cfg = cfg.copy()
    cfg.experiment_name = f'{cfg.experiment_name}-{name}'
    cfg.resume = resume
    runner = RUNNERS.get(cfg.runner_type).from_cfg(cfg)
    runner.register_hook(Watch(), 'LOW')
    if stop_at is None:
        runner.train()
    else:
        with pytest.raises(SystemExit):
            runner.train()
    return seen


def test_stage_1_runs_on_shards_and_resumes_bit_equal(tmp_path, llm_folder):
    pytest.importorskip('webdataset')
    write_shard(tmp_path / 'laion' / '0.tar', range(30), broken={7})
    write_shard(tmp_path / 'cc' / '0.tar', range(50, 60))

    def config(name):
        cfg = shrink(read('vicuna-7b', 1), llm_folder, tmp_path / name, 6)
        data = cfg.train_dataloader.dataset
        data.data_root = str(tmp_path)
        data.sources[0].shards = 'laion/0.tar'
        data.sources[1].shards = 'cc/0.tar'
        return cfg

    whole = run(config('whole'), 'a')
    assert [rate for _, rate in whole] == [
        pytest.approx(1e-6 + 99e-6 * step / 5000) for step in range(6)]
    cfg = config('parts')
    before = run(cfg, 'b', stop_at=2)
    after = run(cfg, 'c', resume=True)
    assert before + after == whole
    assert (tmp_path / 'parts' / 'trained.safetensors').is_file()


def test_stage_2_runs_and_lists_a_broken_image(tmp_path, llm_folder):
    write_align(tmp_path / 'data', 12, broken=[5])
    cfg = shrink(read('vicuna-7b', 2), llm_folder, tmp_path / 'run', 4)
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'data')
    cfg.train_dataloader.dataset.max_broken_share = 0.3
    seen = run(cfg, 'd')
    assert len(seen) == 4 and all(loss > 0 for loss, _ in seen)
    lines = (tmp_path / 'run' / 'broken_samples.jsonl').read_text()
    fault, = [json.loads(line) for line in lines.splitlines()]
    assert fault['where'].endswith('5.jpg') and 'image' in fault['reason']
    # What is listed belongs to this run, not to one before it in the folder.
    cfg.train_dataloader.dataset.ann_file = 'good.json'
    (tmp_path / 'data' / 'good.json').write_text(json.dumps(dict(
        annotations=[dict(image_id='1', caption='a red dog.')] * 4)))
    cfg.train_cfg.max_iters = 1
    run(cfg, 'e')
    assert not (tmp_path / 'run' / 'broken_samples.jsonl').exists()
    kept = tmp_path / 'run' / 'broken_samples.jsonl.old'
    assert kept.read_text() == lines


def test_conversations_with_several_and_no_images_are_trained_on(
        tmp_path, llm_folder):
    write_images(tmp_path / 'images', ['a.jpg', 'b.jpg'])
    talks = [['<image> and <image> a?', 'red.', 'be?', 'fig.'],
             ['<image> a?', 'red.'], ['a?', 'red.', 'be?', 'fig.'],
             ['<image> be?', 'fig.']]
    images = [['a.jpg', 'b.jpg'], ['a.jpg'], [], ['b.jpg']]
    (tmp_path / 'talks.json').write_text(
        json.dumps([
            dict(images=names, conversations=[{
                'from': 'gpt' if i % 2 else 'human',
                'value': text
            } for i, text in enumerate(texts)])
            for texts, names in zip(talks, images, strict=True)
        ]))
    cfg = shrink(read('vicuna-7b', 2), llm_folder, tmp_path / 'run', 2)
    # As docs/data.md tells.
    cfg.model.data_preprocessor.type = (
        'mmpretrain_minigpt4.ImageListPreprocessor')
    load, resize, _ = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.collate_fn = dict(
        type='mmpretrain_minigpt4.list_images')
    cfg.train_dataloader.dataset = dict(
        type='mmpretrain_minigpt4.Conversations',
        data_root=str(tmp_path),
        ann_file='talks.json',
        data_prefix=dict(img_path='images'),
        pipeline=[
            dict(
                type='mmpretrain_minigpt4.EachImage',
                transforms=[load, resize]),
            dict(
                type='PackInputs',
                algorithm_keys=['conversation', 'system'],
                meta_keys=['image_id'])
        ])
    seen = run(cfg, 'e')
    assert len(seen) == 2 and all(loss > 0 for loss, _ in seen)
