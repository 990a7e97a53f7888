# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Whether other packages still need what is done here on their account.

A test fails once the defect that it names is gone; its message says what may
then be deleted. They are about releases of others, so they run only with
``pytest --run-upstream``.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmpretrain_minigpt4 import compat

pytestmark = pytest.mark.upstream


def unneeded(patch: str) -> str:
    return (f'compat.{patch} and its test here may be deleted, if this holds '
            'for the oldest release that setup.cfg admits.')


def test_torchvision_schemas():
    # Without the patch in this process: how the extension itself fares.
    from torchvision.extension import _has_ops
    if _has_ops():
        pytest.skip('torchvision fits this PyTorch; the patch does nothing')
    with pytest.raises(RuntimeError):
        torch.ops.torchvision.nms(
            torch.rand(1, 4), torch.rand(1), 0.5)
        pytest.fail(unneeded('TorchvisionSchemas'))


def test_no_toolbox_multimodal_models():
    import mmpretrain
    # The first file of its own models that is not imported today.
    path = Path(mmpretrain.__file__).with_name('models').joinpath(
        'multimodal', 'blip', 'language_model.py')
    spec = importlib.util.spec_from_file_location('blip_probe', path)
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except (TypeError, ImportError):
        return
    pytest.fail(unneeded('NoToolboxMultimodalModels'))


def test_own_models():
    import yaml
    from importlib_metadata import distribution
    metafile = distribution('mmpretrain').locate_file(
        'mmpretrain') / '.mim/configs/minigpt4/metafile.yml'
    names = [m['Name'] for m in yaml.safe_load(metafile.read_text())['Models']]
    assert 'minigpt-4_vicuna-7b_caption' in names, unneeded('OwnModels')


def test_own_inferencers():
    from mmpretrain.apis import (
        ImageCaptionInferencer,
        VisualQuestionAnsweringInferencer,
    )
    for stock in (ImageCaptionInferencer, VisualQuestionAnsweringInferencer):
        assert not stock.forward_kwargs, unneeded('OwnInferencers')
        assert 'prompt' not in stock.preprocess_kwargs, unneeded(
            'OwnInferencers')


def test_strict_checkpoints(tmp_path):
    from mmengine.runner import load_checkpoint
    wrong = str(tmp_path / 'wrong.pth')
    torch.save(dict(weight=torch.zeros(7, 7)), wrong)
    try:
        load_checkpoint(torch.nn.Linear(3, 2), wrong)  # a line in the log
    except RuntimeError:
        pytest.fail(unneeded('StrictCheckpoints'))


def test_list_elements():
    code = (
        'from mmengine.config import Config\n'
        "Config(dict(x=['a', 'b'])).merge_from_dict({'x.1': 'c'})")
    reply = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True,
        check=False)
    assert 'AttributeError' in reply.stderr, unneeded('ListElements')


def test_every_patch_has_its_test():
    for patch in compat.PATCHES:
        name = re.sub('([A-Z])', r'_\1', type(patch).__name__).lower()
        assert f'test{name}' in globals()


def test_tokenizers_of_transformers(llm_folder):
    from transformers import AutoTokenizer
    theirs = AutoTokenizer.from_pretrained(llm_folder)
    # Typed text becomes the end token.
    assert 2 in theirs.encode('a</s>', add_special_tokens=False), (
        'llm/tokenizer.py may use the tokenizers of transformers: typed text '
        'stays text in them.')
