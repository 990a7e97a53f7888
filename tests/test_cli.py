# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The command line, with a stand-in for the model where that is enough."""

import io
import json
import os
import resource
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import mmpretrain_minigpt4
from mmpretrain_minigpt4 import apis
from mmpretrain_minigpt4.cli import infer, main
from mmpretrain_minigpt4.cli.inputs import find_images
from mmpretrain_minigpt4.cli.output import Answers, progress
from mmpretrain_minigpt4.errors import GenerationError, MissingWeightsError

ROOT = Path(__file__).resolve().parents[1]
ASSETS = Path(mmpretrain_minigpt4.__file__).parent / 'assets' / 'tiny'
DEMO = ROOT / 'demo' / 'scene.png'
# The scene that demo/scene.png shows.
DEMO_SEED = 1_000_002_009

needs_tiny = pytest.mark.skipif(
    not (ASSETS / 'projection.safetensors').is_file(),
    reason='the weights of the tiny twin are not in this copy')


class StandIn:
    """Answers with the size of each image, and remembers what it was told."""

    def __init__(self, task):
        self.task = task
        self.opened = []
        self.calls = []
        self.sizes = []
        self.raises = None

    def open(self, name, **kwargs):
        self.opened.append((name, kwargs))
        if isinstance(self.raises, MissingWeightsError):
            raise self.raises
        return self

    def __call__(self, images, **options):
        print('a library says something')
        if self.raises is not None:
            raise self.raises
        self.calls.append(options)
        self.sizes.append(len(images))
        key = 'pred_caption' if self.task == 'caption' else 'pred_answer'
        return [{key: f'{x.width} wide,\n{x.height} high'} for x in images]


@pytest.fixture
def model(monkeypatch):
    stand_in = StandIn('caption')
    # Not by setattr, which would look up, and so import, the real one.
    monkeypatch.setitem(vars(apis), 'open_model', stand_in.open)
    # Set by the command line; taken back after the test.
    for name in ('TRANSFORMERS_VERBOSITY', 'HF_HUB_DISABLE_PROGRESS_BARS'):
        monkeypatch.setenv(name, os.environ.get(name, ''))
    return stand_in


@pytest.fixture
def photos(tmp_path):
    for i, name in enumerate(['b.png', 'a.jpg', 'c.PNG', 'inner/d.png']):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (10 + i, 20)).save(path)
    (tmp_path / 'photos' / '.hidden.png').write_bytes(b'')
    (tmp_path / 'photos' / 'notes.txt').write_text('no image')
    return tmp_path / 'photos'


def run(*words):
    return main([str(word) for word in words])


def test_one_image_prints_the_caption_alone(model, photos, capsys):
    assert run('caption', photos / 'a.jpg') == 0
    assert capsys.readouterr().out == '11 wide, 20 high\n'


def test_several_images_print_name_tab_caption(model, photos, capsys):
    assert run('caption', photos / 'b.png', photos / 'a.jpg') == 0
    assert capsys.readouterr().out == (
        f'{photos}/b.png\t10 wide, 20 high\n'
        f'{photos}/a.jpg\t11 wide, 20 high\n')


def test_json_lines_keep_line_breaks(model, photos, capsys):
    assert run('caption', photos / 'a.jpg', '--json') == 0
    assert json.loads(capsys.readouterr().out) == {
        'image': f'{photos}/a.jpg',
        'model': 'minigpt-4_tiny_caption',
        'caption': '11 wide,\n20 high',
        'error': None,
    }


def test_a_question_is_asked_of_every_image(model, photos, capsys):
    model.task = 'vqa'
    assert run('ask', photos / 'a.jpg', photos / 'b.png', 'What?',
               '--json') == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)['answer'] for line in lines] == [
        '11 wide,\n20 high', '10 wide,\n20 high'
    ]
    assert json.loads(lines[0])['question'] == 'What?'
    assert model.calls[0]['questions'] == 'What?'
    assert model.opened[0][0] == 'minigpt-4_tiny_vqa'


def test_bad_images_are_reported_and_the_rest_goes_on(model, photos, capsys):
    bad = photos / 'bad.png'
    bad.write_text('text')
    code = run('caption', photos / 'b.png', bad, photos / 'none.png',
               photos / 'a.jpg')
    out, err = capsys.readouterr()
    assert code == 1
    assert [line.split('\t')[0] for line in out.splitlines()
            ] == [f'{photos}/b.png', f'{photos}/a.jpg']
    assert 'bad.png' in err and 'none.png' in err
    assert 'Traceback' not in err


