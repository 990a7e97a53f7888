# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Judges of whether a description covers a caption."""

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from ...errors import ConfigError, DatasetError, MissingWeightsError
from ...utils.faults import append_lines
from .answer_extraction import simple, yes_no
from .coco_objects import ObjectWords, singular

_EMPTY_WORDS = frozenset(
    'of in on at to with and or is are be by for from as it its his her their '
    'there this that these those some one while near next into onto up down '
    'over very who which has have was were being been other another he she '
    'they them him out off around through along behind front'.split())


class Judge(Protocol):
    """Says which captions a description covers."""

    def covers(self, description: str, captions: Sequence[str]
               ) -> list[bool]:
        """One verdict for each caption."""


class WordJudge:
    """A caption is covered if the description has most of its content words.

    Words are compared in the singular, without ``-ing``, ``-ed``; two words
    for one category of COCO (man, person) are the same.

    Args:
        threshold: This share of the content words must be there, 0 to 1.
    """

    def __init__(self, threshold: float = 0.75) -> None:
        if not 0 < threshold <= 1:
            raise ConfigError('threshold is a share above 0 and at most 1, '
                              f'not {threshold!r}.')
        self.threshold = threshold
        self.names = ObjectWords()

    def content(self, text: str) -> set[str]:
        """The content words of a text, reduced."""
        found = set()
        for word in simple(text).split():
            if word in _EMPTY_WORDS:
                continue
            word = singular(word)
            found.add(self.names.category.get(word, _stem(word)))
        return found

    def covers(self, description: str, captions: Sequence[str]
               ) -> list[bool]:
        """Compare words."""
        given = self.content(description)
        verdicts = []
        for caption in captions:
            wanted = self.content(caption)
            share = len(wanted & given) / len(wanted) if wanted else 0.
            verdicts.append(share >= self.threshold)
        return verdicts


def _stem(word: str) -> str:
    for ending in ('ing', 'ed'):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word[:-len(ending)]
            if word[-1] == word[-2] and word[-1] not in 'ls':
                word = word[:-1]
            break
    return word[:-1] if word.endswith('e') and len(word) > 3 else word


class EmbeddingJudge:
    """Covered is a caption whose embedding is near a sentence's.

    Args:
        model: Folder of a Hugging Face encoder; its last hidden states are
            averaged. Nothing is downloaded.
        threshold: Least cosine, to the nearest sentence of the description.
        embed: In place of a model: texts to a float[n, D] tensor.
    """

    def __init__(self, model: str | None = None, threshold: float = 0.7,
                 embed: Callable | None = None) -> None:
        if (model is None) == (embed is None):
            raise ConfigError('An embedding judge needs either a model (a '
                              'folder) or embed (a function).')
        if model is not None and not Path(model).is_dir():
            raise MissingWeightsError(
                f'There is no folder {model} with an encoder for the judge. '
                'Download a sentence encoder into it, or use '
                "judge=dict(type='words').")
        self.threshold = threshold
        self.embed = embed or _encoder(model)

    def covers(self, description: str, captions: Sequence[str]
               ) -> list[bool]:
        """Compare embeddings."""
        import torch

        from .answer_extraction import sentences
        parts = [*sentences(description), description]
        vectors = torch.nn.functional.normalize(
            self.embed([*captions, *parts]).float(), dim=-1)
        # float[captions, D] x float[D, sentences]
        near = vectors[:len(captions)] @ vectors[len(captions):].T
        return (near.amax(dim=1) >= self.threshold).tolist()


def _encoder(folder: str) -> Callable:
    import torch
    from transformers import AutoModel, AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    @torch.no_grad()
    def embed(texts: list[str]):
        inputs = tokenizer(texts, padding=True, truncation=True,
                           return_tensors='pt')
        states = model(**inputs).last_hidden_state  # float[n, T, D]
        mask = inputs['attention_mask'].unsqueeze(-1)
        return (states * mask).sum(1) / mask.sum(1)  # float[n, D]

    return embed


class EndpointJudge:
    """Asks a chat model behind an OpenAI-compatible endpoint.

    Descriptions leave this machine. Verdicts are kept in a file, so that a
    run goes on where it stopped and none is paid for twice.

    Args:
        base_url: For instance ``http://localhost:8000/v1``.
        model: Its name there.
        key_variable: Environment variable with the key, if one is needed.
        cache: JSON lines file of verdicts.
        timeout: Seconds for an answer.
    """

    QUESTION = ('Description: {description}\n\nCaption: {caption}\n\nDoes the '
                'description contain all the information of the caption? '
                'Answer yes or no.')

    def __init__(self, base_url: str, model: str,
                 key_variable: str | None = None,
                 cache: str | None = None,
                 timeout: float = 60.) -> None:
        if not base_url.startswith(('http://', 'https://')):
            raise ConfigError(f'base_url must begin with http:// or https://, '
                              f'not {base_url!r}.')
        self.url = base_url.rstrip('/') + '/chat/completions'
        self.model = model
        self.timeout = timeout
        self.key = os.environ.get(key_variable, '') if key_variable else ''
        if key_variable and not self.key:
            raise ConfigError(f'The environment variable {key_variable} holds '
                              'no key for the judge.')
        self.cache = Path(cache) if cache else None
        if self.cache:
            # Now, rather than once the first verdict has been paid for.
            self.cache.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[tuple[str, str, str], bool] = {}
        if self.cache and self.cache.is_file():
            for line in self.cache.read_text(encoding='utf-8').splitlines():
                try:
                    item = json.loads(line)
                    key = item['model'], item['description'], item['caption']
                    self.known[key] = bool(item['covered'])
                except (json.JSONDecodeError, KeyError, TypeError):
                    continue  # a line that was cut off by a kill

    def covers(self, description: str, captions: Sequence[str]
               ) -> list[bool]:
        """Ask about each caption that was not asked about before."""
        return [self._one(description, caption) for caption in captions]

    def _one(self, description: str, caption: str) -> bool:
        key = self.model, description, caption
        if key not in self.known:
            answer = self._ask(self.QUESTION.format(
                description=description, caption=caption))
            verdict = yes_no(answer)
            if verdict is None:
                raise DatasetError('The judge answered neither yes nor no: '
                                   f'{answer[:200]!r}.')
            self.known[key] = verdict == 'yes'
            if self.cache:
                append_lines(self.cache, [json.dumps(dict(
                    model=self.model, description=description,
                    caption=caption, covered=self.known[key]))])
        return self.known[key]

    def _ask(self, text: str) -> str:
        headers = {'Content-Type': 'application/json'}
        if self.key:
            headers['Authorization'] = f'Bearer {self.key}'
        request = urllib.request.Request(
            self.url,
            json.dumps(dict(
                model=self.model, temperature=0, max_tokens=8,
                messages=[dict(role='user', content=text)])).encode(),
            headers)
        try:
            with urllib.request.urlopen(
                    request, timeout=self.timeout) as reply:
                answer = json.load(reply)['choices'][0]['message']['content']
            if not isinstance(answer, str):
                raise TypeError(f'its content is {answer!r}')
            return answer
        except (OSError, ValueError, LookupError, TypeError,
                http.client.HTTPException) as error:
            raise DatasetError(
                f'The judge at {self.url} gave no answer ({error}). Verdicts '
                'so far are kept in its cache, if it has one.') from error
