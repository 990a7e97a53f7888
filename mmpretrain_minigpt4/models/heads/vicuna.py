# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The head: visual tokens and text in, a loss or text out.

Legend: B samples, n images of a sample, Q visual tokens of an image, E width
of the language model, T tokens of the longest row, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule

from ...errors import ConfigError, PromptError
from ...generation import EngineConfig, SamplingParams, evict
from ...llm import loader
from ...llm.dtypes import compute_dtype, convert, load_dtype
from ...llm.llama import FUSED_GROUPS
from ...llm.quantization.methods import check as check_quantization
from ...ops.transfer import tensor_to_device
from ...prompts import Piece, Template, get_template
from ...registry import MODELS
from .answerer import Answering
from .history import truncate_history
from .likelihood import answer_logits, reads_fast
from .rows import IMAGE_ID, Row, collate, make_row, tokenize, tokenize_answer
from .samples import SampleReader
from .visual_tokens import check_image_count, split


@MODELS.register_module()
class VicunaHead(Answering, BaseModule):
    """A causal language model that reads visual tokens among its words.

    What it reads in a data sample is told at :class:`SampleReader`.

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
        engine: Settings of the decoding engine, over its defaults; see
            :class:`~mmpretrain_minigpt4.generation.EngineConfig`.
        tokenizer: Folder of a tokenizer other than the model's own.
        dtype: ``auto`` (bfloat16 on a GPU, float32 on a CPU) or a type.
        quantization: ``none``, ``int8``, ``int8-dynamic``, ``fp8`` or
            ``int4``: of the frozen language model's weights, see
            docs/precision.md.
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
                 engine: dict | None = None,
                 tokenizer: str | None = None,
                 dtype: str = 'auto',
                 quantization: str = 'none',
                 in_channels: int | None = None,
                 init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if max_txt_len < 1:
            raise ConfigError('max_txt_len must be at least 1.')
        self.reader = SampleReader(task, get_template(template), prompt,
                                   question_template)
        self.max_txt_len = max_txt_len
        self.dtype = dtype
        self.generation = SamplingParams.from_dict(generation)
        self.engine = EngineConfig.from_dict(engine)
        load_dtype(dtype)
        self.quantization = check_quantization(quantization)
        source = loader.find(llm, tokenizer,
                                     self.reader.template.name)
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
        self.llm = loader.load(source, dtype, self.quantization)
        self._keeps_some = 'logits_to_keep' in inspect.signature(
            self.llm.forward).parameters
        self.register_load_state_dict_post_hook(_forgive_absent_llm)

    @staticmethod
    def check(llm: str | dict | None = None, **others) -> None:
        """Ask for a language model's folder, without building anything.

        Args:
            llm: As of the class.
            others: The class's other arguments, which are not looked at.

        Raises:
            MissingWeightsError: If the folder is not there.
        """
        if not isinstance(llm, dict):
            loader.find_folder(llm)

    def init_weights(self) -> None:
        """Nothing: the language model comes with its weights."""

    def settle(self, device: torch.device, frozen: bool = True) -> None:
        """Give a frozen language model the type that suits its device."""
        wanted = compute_dtype(self.dtype, device)
        if not frozen and self.quantization != 'none':
            raise ConfigError(
                f'quantization={self.quantization!r} is for a frozen language '
                "model: put 'head' into `freeze`, or leave it out.")
        if frozen or self.dtype != 'auto':
            convert(self.llm, wanted)

    @property
    def together(self) -> tuple[tuple[str, ...], ...]:
        """Names of layers that are called together, to be packed so."""
        return FUSED_GROUPS if reads_fast(self) else ()

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
        return dict(loss=F.cross_entropy(*self._targets(feats, data_samples)))

    def loss_terms(self, feats: torch.Tensor | Sequence[torch.Tensor],
                   data_samples: Sequence) -> tuple[torch.Tensor, int]:
        """The sum that :meth:`loss` is the mean of, and of how many tokens.

        Args:
            feats: As of :meth:`loss`.
            data_samples: As of :meth:`loss`.
        """
        logits, labels = self._targets(feats, data_samples)
        return F.cross_entropy(logits, labels, reduction='sum'), len(labels)

    def _targets(self, feats: torch.Tensor | Sequence[torch.Tensor],
                 data_samples: Sequence
                 ) -> tuple[torch.Tensor, torch.Tensor]:
        evict(self.llm)
        visual = split(feats, data_samples)
        rows = [
            self.training_row(sample, tokens)
            for tokens, sample in zip(visual, data_samples, strict=True)
        ]
        return answer_logits(self, rows, visual)

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
        visual = split(feats, prompts)
        rows = []
        for pieces, tokens in zip(prompts, visual, strict=True):
            check_image_count(pieces, tokens)
            rows.append(
                make_row(tokenize(pieces, self._tokens(), tokens.shape[-2])))
            self._check_room(len(rows[-1].ids))
        inputs, _ = self._embed(rows, visual)
        logits = self.llm(**inputs, use_cache=False).logits
        return logits, inputs['attention_mask']

    def training_row(self, sample, tokens: torch.Tensor) -> Row:
        """A sample with its answers; they and their ends are labelled.

        Args:
            sample: A data sample with a target.
            tokens: float[n, Q, E], its images.
        """
        parts, template = self.reader.exchanges(sample, len(tokens))
        check_image_count([piece for pieces, _ in parts for piece in pieces],
                     tokens)
        row = Row([], [])
        for pieces, answer in parts:
            row += make_row(
                tokenize(pieces, self._tokens(), tokens.shape[-2]),
                tokenize_answer(answer, template, self._tokens(),
                                self.max_txt_len))
        self._check_room(len(row.ids))
        return row

    def prompt_ids(self, sample, tokens: torch.Tensor,
                   room: int | None = None) -> tuple[list[int], Template]:
        """A sample's prompt as ids, and the template it went through.

        Args:
            sample: A data sample, or None for the config's prompt.
            tokens: float[n, Q, E], its images.
            room: A conversation loses its oldest turns until it has at most
                so many tokens; beginning, system text, images and the last
                turn stay.
        """
        def ids_of(sample) -> tuple[list[int], Template]:
            pieces, template = self.reader.prompt(sample, len(tokens))
            check_image_count(pieces, tokens)
            return tokenize(pieces, self._tokens(),
                            tokens.shape[-2]), template

        ids, template = ids_of(sample)
        turns = self.reader.turns(sample)
        least, most = 1, len(turns) // 2
        if room is None or len(ids) <= room or not most:
            return ids, template
        while True:
            # How many answered turns have to go, by bisection.
            number = (least + most) // 2
            ids, _ = ids_of(dict(
                conversation=truncate_history(turns, number, len(tokens),
                                           template),
                system=sample.get('system')))
            if least == most:
                return ids, template
            least, most = ((least, number) if len(ids) <= room else
                           (number + 1, most))

    def _embed(self, rows: Sequence[Row], visual: Sequence[torch.Tensor]
               ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Rows as inputs of the language model, and their labels."""
        table = self.llm.get_input_embeddings()
        device = table.weight.device
        whole = collate(rows)
        # Found on the host, which need not wait for the device then.
        slots = (whole[0] == IMAGE_ID).nonzero(as_tuple=True)
        ids, mask, positions, labels = (tensor_to_device(x, device)
                                        for x in whole)
        embeds = table(ids.clamp(min=0))  # float[B, T, E]
        if len(slots[0]):
            # Rows in order, images in order: float[sum of n * Q, E]
            tokens = torch.cat([x.flatten(0, 1) for x in visual])
            if tokens.shape[-1] != embeds.shape[-1]:
                raise ConfigError(
                    f'Visual tokens are {tokens.shape[-1]} wide, the language '
                    f'model wants {embeds.shape[-1]}. Check out_channels of '
                    'the projector.')
            embeds = embeds.index_put(
                tuple(tensor_to_device(x, device) for x in slots),
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


def _size_hint(width: int) -> str:
    return {4096: 'a 7B', 5120: 'a 13B'}.get(width, f'a {width}-wide')


def _forgive_absent_llm(module: VicunaHead, incompatible) -> None:
    """Let checkpoints leave out a language model that has its own folder."""
    if module.has_own_weights:
        incompatible.missing_keys[:] = [
            key for key in incompatible.missing_keys
            if 'head.llm.' not in key and not key.startswith('llm.')
        ]
