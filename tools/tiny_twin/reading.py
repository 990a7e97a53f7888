# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How well the language model reads notes, before any picture is there.

If descriptions are wrong, this tells whether the language model or the
vision part is the limit.
"""

import random
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from mmpretrain_minigpt4.datasets.shapes import TEST_SEED, draw_scene
from mmpretrain_minigpt4.datasets.shapes.language import read_description
from mmpretrain_minigpt4.evaluation.metrics.shapes import f1, overlap
from mmpretrain_minigpt4.llm.kv_cache import cache_argument

from .documents import Document, begin
from .language import collate
from .notes import merged_notes, plain_notes
from .tokenizer import load_encoder

# Far from the scenes that descriptions are scored on.
SEEDS = range(TEST_SEED + 500_000_000, TEST_SEED + 500_000_200)


@torch.no_grad()
def read_on(model: LlamaForCausalLM, documents: list[Document], stop: str,
            encode: Callable, decode: Callable,
            limit: int = 100) -> list[str]:
    """Continue each document greedily, up to a stop sign."""
    texts, name = [], cache_argument(model)
    for document in documents:
        embeds, _ = collate([document], model.get_input_embeddings())
        tokens, cache = [], None
        while len(tokens) < limit:
            out = model(
                inputs_embeds=embeds, use_cache=True, **{name: cache})
            cache = out[name]
            tokens.append(int(out.logits[0, -1].argmax()))
            if stop in decode(tokens):
                break
            embeds = model.get_input_embeddings()(
                torch.tensor([tokens[-1:]]))
        texts.append(decode(tokens).split(stop)[0])
    return texts


def score_reading(folder: Path, model_path: Path, *, chat: bool,
                  seeds: range = SEEDS) -> dict[str, float]:
    """F1 of descriptions written from notes, in percent, by form of note."""
    sp = load_encoder(folder)
    model = LlamaForCausalLM.from_pretrained(
        model_path, dtype=torch.float32).eval()
    scores = {}
    for name, form in (('plain', plain_notes), ('merged', merged_notes)):
        documents, facts = [], []
        for seed in seeds:
            rng = random.Random(f'reading {seed}')
            scene = draw_scene(seed)
            document = begin()
            if chat:
                document.add(sp.encode('###Human: <Img>'), learn=False)
            document.add_notes(
                form(scene.objects, scene.background, rng, sp.encode))
            document.add(
                sp.encode('</Img> Describe this image in detail. '
                          '###Assistant: ' if chat else 'The image shows'),
                learn=False)
            documents.append(document)
            facts.append([(o.color, o.shape, o.size, o.place)
                          for o in scene.objects])
        texts = read_on(model, documents, '###' if chat else '\n', sp.encode,
                        sp.decode)
        found = [read_description(text)[0] for text in texts]
        scores[f'{name} objects_f1'] = f1([
            overlap([o[:2] for o in a], [o[:2] for o in b])
            for a, b in zip(found, facts, strict=True)
        ])
        scores[f'{name} full_f1'] = f1(
            [overlap(a, b) for a, b in zip(found, facts, strict=True)])
    return scores
