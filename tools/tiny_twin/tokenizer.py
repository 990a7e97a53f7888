# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Train the tiny twin's tokenizer: sentencepiece BPE, as LLaMA's is."""

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from mmpretrain_minigpt4.datasets.shapes import draw_scene
from mmpretrain_minigpt4.prompts import STAGE2_INSTRUCTIONS

from .documents import CAPTION_INSTRUCTIONS
from .notes import _phrases

VOCAB_SIZE = 640


def _lines(count: int) -> Iterator[str]:
    rng = random.Random('tokenizer')
    for seed in range(count):
        scene = draw_scene(seed)
        facts, separator = _phrases(
            list(scene.objects), scene.background, rng)
        yield separator.join(facts)
        yield scene.caption
        question, answer = rng.choice(scene.qa)
        for ask, reply in ((rng.choice(STAGE2_INSTRUCTIONS),
                            scene.description),
                           (rng.choice(CAPTION_INSTRUCTIONS), scene.caption),
                           (question, answer)):
            yield f'###Human: <Img></Img> {ask} ###Assistant:'
            # The full stop and the end sign are to stay two pieces, as they
            # are in LLaMA's vocabulary.
            yield reply
            yield reply.rstrip('.') + '###'


def train_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.model`` and its config into a folder.

    The settings are LLaMA's: BPE, byte fallback so that any text can be
    typed, no normalisation, digits apart, ids 0 to 2 for unknown, begin
    and end.
    """
    blob = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_lines(6000),
        model_writer=blob,
        model_type='bpe',
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        normalization_rule_name='identity',
        remove_extra_whitespaces=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        character_coverage=1.0,
        required_chars=''.join(map(chr, range(33, 127))),
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2)
    # The trainer leaves its own settings (paths among them) in the file.
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(blob.getvalue())
    for name in ('input', 'model_prefix', 'accept_language'):
        model.trainer_spec.ClearField(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'tokenizer.model').write_bytes(model.SerializeToString())
    config = dict(
        tokenizer_class='LlamaTokenizer',
        legacy=True,
        add_bos_token=True,
        add_eos_token=False,
        bos_token='<s>',
        eos_token='</s>',
        unk_token='<unk>',
        model_max_length=512)
    (folder / 'tokenizer_config.json').write_text(
        json.dumps(config, indent=2) + '\n')


def load_encoder(folder: Path) -> sentencepiece.SentencePieceProcessor:
    """The trained tokenizer; ``encode(piece)`` gives LLaMA's ids."""
    return sentencepiece.SentencePieceProcessor(
        model_file=str(folder / 'tokenizer.model'))