def test_json_has_a_line_for_every_bad_image(model, photos, capsys):
    code = run('caption', photos / 'none.png', photos / 'a.jpg', '--json')
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert code == 1
    assert first['caption'] is None and 'none.png' in first['error']
    assert second['caption'] and second['error'] is None


def test_no_model_is_opened_if_no_image_can_be_read(model, photos):
    assert run('caption', photos / 'none.png') == 1
    assert model.opened == []


def test_a_folder_gives_its_images_in_order(photos):
    names = [Path(x.source).name for x in find_images([str(photos)])]
    assert names == ['a.jpg', 'b.png', 'c.PNG']
    deep = [Path(x.source).name for x in find_images([str(photos)], True)]
    assert deep == ['a.jpg', 'b.png', 'c.PNG', 'd.png']


def test_a_pattern_crosses_folders_by_two_stars(photos):
    names = [
        Path(x.source).name for x in find_images([f'{photos}/**/*.png'])
    ]
    assert names == ['b.png', 'd.png']


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(photos):
    odd = photos / 'a[1]*.png'
    odd.write_bytes((photos / 'b.png').read_bytes())
    assert [x.source for x in find_images([str(odd)])] == [str(odd)]


@pytest.mark.parametrize('word', ['empty', '*.xyz'])
def test_what_gives_no_image_is_an_error_that_names_it(word, tmp_path):
    (tmp_path / 'empty').mkdir()
    found, = find_images([str(tmp_path / word)])
    assert word in str(found.error)


def test_images_come_from_the_standard_input(model, photos, capsys,
                                             monkeypatch):
    data = io.BytesIO((photos / 'a.jpg').read_bytes())
    monkeypatch.setattr(sys, 'stdin', SimpleNamespace(buffer=data))
    assert run('caption', '-') == 0
    assert capsys.readouterr().out == '11 wide, 20 high\n'
    assert run('caption', '-', '-') == 2


def test_images_are_answered_in_batches(model, photos):
    names = [photos / 'a.jpg'] * 3 + [photos / 'none.png']
    run('caption', *names, *names, '--batch-size', 2)
    assert model.sizes == [2, 2, 2]
    assert len(model.opened) == 1


def test_large_images_end_a_batch_early(model, photos, monkeypatch):
    monkeypatch.setattr(infer, 'BATCH_PIXELS', 300)
    run('caption', *[photos / 'a.jpg'] * 4)
    assert model.sizes == [2, 2]


def test_options_reach_the_model_and_others_do_not(model, photos):
    run('caption', photos / 'a.jpg', '--prompt', 'Say it.', '--seed', 7,
        '--max-new-tokens', 9, '--sample', '--llm', 'there', '--weights',
        'here', '--dtype', 'float32', '--quantization', 'int8',
        '--checkpoint', 'own')
    assert model.calls == [{
        'batch_size': 8,
        'prompt': 'Say it.',
        'seed': 7,
        'max_new_tokens': 9,
        'do_sample': True,
    }]
    assert model.opened[0][1] == {
        'device': None,
        'pretrained': 'own',
        'llm': 'there',
        'weights': 'here',
        'dtype': 'float32',
        'quantization': 'int8',
    }
    run('caption', photos / 'a.jpg')
    assert model.calls[1] == {'batch_size': 8}
    assert model.opened[1][1]['pretrained'] is True


def test_options_may_stand_between_images(model, photos, capsys):
    run('caption', photos / 'a.jpg', '--json', photos / 'b.png')
    assert len(capsys.readouterr().out.splitlines()) == 2
    model.task = 'vqa'
    run('ask', photos / 'a.jpg', photos / 'b.png', '--json', 'What?')
    assert model.calls[-1]['questions'] == 'What?'
    assert model.sizes[-1] == 2


def test_the_default_model_is_named_on_stderr(model, photos, capsys):
    run('caption', photos / 'a.jpg')
    assert 'minigpt-4_tiny_caption' in capsys.readouterr().err
    run('caption', photos / 'a.jpg', '--model', 'other', '--quiet')
    assert 'minigpt-4_tiny' not in capsys.readouterr().err
    assert model.opened[-1][0] == 'other'


def test_what_libraries_print_stays_out_of_the_answers(model, photos, capsys):
    run('caption', photos / 'a.jpg')
    out, err = capsys.readouterr()
    assert 'library' not in out and 'library' in err


def test_a_model_of_another_task_is_refused(model, photos, capsys):
    assert run('ask', photos / 'a.jpg', 'What?') == 2
    assert 'minigpt4 caption' in capsys.readouterr().err


