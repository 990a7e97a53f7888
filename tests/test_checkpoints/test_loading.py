# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""load_checkpoints: all or nothing, with a report and the fixes."""

import pytest
import torch
from helpers import checkpoint_layouts as layouts
from safetensors.torch import save_file
from torch import nn

from mmpretrain_minigpt4.checkpoints.conversion import to_native
from mmpretrain_minigpt4.checkpoints.loading import (
    load_checkpoints,
    load_state,
)
from mmpretrain_minigpt4.checkpoints.positions import resize_positions
from mmpretrain_minigpt4.errors import CheckpointError
from mmpretrain_minigpt4.models.backbones import EVAViT
from mmpretrain_minigpt4.models.necks import LinearProjector


@pytest.fixture
def files(tmp_path):
    """The three files from which the original MiniGPT-4 is put together."""
    torch.save(layouts.eva(), tmp_path / 'eva_vit_g.pth')
    torch.save({'model': layouts.blip2()}, tmp_path / 'blip2.pth')
    torch.save({'model': layouts.projection()}, tmp_path / 'minigpt4.pth')
    return [
        tmp_path / name
        for name in ('eva_vit_g.pth', 'blip2.pth', 'minigpt4.pth')
    ]


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def native(**replaced) -> dict[str, torch.Tensor]:
    return {**layouts.build_tiny().state_dict(), **replaced}


def refusal(model: nn.Module, state: dict) -> str:
    before = snapshot(model)
    with pytest.raises(CheckpointError) as error:
        load_state(model, state)
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())
    return str(error.value)


def test_several_files_are_merged_and_each_tensor_has_a_source(files):
    model = layouts.build_tiny()
    report = load_checkpoints(model, files)
    state = model.state_dict()
    assert report.ok and set(report.sources) == set(state)
    eva = torch.load(files[0], weights_only=True)
    assert state['backbone.blocks.1.mlp.fc1.weight'].equal(
        eva['blocks.1.mlp.fc1.weight'])
    assert report.sources['backbone.blocks.1.mlp.fc1.weight'] == (
        str(files[0]), 'blocks.1.mlp.fc1.weight')
    assert report.files[str(files[1])] == 'LAVIS / MiniGPT-4 official'
    assert 'blocks.39.norm1.weight' in report.dropped[str(files[0])]


def test_the_report_reads_as_a_table(files):
    text = str(load_checkpoints(layouts.build_tiny(), files))
    lines = text.splitlines()
    assert lines[0].split() == ['part', 'tensors', 'from', 'layout']
    assert [line.split()[0] for line in lines[1:5]] == [
        'backbone.ln_vision', 'backbone', 'neck', 'projector'
    ]
    assert lines[4].split()[1] == '2' and 'minigpt4.pth' in lines[4]
    assert 'dropped from' in text and 'MISSING' not in text


def test_openmmlabs_three_files_fill_the_model(tmp_path):
    paths = []
    q_former = {'state_dict': layouts.openmmlab_qformer()}
    for name, state in (('eva-g', layouts.openmmlab_vit()),
                        ('qformer', q_former),
                        ('linear', layouts.projection())):
        paths.append(tmp_path / f'minigpt-4_{name}.pth')
        torch.save(state, paths[-1])
    assert load_checkpoints(layouts.build_tiny(), paths).ok


def test_a_later_file_wins_and_the_report_says_so(files, tmp_path):
    mine = {
        'projector.layers.0.weight': torch.zeros(layouts.E, layouts.C),
        'projector.layers.0.bias': torch.zeros(layouts.E),
    }
    save_file(mine, tmp_path / 'mine.safetensors')
    model = layouts.build_tiny()
    report = load_checkpoints(model, [*files, tmp_path / 'mine.safetensors'])
    assert not model['projector'].layers[0].weight.any()
    assert sorted(report.replaced) == sorted(mine)
    assert 'given again by a later file' in str(report)


