# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Read a data set through before a training does."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..datasets.error_budget import Broken
from ..datasets.readers.shard_stream import Part
from ..datasets.transforms.clean_caption import clean_caption
from ..errors import ConfigError, DatasetError, ImageError, MiniGPT4Error
from ..images import load_image
from .config_check import read_config

KINDS = ('broken', 'empty', 'long', 'duplicate')
TARGETS = ('gt_caption', 'gt_answer', 'gt_text')
BATCH = 16  # samples between two steps of the progress bar


@dataclass(frozen=True)
class Finding:
    """Something that a user should know of.

    Attributes:
        kind: One of :data:`KINDS`.
        where: The file.
        key: The sample.
        reason: One sentence.
    """
    kind: str
    where: str
    key: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        """Plain types."""
        return asdict(self)


@dataclass
class DataReport:
    """What :func:`check_data` found.

    Attributes:
        samples: How many were read.
        findings: In the order they were met.
    """
    samples: int = 0
    findings: list[Finding] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """How many findings there are of a kind."""
        return Counter(x.kind for x in self.findings)[kind]

    def __str__(self) -> str:
        counts = ', '.join(f'{self.count(kind):,} {name}' for kind, name in (
            ('broken', 'broken'), ('empty', 'empty'), ('long', 'too long'),
            ('duplicate', 'duplicate')))
        return f'{self.samples:,} samples: {counts}.'


@dataclass(frozen=True)
class _Seen:
    where: str
    key: str
    error: str = ''
    texts: tuple[str, ...] = ()
    digest: bytes = b''


def check_data(config: str | Path | Config,
               loader: str = 'train_dataloader',
               workers: int | None = None,
               limit: int | None = None,
               advance: Callable[[int, int | None], None] | None = None,
               options: Mapping[str, str] | None = None) -> DataReport:
    """Read every sample of a config's data set once.

    * broken: the image or the text cannot be read, or a file is missing;
    * empty: a text to learn is empty, perhaps only once it is cleaned;
    * long: a text to learn has more tokens than are trained on, so that its
      rest is cut (words are counted where there is no tokenizer);
    * duplicate: the same pixels with the same texts were seen before.

    Args:
        config: A config, or its file.
        loader: The key of the data loader in it.
        workers: Processes that read; by default as many as there are CPUs.
        limit: Read only this many samples.
        advance: Is told how many more were read, and of how many (or None).
        options: Values of the config to override, as on a command line.

    Raises:
        ConfigError: If the config has no such data.
        DatasetError: If nothing can be read at all.
    """
    if not isinstance(config, Config):
        config = read_config(config)
    if options:
        config = config.copy()
        try:
            config.merge_from_dict({
                key: DictAction._parse_iterable(value)
                for key, value in options.items()
            })
        except (KeyError, TypeError, IndexError) as error:
            raise ConfigError(f'--cfg-options: {error}') from error
    dataset, cleaning = _build(config, loader)
    measure = _measure(config)
    streamed = isinstance(dataset, IterableDataset)
    total = None if streamed else len(dataset)
    if limit is not None:
        total = limit if total is None else min(limit, total)
    workers = os.cpu_count() or 1 if workers is None else workers
    probe = _StreamProbe(dataset) if streamed else _Probe(dataset, total)
    batches = DataLoader(
        probe,
        batch_size=BATCH,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context='fork' if workers else None)
    report = DataReport()
    known: dict[bytes, str] = {}
    items = (item for batch in batches for item in batch)
    for item in islice(items, total):
        # A file that cannot be read is no sample.
        report.samples += bool(item.key or not item.error)
        report.findings += _judge(item, cleaning, measure, known)
        if advance is not None:
            advance(1, total)
    return report


class _Probe(Dataset):
    """Map-style data: what each item holds."""

    def __init__(self, dataset: Dataset, length: int) -> None:
        self.dataset = dataset
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> _Seen:
        try:
            info = self.dataset.get_data_info(index)
        except MiniGPT4Error as error:
            return _Seen('', str(index), str(error))
        return _look(info, str(index))


class _StreamProbe(IterableDataset):
    """Shards: each sample once, shared among the workers."""

    def __init__(self, dataset: IterableDataset) -> None:
        super().__init__()
        self.dataset = dataset

    def __iter__(self) -> Iterator[_Seen]:
        from torch.utils.data import get_worker_info
        info = get_worker_info()
        part = Part() if info is None else Part(info.id, info.num_workers)
        for raw in self.dataset.one_pass(part):
            if isinstance(raw, Broken):
                yield _Seen(raw.where, raw.key, raw.reason)
                continue
            try:
                yield _look(self.dataset.read(raw), raw['__key__'])
            except DatasetError as error:
                yield _Seen(raw['__url__'], raw['__key__'], str(error))


