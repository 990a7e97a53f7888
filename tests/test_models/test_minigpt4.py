# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The whole: parity with transformers' BLIP-2, freezing, training, loading."""

import copy
import hashlib
import time

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import load_checkpoint
from mmpretrain.structures import DataSample
from tiny_llm import LLAMA, write_tokenizer

from mmpretrain_minigpt4.checkpoints import save_trained, to_native
from mmpretrain_minigpt4.errors import (
    CheckpointError,
    ConfigError,
    MissingWeightsError,
)
from mmpretrain_minigpt4.prompts import ImageSlot, Mark
from mmpretrain_minigpt4.registry import MODELS


def sample(**fields):
    made = DataSample()
    for key, value in fields.items():
        made.set_field(value, key)
    return made


def samples():
    return [
        sample(gt_caption='a red fig.'),
        sample(gt_caption='a cat', prompt='what is in the image'),
    ]


def digest(module):
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        state.update(name.encode() + tensor.numpy().tobytes())
    return state.hexdigest()


@pytest.fixture
def model(tiny):
    torch.manual_seed(0)
    return MODELS.build(tiny)


@pytest.fixture
def images():
    return torch.randn(
        2, 3, 28, 28, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------- parity


@pytest.fixture(scope='module')
def blip2():
    """A random BLIP-2 of transformers around a LLaMA."""
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        LlamaConfig,
    )
    torch.manual_seed(0)
    text = {k: v for k, v in LLAMA.items() if k != 'model_type'}
    text = LlamaConfig(**text | dict(vocab_size=LLAMA['vocab_size'] + 1))
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
            initializer_range=0.2).to_dict(),
        qformer_config=Blip2QFormerConfig(
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            encoder_hidden_size=16,
            initializer_range=0.2).to_dict(),
        text_config=text.to_dict(),
        num_query_tokens=4,
        image_token_index=LLAMA['vocab_size'])
    model = Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
            if name.endswith('qkv.bias'):
                parameter[16:32] = 0  # EVA-ViT has no bias of keys
    return model


@pytest.fixture
def twin(blip2, tiny, tmp_path):
    """Our model with the weights of that BLIP-2."""
    write_tokenizer(tmp_path / 'tokenizer.model')
    tiny = copy.deepcopy(tiny)
    # The port to transformers uses the vision epsilon in ln_vision.
    tiny['backbone']['out_norm_eps'] = 1e-6
    tiny['head'].update(
        llm=dict(config=LLAMA | dict(vocab_size=LLAMA['vocab_size'] + 1)),
        tokenizer=str(tmp_path))
    model = MODELS.build(tiny).eval()
    model.load_state_dict(to_native(blip2.state_dict()), strict=True)
    return model


def test_logits_and_loss_are_those_of_transformers(blip2, twin, images):
    prompt = [Mark.BOS, '###Human: <Img>', ImageSlot(), '</Img> a red ']
    encode = twin.head.tokenizer.encode
    slot = [LLAMA['vocab_size']] * 4
    ids = [1, *encode(prompt[1]), *slot, *encode(prompt[3])]
    with torch.no_grad():
        theirs = blip2(
            pixel_values=images,
            input_ids=torch.tensor([ids] * 2),
            attention_mask=torch.ones(2, len(ids), dtype=torch.long)).logits
        ours, mask = twin.head.logits(twin(images), [prompt] * 2)
    assert mask.all()
    assert (ours - theirs).abs().max() < 1e-5

    # The same instruction and answer through mode='loss', labels by hand.
    made = [sample(prompt='a', gt_caption='a red fig.') for _ in range(2)]
    answer = encode('a red fig.###')
    ids = [
        1, *encode('###Human: <Img>'), *slot,
        *encode('</Img> a ###Assistant: '), *answer
    ]
    labels = [-100] * (len(ids) - len(answer)) + answer
    with torch.no_grad():
        theirs = blip2(
            pixel_values=images,
            input_ids=torch.tensor([ids] * 2),
            attention_mask=torch.ones(2, len(ids), dtype=torch.long),
            labels=torch.tensor([labels] * 2)).loss
        ours = twin(images, made, mode='loss')['loss']
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)