def test_one_path_need_not_be_in_a_list_but_none_is_an_error(tmp_path):
    save_file(native(), tmp_path / 'all.safetensors')
    assert load_checkpoints(
        layouts.build_tiny(), str(tmp_path / 'all.safetensors')).ok
    with pytest.raises(CheckpointError, match='No checkpoint was given'):
        load_checkpoints(layouts.build_tiny(), [])


@pytest.mark.parametrize(
    'dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_are_cast_to_the_dtype_of_the_model(dtype):
    model = layouts.build_tiny()
    state = {k: v.to(dtype) for k, v in native().items()}
    load_state(model, state)
    weight = model['projector'].layers[0].weight
    assert weight.dtype == torch.float32
    assert weight.equal(state['projector.layers.0.weight'].float())
    model.to(torch.bfloat16)
    load_state(model, native())
    assert model['neck'].query_tokens.dtype == torch.bfloat16


def test_integers_are_not_taken_for_weights():
    state = native()
    key = 'projector.layers.0.weight'
    state[key] = state[key].to(torch.int8)
    with pytest.raises(CheckpointError, match='quantised'):
        load_state(layouts.build_tiny(), state)


@pytest.mark.parametrize('bad', [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16], ids=str)
def test_weights_that_are_no_finite_numbers_are_refused(files, bad, dtype):
    weights = layouts.projection()
    key = next(iter(weights))
    weights[key] = weights[key].to(dtype)
    weights[key].view(-1)[3] = bad
    torch.save({'model': weights}, files[2])
    model = layouts.build_tiny()
    before = snapshot(model)
    with pytest.raises(CheckpointError, match='1 numbers of .* NaN') as error:
        load_checkpoints(model, files)
    assert str(files[2]) in str(error.value)
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())


def test_a_model_on_meta_becomes_real_and_keeps_what_is_trained():
    with torch.device('meta'):
        model = layouts.build_tiny()
    model['backbone'].requires_grad_(False)
    state = native()
    load_state(model, state)
    for key, value in model.state_dict(keep_vars=True).items():
        assert not value.is_meta and value.equal(state[key])
        assert value.requires_grad == (not key.startswith('backbone.'))
        assert value.data_ptr() != state[key].data_ptr()


def test_a_13b_projection_on_a_7b_model_names_both_language_models():
    model = nn.ModuleDict({'projector': LinearProjector(8, 4096)})
    state = to_native({
        'llama_proj.weight': torch.zeros(5120, 8),
        'llama_proj.bias': torch.zeros(5120),
    })
    text = refusal(model, state)
    assert '5120 wide (Vicuna-13B)' in text
    assert '4096 wide (Vicuna-7B or Llama-2-7B)' in text
    assert 'WRONG SHAPE: projector.layers.0.weight' in text


def test_a_projection_of_the_llama_2_variant_is_recognised():
    model = nn.ModuleDict({'projector': LinearProjector(768, 4)})
    text = refusal(
        model, {
            'projector.layers.0.weight': torch.zeros(4, 5632),
            'projector.layers.0.bias': torch.zeros(4),
        })
    assert 'merged patches' in text and 'Q-Former (768 wide)' in text


@pytest.mark.parametrize(('prefix', 'fix'), [
    ('projector.', 'No file holds the projection; add'),
    ('neck.', 'No file holds the Q-Former; add'),
    ('backbone.ln_vision.', '(ln_vision), which lies in BLIP-2 files'),
    ('backbone.', 'No file holds the vision tower; add'),
])
def test_a_missing_part_names_the_file_that_holds_it(prefix, fix):
    state = {k: v for k, v in native().items() if not k.startswith(prefix)}
    text = refusal(layouts.build_tiny(), state)
    assert fix in text and 'MISSING' in text


