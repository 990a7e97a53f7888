# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Each patch of the toolbox does its work.

``test_upstream.py`` says whether each is still needed.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What must work afterwards, whatever came before.
EVERYTHING = """
from mmpretrain import ImageCaptionInferencer, get_model, list_models
import mmpretrain.datasets, mmpretrain.evaluation, mmpretrain.engine
from transformers import Blip2Model, LlamaForCausalLM
import torch
done['own'] = list_models('minigpt-4')
done['number'] = len(list_models())
done['data'] = mmpretrain.datasets.COCOVQA.__name__
done['metric'] = mmpretrain.evaluation.COCOCaption.__name__
model = get_model('resnet18_8xb32_in1k', pretrained=False)
done['logits'] = list(model(torch.rand(1, 3, 32, 32)).shape)
done['diverted'] = '__new__' in vars(ImageCaptionInferencer)
import mmengine.runner.runner as runner
done['strict'] = runner._load_checkpoint_to_model.__module__
"""


def run(code: str, **env: str) -> dict:
    """Run code in a fresh process; it fills the dict ``done``."""
    code = f'done = {{}}\n{code}\nimport json\nprint(json.dumps(done))'
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    env = dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS='1', **env)
    reply = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        capture_output=True,
        text=True,
        env=env,
        check=False)
    assert reply.returncode == 0, reply.stderr[-2000:]
    return json.loads(reply.stdout.splitlines()[-1])


# The toolbox imported first, as far as it gets; then this package.
BROKEN_FIRST = """
def attempt(name, statement):
    try:
        exec(statement, globals())
    except Exception as error:
        done[name] = f'{type(error).__name__}: {error}'
attempt('torchvision', 'import torchvision')
attempt('transformers', 'from transformers import LlamaForCausalLM')
attempt('mmpretrain', 'import mmpretrain; from mmpretrain import get_model')
attempt('models', 'import mmpretrain.models')
import mmpretrain_minigpt4
attempt('torchvision after', 'import torchvision')
""" + EVERYTHING + """
done['early name'] = get_model is mmpretrain.apis.model.get_model
"""
LIBRARIES_FIRST = ('import torch, transformers, mmengine, mmengine.runner\n'
                   'import mmpretrain_minigpt4\n' + EVERYTHING)


@pytest.fixture(scope='module')
def orders():
    """Both orders, in two processes at once: each imports for seconds."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(run, (BROKEN_FIRST, LIBRARIES_FIRST)))


@pytest.fixture(scope='module')
def broken_first(orders):
    return orders[0]


def check_everything(done):
    assert done['number'] > 540
    assert {
        'minigpt-4_vicuna-7b_caption', 'minigpt-4_llama2-7b_vqa'
    } < set(done['own'])
    assert 'minigpt-4_baichuan-7b_caption' not in done['own']
    assert (done['data'], done['metric']) == ('COCOVQA', 'COCOCaption')
    assert done['logits'] == [1, 1000]
    assert done['diverted']
    assert done['strict'] == 'mmpretrain_minigpt4.compat'


def test_all_works_when_the_toolbox_was_imported_first_and_failed(
        broken_first):
    check_everything(broken_first)
    assert broken_first['early name']
    assert 'torchvision after' not in broken_first


def test_all_works_after_torch_transformers_and_mmengine(orders):
    check_everything(orders[1])


def test_the_toolbox_goes_on_knowing_that_multimodal_packages_are_there():
    import mmpretrain.models  # noqa: F401
    from mmpretrain.utils import dependency
    assert dependency.WITH_MULTIMODAL


def test_an_option_replaces_an_element_of_a_list():
    from mmengine.config import Config
    cfg = Config(dict(x=['a', 'b', dict(y=1, z=2)]))
    cfg.merge_from_dict({'x.1': 'c', 'x.2.y': 3})
    assert cfg.x == ['a', 'c', dict(y=3, z=2)]
    with pytest.raises(KeyError, match='exceeds the length'):
        cfg.merge_from_dict({'x.5': 'd'})


def test_importing_the_package_is_cheap_and_imports_nothing():
    done = run("""
import sys, time
start = time.process_time()
import mmpretrain_minigpt4
done['seconds'] = time.process_time() - start
done['heavy'] = [m for m in ('torch', 'mmengine', 'mmpretrain', 'numpy',
                             'transformers', 'yaml') if m in sys.modules]
""")
    assert done['heavy'] == []
    assert done['seconds'] < 0.3


def test_patched_modules_keep_their_loader_and_source():
    import inspect
    from importlib.machinery import SourceFileLoader

    import mmpretrain.apis.model as patched
    assert isinstance(patched.__spec__.loader, SourceFileLoader)
    assert 'class ModelHub' in inspect.getsource(patched)


def test_patches_are_installed_once():
    from mmpretrain_minigpt4 import compat
    compat.install()
    finders = [x for x in sys.meta_path if isinstance(x, compat.PatchFinder)]
    assert len(finders) == 1


def test_every_patch_says_why_and_until_when():
    from mmpretrain_minigpt4 import compat
    for patch in compat.PATCHES:
        assert patch.modules and patch.reason and patch.until
