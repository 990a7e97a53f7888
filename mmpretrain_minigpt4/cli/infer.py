# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``minigpt4 caption``, ``ask`` and ``models``."""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, ImageError
from .exit_codes import OK, SOME_FAILED, UsageError
from .inputs import STANDARD_INPUT, Found, find_images
from .log_filters import quiet_libraries
from .options import CAPTION_MODEL, PROGRAM, VQA_MODEL
from .output import Answers, progress

if TYPE_CHECKING:
    from PIL.Image import Image

    Item = tuple[Found, 'Image | ImageError']

DECODING = ('max_new_tokens', 'num_beams', 'do_sample', 'temperature',
            'top_p', 'repetition_penalty', 'seed')
# A batch ends early where its images, waiting in memory, have more pixels.
BATCH_PIXELS = 64_000_000


def caption(args: argparse.Namespace) -> int:
    """Describe images."""
    options = {} if args.prompt is None else {'prompt': args.prompt}
    return _answer(args, 'caption', CAPTION_MODEL, options, {})


def ask(args: argparse.Namespace) -> int:
    """Answer one question about images."""
    question = {'question': args.question}
    return _answer(args, 'answer', VQA_MODEL, {'questions': args.question},
                   question)


def models(args: argparse.Namespace) -> int:
    """List the models."""
    from ..apis import list_entries
    rows = [
        dict(
            name=entry.name,
            task=entry.task,
            parameters=entry.parameters,
            shipped=entry.is_shipped) for entry in list_entries()
    ]
    width = max(len(row['name']) for row in rows)
    for row in rows:
        if args.json:
            print(json.dumps(row))
            continue
        weights = 'in the package' if row['shipped'] else 'needs --llm DIR'
        print(f'{row["name"]:{width}}  {row["task"]:25}  '
              f'{row["parameters"]:>14,}  {weights}')
    return OK


def _answer(args: argparse.Namespace, key: str, default: str,
            options: dict[str, Any], common: dict[str, Any]) -> int:
    """Answer every image, a batch at a time.

    Args:
        args: The command line.
        key: Name of the answer: ``caption`` or ``answer``.
        default: The model to take if none is named.
        options: What the inferencer is told beside the images.
        common: What each line of JSON has besides.
    """
    model = args.model or default
    inputs = find_images(args.images, args.recursive)
    if [found.source for found in inputs].count(STANDARD_INPUT) > 1:
        raise UsageError('- (the standard input) can be read only once.')
    for name in DECODING:
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    answers = Answers(
        sys.stdout,
        as_json=args.json,
        named=len(inputs) > 1,
        program=PROGRAM,
        model=model,
        **common)
    if args.model is None and not args.quiet:
        print(
            f'{PROGRAM}: model {default}, the default, which knows drawn '
            'scenes of coloured shapes only; --model NAME for another',
            file=sys.stderr)
    inferencer = None
    with progress(0 if args.quiet else len(inputs), key) as advance:
        for batch in _batches(_decode(inputs), args.batch_size):
            images = [x for _, x in batch if not isinstance(x, ImageError)]
            texts: Iterator[dict] = iter(())
            if images:
                with _quiet_stdout():
                    inferencer = inferencer or _open(args, model, key)
                    texts = iter(inferencer(
                        images, batch_size=args.batch_size, **options))
            for found, image in batch:
                if isinstance(image, ImageError):
                    answers.fail(found.name, key, image)
                else:
                    answers.answer(found.name, key,
                                   next(texts)[f'pred_{key}'])
            advance(len(batch))
    return SOME_FAILED if answers.failed else OK


def _open(args: argparse.Namespace, model: str, key: str) -> Any:
    """Open the model, and refuse one that does another task."""
    quiet_libraries(progress=not args.quiet)
    from ..apis import open_model
    from ..zoo import check_device
    try:
        check_device(args.device)
    except ConfigError as error:
        raise UsageError(f'--{error}') from error
    inferencer = open_model(
        model,
        device=args.device,
        pretrained=args.checkpoint or True,
        llm=args.llm,
        weights=args.weights,
        dtype=args.dtype,
        quantization=args.quantization)
    if inferencer.task != {'caption': 'caption', 'answer': 'vqa'}[key]:
        command = {'caption': 'caption', 'vqa': 'ask'}[inferencer.task]
        raise UsageError(
            f'The model {model} is for `{PROGRAM} {command}`; '
            f'`{PROGRAM} models` lists the others.')
    # Its bar is for interactive use; this command line has its own.
    toolbox = sys.modules.get('mmpretrain.utils.progress')
    if toolbox is not None:
        toolbox.disable_progress_bar = True
    return inferencer


def _decode(inputs: Iterable[Found]) -> 'Iterator[Item]':
    """Read each image when its turn comes; a fault goes in its place."""
    from ..images import load_image
    for found in inputs:
        if found.error is not None:
            yield found, found.error
            continue
        try:
            if found.source == STANDARD_INPUT:
                yield found, load_image(sys.stdin.buffer, name=found.name)
            else:
                yield found, load_image(found.source)
        except ImageError as error:
            yield found, error


def _batches(items: 'Iterable[Item]', size: int) -> 'Iterator[list[Item]]':
    """Cut a stream into batches of ``size`` images, of bounded memory."""
    batch: list = []
    good = pixels = 0
    for item in items:
        batch.append(item)
        if not isinstance(item[1], ImageError):
            good += 1
            pixels += item[1].width * item[1].height
        if good == size or pixels > BATCH_PIXELS or len(batch) >= 8 * size:
            yield batch
            batch = []
            good = pixels = 0
    if batch:
        yield batch


@contextlib.contextmanager
def _quiet_stdout() -> Iterator[None]:
    """Keep what libraries print out of the answers: it goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
