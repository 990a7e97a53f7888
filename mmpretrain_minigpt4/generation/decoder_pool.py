# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The right decoder for a model, kept between calls where that pays.

Recordings of steps take longer to make than a short answer takes to decode,
so the last decoder of a model, its cache with it, waits for the next call.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary, WeakSet

import torch

from ..llm.llama import Llama
from .cuda_graph_decoder import CUDAGraphDecoder, bucket
from .engine_config import EngineConfig
from .hf_decoder import HFDecoder
from .llama_decoder import LlamaDecoder

# Of a GPU's memory, what is kept at most.
SHARE = 1 / 3


_kept: WeakKeyDictionary[torch.nn.Module,
                         CUDAGraphDecoder] = WeakKeyDictionary()
# Models whose steps could not be recorded.
_plain: WeakSet[torch.nn.Module] = WeakSet()


def create_decoder(llm: torch.nn.Module, slots: int, width: int,
                settings: EngineConfig
                ) -> LlamaDecoder | HFDecoder:
    """A decoder without rows: the one that was kept, if it suits.

    Args:
        llm: A causal language model of transformers.
        slots: The largest number of rows at a time.
        width: Beams of each row.
        settings: What is chosen about the engine.
    """
    if not settings.fast or not Llama.fits(llm):
        return HFDecoder(llm, slots, width)
    device = llm.get_input_embeddings().weight.device
    if not settings.graphs_on(device) or llm in _plain:
        return LlamaDecoder(llm, slots, width, settings.reuse,
                            settings.kernels)
    found, key = _kept.pop(llm, None), _key(llm, width, settings)
    if found is not None and found.key == key and (
            slots <= found.cache.num_slots <= bucket(slots)):
        found.reset(slots)
        return found
    del found  # before a new cache is made
    decoder = CUDAGraphDecoder(llm, slots, width, settings.reuse,
                            settings.kernels)
    decoder.key = key
    return decoder


def keep(llm: torch.nn.Module, decoder: LlamaDecoder | HFDecoder
         ) -> None:
    """Let a decoder wait for the next call, unless it is too large.

    Args:
        llm: Its model.
        decoder: What :func:`create_decoder` gave; it is used no more.
    """
    if not isinstance(decoder, CUDAGraphDecoder):
        return
    device = decoder.model.device
    if device.type == 'cuda':
        if not decoder.graphs.on:
            _plain.add(llm)
            return
        memory = torch.cuda.get_device_properties(device).total_memory
        if decoder.cache.num_bytes > SHARE * memory:
            return
    _kept[llm] = decoder


def refresh(llm: torch.nn.Module, decoder: LlamaDecoder | HFDecoder,
            settings: EngineConfig) -> None:
    """Let a decoder forget recordings of weights that lie elsewhere now.

    Args:
        llm: Its model.
        decoder: What :func:`create_decoder` gave for it.
        settings: Likewise.
    """
    if isinstance(decoder, CUDAGraphDecoder):
        key = _key(llm, decoder.width, settings)
        if key != decoder.key:
            decoder.graphs.forget()
            decoder.key = key


def release(llm: torch.nn.Module) -> None:
    """Free what is kept for a model, as training does."""
    _kept.pop(llm, None)


def kept_decoder(llm: torch.nn.Module) -> CUDAGraphDecoder | None:
    """What is kept for a model."""
    return _kept.get(llm)


def _key(llm: torch.nn.Module, width: int, settings: EngineConfig
         ) -> tuple:
    """All that a kept decoder depends on.

    Recordings read weights where they lay, and do what the layers did then.
    """
    found = [width, settings.reuse, settings.kernels,
             torch.is_inference_mode_enabled()]
    for layer in llm.modules():
        found.append(layer.training)
        for weight in layer._parameters.values():
            if type(weight) is torch.nn.Parameter:
                found += weight.data_ptr(), weight.dtype, weight.device
            elif weight is not None:  # quantised: of several tensors
                found.append(id(weight))
        if hasattr(type(layer), 'merged'):  # of adapters
            found += (layer.disable_adapters, layer.merged,
                      *layer.active_adapters)
    return tuple(found)
