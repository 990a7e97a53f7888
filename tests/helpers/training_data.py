# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Small made samples of every format."""

import io
import json
import tarfile

from PIL import Image


def picture(number, size=8):
    """A small image whose color tells its number."""
    return Image.new('RGB', (size, size),
                     (number % 256, number // 256 % 256, 77))


def encoded(number, form='JPEG'):
    file = io.BytesIO()
    picture(number).save(file, form, quality=95)
    return file.getvalue()


def write_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        picture(number).save(folder / name)


def as_json(caption):
    return json.dumps(dict(caption=caption)).encode()


def write_shard(path, numbers, broken=(), captions=None, end=True):
    """Pairs ``000007.jpg`` and ``000007.json``, as img2dataset writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, 'w') as tar:
        for number in numbers:
            caption = (captions or {}).get(number, f'Picture {number}.')
            image = b'no image' if number in broken else encoded(number)
            for name, content in ((f'{number:06}.jpg', image),
                                  (f'{number:06}.json',
                                   as_json(caption))):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    if not end:
        content = path.read_bytes()
        path.write_bytes(content[:len(content) // 2])


def write_align(root, number=6, broken=()):
    """``cc_sbu_align`` with small images."""
    write_images(root / 'image', [f'{i}.jpg' for i in range(number)])
    for i in broken:
        (root / 'image' / f'{i}.jpg').write_text('no image')
    (root / 'filter_cap.json').write_text(
        json.dumps(
            dict(annotations=[
                dict(image_id=str(i), caption=f'The image shows {i}.')
                for i in range(number)
            ])))
