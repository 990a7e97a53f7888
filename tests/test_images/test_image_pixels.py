# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Modes and arrays: alpha on white, deep samples scaled, order said."""

import io

import numpy as np
import pytest
from PIL import Image

from mmpretrain_minigpt4.errors import ImageError
from mmpretrain_minigpt4.images import load_image, to_uint8_array

WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


def both_doors(data: bytes):
    """The image from its file, and from what Pillow makes of the file."""
    return load_image(data), load_image(Image.open(io.BytesIO(data)))


def test_alpha_is_composited_on_white(encode):
    rgba = Image.new('RGBA', (4, 2), (255, 0, 0, 0))
    rgba.putpixel((0, 0), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 128))
    for kind, options in (('PNG', {}), ('WEBP', {'lossless': True})):
        for image in both_doors(encode(rgba, kind, **options)):
            assert image.getpixel((0, 0)) == RED
            assert image.getpixel((1, 0)) == (127, 127, 127)
            assert image.getpixel((3, 1)) == WHITE


def test_grey_with_alpha_is_composited_on_white(encode):
    image = Image.new('LA', (2, 1), (0, 0))
    image.putpixel((0, 0), (10, 255))
    for loaded in both_doors(encode(image, 'PNG')):
        assert list(loaded.get_flattened_data()) == [(10, 10, 10), WHITE]


@pytest.mark.parametrize('mode', ['RGBA', 'RGBa', 'LA', 'La', 'PA'])
def test_every_mode_with_alpha_in_memory_is_composited(mode):
    clear = Image.new('RGBA', (3, 3), (0, 0, 0, 0))
    image = {'RGBa': lambda: clear.convert('RGBa'),
             'La': lambda: Image.new('LA', (3, 3)).convert('La'),
             }.get(mode, lambda: clear.convert(mode))()
    assert image.mode == mode
    assert load_image(image).getpixel((1, 1)) == WHITE


@pytest.mark.parametrize('transparency', [0, bytes([0, 255]), b'\x00\x80'])
def test_transparent_palette_entries_are_composited(encode, transparency):
    image = Image.new('P', (2, 1))
    image.putpalette([1, 2, 3, 255, 0, 0])
    image.putpixel((1, 0), 1)
    data = encode(image, 'PNG', transparency=transparency)
    second = (255, 127, 127) if transparency == b'\x00\x80' else RED
    for loaded in both_doors(data):
        assert list(loaded.get_flattened_data()) == [WHITE, second]


def test_a_transparent_gif_is_white_where_it_is_clear(encode):
    image = Image.new('P', (2, 1))
    image.putpalette([1, 2, 3, 255, 0, 0])
    image.putpixel((1, 0), 1)
    for loaded in both_doors(encode(image, 'GIF', transparency=0)):
        assert list(loaded.get_flattened_data()) == [WHITE, RED]


@pytest.mark.parametrize('depth, colour, row, key, expected', [
    (1, 0, b'\x40', b'\0\0', [WHITE, WHITE]),
    (1, 0, b'\x40', b'\0\1', [BLACK, WHITE]),
    (2, 0, b'\x60', b'\0\1', [WHITE, (170,) * 3]),
    (4, 0, b'\x3c', b'\0\3', [WHITE, (204,) * 3]),
    (8, 0, b'\x07\x08', b'\0\7', [WHITE, (8,) * 3]),
    (16, 0, b'\x80\1\x80\2', b'\x80\1', [WHITE, (128,) * 3]),
    (8, 2, b'\1\2\3\4\5\6', b'\0\1\0\2\0\3', [WHITE, (4, 5, 6)]),
    (16, 2, b'\x10\0\x20\0\x30\0\x40\0\x50\0\x60\0',
     b'\x10\0\x20\0\x30\0', [WHITE, (0x40, 0x50, 0x60)]),
])
def test_a_transparent_colour_is_white_at_every_depth(
        png, depth, colour, row, key, expected):
    data = png((2, 1), depth, colour, b'\0' + row,
               before=png.chunk(b'tRNS', key))
    assert list(load_image(data).get_flattened_data()) == expected


