# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Formats: those that are read give right pixels, the rest are named."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmpretrain_minigpt4.errors import ImageError
from mmpretrain_minigpt4.images import load_image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize('kind, options', [
    ('PNG', {}), ('BMP', {}), ('GIF', {}), ('WEBP', {'lossless': True})])
def test_lossless_formats_give_the_pixels_that_were_saved(
        encode, quarters, kind, options):
    image = load_image(encode(quarters, kind, **options))
    assert image.mode == 'RGB'
    assert np.array_equal(np.asarray(image), np.asarray(quarters))


@pytest.mark.parametrize('kind', ['JPEG', 'WEBP'])
def test_lossy_formats_give_what_pillow_decodes_at_full_size(encode, kind):
    noise = np.random.default_rng(0).integers(0, 256, (61, 83, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    direct = Image.open(io.BytesIO(data)).convert('RGB')
    assert np.array_equal(np.asarray(load_image(data)), np.asarray(direct))


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP'])
def test_exif_orientation_is_applied(encode, quarters, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    # The stored picture that a viewer turns back to ``quarters``.
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = (quarters if inverse is None
              else quarters.transpose(Image.Transpose(inverse)))
    options = {'WEBP': {'lossless': True}, 'PNG': {},
               'JPEG': {'quality': 100, 'subsampling': 0}}[kind]
    data = encode(stored, kind, exif=exif, **options)
    for image in (load_image(data), load_image(Image.open(io.BytesIO(data)))):
        difference = np.abs(np.asarray(image).astype(int)
                            - np.asarray(quarters).astype(int))
        assert image.size == (16, 8)
        assert difference.max() <= 4
        assert image.getexif().get(0x0112, 1) == 1


def test_broken_or_odd_exif_leaves_the_picture_as_it_is(encode, quarters):
    for exif in (b'Exif\0\0garbage', b'Exif\0\0', b'MM\0*\xff\xff\xff\xff'):
        data = encode(quarters, 'JPEG', exif=exif)
        assert load_image(data).size == (16, 8)
    odd = Image.Exif()
    odd[0x0112] = 9
    assert load_image(encode(quarters, 'JPEG', exif=odd)).size == (16, 8)


def test_orientation_in_the_old_png_text_is_applied(png, quarters):
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = exif.tobytes()
    text = (b'Raw profile type exif\0\nexif\n'
            + f'{len(raw):8}\n{raw.hex()}\n'.encode())
    data = png((2, 1), 8, 0, bytes(3), before=png.chunk(b'tEXt', text))
    assert load_image(data).size == (1, 2)


def without_adobe_mark(data: bytes) -> bytes:
    at = data.index(b'\xff\xee')
    length = int.from_bytes(data[at + 2:at + 4], 'big')
    return data[:at] + data[at + 2 + length:]


INKS = {(0, 255, 255, 0): RED, (255, 0, 0, 0): (0, 255, 255),
        (0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0)}


@pytest.mark.parametrize('ink', INKS)
def test_cmyk_jpeg_has_right_colours(encode, ink):
    data = encode(Image.new('CMYK', (16, 16), ink), 'JPEG', quality=100)
    assert b'Adobe' in data  # inverted, as Photoshop writes it
    assert load_image(data).getpixel((8, 8)) == pytest.approx(INKS[ink], abs=3)


def test_cmyk_jpeg_without_adobes_mark_is_not_taken_as_inverted(encode):
    upside_down = Image.new('CMYK', (16, 16), (255, 0, 0, 255))
    data = without_adobe_mark(encode(upside_down, 'JPEG', quality=100))
    pixel = load_image(data).getpixel((8, 8))
    assert pixel == pytest.approx(RED, abs=3)


def test_the_first_picture_of_a_phones_jpeg_of_several_is_taken(encode):
    data = encode(Image.new('RGB', (8, 8), RED), 'MPO', save_all=True,
                  append_images=[Image.new('RGB', (8, 8), BLUE)])
    assert load_image(data).getpixel((4, 4)) == pytest.approx(RED, abs=3)


def test_grey_jpeg_and_progressive_jpeg_are_read(encode, quarters):
    grey = load_image(encode(Image.new('L', (9, 9), 77), 'JPEG'))
    assert grey.mode == 'RGB' and grey.getpixel((4, 4)) == (77, 77, 77)
    assert load_image(encode(quarters, 'JPEG', progressive=True)).size == (
        16, 8)


@pytest.mark.parametrize('kind', ['GIF', 'WEBP', 'PNG'])
def test_the_first_frame_of_an_animation_is_taken(encode, kind):
    frames = [Image.new('RGB', (12, 10), c) for c in (RED, GREEN, BLUE)]
    options = {'lossless': True} if kind == 'WEBP' else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:],
                  duration=50, **options)
    image = load_image(data)
    assert image.size == (12, 10)
    assert set(image.get_flattened_data()) == {RED}


def test_the_empty_part_of_a_gif_screen_is_white(encode):
    data = bytearray(encode(Image.new('RGB', (4, 4), RED), 'GIF'))
    data[6:10] = struct.pack('<HH', 10, 8)  # a larger screen
    image = load_image(bytes(data))
    assert image.size == (10, 8)
    assert image.getpixel((1, 1)) == RED
    assert image.getpixel((7, 6)) == (255, 255, 255)


def test_a_gif_cut_after_its_first_frame_is_read(encode):
    noise = np.random.default_rng(1).integers(0, 256, (40, 40), np.uint8)
    frames = [Image.fromarray(noise), Image.fromarray(noise[::-1])]
    data = encode(frames[0], 'GIF', save_all=True, append_images=frames[1:])
    image = load_image(data[:len(data) * 3 // 4])
    assert np.array_equal(np.asarray(image)[..., 0], noise)


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP'])
@pytest.mark.parametrize('lenient', [False, True])
def test_a_truncated_file_is_an_error_and_never_half_a_picture(
        tmp_path, monkeypatch, encode, kind, lenient):
    # Another library in the process may have asked Pillow to be lenient.
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', lenient)
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    path = tmp_path / f'cut.{kind.lower()}'
    for part in (0.1, 0.5, 0.9):
        path.write_bytes(data[:int(len(data) * part)])
        with pytest.raises(ImageError, match=f'cut.{kind.lower()}'):
            load_image(path)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is lenient


def test_a_png_with_too_few_rows_or_a_flipped_bit_is_an_error(png):
    short = png((4, 4), 8, 0, b'\0\1\2\3\4' * 3)
    colour = png((4, 4), 8, 2, bytes(4 * 13 - 1))
    noise = np.random.default_rng(6).integers(0, 256, (64, 65), np.uint8)
    noise[:, 0] = 0
    flipped = bytearray(png((64, 64), 8, 0, noise.tobytes()))
    flipped[200] ^= 4
    interlaced = bytearray(png((4, 4), 8, 0, bytes(20)))
    interlaced[28] = 1
    interlaced[29:33] = zlib.crc32(interlaced[12:29]).to_bytes(4, 'big')
    for data in (short, colour, bytes(flipped), bytes(interlaced)):
        with pytest.raises(ImageError, match='cut short'):
            load_image(data)


@pytest.mark.parametrize('size', [(1, 1), (3, 2), (5, 9), (16, 8)])
def test_black_and_interlaced_pngs_are_whole(png, size):
    width, height = size
    rows = bytes((width + 1) * height)
    assert load_image(png(size, 8, 0, rows)).size == size
    count = 0
    for x, y, right, down in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8),
                              (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                              (0, 1, 1, 2)):
        columns = len(range(x, width, right))
        count += len(range(y, height, down)) * (columns + 1) * (columns > 0)
    for missing in (0, 1):
        data = bytearray(png(size, 8, 0, bytes(count - missing)))
        data[28] = 1
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
        if missing:
            with pytest.raises(ImageError, match='cut short'):
                load_image(bytes(data))
        else:
            assert load_image(bytes(data)).size == size


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'GIF', 'BMP'])
def test_damage_anywhere_gives_an_image_or_the_typed_error(encode, kind):
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 256, (24, 24, 3), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    for _ in range(150):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), 3):
            broken[at] = rng.integers(0, 256)
        try:
            image = load_image(bytes(broken[:rng.integers(1, len(data) + 1)]))
            assert image.mode == 'RGB'
        except ImageError as error:
            assert len(str(error)) < 400 and str(error).isprintable()