def test_several_images_in_one_prompt_match_transformers(
        blip2, twin, images):
    prompt = [Mark.BOS, 'a ', ImageSlot(), 'b', ImageSlot()]
    encode = twin.head.tokenizer.encode
    slot = [LLAMA['vocab_size']] * 4
    ids = [1, *encode('a '), *slot, *encode('b'), *slot]
    with torch.no_grad():
        ours, _ = twin.head.logits(twin([images]), [prompt])
        visual = twin(images)
        embeds = blip2.get_input_embeddings()(torch.tensor([ids]))
        embeds[embeds.new_tensor(ids).eq(slot[0])[None]] = visual.flatten(0, 1)
        theirs = blip2.language_model(inputs_embeds=embeds).logits
    assert (ours - theirs).abs().max() < 1e-5


# ------------------------------------------------------- freezing, training


def test_only_the_projection_is_trained_and_the_rest_is_bit_equal(
        model, images):
    before = {
        name: digest(getattr(model, name))
        for name in ('backbone', 'neck', 'projector', 'head')
    }
    wrapper = OptimWrapper(
        torch.optim.AdamW([p for p in model.parameters() if p.requires_grad],
                          lr=1e-2))
    model.train()
    losses = [
        float(
            model.train_step(
                dict(images=images, data_samples=samples()),
                wrapper)['loss'].detach()) for _ in range(8)
    ]
    assert losses[-1] < losses[0]
    changed = {
        name
        for name in before if digest(getattr(model, name)) != before[name]
    }
    assert changed == {'projector'}
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert names == {'projector.layers.0.weight', 'projector.layers.0.bias'}


def test_train_keeps_frozen_parts_in_eval_and_returns_the_model(model):
    assert model.train() is model
    assert model.training and model.projector.training
    for part in (model.backbone, model.neck, model.head):
        assert not any(m.training for m in part.modules())
    assert model.eval() is model


def test_two_encodings_are_equal_in_train_mode(model, images):
    model.train()
    assert torch.equal(model(images), model(images))


def test_a_part_that_is_not_frozen_is_trained(tiny, images):
    tiny['freeze'] = ('backbone', 'head')
    model = MODELS.build(tiny).train()
    assert model.neck.training
    model(images, samples(), mode='loss')['loss'].backward()
    assert all(p.grad is not None for p in model.neck.parameters())
    tiny['freeze'] = ('neck', 'head')
    model = MODELS.build(tiny).train()
    model(images, samples(), mode='loss')['loss'].backward()
    assert any(
        p.grad is not None and p.grad.abs().sum() > 0
        for p in model.backbone.parameters())
    assert all(p.grad is None for p in model.neck.parameters())


def test_the_preprocessor_of_the_toolbox_works_with_every_step(tiny):
    tiny['data_preprocessor'] = dict(
        mean=[122.770938, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305])
    before = copy.deepcopy(tiny)
    model = MODELS.build(tiny)
    assert tiny == before
    assert type(model.data_preprocessor).__name__ == (
        'MultiModalDataPreprocessor')
    data = dict(
        inputs=torch.randint(0, 255, (2, 3, 28, 28), dtype=torch.uint8),
        data_samples=samples())
    wrapper = OptimWrapper(
        torch.optim.SGD(model.projector.parameters(), lr=1e-3))
    assert model.train_step(data, wrapper)['loss'].isfinite()
    for step in (model.val_step, model.test_step):
        assert all(isinstance(s.pred_caption, str) for s in step(data))


# ---------------------------------------------------------------- prediction


def test_a_batch_of_eight_equals_eight_single_calls(model):
    images = torch.randn(8, 3, 28, 28)
    words = ['a', 'red', 'what is in it', 'a red ' * 7]
    made = [sample(prompt=words[i % 4]) for i in range(8)]
    together = [s.pred_caption for s in model(images, made, mode='predict')]
    alone = [
        model(images[i:i + 1], [sample(prompt=words[i % 4])],
              mode='predict')[0].pred_caption for i in range(8)
    ]
    assert together == alone


