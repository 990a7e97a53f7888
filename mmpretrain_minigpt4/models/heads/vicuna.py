# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The head: visual tokens and text in, a loss or text out.

Legend: B samples, n images of a sample, Q visual tokens of an image, E width
of the language model, T tokens of the longest row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule

from ...errors import ConfigError, PromptError
from ...generation import GenerationOptions, StopMatcher, decode
from ...prompts import (
    Piece,
    Template,
    count_images,
    get_template,
    parse,
    render,
)
from ...registry import MODELS
from ..dtypes import compute_dtype, load_dtype
from . import language_model
from .rows import (
    IGNORED,
    IMAGE_ID,
    Row,
    collate,
    make_row,
    tokenize,
    tokenize_answer,
)

# The fields of a data sample that each task reads and writes.
TARGETS = dict(caption='gt_caption', vqa='gt_answer', text='gt_text')
PREDICTIONS = dict(caption='pred_caption', vqa='pred_answer', text='pred_text')


@MODELS.register_module()
class VicunaHead(BaseModule):
    """A causal language model that reads visual tokens among its words.

    The instruction of a sample is its ``conversation`` (a list of
    ``(role, content)``, perhaps with ``system``), else its ``prompt`` (a
    text, or a list of texts and :class:`prompts.ImageSlot`), else its
    ``question`` in ``question_template``, else ``prompt`` of the config. A
    sample with ``bare=True`` has none: image, then caption, as in stage 1.

    Args:
        llm: The folder of a Hugging Face causal language model, or
            ``dict(config=dict(model_type=...))`` for random weights.
        template: A name in ``prompts.TEMPLATES``, or a dict.
        task: ``caption``, ``vqa`` or ``text``; says which field of a data
            sample is the target and which one gets the prediction.
        prompt: The instruction of samples that bring none. It may hold
            ``<ImageHere>``; otherwise images stand in front.
        question_template: What a ``question`` is put into.
        max_txt_len: At most this many tokens of an answer are trained on.
        generation: Decoding options, over the defaults.
        tokenizer: Folder of a tokenizer other than the model's own.
        dtype: ``auto`` (bfloat16 on a GPU, float32 on a CPU) or a type.
        in_channels: Width of the visual tokens, where it is known, to be
            compared before weights are read.
        init_cfg: As of every module of the toolbox.

    Raises:
        MissingWeightsError: If the language model is not there.
        ConfigError: If the parts do not fit together.
    """

    def __init__(self,
                 llm: str | dict,
                 template: str | dict = 'vicuna_v0',
                 task: str = 'caption',
                 prompt: str = 'Describe this image in detail.',
                 question_template: str = '{question}',
                 max_txt_len: int = 160,
                 generation: dict | None = None,
                 tokenizer: str | None = None,
                 dtype: str = 'auto',
                 in_channels: int | None = None,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if task not in TARGETS:
            raise ConfigError(f'There is no task {task!r}; known: '
                              f'{", ".join(TARGETS)}.')
        if question_template.count('{question}') != 1:
            raise ConfigError('question_template must hold {question} '
                              f'exactly once; it is {question_template!r}.')
        if max_txt_len < 1:
            raise ConfigError('max_txt_len must be at least 1.')
        self.template = get_template(template)
        self.task = task
        self.prompt = prompt
        self.question_template = question_template
        self.max_txt_len = max_txt_len
        self.dtype = dtype
        self.generation = GenerationOptions.from_dict(generation)
        load_dtype(dtype)
        source = language_model.find(llm, tokenizer, self.template.name)
        self.embed_dims = source.embed_dims
        if in_channels not in (None, self.embed_dims):
            raise ConfigError(
                f'The projection gives {in_channels} numbers for each visual '
                f'token, the language model {llm!r} wants {self.embed_dims}: '
                f'{_size_hint(in_channels)} projection does not fit '
                f'{_size_hint(self.embed_dims)} language model. Take the '
                'language model of the same size, or set out_channels.')
        self.context = source.context
        self.tokenizer = source.tokenizer
        self.end_ids = source.end_ids
        # Whether the weights came from a folder, and so may be absent from
        # a checkpoint.
        self.has_own_weights = source.folder is not None
        self.llm = language_model.load(source, dtype)
        self.register_load_state_dict_post_hook(_forgive_absent_llm)

    def init_weights(self) -> None:
        """Nothing: the language model comes with its weights."""

    def settle(self, device: torch.device, frozen: bool = True) -> None:
        """Give a frozen language model the type that suits its device."""
        wanted = compute_dtype(self.dtype, device)
        if frozen or self.dtype != 'auto':
            self.llm.to(wanted)

    def loss(self, feats: torch.Tensor | Sequence[torch.Tensor],
             data_samples: Sequence) -> dict[str, torch.Tensor]:
        """The mean cross-entropy over all tokens of answers and their ends.

        Args:
            feats: float[B, Q, E], float[B, n, Q, E] or a list of
                float[n, Q, E].
            data_samples: One for each sample, with its target.

        Returns:
            dict: ``loss``, a float32 scalar.
        """
        visual = split_images(feats)
        rows = []
        for tokens, sample in zip(visual, data_samples, strict=True):
            ids, template = self.prompt_ids(sample, tokens)
            rows.append(
                make_row(
                    ids,
                    tokenize_answer(
                        self.target_of(sample), template, self._tokens(),
                        self.max_txt_len)))
        for row in rows:
            self._check_room(len(row.ids))
        inputs, labels = self._embed(rows, visual)
        logits = self.llm(**inputs, use_cache=False).logits
        # Position t foretells token t + 1.
        return dict(
            loss=F.cross_entropy(
                logits[:, :-1].float().flatten(0, 1),  # float[B * (T - 1), V]
                labels[:, 1:].flatten(),
                ignore_index=IGNORED))

    def predict(self, feats: torch.Tensor | Sequence[torch.Tensor],
                data_samples: Sequence | None = None, **options) -> list:
        """Write an answer into each data sample.

        Args:
            feats: As of :meth:`loss`.
            data_samples: Made anew when absent.
            options: Decoding options of this call, over the config's.

        Returns:
            list: The data samples, with ``pred_caption`` or ``pred_answer``.
        """
        settings = self.generation.replace(**{
            key: value
            for key, value in options.items() if value is not None
        })
        visual = split_images(feats)
        if data_samples is None:
            data_samples = _new_samples(len(visual))
        rows, templates = [], []
        for tokens, sample in zip(visual, data_samples, strict=True):
            ids, template = self.prompt_ids(sample, tokens)
            rows.append(make_row(ids))
            templates.append(template)
        if not rows:
            return list(data_samples)
        for row in rows:
            self._check_room(len(row.ids) + 1)
        matcher = StopMatcher(
            self._tokens().token_bytes,
            stops=(*settings.stops, *(stop for template in templates
                                      for stop in template.stops)),
            end_ids=self.end_ids)
        with torch.no_grad():
            inputs, _ = self._embed(rows, visual)
        answers = decode(self.llm, inputs['inputs_embeds'],
                         inputs['attention_mask'], settings, matcher,
                         self.context)
        for sample, answer in zip(data_samples, answers, strict=True):
            sample.set_field(answer.text, PREDICTIONS[self.task])
        return list(data_samples)

    def logits(self, feats: torch.Tensor | Sequence[torch.Tensor],
               prompts: Sequence[Sequence[Piece]]
               ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits after each token of prompts given as pieces.

        Args:
            feats: As of :meth:`loss`.
            prompts: B lists of pieces, taken as they are.

        Returns:
            tuple: float[B, T, V], left-padded, and int[B, T], 0 on padding.
        """
        visual = split_images(feats)
        rows = [
            make_row(
                tokenize(pieces, self._tokens(),
                         self._fill(pieces, tokens).shape[-2]))
            for pieces, tokens in zip(prompts, visual, strict=True)
        ]
        inputs, _ = self._embed(rows, visual)
        logits = self.llm(**inputs, use_cache=False).logits
        return logits, inputs['attention_mask']

    def prompt_ids(self, sample, tokens: torch.Tensor
                   ) -> tuple[list[int], Template]:
        """A sample's prompt as ids, and the template it went through.

        Args:
            sample: A data sample, or None for the config's prompt.
            tokens: float[n, Q, E], its images.
        """
        template = self.template
        if get(sample, 'bare'):
            template = get_template('bare')
        pieces = self._pieces(sample, len(tokens), template)
        self._fill(pieces, tokens)
        return tokenize(pieces, self._tokens(), tokens.shape[-2]), template

    def target_of(self, sample) -> str:
        """The text to learn: the task's field, or another task's.

        Raises:
            PromptError: If the sample has none.
        """
        names = [TARGETS[self.task], *TARGETS.values()]
        for name in names:
            target = get(sample, name)
            if isinstance(target, (list, tuple)) and target:
                target = target[0]
            if isinstance(target, str):
                return target
        raise PromptError(
            f'A sample to train on has no text in {names[0]!r}. Let the data '
            'set give it, and PackInputs keep it (algorithm_keys).')

    def _pieces(self, sample, num_images: int,
                template: Template) -> list[Piece]:
        turns = get(sample, 'conversation')
        if turns is not None:
            return render(template, turns, get(sample, 'system'), num_images)
        content = get(sample, 'prompt')
        if not template.needs_text:
            content = '' if isinstance(content, str) else content
            content = content or ''
        elif content is None and get(sample, 'question') is not None:
            question = get(sample, 'question')
            if not isinstance(question, str) or not question.strip():
                raise PromptError('The question is empty.')
            before, after = self.question_template.split('{question}')
            content = before + question + after
        elif content is None:
            if self.task == 'vqa' and sample is not None:
                raise PromptError("A sample has no 'question'. Let the data "
                                  'set or the call give one.')
            content = parse(self.prompt)
            if not count_images(content):
                content = self.prompt
        return render(template, [('user', content)], images=num_images)

    def _fill(self, pieces: Sequence[Piece],
              tokens: torch.Tensor) -> torch.Tensor:
        slots = count_images(pieces)
        if slots != len(tokens):
            raise PromptError(
                f'The prompt has room for {slots} images, the sample has '
                f'{len(tokens)}. Give one image for each image slot.')
        return tokens

    def _embed(self, rows: Sequence[Row], visual: Sequence[torch.Tensor]
               ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Rows as inputs of the language model, and their labels."""
        table = self.llm.get_input_embeddings()
        device = table.weight.device
        ids, mask, positions, labels = collate(rows, device)
        embeds = table(ids.clamp(min=0))  # float[B, T, E]
        slots = ids == IMAGE_ID
        if slots.any():
            # Rows in order, images in order: float[sum of n * Q, E]
            tokens = torch.cat([x.flatten(0, 1) for x in visual])
            if tokens.shape[-1] != embeds.shape[-1]:
                raise ConfigError(
                    f'Visual tokens are {tokens.shape[-1]} wide, the language '
                    f'model wants {embeds.shape[-1]}. Check out_channels of '
                    'the projector.')
            embeds = embeds.index_put((slots.nonzero(as_tuple=True)),
                                      tokens.to(embeds))
        return dict(
            inputs_embeds=embeds, attention_mask=mask,
            position_ids=positions), labels

    def _check_room(self, length: int) -> None:
        if self.context is not None and length > self.context:
            raise PromptError(
                f'Prompt, images and answer need {length:,} tokens; the '
                f'language model holds {self.context:,}. Shorten the text or '
                'send fewer images.')

    def _tokens(self):
        if self.tokenizer is None:
            raise ConfigError('The language model was built from a config '
                              'and has no tokenizer. Name a folder that has '
                              'one by `tokenizer=`.')
        return self.tokenizer


def split_images(feats: torch.Tensor | Sequence[torch.Tensor]
                 ) -> list[torch.Tensor]:
    """Visual tokens of each sample, float[n, Q, E]."""
    if isinstance(feats, torch.Tensor):
        if feats.dim() == 3:
            feats = feats.unsqueeze(1)  # float[B, 1, Q, E]
        return list(feats)
    return [x.unsqueeze(0) if x.dim() == 2 else x for x in feats]


def get(sample, key: str):
    """A field of a data sample or of a dict, or None."""
    if sample is None:
        return None
    return sample.get(key)


def _new_samples(number: int) -> list:
    from mmpretrain.structures import DataSample
    return [DataSample() for _ in range(number)]


def _size_hint(width: int) -> str:
    return {4096: 'a 7B', 5120: 'a 13B'}.get(width, f'a {width}-wide')


def _forgive_absent_llm(module: VicunaHead, incompatible) -> None:
    """Let checkpoints leave out a language model that has its own folder."""
    if module.has_own_weights:
        incompatible.missing_keys[:] = [
            key for key in incompatible.missing_keys
            if 'head.llm.' not in key and not key.startswith('llm.')
        ]
