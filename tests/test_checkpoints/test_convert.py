# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""to_native: every layout in the wild becomes ours, or is refused by name."""

import pytest
import torch
from helpers import checkpoint_layouts as layouts
from torch import nn

from mmpretrain_minigpt4.checkpoints.conversion import convert, to_native
from mmpretrain_minigpt4.checkpoints.loading import load_state
from mmpretrain_minigpt4.errors import CheckpointError


def native_names(part: str = '') -> set[str]:
    return {k for k in layouts.build_tiny().state_dict() if k.startswith(part)}


VIT = {k for k in native_names('backbone.') if '.ln_vision.' not in k}
NORM = native_names('backbone.ln_vision.')
NECK = native_names('neck.')
PROJECTION = native_names('projector.')


@pytest.mark.parametrize(('state', 'expected'), [
    (layouts.eva(), VIT),
    (layouts.eva('visual_encoder.'), VIT),
    (layouts.openmmlab_vit(), VIT),
    (layouts.openmmlab_vit('vision_encoder.'), VIT),
    (layouts.blip2(), NORM | NECK),
    (layouts.openmmlab_qformer(), NORM | NECK),
    (layouts.projection(), PROJECTION),
    ({'model': layouts.projection(), 'optimizer': {}, 'epoch': 3}, PROJECTION),
    ({'state_dict': layouts.openmmlab_qformer()}, NORM | NECK),
    ({f'module.{k}': v for k, v in layouts.projection().items()}, PROJECTION),
    (layouts.build_tiny().state_dict(), VIT | NORM | NECK | PROJECTION),
], ids=[
    'eva', 'eva-in-lavis', 'openmmlab-vit', 'openmmlab-vit-prefixed', 'blip2',
    'openmmlab-qformer', 'projection', 'official', 'openmmlab-state-dict',
    'distributed', 'native'
])  # yapf: disable
def test_each_layout_gives_exactly_the_native_names_of_its_parts(
        state, expected):
    assert set(to_native(state)) == expected


def test_each_eva_tensor_arrives_in_its_own_place():
    state = layouts.eva()
    native = to_native(state)
    for theirs, ours in {
            'patch_embed.proj.weight': 'patch_embed.weight',
            'blocks.1.norm1.bias': 'blocks.1.norm1.bias',
            'blocks.0.norm2.weight': 'blocks.0.norm2.weight',
            'blocks.1.attn.v_bias': 'blocks.1.attn.v_bias',
            'blocks.0.mlp.fc2.bias': 'blocks.0.mlp.fc2.bias',
    }.items():
        assert native['backbone.' + ours] is state[theirs]


def test_each_openmmlab_tensor_arrives_in_its_own_place():
    state = layouts.openmmlab_vit()
    native = to_native(state)
    for theirs, ours in {
            'layers.1.ln1.weight': 'blocks.1.norm1.weight',
            'layers.1.ln2.weight': 'blocks.1.norm2.weight',
            'layers.0.ffn.layers.0.0.weight': 'blocks.0.mlp.fc1.weight',
            'layers.0.ffn.layers.1.weight': 'blocks.0.mlp.fc2.weight',
    }.items():
        assert native['backbone.' + ours] is state[theirs]


def test_the_query_feed_forward_is_taken_and_the_text_one_dropped():
    state = layouts.blip2()
    found = convert(state)
    layer = 'Qformer.bert.encoder.layer.1.'
    assert (found.tensors['neck.layers.1.mlp.fc1.weight']
            is state[layer + 'intermediate_query.dense.weight'])
    assert (found.tensors['neck.layers.1.attn_norm.bias']
            is state[layer + 'attention.output.LayerNorm.bias'])
    assert layer + 'intermediate.dense.weight' in found.dropped
    assert 't5_proj.weight' in found.dropped
    assert 'Qformer.cls.predictions.bias' in found.dropped


def test_the_fortieth_block_of_eva_and_all_after_it_are_dropped():
    dropped = convert(layouts.eva()).dropped
    assert {key.split('.')[0] for key in dropped} == {
        'blocks', 'norm', 'head', 'fc_norm'
    }
    assert all(
        key.startswith('blocks.39.') for key in dropped
        if key.startswith('blocks.'))


def test_merged_biases_are_split_and_must_have_none_for_the_keys():
    state = layouts.openmmlab_vit()
    q = state.pop('layers.0.attn.q_bias')
    v = state.pop('layers.0.attn.v_bias')
    state['layers.0.attn.qkv.bias'] = torch.cat((q, 0 * q, v))
    native = to_native(state)
    assert set(native) == VIT
    assert native['backbone.blocks.0.attn.q_bias'].equal(q)
    assert native['backbone.blocks.0.attn.v_bias'].equal(v)
    state['layers.0.attn.qkv.bias'] = torch.cat((q, q, v))
    with pytest.raises(CheckpointError, match='layers.0.attn.qkv.bias'):
        to_native(state)
    state['layers.0.attn.qkv.bias'] = torch.zeros(7)
    with pytest.raises(CheckpointError, match='three biases'):
        to_native(state)


