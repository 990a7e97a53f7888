# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Doors: where bytes come from, and what each refusal says."""

import base64
import io
import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmpretrain_minigpt4.errors import ImageError
from mmpretrain_minigpt4.images import load_image


@pytest.fixture
def data(encode, quarters):
    return encode(quarters, 'PNG')


@pytest.fixture
def path(tmp_path, data):
    path = tmp_path / 'scene.png'
    path.write_bytes(data)
    return path


def uri(data: bytes, head: str = 'data:image/png;base64,') -> str:
    return head + base64.b64encode(data).decode()


def same(image, quarters) -> bool:
    return np.array_equal(np.asarray(image), np.asarray(quarters))


def refused(source, *words: str, **options) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(message) < 400 and message.isprintable()
    return message


def test_every_door_gives_the_same_pixels(path, data, quarters):
    with open(path, 'rb') as file:
        doors = [str(path), path, data, bytearray(data), memoryview(data),
                 io.BytesIO(data), file, Image.open(path), uri(data),
                 np.asarray(quarters)]
        for door in doors:
            image = load_image(door, channel_order='rgb')
            assert same(image, quarters), type(door)


def test_every_door_gives_the_same_error(tmp_path, data):
    cut = data[:-20]
    path = tmp_path / 'cut.png'
    path.write_bytes(cut)
    reasons = {refused(door).partition(': ')[2]
               for door in (str(path), path, cut, io.BytesIO(cut), uri(cut))}
    assert len(reasons) == 1


def test_unicode_paths_and_dots_are_paths(tmp_path, data, quarters):
    folder = tmp_path / 'Ünï 世界 🦊'
    folder.mkdir()
    (folder / 'côté.png').write_bytes(data)
    assert same(load_image(folder / '..' / folder.name / 'côté.png'), quarters)
    refused(folder / 'cote.png', 'Did you mean', 'côté.png')


def test_a_missing_file_names_itself_and_its_likes(path):
    refused(path.with_name('scen.png'), 'scen.png', 'no such file',
            "Did you mean 'scene.png'")
    refused(path.parent / 'nowhere' / 'x.png', 'x.png', 'cannot be listed')
    refused(path / 'x.png', 'a file, not a directory')


def test_a_directory_is_refused(tmp_path):
    refused(tmp_path, 'is a directory', tmp_path.name)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no FIFO here')
def test_a_fifo_and_a_device_are_refused_and_never_waited_for(tmp_path):
    fifo = tmp_path / 'pipe.png'
    os.mkfifo(fifo)
    caught = []
    thread = threading.Thread(
        target=lambda: caught.append(refused(fifo, 'pipe')), daemon=True)
    thread.start()
    thread.join(5)
    assert caught, 'it hangs'
    refused(os.devnull, 'device')
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / 's'))
        refused(tmp_path / 's', 'socket')


@pytest.mark.skipif(sys.platform == 'win32', reason='links need a right there')
def test_a_symlink_is_followed_and_a_loop_is_refused(tmp_path, path, quarters):
    (tmp_path / 'link.png').symlink_to(path)
    assert same(load_image(tmp_path / 'link.png'), quarters)
    (tmp_path / 'a.png').symlink_to('b.png')
    (tmp_path / 'b.png').symlink_to('a.png')
    refused(tmp_path / 'a.png', 'circle')
    (tmp_path / 'dangling.png').symlink_to('gone.png')
    refused(tmp_path / 'dangling.png', 'no such file')


def test_an_over_long_path_is_refused_and_shortened():
    refused('x' * 5000, 'too long', 'xxx...xxx')
    refused('folder/' + 'a/' * 40_000 + 'end.png', 'too long', 'end.png')


@pytest.mark.parametrize('name', ['a\0b.png', 'a\ud800.png'])
def test_characters_that_no_path_has_are_refused(name):
    refused(name, 'Cannot read image')


@pytest.mark.parametrize('name', ['', '   ', '\n'])
def test_an_empty_path_is_refused(name):
    refused(name, 'the path is empty')


def test_control_characters_of_a_name_are_not_printed():
    message = refused('evil\x1b[2J\r\nname.png')
    assert '\\x1b' in message


@pytest.mark.parametrize('url', [
    'http://127.0.0.1:1/a.png', 'HTTPS://example.com/a.png',
    'file:///etc/passwd', 'file:/etc/passwd', 's3://bucket/a.png',
    ' http://example.com/a.png'])
def test_addresses_are_never_fetched(monkeypatch, url):
    def no_socket(*args, **kwargs):
        raise AssertionError('a connection was tried')

    monkeypatch.setattr(socket.socket, 'connect', no_socket)
    monkeypatch.setattr(socket, 'getaddrinfo', no_socket)
    refused(url, 'never fetched', 'pass its bytes')


def test_a_zero_byte_file_is_refused(tmp_path):
    path = tmp_path / 'empty.jpg'
    path.touch()
    refused(path, 'empty.jpg', '0 bytes')
    refused(b'', '0 bytes')
    refused(io.BytesIO(), '0 bytes')


