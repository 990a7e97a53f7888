# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The paper's ablations on the tiny twin: what each trains, saves, resumes."""

import hashlib
import itertools
import signal
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from safetensors.torch import load_file

from mmpretrain_minigpt4.apis.merge_lora import REST, merge_lora
from mmpretrain_minigpt4.cli.main import main
from mmpretrain_minigpt4.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'minigpt4'
_number = itertools.count()


def read(kind, **options):
    cfg = Config.fromfile(
        CONFIGS / 'ablations' / f'minigpt-4_tiny_{kind}.py')
    cfg.merge_from_dict({
        'train_dataloader.batch_size': 2,
        'train_dataloader.dataset.num_scenes': 8,
        'train_cfg.max_iters': 2,
        'log_level': 'ERROR',
        # So that every frozen weight can be looked at afterwards.
        'model.prepack': False,
        **options
    } if 'stage' in kind else options)
    return cfg


def digest(parameter):
    return hashlib.sha256(parameter.detach().numpy().tobytes()).digest()


class Watch(Hook):
    """Keeps the frozen parameters' hashes and the losses."""

    def __init__(self, stop_at=None):
        self.losses, self.stop_at = [], stop_at

    def before_train(self, runner):
        self.before = {
            name: digest(x) for name, x in runner.model.named_parameters()}

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None):
        self.losses.append(outputs['loss'].item())
        if batch_idx == self.stop_at:
            signal.raise_signal(signal.SIGTERM)


def train(cfg, folder, resume=False, stop_at=None):
    cfg = cfg.copy()
    cfg.work_dir, cfg.resume = str(folder), resume
    cfg.experiment_name = f'ablation-{next(_number)}'
    runner = RUNNERS.get(cfg.runner_type).from_cfg(cfg)
    watch = Watch(stop_at)
    runner.register_hook(watch, 'LOW')
    if stop_at is None:
        runner.train()
        return runner.model, watch
    with pytest.raises(SystemExit):
        runner.train()
    return runner.model, watch


def changed(model, watch):
    assert {name for name, _ in model.named_parameters()} == set(watch.before)
    return {name for name, x in model.named_parameters()
            if digest(x) != watch.before[name]}


@pytest.mark.parametrize('kind, trained', [
    ('three-layers', ('projector.layers.0.', 'projector.layers.2.',
                      'projector.layers.4.')),
    ('no-qformer', ('projector.', )),
    ('train-qformer', ('projector.', 'neck.')),
])
def test_an_ablation_trains_what_it_says_in_both_stages(kind, trained,
                                                        tmp_path):
    first, watch = train(read(f'stage1_{kind}'), tmp_path / '1')
    names = changed(first, watch)
    assert {x for x in names if not x.startswith(trained)} == set()
    assert all(any(x.startswith(part) for x in names) for part in trained)
    assert (first.neck is None) == (kind == 'no-qformer')
    saved = tmp_path / '1' / 'trained.safetensors'
    assert set(load_file(saved)) == {
        name for name, x in first.named_parameters() if x.requires_grad}
    cfg = read(f'stage2_{kind}')
    cfg.model.checkpoints[1] = str(saved)
    second = MODELS.build(cfg.model)
    for name, tensor in load_file(saved).items():
        assert torch.equal(second.get_parameter(name), tensor)


@pytest.fixture(scope='module')
def lora_run(tmp_path_factory):
    """A run of LoRA with a rate high enough to show, and its config."""
    pytest.importorskip('peft')
    folder = tmp_path_factory.mktemp('lora')
    cfg = read('stage2_lora', **{
        'param_scheduler': [], 'optim_wrapper.optimizer.lr': 0.02})
    return cfg, folder, *train(cfg, folder)


def test_lora_trains_itself_and_the_projection(lora_run):
    _, folder, model, watch = lora_run
    names = changed(model, watch)
    assert names == set(load_file(folder / 'trained.safetensors'))
    assert {x.split('.')[0] for x in names if '.lora_' not in x} == {
        'projector'}
    assert sum('.lora_' in x for x in names) == 4 * 2 * 2


def test_a_run_of_lora_goes_on_bit_for_bit(lora_run, tmp_path):
    cfg, folder, model, watch = lora_run
    _, before = train(cfg, tmp_path, stop_at=0)
    _, after = train(cfg, tmp_path, resume=True)
    assert before.losses + after.losses == watch.losses
    whole = load_file(folder / 'trained.safetensors')
    for name, tensor in load_file(tmp_path / 'trained.safetensors').items():
        assert torch.equal(tensor, whole[name])


def test_a_merged_language_model_answers_as_the_unmerged(lora_run, tmp_path,
                                                         capsys):
    cfg, folder, *_ = lora_run
    trained = str(folder / 'trained.safetensors')
    exact, own = tmp_path / 'exact', tmp_path / 'own'
    assert merge_lora(cfg, trained, exact, 'float32') == 2
    path = CONFIGS / 'ablations' / 'minigpt-4_tiny_stage2_lora.py'
    assert main(['merge-lora', str(path), trained, '--out', str(own)]) == 0
    assert f'model.head.llm={own}' in capsys.readouterr().out
    answering = read('caption_lora')
    answering.model.checkpoints = [
        'asset://tiny/vision.safetensors', trained]
    unmerged = MODELS.build(answering.model).eval()
    plain = Config.fromfile(CONFIGS / 'minigpt-4_tiny_caption.py').model
    images = torch.randn(
        2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    wanted = answers(unmerged, images)
    untrained = answers(MODELS.build(plain).eval(), images)
    for llm in (exact, own):
        merged = MODELS.build(dict(
            plain, head=dict(plain['head'], llm=str(llm)), checkpoints=[
                'asset://tiny/vision.safetensors', str(llm / REST)])).eval()
        logits, texts = answers(merged, images)
        assert texts == wanted[1] != untrained[1]
        torch.testing.assert_close(
            logits, wanted[0], rtol=0, atol=2e-4 if llm == exact else 0.05)
    # In the type that the folder had: half of the other's size.
    size = (own / 'model.safetensors').stat().st_size
    assert size < 0.6 * (exact / 'model.safetensors').stat().st_size


def answers(model, images):
    feats = model(images)
    pieces = model.head.reader.prompt(None, 1)[0]
    logits, _ = model.head.logits(feats, [pieces] * len(images))
    samples = model(images, mode='predict', max_new_tokens=20)
    return logits.detach(), [x.pred_caption for x in samples]


@pytest.mark.parametrize('config, checkpoint, said', [
    ('minigpt-4_tiny_stage2.py', None, 'no model.lora'),
    ('ablations/minigpt-4_tiny_stage2_lora.py',
     'asset://tiny/projection.safetensors', 'holds no LoRA'),
])
def test_what_cannot_be_merged_is_refused(config, checkpoint, said, tmp_path,
                                          capsys):
    from mmpretrain_minigpt4.assets import resolve
    path = resolve(checkpoint or 'asset://tiny/projection.safetensors')
    code = main(['merge-lora', str(CONFIGS / config), str(path), '--out',
                 str(tmp_path / 'out')])
    assert code == 3 and said in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_merge_overwrites_nothing(tmp_path, capsys):
    (tmp_path / 'file').touch()
    code = main([
        'merge-lora', str(CONFIGS / 'ablations' /
                          'minigpt-4_tiny_stage2_lora.py'), 'x', '--out',
        str(tmp_path)])
    assert code == 3 and 'is there already' in capsys.readouterr().err