def test_samples_may_differ_in_their_number_of_images(model, images):

    def made():
        return [
            sample(prompt='no image'),
            sample(prompt=['a ', ImageSlot(), 'or ', ImageSlot()]),
            sample(prompt='red')
        ]

    nested = [images[:0], images, images[:1]]
    together = model(nested, made(), mode='predict')
    for i, one in enumerate(made()):
        alone = model([nested[i]], [one], mode='predict')[0]
        assert alone.pred_caption == together[i].pred_caption
    tokens = model(nested)
    assert [list(x.shape) for x in tokens] == [[0, 4, 32], [2, 4, 32],
                                               [1, 4, 32]]
    assert model(images[None]).shape == (1, 2, 4, 32)


def test_text_alone_is_answered(model):
    made = model(None, [sample(prompt='a red')], mode='predict')
    assert isinstance(made[0].pred_caption, str)
    made = model([torch.empty(0, 3, 28, 28)], [sample(prompt='a red')],
                 mode='predict')
    assert isinstance(made[0].pred_caption, str)


def test_options_of_a_call_reach_the_decoding(model, images):
    long = model(images, mode='predict', max_new_tokens=9)
    short = model(images, mode='predict', max_new_tokens=1)
    assert len(short[0].pred_caption) <= len(long[0].pred_caption)
    with pytest.raises(ConfigError, match='num_beams'):
        model(images, samples(), mode='loss', num_beams=2)


@pytest.mark.parametrize('arguments, match', [
    (dict(images=torch.zeros(1, 3, 28, 28), mode='x'), 'no mode'),
    (dict(images=torch.zeros(3, 28, 28)), 'float'),
    (dict(images=None), 'neither'),
])
def test_a_wrong_call_is_refused(model, arguments, match):
    with pytest.raises(ConfigError, match=match):
        model(**arguments)


def test_prediction_in_bfloat16(tiny, images):
    tiny['dtype'] = tiny['head']['dtype'] = 'bfloat16'
    model = MODELS.build(tiny)
    made = model(images, samples(), mode='predict')
    assert isinstance(made[0].pred_caption, str)
    assert model.backbone.cls_token.dtype == torch.bfloat16
    assert {p.dtype for p in model.projector.parameters()} == {torch.float32}
    model(images, samples(), mode='loss')['loss'].backward()
    assert model.projector.layers[0].weight.grad.isfinite().all()


@pytest.mark.gpu
def test_auto_is_bfloat16_on_a_gpu_and_float32_on_its_cpu(tiny, images):
    model = MODELS.build(tiny)
    model(images, samples(), mode='loss')
    kinds = {p.dtype for p in model.parameters()}
    assert kinds == {torch.float32}
    model = MODELS.build(tiny).cuda()
    model(images.cuda(), samples(), mode='loss')['loss'].backward()
    assert {p.dtype for p in model.head.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.projector.parameters()} == {torch.float32}
    model(images.cuda(), samples(), mode='predict')


# --------------------------------------------------------- building, loading


def test_nothing_large_is_built_before_a_missing_model_is_told(tiny):
    tiny['head']['llm'] = 'no/such/folder'
    tiny['backbone'] = dict(type='mmpretrain_minigpt4.EVAViT')  # 1 billion
    tiny['checkpoints'] = ['nor/this/file.pth']  # asked for after the model
    begin = time.perf_counter()
    with pytest.raises(MissingWeightsError, match='VICUNA_DIR'):
        MODELS.build(tiny)
    assert time.perf_counter() - begin < 1


def test_a_projection_that_does_not_fit_is_told(tiny):
    tiny['projector']['out_channels'] = 48
    with pytest.raises(ConfigError, match='48-wide.*32-wide'):
        MODELS.build(tiny)


@pytest.mark.parametrize('settings', [
    dict(freeze=('vision', )), dict(freeze='backbone head'),
    dict(from_scratch=('llm', )), dict(dtype='int8')
])
def test_wrong_settings_are_told(tiny, settings):
    with pytest.raises(ConfigError):
        MODELS.build(tiny | settings)


@pytest.fixture
def files(model, tmp_path):
    """Vision weights, and a projection, as files."""
    from safetensors.torch import save_file
    state = model.state_dict()
    save_file(
        {
            k: v.contiguous()
            for k, v in state.items() if k.startswith(('backbone.', 'neck.'))
        }, tmp_path / 'vision.safetensors')
    save_trained(model, tmp_path / 'trained.safetensors')
    return [
        str(tmp_path / 'vision.safetensors'),
        str(tmp_path / 'trained.safetensors')
    ]


