# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Limits hold before anything is decoded; nothing of Pillow is changed."""

import json
import subprocess
import sys
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmpretrain_minigpt4.errors import ConfigError, ImageError
from mmpretrain_minigpt4.images import ImageLimits, load_image


def empty_png(png, width: int, height: int) -> bytes:
    """A 1-bit black PNG, its rows packed without holding them all."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b''.join([packer.compress(row * 100) for _ in range(height // 100)]
                    + [packer.compress(row * (height % 100)), packer.flush()])
    head = png((width, height), 1, 0, b'')
    return head[:33] + png.chunk(b'IDAT', rows) + png.chunk(b'IEND', b'')


PROBE = '''
import json, sys, time
from mmpretrain_minigpt4.errors import ImageError
from mmpretrain_minigpt4.images import load_image

def peak():
    with open('/proc/self/status') as file:  # in KiB
        return next(int(line.split()[1]) for line in file
                    if line.startswith('VmHWM')) / 1024

before, start, message = peak(), time.perf_counter(), ''
try:
    load_image(sys.argv[1])
except ImageError as error:
    message = str(error)
print(json.dumps(dict(seconds=time.perf_counter() - start, message=message,
                      mb=peak() - before, loaded=sorted(sys.modules))))
'''


@pytest.fixture(scope='module')
def bomb(tmp_path_factory, png):
    path = tmp_path_factory.mktemp('bomb') / 'bomb.png'
    path.write_bytes(empty_png(png, 30000, 30000))
    return path


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_bomb_is_refused_from_its_header_at_once(bomb):
    assert bomb.stat().st_size < 120_000
    done = subprocess.run([sys.executable, '-c', PROBE, str(bomb)],
                          capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert 'bomb.png' in seen['message'] and '30000 x 30000' in seen['message']
    assert 'max_pixels' in seen['message']
    assert seen['seconds'] < 0.1
    assert seen['mb'] < 50
    assert not {'torch', 'mmengine', 'mmcv', 'transformers', 'mmpretrain'
                } & set(seen['loaded'])


def test_1_by_100000_is_over_the_limit_of_a_side(png):
    for size in ((1, 100_000), (100_000, 1)):
        with pytest.raises(ImageError, match='max_side'):
            load_image(empty_png(png, *size))


def test_just_above_89_megapixels_is_refused_and_just_below_is_not(png):
    limit = ImageLimits().max_pixels
    assert limit == 89_478_485
    height = limit // 9000
    with pytest.raises(ImageError, match='max_pixels'):
        load_image(empty_png(png, 9000, height + 1))
    ImageLimits().check_size('it', (9000, height))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP'])
def test_limits_hold_for_every_format_before_decoding(
        encode, monkeypatch, kind):
    def no_decoding(*args):
        raise AssertionError('it was decoded')

    data = encode(Image.new('RGB', (40, 30)), kind)
    monkeypatch.setattr(ImageFile.ImageFile, 'load', no_decoding)
    for limits, word in ((ImageLimits(max_side=39), 'max_side'),
                         (ImageLimits(max_pixels=1199), 'max_pixels'),
                         (ImageLimits(max_bytes=len(data) - 1), 'max_bytes')):
        with pytest.raises(ImageError, match=word):
            load_image(data, limits=limits)
    monkeypatch.undo()
    exact = ImageLimits(max_side=40, max_pixels=1200, max_bytes=len(data))
    assert load_image(data, limits=exact).size == (40, 30)


def test_limits_hold_for_pil_images_and_arrays_too():
    limits = ImageLimits(max_side=10)
    for source in (Image.new('L', (11, 1)), np.zeros((1, 11), np.uint8)):
        with pytest.raises(ImageError, match='max_side'):
            load_image(source, limits=limits)


def test_a_webp_canvas_beyond_all_limits_is_refused_unopened(encode):
    data = bytearray(encode(Image.new('RGBA', (4, 4), (1, 2, 3, 4)), 'WEBP'))
    if data[12:16] != b'VP8X':
        data[12:12] = b'VP8X\x0a\0\0\0' + bytes(10)
    data[24:30] = b'\xff\xff\xff\xff\xff\xff'
    tracemalloc.start()
    with pytest.raises(ImageError, match='16777216 x 16777216'):
        load_image(bytes(data))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_gif_whose_frame_is_larger_than_its_screen_is_checked(encode):
    data = bytearray(encode(Image.new('L', (8, 8)), 'GIF'))
    frame = data.index(b',', 13)
    data[frame + 5:frame + 9] = b'\x40\0\x40\0'
    with pytest.raises(ImageError, match='64 x 64'):
        load_image(bytes(data), limits=ImageLimits(max_side=63))
    data[frame + 5:frame + 9] = b'\xff\xff\xff\xff'
    with pytest.raises(ImageError, match='MAX_IMAGE_PIXELS'):
        load_image(bytes(data))


def test_a_long_data_uri_is_refused_before_it_is_decoded():
    text = 'data:image/png;base64,' + 'A' * 3_000_000
    tracemalloc.start()
    with pytest.raises(ImageError, match='max_bytes'):
        load_image(text, limits=ImageLimits(max_bytes=1000))
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_larger_limits_than_pillows_own_can_be_asked_for(
        encode, monkeypatch, recwarn):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    data = encode(Image.new('RGB', (40, 30)), 'PNG')
    assert load_image(data).size == (40, 30)
    assert not recwarn.list
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize('field', ['max_pixels', 'max_side', 'max_bytes'])
@pytest.mark.parametrize('value', [0, -1, 1.5, None, '9', True])
def test_limits_without_meaning_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        ImageLimits(**{field: value})


def test_limits_cannot_be_changed_after():
    with pytest.raises(AttributeError):
        ImageLimits().max_side = 5


def test_threads_give_what_one_thread_gives(encode, quarters):
    state = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    good = [encode(quarters, kind) for kind in ('PNG', 'GIF', 'BMP', 'JPEG')]
    expected = [np.asarray(load_image(data)) for data in good]
    wrong = []

    def work():
        for _ in range(30):
            for data, pixels in zip(good, expected, strict=True):
                if not np.array_equal(np.asarray(load_image(data)), pixels):
                    wrong.append(data[:4])
                try:
                    load_image(data[:len(data) // 2])
                    wrong.append(data[:4])
                except ImageError:
                    pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert state == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