def test_a_single_missing_tensor_is_named():
    state = native()
    del state['neck.layers.1.mlp.fc1.bias']
    text = refusal(layouts.build_tiny(), state)
    assert 'MISSING: neck.layers.1.mlp.fc1.bias' in text
    assert 'No file holds' not in text


def test_extra_keys_are_named():
    text = refusal(
        layouts.build_tiny(), native(**{'neck.extra': torch.zeros(1)}))
    assert 'UNEXPECTED: neck.extra' in text


def test_forty_blocks_are_recognised():

    def vit(num_layers: int) -> nn.Module:
        backbone = EVAViT(
            img_size=14,
            embed_dims=8,
            num_heads=2,
            feedforward_channels=8,
            num_layers=num_layers)
        return nn.ModuleDict({'backbone': backbone})

    text = refusal(vit(39), vit(40).state_dict())
    assert "leaves out EVA's last block" in text
    assert 'backbone.blocks.39.' in text


def test_another_depth_is_named():
    state = native()
    for key in list(state):
        if key.startswith('neck.layers.1.'):
            del state[key]
    text = refusal(layouts.build_tiny(), state)
    assert 'Q-Former in the file has 1 blocks and this model has 2' in text


def test_a_file_with_the_q_former_serves_a_model_without_one():
    model = layouts.build_tiny(neck=False)
    report = load_state(model, native())
    assert report.ok and report.skipped
    assert all(key.startswith('neck.') for key in report.skipped)


def test_the_language_model_may_be_left_to_its_own_folder():
    model = layouts.build_tiny()
    model['head'] = nn.ModuleDict({'llm': nn.Linear(2, 2)})
    report = load_state(model, native())
    assert report.left == ['head.llm.weight', 'head.llm.bias']
    with pytest.raises(CheckpointError, match='No file holds the language'):
        load_state(model, native(), allow_missing=())
    load_state(
        model,
        native(**{
            'head.llm.weight': torch.eye(2),
            'head.llm.bias': torch.zeros(2)
        }))
    assert model['head']['llm'].weight.equal(torch.eye(2))


def test_positions_of_another_image_size_are_stretched():
    positions = torch.randn(1, 65, layouts.D)  # 8 x 8 patches for 4 x 4
    model = layouts.build_tiny()
    report = load_state(model, native(**{'backbone.pos_embed': positions}))
    assert report.resized == ['backbone.pos_embed']
    assert model['backbone'].pos_embed.equal(resize_positions(positions, 17))


def test_stretching_keeps_the_cls_token_and_a_smooth_ramp():
    ramp = torch.linspace(0, 1, 16).view(1, 1, 16, 1).expand(1, 16, 16, 1)
    positions = torch.cat((torch.full((1, 1, 1), 7.), ramp.reshape(1, -1, 1)),
                          dim=1)
    grown = resize_positions(positions, 1025)
    assert grown.shape == (1, 1025, 1) and grown[0, 0, 0] == 7
    plane = grown[0, 1:, 0].view(32, 32)
    assert torch.allclose(plane, plane[:1].expand(32, 32), atol=1e-6)
    # Growing all the way, and the same from either side of the image.
    assert (plane[0, 1:-1].diff() > 0).all()
    assert torch.allclose(plane[0], 1 - plane[0].flip(0), atol=1e-6)
    assert resize_positions(positions, 257) is positions
    assert resize_positions(positions.half(), 1025).dtype == torch.float16


@pytest.mark.parametrize('tokens', [16, 1, 60])
def test_positions_without_a_square_grid_are_refused(tokens):
    state = native(**{'backbone.pos_embed': torch.zeros(1, tokens, layouts.D)})
    assert 'square grid' in refusal(layouts.build_tiny(), state)


def test_positions_of_another_width_are_a_wrong_shape():
    state = native(**{'backbone.pos_embed': torch.zeros(1, 17, layouts.D + 1)})
    assert 'cannot be stretched' in refusal(layouts.build_tiny(), state)
