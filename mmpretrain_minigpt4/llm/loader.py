# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Finding, checking and loading the language model.

Everything that can be told from a folder's small files is told before a
single weight is read: a 7B model takes minutes, an error must not.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ..assets import resolve
from ..errors import CheckpointError, ConfigError, MissingWeightsError
from .dtypes import convert, load_dtype
from .quantization.methods import check, quantize
from .tokenizer import TextTokenizer

WANTED = (
    'Get Vicuna-7B v0 in Hugging Face format (config.json, *.safetensors or '
    '*.bin, tokenizer.model; 13B v0 for the 13B model, Llama-2-7b-chat-hf for '
    'the Llama-2 model), or any other causal language model that your '
    'projection was trained with, put it in a folder, and name that folder '
    'by `--llm DIR` (llm=DIR in Python, `--cfg-options model.head.llm=DIR` '
    'where a config is trained or tested) or by the environment variable '
    'VICUNA_DIR (LLAMA2_DIR for Llama-2).')
WEIGHT_FILES = ('*.safetensors', 'pytorch_model*.bin')


@dataclass
class LanguageModelSource:
    """A checked, not yet loaded language model.

    Attributes:
        config: The transformers config.
        folder: Where its weights are; None for random ones.
        tokenizer: Its tokenizer; None only for random weights.
        end_ids: Tokens that end an answer.
    """
    config: object
    folder: Path | None
    tokenizer: TextTokenizer | None
    end_ids: tuple[int, ...]

    @property
    def embed_dims(self) -> int:
        """The width of the token embeddings."""
        return self.config.get_text_config(decoder=True).hidden_size

    @property
    def context(self) -> int | None:
        """How many tokens the model can hold."""
        text = self.config.get_text_config(decoder=True)
        for key in ('max_position_embeddings', 'n_positions'):
            if getattr(text, key, None):
                return int(getattr(text, key))
        return None


def find(llm: str | Mapping | None, tokenizer: str | None = None,
         template: str = '') -> LanguageModelSource:
    """Check a language model without loading it.

    Args:
        llm: A folder, or ``dict(config=dict(model_type=...))`` for random
            weights, to which ``tokenizer=FOLDER`` may be added.
        tokenizer: A folder or file with another tokenizer.
        template: The name of the prompt template, to warn of a model that
            was not made for it.

    Raises:
        MissingWeightsError: If something is not there.
        ConfigError: If something does not fit.
    """
    if isinstance(llm, Mapping):
        unknown = set(llm) - {'config', 'tokenizer'}
        if unknown or not isinstance(llm.get('config'), Mapping):
            raise ConfigError(
                'A language model given as dict has the keys `config` (a '
                'dict with model_type) and perhaps `tokenizer`; this one has '
                f'{sorted(llm)}.')
        folder, settings = None, dict(llm['config'])
        tokenizer = tokenizer or llm.get('tokenizer')
    else:
        folder = find_folder(llm)
        settings = _read_json(folder / 'config.json')
    _refuse_code(settings, folder or 'the config')
    text = None
    if tokenizer is not None:
        text = TextTokenizer.from_folder(resolve(str(tokenizer)))
    elif folder is not None:
        text = TextTokenizer.from_folder(folder)
    config = _config(settings, folder)
    vocab = config.get_text_config(decoder=True).vocab_size
    if text is not None and text.vocab_size > vocab:
        raise ConfigError(
            f'The tokenizer has {text.vocab_size:,} tokens, the language '
            f'model of {folder or "the config"} has embeddings for '
            f'{vocab:,}. They do not belong together: take the tokenizer '
            'that came with the model.')
    if folder is not None:
        warn_of_version(folder, settings, template)
    source = LanguageModelSource(config, folder, text,
                                 _end_ids(settings, folder, text))
    if folder is not None and not _weights(folder) and not _on_meta():
        raise MissingWeightsError(
            f'{folder} holds a config.json but no weights '
            f'({" or ".join(WEIGHT_FILES)}). {WANTED}')
    return source


def load(source: LanguageModelSource, dtype: str = 'auto',
         quantization: str = 'none') -> torch.nn.Module:
    """Read the weights (or draw random ones) in eval mode.

    Weights go from the file into tensors of their final type, without random
    numbers or float32 copies in between. Those to be quantised are read in
    the file's own type, and quantised layer by layer. Under
    ``torch.device('meta')`` nothing is read at all.

    Args:
        source: What :func:`find` gave.
        dtype: Of what is not quantised.
        quantization: As of :func:`~.quantization.methods.check`.

    Raises:
        CheckpointError: If the weights are broken or incomplete.
        ConfigError: If they cannot be quantised here.
    """
    wanted = load_dtype(dtype)
    if check(quantization) == 'none' or _on_meta():
        return _read(source, wanted)
    llm = quantize(_read(source, 'auto'), quantization)
    if wanted != 'auto':
        convert(llm, wanted)
    return llm


