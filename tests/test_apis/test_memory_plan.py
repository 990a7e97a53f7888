# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The planner, against the bytes of all tensors alive in a real run."""

import json
import weakref

import pytest
import torch
from mmpretrain.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmpretrain_minigpt4.apis import memory_plan as planning
from mmpretrain_minigpt4.apis.memory_plan import build_empty, plan
from mmpretrain_minigpt4.cli import main
from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.registry import MODELS

OURS = 'mmpretrain_minigpt4.'
NEW = 40


def bench(dtype):
    """The dims of the CPU benchmarks, about 49 million parameters."""
    return dict(
        type=OURS + 'MiniGPT4',
        dtype=dtype,
        backbone=dict(
            type=OURS + 'EVAViT', embed_dims=352, num_layers=10, num_heads=4,
            feedforward_channels=1536),
        neck=dict(
            type=OURS + 'QFormer', embed_dims=192, num_layers=6, num_heads=3,
            feedforward_channels=768, encoder_dims=352),
        projector=dict(
            type=OURS + 'LinearProjector', in_channels=192,
            out_channels=512),
        head=dict(
            type=OURS + 'VicunaHead',
            dtype=dtype,
            llm=dict(
                config=dict(
                    model_type='llama', vocab_size=4096, hidden_size=512,
                    intermediate_size=1376, num_hidden_layers=8,
                    num_attention_heads=8, max_position_embeddings=512),
                tokenizer='asset://tiny/llm'),
            generation=dict(max_new_tokens=NEW)))


class Peak(TorchDispatchMode):
    """The most bytes of storages that were alive at once."""

    def __init__(self):
        super().__init__()
        self.alive, self.bytes, self.most = {}, 0, 0

    def see(self, tensor):
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.alive:
            return
        size = storage.nbytes()
        self.bytes += size
        self.most = max(self.most, self.bytes)

        def gone(_, key=key, size=size):
            if self.alive.pop(key, None) is not None:
                self.bytes -= size

        self.alive[key] = weakref.ref(storage, gone)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            # Packed weights show no storage.
            if isinstance(leaf, torch.Tensor) and (
                    leaf.layout == torch.strided):
                self.see(leaf)
        return out


@pytest.fixture(scope='module', params=['float32', 'bfloat16'])
def run(request):
    """The model of a run, and the bytes of its weights before packing."""
    torch.manual_seed(0)
    model = MODELS.build(bench(request.param)).eval()
    for part in (model.backbone, model.neck, model.head):
        part.to(getattr(torch, request.param))
    return model, sum(x.numel() * x.element_size()
                      for x in model.parameters())


@pytest.mark.parametrize('batch', [1, 4, 12])
def test_a_plan_is_within_a_tenth_of_what_a_run_takes(run, batch):
    model, weights = run
    precision = 'fp32' if model.dtype == 'float32' else 'bf16'
    images = torch.randn(batch, 3, 224, 224)
    sample = DataSample()
    sample.set_field('x' * 20, 'prompt')

    def asked():
        # As in an evaluation, the next images are encoded while rows run.
        for _ in range(2):
            for tokens in model.extract_feat(images):
                yield tokens[None], sample

    with torch.no_grad():
        model.extract_feat(images[:1])  # settles types and packs
        peak = Peak()
        with peak:
            for _ in model.head.answerer.generate_stream(asked(),
                                                         max_num_seqs=batch):
                pass
    prompt = len(model.head.prompt_encoder.prompt_ids(
        sample, torch.empty(1, 32, 512))[0])
    found = plan(build_empty(bench('float32')), precision, batch=batch,
                 tokens=NEW - planning.PROMPT_TEXT - 32 + prompt, cpu=True)
    # Packed weights show no bytes: they are as many as before.
    measured = weights + peak.most
    assert found.weights == weights
    assert found.total == pytest.approx(measured, rel=0.1)


def test_the_7b_model_takes_what_is_known_of_it():
    model = build_empty('minigpt-4_vicuna-7b_caption')
    assert sum(x.numel() for x in model.parameters()) == 7_832_625_024
    rows = {name: plan(model, name, batch=32, tokens=300)
            for name in planning.PRECISIONS}
    gb = {name: row.weights / 1e9 for name, row in rows.items()}
    assert gb['fp32'] == pytest.approx(31.33, abs=0.01)
    assert gb['bf16'] == pytest.approx(15.67, abs=0.01)
    assert gb['int8'] == pytest.approx(9.2, abs=0.1)
    assert 6.0 <= gb['int4'] <= 6.4
    # 512 KiB a token and row in bfloat16, 380 entries a row.
    assert rows['bf16'].cache == 32 * 380 * 2**19
    assert rows['int4'].cache == rows['bf16'].cache


def test_long_answers_make_the_cache_double():
    assert planning.cache_length(80, 300) == 380
    assert planning.cache_length(80, 10) == 128
    assert planning.cache_length(80, 600) == 2 * (80 + 512)


def test_recomputing_and_fewer_bits_take_less():
    model = build_empty('minigpt-4_vicuna-7b_caption')
    kept, again = (plan(model, 'bf16', batch=64, tokens=40, train=True,
                        checkpointing=x) for x in (False, True))
    assert again.total < kept.total
    # Gradient and two moments of the projection, in float32.
    assert kept.training == 12 * 3_149_824 and kept.cache == 0
    assert plan(model, 'int4').total < plan(model, 'int8').total < plan(
        model, 'bf16').total


def test_the_exit_code_says_whether_anything_fits(capsys):
    words = ['plan', '--batch', '32', '--memory']
    assert main([*words, '24GB']) == 0
    out = capsys.readouterr().out
    assert 'int4' in out and 'fits' in out and 'too much' in out
    assert main([*words, '8GiB']) == 1
    assert 'Nothing fits' in capsys.readouterr().out
    assert main([*words, '5GB', '--json', '--train']) == 1
    rows = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    assert {row['precision'] for row in rows} == set(planning.PRECISIONS)
    for row in rows:
        assert row['fits'] is (row['total'] <= 5e9)


def test_an_unknown_model_or_size_says_what_is_wrong(capsys):
    with pytest.raises(ConfigError, match='minigpt-4_nothing'):
        build_empty('minigpt-4_nothing')
    model = bench('float32')
    model['head']['llm'] = 'not/there'
    with pytest.raises(ConfigError, match='--llm'):
        build_empty(model)
    with pytest.raises(SystemExit):
        main(['plan', '--memory', 'much'])
    assert 'such as 24GB' in capsys.readouterr().err