def ramp(channels: int) -> np.ndarray:
    values = np.linspace(0, 65535, 64 * channels).astype('>u2')
    return values.reshape(1, 64, channels)


@pytest.mark.parametrize('channels, colour', [(1, 0), (3, 2), (2, 4), (4, 6)])
def test_16_bit_png_is_scaled_and_not_white(png, channels, colour):
    values = ramp(channels)
    if channels in (2, 4):
        values[..., -1] = 65535  # opaque
    data = png((64, 1), 16, colour, b'\0' + values.tobytes())
    colours = values[..., :1 if channels < 3 else 3] >> 8
    expected = np.broadcast_to(colours, (1, 64, 3))
    for image in both_doors(data):
        assert np.array_equal(np.asarray(image), expected)


def test_16_bit_grey_written_by_pillow_is_scaled(encode):
    values = ramp(1)[..., 0].astype(np.uint16)
    image = load_image(encode(Image.fromarray(values), 'PNG'))
    assert np.array_equal(np.asarray(image)[..., 0], values >> 8)


@pytest.mark.parametrize('mode', ['I;16', 'I;16B', 'I'])
def test_deep_grey_modes_in_memory_are_scaled(mode):
    deep = Image.new(mode, (2, 1), 0)
    deep.putpixel((1, 0), 0x8000)
    assert list(load_image(deep).get_flattened_data()) == [BLACK, (128,) * 3]


def test_mode_i_of_8_bit_values_is_8_bit_and_beyond_16_bits_is_refused():
    assert load_image(Image.new('I', (1, 1), 200)).getpixel((0, 0)) == (
        200, 200, 200)
    with pytest.raises(ImageError, match='-5'):
        load_image(Image.new('I', (1, 1), -5))


def test_float_images_go_from_0_to_1():
    assert load_image(Image.new('F', (1, 1), 0.5)).getpixel((0, 0)) == (
        128, 128, 128)
    with pytest.raises(ImageError, match='mode F'):
        load_image(Image.new('F', (1, 1), 90.0))


def test_bits_palettes_and_other_colour_spaces_become_rgb(encode):
    bit = Image.new('1', (2, 1))
    bit.putpixel((1, 0), 1)
    for kind in ('PNG', 'BMP'):
        assert list(load_image(encode(bit, kind)).get_flattened_data()) == [
            BLACK, WHITE]
    for mode in ('P', 'CMYK', 'YCbCr', 'HSV', 'RGBX'):
        image = Image.new('RGB', (2, 2), RED).convert(mode)
        assert load_image(image).getpixel((0, 0)) == pytest.approx(
            RED, abs=2), mode


def test_1x1_is_an_image(encode):
    assert load_image(encode(Image.new('RGB', (1, 1), RED), 'PNG')
                      ).getpixel((0, 0)) == RED


def test_a_pil_image_passed_in_stays_as_it_is(encode):
    image = Image.new('P', (2, 1))
    image.putpalette([1, 2, 3, 255, 0, 0])
    image.info['transparency'] = 0
    before = (image.mode, image.tobytes(), dict(image.info),
              image.getpalette('RGBA'))
    load_image(image)
    assert before == (image.mode, image.tobytes(), image.info,
                      image.getpalette('RGBA'))
    rgb = Image.new('RGB', (2, 2))
    loaded = load_image(rgb)
    assert loaded is not rgb
    loaded.putpixel((0, 0), RED)
    assert rgb.getpixel((0, 0)) == BLACK