def _read(source: LanguageModelSource, wanted: torch.dtype | str
          ) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM
    if source.folder is None or _on_meta():
        kwargs = {} if wanted == 'auto' else dict(dtype=wanted)
        llm = AutoModelForCausalLM.from_config(source.config, **kwargs)
        return _ready(llm)
    try:
        llm, info = AutoModelForCausalLM.from_pretrained(
            str(source.folder),
            config=source.config,
            dtype=wanted,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True)
    except Exception as error:
        raise CheckpointError(
            f'The weights of the language model in {source.folder} cannot be '
            f'read: {str(error).strip()[:500]}. Fetch them again.') from error
    missing = sorted(info.get('missing_keys') or ())
    if missing:
        raise CheckpointError(
            f'The weights in {source.folder} lack {len(missing)} tensors of '
            f'the language model ({", ".join(missing[:3])}, ...). Fetch the '
            'folder again, or merge the delta that it holds.')
    return _ready(llm)


def warn_of_version(folder: Path, settings: Mapping, template: str) -> None:
    """Warn of a Vicuna that the released projections were not made for."""
    if not template.startswith('vicuna'):
        return
    names = f'{settings.get("_name_or_path") or ""} {folder.name}'.lower()
    found = re.search(r'v1[._-]?[0-9]|delta', names)
    if found:
        warnings.warn(
            f'The language model in {folder} calls itself '
            f'{found.group(0)!r}. The released MiniGPT-4 projections were '
            'trained with Vicuna v0; with another version, or with a delta '
            'that was not merged, the model writes fluent nonsense. Go on '
            'only with a projection trained for this one.',
            stacklevel=3)


def find_folder(llm: str | Path | None) -> Path:
    """The folder of a language model.

    Raises:
        MissingWeightsError: If it is not there; says what to put there.
    """
    if not llm or not isinstance(llm, (str, Path)):
        raise MissingWeightsError('No language model was named. ' + WANTED)
    folder = Path(resolve(str(llm))).expanduser()
    if not folder.is_dir():
        raise MissingWeightsError(
            f'There is no language model at {str(llm)!r}. {WANTED}')
    if not (folder / 'config.json').is_file():
        raise MissingWeightsError(
            f'The folder {folder} holds no config.json. {WANTED}')
    return folder


def _read_json(path: Path) -> dict:
    try:
        settings = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, OSError) as error:
        raise ConfigError(f'{path} is not readable JSON ({error}). Fetch it '
                          'again.') from error
    if not isinstance(settings, dict):
        raise ConfigError(f'{path} does not hold a JSON object.')
    return settings


def _refuse_code(settings: Mapping, where) -> None:
    if 'auto_map' in settings or settings.get('trust_remote_code'):
        raise ConfigError(
            f'{where} asks for code of its own to be run (auto_map or '
            'trust_remote_code); that is refused. Use a model that '
            'transformers knows by itself.')


def _config(settings: dict, folder: Path | None):
    from transformers import AutoConfig
    try:
        if folder is not None:
            return AutoConfig.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False)
        return AutoConfig.for_model(**settings)
    except Exception as error:
        raise ConfigError(
            f'{folder or "The config"} does not describe a language model '
            f'that transformers knows: {str(error)[:300]}') from error


def _end_ids(settings: Mapping, folder: Path | None,
             text: TextTokenizer | None) -> tuple[int, ...]:
    found: list = [settings.get('eos_token_id')]
    if text is not None:
        found.append(text.eos_id)
    if folder is not None and (folder / 'generation_config.json').is_file():
        found.append(
            _read_json(folder / 'generation_config.json').get('eos_token_id'))
    ids: list[int] = []
    for item in found:
        ids += item if isinstance(item, list) else [item]
    return tuple(sorted({i for i in ids if isinstance(i, int)}))


def _ready(llm: torch.nn.Module) -> torch.nn.Module:
    from transformers import GenerationConfig

    # A folder's sampling settings must not reach greedy decoding.
    llm.generation_config = GenerationConfig()
    return llm.eval()


def _weights(folder: Path) -> bool:
    return any(next(folder.glob(form), None) for form in WEIGHT_FILES)


def _on_meta() -> bool:
    return torch.get_default_device().type == 'meta'