def hugging_face(kind: str, text_config: dict) -> dict[str, torch.Tensor]:
    import transformers
    Config = getattr(transformers, kind + 'Config')
    Model = getattr(transformers, kind + 'ForConditionalGeneration')
    config = Config(
        vision_config=dict(
            image_size=28, patch_size=7, hidden_size=layouts.D,
            num_hidden_layers=layouts.LAYERS, num_attention_heads=2,
            intermediate_size=layouts.F),
        qformer_config=dict(
            hidden_size=layouts.C, num_hidden_layers=layouts.LAYERS,
            num_attention_heads=2, intermediate_size=layouts.M,
            encoder_hidden_size=layouts.D, vocab_size=30),
        text_config=text_config,
        num_query_tokens=layouts.Q)  # yapf: disable
    return Model(config).state_dict()


LLAMA = dict(
    model_type='llama',
    hidden_size=layouts.E,
    intermediate_size=24,
    num_hidden_layers=1,
    num_attention_heads=2,
    vocab_size=30)
T5 = dict(
    model_type='t5', d_model=layouts.E, d_kv=4, d_ff=8, num_layers=1,
    num_heads=2, vocab_size=30)  # yapf: disable
OPT = dict(
    model_type='opt', hidden_size=layouts.E, ffn_dim=8, num_hidden_layers=1,
    num_attention_heads=2, vocab_size=30, word_embed_proj_dim=layouts.E,
    max_position_embeddings=8)  # yapf: disable


@pytest.mark.parametrize('kind', ['Blip2', 'InstructBlip'])
def test_hugging_face_models_fill_ours_with_the_language_model(kind):
    state = hugging_face(kind, LLAMA)
    found = convert(state)
    assert found.layout == 'Hugging Face'
    llm = {k for k in found.tensors if k.startswith('head.llm.')}
    assert llm == {
        'head.llm.' + key.removeprefix('language_model.')
        for key in state if key.startswith('language_model.')
    }
    assert set(found.tensors) - llm == native_names()
    load_state(layouts.build_tiny(), found.tensors)


@pytest.mark.parametrize('text_config', [T5, OPT], ids=['t5', 'opt'])
def test_a_projection_to_another_language_model_is_not_taken(text_config):
    # T5-XXL is as wide as Vicuna-7B, so its shape would not give it away.
    found = convert(hugging_face('Blip2', text_config))
    assert set(found.tensors) == VIT | NORM | NECK
    assert 'language_projection.weight' in found.dropped


def test_an_unknown_key_is_named():
    state = {**layouts.blip2(), 'Qformer.bert.pooler.dense.weight':
             torch.zeros(1)}
    with pytest.raises(CheckpointError, match='pooler.dense.weight'):
        to_native(state)


def test_a_key_that_only_resembles_a_known_one_is_unknown():
    for key in ('blocks.x.norm1.weight', 'blocks.0.norm1.weights',
                'xblocks.0.norm1.weight', 'blocks.0.norm1.weight '):
        with pytest.raises(CheckpointError, match='no key'):
            to_native({**layouts.eva(), key: torch.zeros(layouts.D)})


def test_another_models_weights_are_refused():
    with pytest.raises(CheckpointError, match='none of its 2 keys'):
        to_native(nn.Linear(2, 3).state_dict())


def test_lora_adapters_are_refused_by_name():
    lora = ('llama_model.base_model.model.model.layers.0.self_attn.q_proj'
            '.lora_A.default.weight')
    with pytest.raises(CheckpointError, match='LoRA') as error:
        to_native({'model': {**layouts.projection(), lora: torch.zeros(1)}})
    assert lora in str(error.value)


@pytest.mark.parametrize(('content', 'word'), [
    ({}, 'no tensors'),
    ({'model': {}}, 'no tensors'),
    ([1], 'list'),
    ({'llama_proj.weight': 3}, 'llama_proj.weight'),
    ({3: torch.zeros(1)}, "'3'"),
])
def test_what_is_not_a_dict_of_tensors_is_refused(content, word):
    with pytest.raises(CheckpointError, match=word):
        to_native(content)


@pytest.mark.parametrize('tensor', [
    torch.zeros(layouts.D, dtype=torch.int8),
    torch.zeros(layouts.D).to(torch.float8_e4m3fn),
    torch.zeros(layouts.D).to_sparse(),
    torch.zeros(layouts.D, device='meta'),
], ids=['int8', 'float8', 'sparse', 'meta'])  # yapf: disable
def test_tensors_that_are_not_plain_floats_are_refused(tensor):
    key = 'blocks.0.attn.q_bias'
    with pytest.raises(CheckpointError, match=key):
        to_native({**layouts.eva(), key: tensor})


def test_a_constant_of_old_language_models_is_dropped():
    stem = 'layers.0.self_attn.rotary_emb.inv_freq'
    state = {**layouts.projection(),
             f'llama_model.model.{stem}': torch.ones(4),
             'llama_model.lm_head.weight': torch.ones(3, 2)}
    assert set(to_native(state)) == PROJECTION | {'head.llm.lm_head.weight'}


def test_two_keys_for_one_place_are_refused():
    state = layouts.openmmlab_vit()
    state['vision_encoder.cls_token'] = state['cls_token']
    with pytest.raises(CheckpointError, match='remove one'):
        to_native(state)


def test_the_given_dict_is_not_changed():
    state = layouts.eva()
    keys = list(state)
    to_native(state)
    assert list(state) == keys
