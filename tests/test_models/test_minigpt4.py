# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The whole: parity with transformers' BLIP-2, freezing, training, answers."""

import copy
import hashlib

import pytest
import torch
from helpers.tiny_llm import LLAMA, write_tokenizer
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.checkpoints.conversion import to_native
from mmpretrain_minigpt4.errors import ConfigError
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


def test_what_the_model_and_the_loops_ask_of_parts_is_there():
    # They ask by name whether a part can do something, and go without it
    # where it cannot: a renamed method would be left out silently.
    from mmpretrain_minigpt4.models import MiniGPT4, VicunaHead
    for name in ('prepare', 'check', 'fused_groups'):
        assert hasattr(VicunaHead, name)
    # The benchmark asks for `prepare`, on a GPU only.
    for name in ('generate_stream', 'loss_terms', 'prepare'):
        assert hasattr(MiniGPT4, name)
