# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The toolbox's ways to ask a model, with models of ours."""

import numpy as np
import pytest
import torch
from mmpretrain import (
    ImageCaptionInferencer,
    VisualQuestionAnsweringInferencer,
    inference_model,
)
from PIL import Image

from mmpretrain_minigpt4 import apis
from mmpretrain_minigpt4.errors import (
    ConfigError,
    GenerationError,
    ImageError,
    MissingWeightsError,
)
from mmpretrain_minigpt4.zoo import config_path


@pytest.fixture(scope='module')
def caption(models):
    return ImageCaptionInferencer(models['caption'])


@pytest.fixture(scope='module')
def vqa(models):
    return VisualQuestionAnsweringInferencer(models['vqa'])


def text(results):
    return [result['pred_caption'] for result in results]


def test_the_toolboxs_inferencers_become_ours(caption, vqa):
    assert type(caption) is apis.CaptionInferencer
    assert isinstance(caption, ImageCaptionInferencer)
    assert type(vqa) is apis.VQAInferencer


def test_other_models_keep_the_toolboxs_inferencers():
    made = ImageCaptionInferencer.__new__(ImageCaptionInferencer, 'blip-base')
    assert type(made) is ImageCaptionInferencer


def test_inference_model_answers_by_the_models_task(models, picture):
    described = inference_model(models['caption'], str(picture))
    assert isinstance(described['pred_caption'], str)
    answered = inference_model(models['vqa'], str(picture), 'a red dog')
    assert answered['question'] == 'a red dog'
    assert isinstance(answered['pred_answer'], str)


def test_every_form_of_an_image_gives_the_same_answer(caption, picture):
    image = Image.open(picture)
    bgr = np.asarray(image)[..., ::-1]
    forms = [str(picture), picture, picture.read_bytes(), image, bgr]
    answers = [caption(form)[0]['pred_caption'] for form in forms]
    assert len(set(answers)) == 1
    # The channels matter: the same array as RGB is another picture.
    seen = [
        next(caption.preprocess([dict(img=x)]))['inputs']
        for x in (bgr, np.asarray(image))
    ]
    assert not torch.equal(*seen)


def test_a_batch_answers_as_single_calls_do(caption, picture):
    images = [str(picture), Image.new('RGB', (9, 5), 'green'), picture]
    together = text(caption(images, batch_size=3))
    assert together == [text(caption([image]))[0] for image in images]


def test_a_folder_stands_for_its_images(caption, picture):
    (picture.parent / 'notes.txt').write_text('no image')
    assert len(caption(str(picture.parent))) == 1


def test_a_folder_without_images_is_told(caption, tmp_path):
    (tmp_path / 'notes.txt').write_text('no image')
    (tmp_path / '.hidden.png').write_text('no image')
    (tmp_path / 'folder.png').mkdir()
    with pytest.raises(ImageError, match='no images in this folder'):
        caption(str(tmp_path))