def test_text_and_svg_named_jpg_are_refused(tmp_path):
    for text, kind in (('hello', 'text file'),
                       ('<svg xmlns="http://www.w3.org/2000/svg"/>', 'SVG')):
        path = tmp_path / 'picture.jpg'
        path.write_text(text)
        refused(path, 'picture.jpg', kind)


@pytest.mark.parametrize('change', [
    lambda text: '\r\n'.join(text[i:i + 76] for i in range(0, len(text), 76)),
    lambda text: text.replace('+', '-').replace('/', '_'),
    lambda text: text.rstrip('='),
    lambda text: text + '==',
    lambda text: text.replace('+', '%2B').replace('/', '%2f').replace(
        '=', '%3D'),
    lambda text: f' {text} \n',
])
@pytest.mark.parametrize('extra', range(3))
def test_base64_is_taken_however_it_is_written(encode, quarters, change,
                                               extra):
    noise = np.random.default_rng(4).integers(0, 256, (9, 9, 3), np.uint8)
    image = encode(Image.fromarray(noise), 'PNG') + bytes(extra)
    text = uri(image, '')
    assert {'+', '/'} <= set(text)
    loaded = load_image('data:image/png;base64,' + change(text))
    assert np.array_equal(np.asarray(loaded), noise)


@pytest.mark.parametrize('head', [
    'data:image/jpeg;base64,', 'DATA:Image/PNG;BASE64,',
    'data:image/png;name=a.png;base64,', '\n data:image/png;base64,'])
def test_data_uri_headers_are_read_as_written_and_content_decides(
        data, quarters, head):
    assert same(load_image(uri(data, head)), quarters)


@pytest.mark.parametrize('head, words', [
    ('data:image/png;base64', ['no comma']),
    ('data:', ['no comma']),
    ('data:text/html;base64,', ['text/html', 'no image']),
    ('data:application/pdf;base64,', ['application/pdf']),
    ('data:,', ['media type']),
    ('data:;base64,', ['media type']),
    ('data:image/png,', ['not base64']),
])
def test_data_uris_of_another_kind_are_refused(data, head, words):
    body = '' if 'comma' in words[0] else base64.b64encode(data).decode()
    refused(head + body, *words)


def test_an_svg_data_uri_is_refused_by_its_content():
    refused(uri(b'<svg xmlns="x"/>', 'data:image/svg+xml;base64,'), 'SVG')


@pytest.mark.parametrize('body', ['!!!!', 'AAAAA', 'AA=A', 'Ünïcode', '%41'])
def test_broken_base64_is_refused_and_not_shown(body):
    message = refused('data:image/png;base64,' + body, 'base64')
    assert body not in message.replace('base64', '')


def test_an_empty_data_uri_is_refused():
    refused('data:image/png;base64,', '0 bytes')
    refused('data:image/png;base64,====', '0 bytes')


def test_bytes_are_never_shown(data):
    message = refused(b'\x01secret' * 1000, 'image bytes (7000 bytes)')
    assert 'secret' not in message
    assert 'iVBOR' not in refused(uri(data)[:900] + '*')[60:]


def test_a_file_object_is_read_from_its_start(data, quarters):
    file = io.BytesIO(data)
    file.seek(0, os.SEEK_END)
    assert same(load_image(file), quarters)


def test_a_stream_that_cannot_seek_and_reads_in_bits_is_read(data, quarters):
    class Trickle:
        at = 0

        def read(self, count):
            self.at += 10
            return data[self.at - 10:self.at]

    assert same(load_image(Trickle()), quarters)


def test_faults_of_file_objects_are_the_typed_error(path):
    refused(io.StringIO('text'), 'binary mode')
    with open(path) as file:
        refused(file, 'binary mode', 'scene.png')
    closed = io.BytesIO(b'x')
    closed.close()
    refused(closed, 'closed')

    class Faulty:
        def read(self, count):
            raise RuntimeError('the tape tore')

    refused(Faulty(), 'the tape tore')


def test_an_endless_stream_ends_at_the_limit():
    class Endless:
        def read(self, count):
            return bytes(count)

    refused(Endless(), 'max_bytes')


class FakePath(os.PathLike):
    def __fspath__(self):
        raise OSError('no')


@pytest.mark.parametrize('source', [
    None, 5, 0, True, 2.5, [], ['a.png'], ('a', 'b'), {}, {'img': 1}, object(),
    Image, len, FakePath(), range(3)], ids=repr)
def test_what_is_no_image_is_the_typed_error(source):
    refused(source, 'Cannot read')


def test_a_tensor_is_refused_with_the_mend():
    torch = pytest.importorskip('torch')
    refused(torch.zeros(3, 4, 4), 'Tensor', 'uint8 H x W x 3')


def test_a_name_replaces_the_path_in_an_error(tmp_path):
    message = refused(tmp_path / 'secret_folder.png', 'image 2 of the message',
                      name='image 2 of the message')
    assert 'secret_folder' not in message


def test_an_image_error_is_a_value_error():
    assert issubclass(ImageError, ValueError)
    with pytest.raises(ValueError):
        load_image(Path('nowhere.png'))