@pytest.mark.parametrize('error, code', [
    (MissingWeightsError('no weights in\n there'), 3),
    (GenerationError('top_p has no meaning'), 2),
    (KeyboardInterrupt(), 130),
])
def test_errors_end_in_one_line_and_a_code(error, code, model, photos,
                                           capsys):
    model.raises = error
    assert run('caption', photos / 'a.jpg', '-q') == code
    out, err = capsys.readouterr()
    last = err.splitlines()[-1]
    assert out == '' and last.startswith('minigpt4: ')
    assert ' '.join(str(error).split()) in last


def test_usage_errors_have_their_code(photos, capsys):
    for words in (['caption'], ['nothing'], [], ['models', 'x'],
                  ['caption', 'a.png', '--batch-size', '0'],
                  ['caption', 'a.png', '--colour', 'red']):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
    with pytest.raises(SystemExit) as caught:
        main(['--version'])
    assert caught.value.code == 0
    assert mmpretrain_minigpt4.__version__ in capsys.readouterr().out


def test_the_models_are_listed_with_their_parameters(capsys):
    assert run('models') == 0
    text = capsys.readouterr().out
    assert 'minigpt-4_vicuna-7b_caption' in text and '7,832,625,024' in text
    assert run('models', '--json') == 0
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert set(first) == {'name', 'task', 'parameters', 'shipped'}


def test_an_answer_survives_a_narrow_encoding_and_an_odd_name():
    raw = io.BytesIO()
    answers = Answers(io.TextIOWrapper(raw, 'ascii'), named=True)
    answers.answer(os.fsdecode(b'\xff\t.png'), 'caption', 'caf\u00e9\x1b[31m')
    answers.stream.flush()
    # Nor does it colour the terminal.
    assert raw.getvalue() == b'? .png\tcaf? [31m\n'


def test_no_bar_is_drawn_where_there_is_no_terminal(capsys):
    with progress(100, 'caption') as advance:
        advance(50)
    assert capsys.readouterr() == ('', '')


def command(*words, stdout=subprocess.PIPE, **kwargs):
    return subprocess.run(
        [sys.executable, '-m', 'mmpretrain_minigpt4', *map(str, words)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        # The package that this test imports, wherever it is started from.
        env={**os.environ, 'PYTHONPATH': str(ASSETS.parents[2])},
        **kwargs)


def test_help_answers_within_a_second():
    # Seconds of the processor, not of the clock: a busy machine may wait.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = command('--help')
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and 'caption' in done.stdout
    assert after.ru_utime + after.ru_stime - (
        before.ru_utime + before.ru_stime) < 1


def test_a_reader_that_has_enough_ends_it_silently():
    reader, writer = os.pipe()
    os.close(reader)
    done = command('models', stdout=writer)
    os.close(writer)
    assert done.returncode == 0 and done.stderr == ''


@needs_tiny
def test_the_demo_scene_is_described_truly(tmp_path):
    from mmpretrain_minigpt4.datasets.shapes import draw_scene
    with Image.open(DEMO) as image:
        scene = draw_scene(DEMO_SEED, size=image.width)
        assert image.convert('RGB').tobytes() == scene.image.tobytes()
    done = command('caption', DEMO, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for thing in scene.objects:
        assert f'{thing.color} {thing.shape}' in done.stdout
    # The notice, and nothing that a library has to say.
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith('minigpt4: model minigpt-4_tiny_caption')


@pytest.mark.parametrize('number', ['abc', '0', '-2', '1.5'])
def test_a_batch_size_that_is_none_is_named(capsys, number):
    with pytest.raises(SystemExit):
        main(['caption', '--batch-size', number, 'x.png'])
    assert f"'{number}' is no whole number of 1 or more" in (
        capsys.readouterr().err)


def test_a_folder_of_weights_that_is_not_there_is_named(capsys, tmp_path):
    assert main(['caption', '--weights', str(tmp_path / 'no'),
                 str(DEMO)]) == 3
    assert 'There is no folder' in capsys.readouterr().err


def test_warnings_are_shown_if_they_are_our_own(capsys, monkeypatch):
    from mmpretrain_minigpt4.cli.log_filters import PACKAGE, quiet_libraries
    monkeypatch.setattr(sys, 'warnoptions', [])
    for name in ('TRANSFORMERS_VERBOSITY', 'HF_HUB_DISABLE_PROGRESS_BARS'):
        monkeypatch.setenv(name, '')
    with warnings.catch_warnings():
        quiet_libraries()
        warnings.warn_explicit('theirs', UserWarning, 'x.py', 1, 'torch.x')
        for kind in (UserWarning, ResourceWarning):
            warnings.warn_explicit(
                f'our {kind.__name__}', kind, str(PACKAGE / 'models/x.py'), 1,
                'mmpretrain_minigpt4.models.x', {})
    assert capsys.readouterr().err == 'minigpt4: warning: our UserWarning\n'