def test_prompts_and_decoding_options_are_arguments(caption, picture):
    plain = caption(str(picture))[0]['pred_caption']
    asked = caption(str(picture), prompt='a dog')[0]['pred_caption']
    short = caption(str(picture), max_new_tokens=1)[0]['pred_caption']
    assert plain != asked
    assert len(short) < len(plain)
    several = text(caption([picture, picture], prompt=['a dog', 'red']))
    assert several[0] == asked and several[0] != several[1]
    drawn = [
        text(caption(picture, do_sample=True, temperature=5.0, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_options_without_meaning_are_refused(caption, picture):
    with pytest.raises(GenerationError, match='temperature'):
        caption(picture, temperature=-1)
    with pytest.raises(ConfigError, match="'max_length'.*max_new_tokens"):
        caption(picture, max_length=3)
    for size in (0, 1.5, 'x'):
        with pytest.raises(ConfigError, match=f'batch_size.*{size}'):
            caption(picture, batch_size=size)


def test_an_unreadable_image_is_named(caption, tmp_path):
    path = tmp_path / 'broken.jpg'
    path.write_text('no image')
    with pytest.raises(ImageError, match='broken.jpg'):
        caption(str(path))
    with pytest.raises(ImageError, match='absent.png'):
        caption(str(tmp_path / 'absent.png'))


def test_one_question_serves_many_images(vqa, picture):
    results = vqa([picture, picture], 'red', batch_size=2)
    assert [r['question'] for r in results] == ['red', 'red']
    with pytest.raises(ConfigError, match='3 images and 2 questions'):
        vqa([picture] * 3, ['a', 'b'])


def test_answers_are_drawn_under_the_images_name(caption, picture, tmp_path):
    caption(str(picture), show_dir=str(tmp_path / 'new' / 'folder'))
    drawn = Image.open(tmp_path / 'new' / 'folder' / 'two.halves.png')
    assert drawn.size[0] > 0


def test_images_of_one_name_are_drawn_into_files_of_their_own(
        caption, picture, tmp_path):
    copies = [tmp_path / x / 'two.halves.png' for x in 'ab']
    for copy in copies:
        copy.parent.mkdir()
        copy.write_bytes(picture.read_bytes())
    caption([*copies, picture.read_bytes()], show_dir=str(tmp_path / 'out'))
    assert sorted(x.name for x in (tmp_path / 'out').iterdir()) == [
        '2.png', 'two.halves.png', 'two.halves_2.png']


def test_a_folder_for_drawings_that_cannot_be_is_told_first(
        caption, picture, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='show_dir.*file is no folder'):
        caption([object()], show_dir=tmp_path / 'file' / 'new')


def test_any_question_can_be_drawn(vqa, picture, tmp_path):
    vqa(picture, r'Is it $\frac{1}$ or $x^$?', show_dir=tmp_path, resize=100)
    drawn = Image.open(tmp_path / 'two.halves.png')
    # The texts have a strip of their own, under the image.
    assert drawn.width > 300 and drawn.height > drawn.width * 0.7


def test_data_samples_come_back_on_request(vqa, picture):
    sample, = vqa(picture, 'red', return_datasamples=True)
    assert sample.pred_answer == vqa(picture, 'red')[0]['pred_answer']


def test_a_model_of_the_other_task_is_refused(models):
    with pytest.raises(ConfigError, match="'vqa'.*'_caption'"):
        ImageCaptionInferencer(models['vqa'])


def test_what_is_no_model_or_no_device_is_named():
    with pytest.raises(ConfigError, match='Near ones.*minigpt-4_tiny_vqa'):
        apis.VQAInferencer('minigpt-4_tiny_vaq')
    with pytest.raises(ConfigError, match='not NoneType'):
        apis.VQAInferencer(None)
    with pytest.raises(ConfigError, match="'gpu'.*Expected one of"):
        apis.VQAInferencer('minigpt-4_tiny_vqa', device='gpu')
    with pytest.raises(ConfigError, match='pretrained .*not 5'):
        apis.VQAInferencer('minigpt-4_tiny_vqa', pretrained=5)


def test_settings_of_a_built_model_are_refused(models):
    with pytest.raises(ConfigError, match='llm: the model is built already'):
        ImageCaptionInferencer(models['caption'], llm='folder')
    # It is for the model, and not for the call.
    with pytest.raises(ConfigError, match='quantization: the model is built'):
        inference_model(models['caption'], 'unread.png', quantization='int8')


def test_a_name_without_its_language_model_says_what_to_get():
    with pytest.raises(MissingWeightsError, match='(?s)nowhere.*Vicuna-7B'):
        inference_model(
            'minigpt-4_vicuna-7b_caption', 'unread.png', llm='nowhere')


def test_open_model_picks_the_inferencer_and_names_near_models(
        shrink, picture):
    ours = apis.open_model(
        'MiniGPT-4_Vicuna-7B_vqa', pretrained=False, device='cpu', **shrink)
    assert type(ours) is apis.VQAInferencer
    assert isinstance(ours(picture, 'red')[0]['pred_answer'], str)
    with pytest.raises(ConfigError, match='minigpt-4_vicuna-7b_caption'):
        apis.open_model('minigpt-4_vicuna-7b_captoin')
    path = config_path('minigpt-4_vicuna-7b_vqa')
    assert type(apis.open_model(
        str(path), pretrained=False, device='cpu', **shrink)) is type(ours)
