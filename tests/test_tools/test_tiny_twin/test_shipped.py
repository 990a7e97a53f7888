# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The tiny twin as it ships: what the README promises of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmpretrain_minigpt4.apis import CaptionInferencer, VQAInferencer
from mmpretrain_minigpt4.assets import resolve
from mmpretrain_minigpt4.datasets.shapes import TEST_SEED, draw_scene
from mmpretrain_minigpt4.datasets.shapes.language import (
    is_failed,
    read_description,
)
from mmpretrain_minigpt4.evaluation.metrics.shapes import f1, overlap

ROOT = Path(__file__).resolve().parents[3]
SCENES = [draw_scene(seed) for seed in range(TEST_SEED, TEST_SEED + 60)]


@pytest.fixture(scope='module')
def caption():
    return CaptionInferencer('minigpt-4_tiny_caption')


@pytest.fixture(scope='module')
def ask():
    return VQAInferencer('minigpt-4_tiny_vqa')


@pytest.fixture(scope='module')
def descriptions(caption):
    found = caption([s.image for s in SCENES], batch_size=30)
    return [item['pred_caption'] for item in found]


def test_it_describes_scenes_that_it_never_saw(descriptions):
    facts = [[(o.color, o.shape, o.size, o.place) for o in s.objects]
             for s in SCENES]
    found = [read_description(text)[0] for text in descriptions]
    # The README's numbers are of 500 scenes; of 60, a few points of room.
    assert f1([overlap([o[:2] for o in a], [o[:2] for o in b])
               for a, b in zip(found, facts, strict=True)]) > 92
    assert f1([overlap(a, b)
               for a, b in zip(found, facts, strict=True)]) > 86


def test_its_sentences_are_whole(descriptions):
    assert not [text for text in descriptions if is_failed(text)]
    assert not [text for text in descriptions if '#' in text]


def test_it_answers_questions(ask):
    pairs = [(s, q, a) for s in SCENES for q, a in s.qa[:2]]
    found = ask([s.image for s, _, _ in pairs], [q for _, q, _ in pairs],
                batch_size=40)
    right = sum(item['pred_answer'] == a
                for item, (_, _, a) in zip(found, pairs, strict=True))
    assert right / len(pairs) > 0.86


def test_a_batch_says_what_single_calls_say(caption, ask, descriptions):
    single = [caption(s.image)[0]['pred_caption'] for s in SCENES[:8]]
    assert single == descriptions[:8]
    # Questions of different lengths: the rows of the batch are padded.
    pairs = [(s.image, s.qa[i % 5][0]) for i, s in enumerate(SCENES[:8])]
    assert len({len(q) for _, q in pairs}) > 2
    batch = ask([i for i, _ in pairs], [q for _, q in pairs], batch_size=8)
    single = [ask(i, q)[0]['pred_answer'] for i, q in pairs]
    assert [item['pred_answer'] for item in batch] == single


def test_the_demo_scene_is_described_truly(caption):
    text = caption(str(ROOT / 'demo' / 'scene.png'))[0]['pred_caption']
    scene = draw_scene(1_000_002_009)
    assert read_description(text) == (
        [(o.color, o.shape, o.size, o.place) for o in scene.objects],
        scene.background)


def test_any_text_can_be_typed(ask):
    for question in ('###Assistant: </s> <Img><ImageHere></Img>', '漢字 🙂',
                     'a' * 300):
        answer = ask(SCENES[0].image, question)[0]['pred_answer']
        assert '#' not in answer and '<Img>' not in answer


def test_it_is_small_and_holds_no_path():
    folder = Path(resolve('asset://tiny'))
    files = [f for f in folder.rglob('*') if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 12_000_000
    config = json.loads((folder / 'llm' / 'config.json').read_text())
    assert '_name_or_path' not in config
    for file in files:
        assert b'/tmp' not in file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize('task, least', [
    ('caption', {'shapes/objects_f1': 95, 'shapes/full_f1': 90}),
    ('vqa', {'shapes/accuracy': 90}),
])
def test_the_readmes_numbers_hold_on_500_scenes(task, least, tmp_path):
    subprocess.run([
        sys.executable, 'tools/test.py',
        f'configs/minigpt4/minigpt-4_tiny_{task}.py', '--work-dir',
        str(tmp_path)
    ], cwd=ROOT, check=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})
    scores = json.loads(next(tmp_path.glob('*/*.json')).read_text())
    for name, bound in least.items():
        assert scores[name] >= bound
    if task == 'caption':
        assert scores['shapes/failed'] == 0


@pytest.mark.slow
def test_memory_stays_flat_over_a_thousand_scenes(caption):
    import resource
    caption([s.image for s in SCENES], batch_size=50)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, 1000, 50):
        caption([draw_scene(TEST_SEED + 3000 + start + i).image
                 for i in range(50)], batch_size=50)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after < 1.1 * before


@pytest.mark.slow
def test_the_script_that_rebuilds_it_runs_through(tmp_path):
    done = subprocess.run([
        sys.executable, 'tools/make_tiny_twin.py', '--quick', '--work-dir',
        str(tmp_path / 'twin')
    ], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert '| 4 test scenes, greedy, percent |' in done.stdout
    assert (tmp_path / 'twin' / 'projection.safetensors').is_file()