OTHERS = {
    'TIFF': 'TIFF', 'PSD': b'8BPS\0\1', 'FITS': b'SIMPLE  =   T',
    'EPS': 'EPS', 'JPEG 2000': 'JPEG2000', 'AVIF': 'AVIF', 'ICO': 'ICO',
    'PDF': b'%PDF-1.7', 'JPEG XL': b'\xff\x0a\xfa',
    'HEIC': b'\0\0\0\x18ftypheic', 'SVG': b'<?xml version="1.0"?>\n<svg/>',
    'web page': b'<!DOCTYPE html><html>', 'text file': b'not an image\n',
    'Git LFS': b'version https://git-lfs.github.com/spec/v1\n',
    'unknown format': b'\1\2\3\4\5\6\7\x08', 'gzip': b'\x1f\x8b\x08',
}


@pytest.mark.parametrize('kind', OTHERS)
def test_other_formats_are_refused_by_name_with_those_allowed(
        tmp_path, encode, kind):
    data = OTHERS[kind]
    if isinstance(data, str):
        data = encode(Image.new('RGB', (8, 8)), data)
    path = tmp_path / 'picture.jpg'
    path.write_bytes(data)
    with pytest.raises(ImageError, match=kind) as caught:
        load_image(path)
    assert 'picture.jpg' in str(caught.value)
    assert 'JPEG, PNG, WebP, GIF and BMP' in str(caught.value)


def test_the_content_decides_and_not_the_name(tmp_path, encode, quarters):
    path = tmp_path / 'really_a_png.jpg'
    path.write_bytes(encode(quarters, 'PNG'))
    assert np.array_equal(np.asarray(load_image(path)), np.asarray(quarters))


def test_text_that_begins_like_a_bmp_is_text():
    with pytest.raises(ImageError, match='a text file'):
        load_image(b'BM is what this sentence begins with')


@pytest.mark.parametrize('kind', [b'tEXt', b'zTXt', b'iTXt'])
def test_a_png_with_a_text_that_unpacks_to_100_mb_is_read(png, kind):
    text = (zlib.compress(bytes(100_000_000), 1) if kind != b'tEXt'
            else bytes(2_000_000))
    middle = {b'tEXt': b'\0', b'zTXt': b'\0\0', b'iTXt': b'\0\1\0\0\0'}[kind]
    body = png.chunk(kind, b'note' + middle + text)
    data = png((1, 1), 8, 2, b'\0\7\x08\x09', before=body, after=body)
    assert load_image(data).getpixel((0, 0)) == (7, 8, 9)


def test_a_png_file_with_100_mb_of_text_is_over_the_limit(tmp_path, png):
    path = tmp_path / 'text.png'
    body = png.chunk(b'tEXt', b'note\0' + bytes(100_000_000))
    path.write_bytes(png((1, 1), 8, 0, bytes(2), before=body))
    with pytest.raises(ImageError, match='max_bytes'):
        load_image(path)