def test_a_pil_image_of_a_truncated_file_is_the_typed_error(encode):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), 'JPEG')
    lazy = Image.open(io.BytesIO(data[:len(data) // 2]))
    with pytest.raises(ImageError, match='PIL|JpegImageFile'):
        load_image(lazy)


COLOURS = np.random.default_rng(5).integers(0, 256, (5, 7, 3), np.uint8)


def test_the_order_of_an_array_is_said_and_not_guessed():
    rgb = np.asarray(load_image(COLOURS, channel_order='rgb'))
    bgr = np.asarray(load_image(COLOURS[..., ::-1], channel_order='bgr'))
    assert np.array_equal(rgb, COLOURS) and np.array_equal(bgr, COLOURS)
    with pytest.raises(ImageError, match='channel_order'):
        load_image(COLOURS)
    with pytest.raises(ImageError, match='RGB'):
        load_image(COLOURS, channel_order='RGB')


def test_arrays_with_alpha_are_composited_in_their_order():
    rgba = np.array([[[255, 0, 9, 0], [255, 0, 9, 255]]], np.uint8)
    assert list(load_image(rgba, channel_order='rgb').get_flattened_data()
                ) == [WHITE, (255, 0, 9)]
    assert list(load_image(rgba, channel_order='bgr').get_flattened_data()
                ) == [WHITE, (9, 0, 255)]


@pytest.mark.parametrize('array', [
    np.array([[0, 128, 255]], np.uint8),
    np.array([[[0], [128], [255]]], np.uint8),
    np.array([[0, 128, 255]]),
    np.array([[0, 128, 255]], np.int16),
    np.array([[0, 128, 255]]) / 255,
    (np.array([[0, 128, 255]]) / 255).astype(np.float16),
    (np.array([[0, 128, 255]]) * 257).astype(np.uint16),
    (np.array([[0, 128, 255]]) * 257).astype('>u2'),
    np.asfortranarray(np.array([[0, 128, 255]], np.uint8)),
])
def test_arrays_of_every_clear_type_give_the_same_pixels(array):
    before = array.copy()
    image = load_image(array)
    assert [p[0] for p in image.get_flattened_data()] == [0, 128, 255]
    assert np.array_equal(array, before)


def test_bool_arrays_are_black_and_white():
    image = load_image(np.array([[False, True]]))
    assert list(image.get_flattened_data()) == [BLACK, WHITE]


@pytest.mark.parametrize('array, message', [
    (np.full((2, 2, 3), np.nan), 'NaN'),
    (np.array([[0.0, np.nan, 1.0]]), 'NaN'),
    (np.full((2, 2), np.inf, np.float32), 'NaN or infinite'),
    (np.full((2, 2), 200.0), '0 is black and 1 white'),
    (np.full((2, 2), 1.02), '1.02'),
    (np.full((2, 2), -0.1), '-0.1'),
    (np.full((2, 2), 300), '300'),
    (np.full((2, 2), 90, np.uint16), 'black'),
    (np.array(5), '0 dimensions'),
    (np.uint8(5), '0 dimensions'),
    (np.zeros(5, np.uint8), '1 dimensions'),
    (np.zeros((1, 4, 4, 3), np.uint8), r'array\[0\]'),
    (np.zeros((2, 4, 4, 3), np.uint8), '4 dimensions'),
    (np.zeros((3, 8, 9), np.uint8), r'transpose\(1, 2, 0\)'),
    (np.zeros((8, 9, 2), np.uint8), '2 channels'),
    (np.zeros((0, 9, 3), np.uint8), 'empty'),
    (np.zeros((9, 0), np.uint8), 'empty'),
    (np.zeros((2, 2), complex), 'holds no pixels'),
    (np.full((2, 2), 'a'), 'holds no pixels'),
    (np.full((2, 2), None), 'holds no pixels'),
    (np.zeros((2, 2), [('r', 'u1')]), 'holds no pixels'),
])
def test_arrays_without_a_clear_meaning_are_refused(array, message):
    with pytest.raises(ImageError, match=message) as caught:
        load_image(array, channel_order='rgb')
    assert f'shape {array.shape}' in str(caught.value)


def test_the_result_has_no_metadata_to_turn_it_again(encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = load_image(encode(Image.new('RGB', (4, 2)), 'JPEG', exif=exif))
    assert image.info == {} and image.size == (2, 4)


def test_to_uint8_array_gives_a_writable_copy():
    image = load_image(COLOURS, channel_order='rgb')
    array = to_uint8_array(image)
    assert array.dtype == np.uint8 and np.array_equal(array, COLOURS)
    array[:] = 0
    assert np.array_equal(np.asarray(image), COLOURS)
