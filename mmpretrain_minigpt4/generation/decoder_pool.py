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


_pool: WeakKeyDictionary[torch.nn.Module,
                         CUDAGraphDecoder] = WeakKeyDictionary()
# Models whose steps could not be recorded.
_uncapturable: WeakSet[torch.nn.Module] = WeakSet()


def create_decoder(llm: torch.nn.Module, max_num_seqs: int, width: int,
                   settings: EngineConfig
                   ) -> LlamaDecoder | HFDecoder:
    """A decoder without rows: the one that was kept, if it suits.

    Args:
        llm: A causal language model of transformers.
        max_num_seqs: The largest number of rows at a time.
        width: Beams of each row.
        settings: What is chosen about the engine.
    """
    if not settings.use_fast_forward or not Llama.fits(llm):
        return HFDecoder(llm, max_num_seqs, width)
    device = llm.get_input_embeddings().weight.device
    if not settings.cuda_graphs_on(device) or llm in _uncapturable:
        return LlamaDecoder(llm, max_num_seqs, width,
                            settings.enable_prefix_caching, settings.kernels)
    found, key = _pool.pop(llm, None), _key(llm, width, settings)
    if found is not None and found.key == key and (
            max_num_seqs <= found.cache.num_slots <= bucket(max_num_seqs)):
        found.reset(max_num_seqs)
        return found
    del found  # before a new cache is made
    decoder = CUDAGraphDecoder(llm, max_num_seqs, width,
                               settings.enable_prefix_caching,
                               settings.kernels)
    decoder.key = key
    return decoder


def put(llm: torch.nn.Module, decoder: LlamaDecoder | HFDecoder
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
        if not decoder.graph_runner.on:
            _uncapturable.add(llm)
            return
        memory = torch.cuda.get_device_properties(device).total_memory
        if decoder.cache.num_bytes > SHARE * memory:
            return
    _pool[llm] = decoder


def invalidate(llm: torch.nn.Module, decoder: LlamaDecoder | HFDecoder,
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
            decoder.graph_runner.reset()
            decoder.key = key


def evict(llm: torch.nn.Module) -> None:
    """Free what is kept for a model, as training does."""
    _pool.pop(llm, None)


def pooled_decoder(llm: torch.nn.Module) -> CUDAGraphDecoder | None:
    """What is kept for a model."""
    return _pool.get(llm)


def _key(llm: torch.nn.Module, width: int, settings: EngineConfig
         ) -> tuple:
    """All that a kept decoder depends on.

    Recordings read weights where they lay, and do what the layers did then.
    """
    found = [width, settings.enable_prefix_caching, settings.kernels,
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