def test_checkpoints_fill_a_model_that_was_built_empty(
        tiny, files, model, images):
    torch.manual_seed(9)
    loaded = MODELS.build(tiny | dict(checkpoints=files))
    assert digest(loaded) == digest(model)
    assert torch.equal(loaded(images), model(images))
    assert not loaded.backbone.cls_token.requires_grad
    assert loaded.projector.layers[0].weight.requires_grad
    loaded.init_weights()  # the Runner's call changes nothing
    assert digest(loaded) == digest(model)
    assert loaded.load_report.ok


def test_a_projection_may_begin_anew_only_when_asked(tiny, files):
    with pytest.raises(CheckpointError, match='projector'):
        MODELS.build(tiny | dict(checkpoints=files[:1]))
    model = MODELS.build(
        tiny | dict(checkpoints=files[:1], from_scratch=('projector', )))
    assert not model.projector.layers[0].weight.is_meta


def test_a_missing_checkpoint_is_told_before_the_language_model_is_read(
        tiny, monkeypatch):
    monkeypatch.delenv('MINIGPT4_WEIGHTS', raising=False)
    monkeypatch.setattr(
        'mmpretrain_minigpt4.models.heads.language_model.load',
        lambda *args: pytest.fail('the language model was read'))
    with pytest.raises(MissingWeightsError, match='nowhere.pth'):
        MODELS.build(tiny | dict(checkpoints=['no/nowhere.pth']))


def test_random_language_weights_must_be_in_the_checkpoints(tiny, files):
    tiny['head'].update(llm=dict(config=LLAMA))
    with pytest.raises(CheckpointError, match='head.llm'):
        MODELS.build(tiny | dict(checkpoints=files))


def test_what_was_trained_loads_strictly_where_the_rest_has_its_files(
        tiny, files, model, tmp_path):
    state = {
        k: v
        for k, v in model.state_dict().items() if k.startswith('projector.')
    }
    path = str(tmp_path / 'trained.pth')
    torch.save(dict(state_dict=state), path)
    torch.manual_seed(9)
    loaded = MODELS.build(
        tiny | dict(checkpoints=files[:1], from_scratch=('projector', )))
    assert digest(loaded) != digest(model)
    load_checkpoint(loaded, path, strict=True)
    assert digest(loaded) == digest(model)
    loaded.load_state_dict(state, strict=True)
    # A projection that is missing is still missing.
    with pytest.raises(RuntimeError, match='projector'):
        loaded.load_state_dict({}, strict=True)


def test_only_a_language_model_with_a_folder_may_be_absent(tiny, model):
    state = {
        k: v
        for k, v in model.state_dict().items() if not k.startswith('head.')
    }
    model.load_state_dict(state, strict=True)
    tiny['head'].update(llm=dict(config=LLAMA))
    other = MODELS.build(tiny)
    with pytest.raises(RuntimeError, match='head.llm'):
        other.load_state_dict(state, strict=True)


def test_the_variant_without_q_former(tiny, images):
    tiny['neck'] = dict(type='mmpretrain_minigpt4.PatchMerger', num_patches=4)
    tiny['projector']['in_channels'] = 64
    tiny['head']['template'] = 'llama2'
    model = MODELS.build(tiny)
    assert model(images).shape == (2, 1, 32)
    model(images, samples(), mode='loss')['loss'].backward()
    model(images, samples(), mode='predict')


def test_the_7b_model_has_its_published_size_on_the_meta_device():
    ours = 'mmpretrain_minigpt4.'
    vicuna = dict(
        model_type='llama',
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32)
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type=ours + 'MiniGPT4',
                backbone=dict(type=ours + 'EVAViT'),
                neck=dict(type=ours + 'QFormer'),
                projector=dict(type=ours + 'LinearProjector'),
                head=dict(
                    type=ours + 'VicunaHead', llm=dict(config=vicuna)),
                checkpoints=['not/read/on/meta.pth']))
    assert sum(p.numel() for p in model.parameters()) == 7_832_625_024
