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

from ...errors import ConfigError
from ...generation import EngineConfig, SamplingParams, evict
from ...llm import loader
from ...llm.dtypes import compute_dtype, convert, load_dtype
from ...llm.llama import FUSED_GROUPS
from ...llm.quantization.methods import check as check_quantization
from ...prompts import Piece, get_template
from ...registry import MODELS
from .answerer import Answerer
from .likelihood import answer_logits, uses_fast_forward
from .prompt_encoder import PromptEncoder
from .samples import SampleReader
from .visual_tokens import split, split_images


@MODELS.register_module()
class VicunaHead(BaseModule):
    """A causal language model that reads visual tokens among its words.

    :class:`~.samples.SampleReader` says what it reads in a data sample.

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
        source = loader.find(llm, tokenizer, self.reader.template.name)
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

    def prepare(self, device: torch.device, frozen: bool = True) -> None:
        """Give a frozen language model the type that suits its device."""
        wanted = compute_dtype(self.dtype, device)
        if not frozen and self.quantization != 'none':
            raise ConfigError(
                f'quantization={self.quantization!r} is for a frozen language '
                "model: put 'head' into `freeze`, or leave it out.")
        if frozen or self.dtype != 'auto':
            convert(self.llm, wanted)

    @property
    def fused_groups(self) -> tuple[tuple[str, ...], ...]:
        """Names of layers that are called together, to be packed so."""
        return (FUSED_GROUPS if uses_fast_forward(self.llm, self.engine)
                else ())

    @property
    def prompt_encoder(self) -> PromptEncoder:
        """Turns samples into rows, for the language model as it is now."""
        return PromptEncoder(
            self.reader, self.tokenizer, self.llm.get_input_embeddings(),
            self.context, self.max_txt_len)

    @property
    def answerer(self) -> Answerer:
        """Answers samples, by the language model and engine of now."""
        return Answerer(self.llm, self.prompt_encoder, self.engine,
                        self.generation, self.end_ids)

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

    def predict(self, feats: torch.Tensor | Sequence[torch.Tensor],
                data_samples: Sequence | None = None, **options) -> list:
        """Write an answer into each data sample.

        Args:
            feats: As of :meth:`loss`.
            data_samples: Made anew when absent.
            options: Decoding options of this call, over the config's.

        Returns:
            list: The data samples, with ``pred_caption`` or ``pred_answer``
            and, where they have ``candidates``, ``candidate_scores``.
        """
        visual, answerer = split_images(feats), self.answerer
        if data_samples is None:
            # The toolbox may be importing this very module.
            from mmpretrain.structures import DataSample
            data_samples = [DataSample() for _ in visual]
        answers = answerer.generate(visual, data_samples, **options)
        for tokens, sample, answer in zip(
                visual, data_samples, answers, strict=True):
            answerer.set_prediction(sample, answer)
            answerer.set_scores(tokens, sample)
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
        visual, encoder = split(feats, prompts), self.prompt_encoder
        rows = [encoder.row(pieces, tokens)
                for pieces, tokens in zip(prompts, visual, strict=True)]
        inputs, _ = encoder.embed(rows, visual)
        logits = self.llm(**inputs, use_cache=False).logits
        return logits, inputs['attention_mask']

    def _targets(self, feats: torch.Tensor | Sequence[torch.Tensor],
                 data_samples: Sequence
                 ) -> tuple[torch.Tensor, torch.Tensor]:
        evict(self.llm)
        visual, encoder = split(feats, data_samples), self.prompt_encoder
        rows = [
            encoder.training_row(sample, tokens)
            for tokens, sample in zip(visual, data_samples, strict=True)
        ]
        return answer_logits(self.llm, self.engine, encoder, rows, visual)


def _size_hint(width: int) -> str:
    return {4096: 'a 7B', 5120: 'a 13B'}.get(width, f'a {width}-wide')


def _forgive_absent_llm(module: VicunaHead, incompatible) -> None:
    """Let checkpoints leave out a language model that has its own folder."""
    if module.has_own_weights:
        incompatible.missing_keys[:] = [
            key for key in incompatible.missing_keys
            if 'head.llm.' not in key and not key.startswith('llm.')
        ]