def _look(info: Mapping[str, Any], key: str) -> _Seen:
    """Read a sample's images, and take its texts."""
    paths = info.get('img_paths')
    sources = list(paths) if paths is not None else [
        info[name] for name in ('img', 'img_path') if info.get(name)
        is not None][:1]
    where = str(info.get('img_path') or (paths or [''])[0])
    key = str(info.get('image_id', key))
    texts = []
    for name in TARGETS:
        text = info.get(name)
        if isinstance(text, (list, tuple)):
            text = text[0] if text else ''
        if isinstance(text, str):
            texts.append(text)
    texts += [
        text for role, text in info.get('conversation', ())
        if role == 'assistant' and isinstance(text, str)
    ]
    digest = hashlib.blake2b(digest_size=16)
    try:
        for source in sources:
            image = load_image(source, channel_order='bgr', name=where
                               if isinstance(source, bytes) else None)
            digest.update(repr(image.size).encode())
            digest.update(image.tobytes())
    except ImageError as error:
        return _Seen(where, key, str(error))
    asked = [str(info.get(name)) for name in ('prompt', 'question')]
    digest.update('\0'.join(texts + asked * (not info.get('gt_caption'))
                            ).encode('utf-8', 'surrogatepass'))
    return _Seen(where, key, texts=tuple(texts), digest=digest.digest())


def _judge(item: _Seen, cleaning: int, measure: Callable[[str], str],
           known: dict[bytes, str]) -> list[Finding]:
    def finding(kind: str, reason: str) -> Finding:
        return Finding(kind, item.where, item.key, reason)

    if item.error:
        # An empty caption in a shard is told by its reader.
        kind = 'empty' if 'caption is empty' in item.error else 'broken'
        return [finding(kind, item.error)]
    found = []
    for text in item.texts:
        if cleaning:
            text = clean_caption(text, cleaning)
        if not text.strip():
            found.append(finding('empty', 'A text to learn is empty.'))
            continue
        too_long = measure(text)
        if too_long:
            found.append(finding('long', too_long))
    name = item.where or item.key
    if item.digest in known:
        found.append(finding(
            'duplicate', f'The same image and text as {known[item.digest]}.'))
    else:
        known[item.digest] = name
    return found


def _build(config: Config, loader: str) -> tuple[Any, int]:
    """The data set without its pipeline, and the words that cleaning keeps."""
    if loader not in config or 'dataset' not in (config[loader] or {}):
        has = ', '.join(key for key in config if key.endswith('_dataloader'))
        raise ConfigError(f'The config has no {loader}; it has '
                          f'{has or "none"}.')
    settings = config[loader].dataset.to_dict()
    cleaning = 0
    for step in settings.pop('pipeline', None) or ():
        if str(step.get('type', '')).endswith('CleanCaption'):
            cleaning = step.get('max_words', 50)
    cls = DATASETS.get(settings['type'])
    if hasattr(cls, 'one_pass') or hasattr(cls, 'read_records'):
        # Everything is to be listed, rather than the first things to stop.
        settings['max_broken_share'] = 1.0
    try:
        dataset = DATASETS.build(dict(settings, pipeline=[]))
    except TypeError as error:
        raise ConfigError(f'{loader}.dataset: {error}.') from error
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset, cleaning


def _measure(config: Config) -> Callable[[str], str]:
    """Gives the reason why a text is too long, or an empty one."""
    head = config.get('model', {}).get('head', {})
    room = head.get('max_txt_len', 160)
    tokenizer = None
    try:
        from ..llm.loader import find_folder
        from ..llm.tokenizer import TextTokenizer
        tokenizer = TextTokenizer.from_folder(
            head.get('tokenizer') or find_folder(head.get('llm')))
    except (MiniGPT4Error, ImportError):
        pass  # a word is at least one token

    def measure(text: str) -> str:
        number = len(tokenizer.encode(text) if tokenizer else text.split())
        if number <= room:
            return ''
        unit = 'tokens' if tokenizer else 'words'
        return (f'{number:,} {unit}; at most {room} tokens are trained on '
                '(max_txt_len), the rest is cut.')

    return measure
