# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Pretrain the tiny twin's language model on text, then tune it for chat.

Letters: B documents, T positions, E width of the language model.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from .documents import IGNORE, Document, base_document, chat_document
from .tokenizer import VOCAB_SIZE, load_encoder

# Documents are drawn from seeds of their own, far from the vision part's.
BASE_SEEDS = 100_000_000
CHAT_SEEDS = 200_000_000


def new_language_model() -> LlamaForCausalLM:
    """A LLaMA of 1.2 million parameters with random weights."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=160,
            intermediate_size=432,
            num_hidden_layers=4,
            num_attention_heads=5,
            num_key_value_heads=5,
            max_position_embeddings=512,
            rms_norm_eps=1e-6,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=None,
            tie_word_embeddings=False))


def collate(documents: list[Document],
            embed: Callable[[Tensor], Tensor],
            noise: float = 0.) -> tuple[Tensor, Tensor]:
    """Turn documents into embeddings and labels, padded on the right.

    Args:
        documents: At least one.
        embed: The embedding layer of the language model.
        noise: Standard deviation of the noise on notes, as a share of the
            embeddings' own root mean square, at most; each document draws
            its share.

    Returns:
        float[B, T, E] embeddings, and int[B, T] labels.
    """
    length = max(len(d.slots) for d in documents)
    tokens = [t for d in documents for slot in d.slots for t in slot]
    where = [
        row * length + at for row, d in enumerate(documents)
        for at, slot in enumerate(d.slots) for _ in slot
    ]
    vectors = embed(torch.tensor(tokens))
    flat = vectors.new_zeros(len(documents) * length, vectors.shape[-1])
    flat = flat.index_add(0, torch.tensor(where), vectors)
    embeds = flat.view(len(documents), length, -1)  # [B * T, E] -> [B, T, E]
    if noise:
        scale = vectors.detach().square().mean().sqrt()
        mask = torch.zeros(len(documents), length, 1)
        for row, document in enumerate(documents):
            start, stop = document.notes
            mask[row, start:stop] = noise * torch.rand(())
        embeds = embeds + torch.randn_like(embeds) * mask * scale
    labels = torch.full((len(documents), length), IGNORE)
    for row, document in enumerate(documents):
        labels[row, :len(document.labels)] = torch.tensor(document.labels)
    return embeds, labels


def next_token_loss(model: LlamaForCausalLM, embeds: Tensor,
                    labels: Tensor) -> Tensor:
    """Mean cross entropy at the labelled positions alone."""
    hidden = model.model(inputs_embeds=embeds, use_cache=False)[0]
    targets = labels[:, 1:]
    here = targets != IGNORE
    return F.cross_entropy(
        model.lm_head(hidden[:, :-1][here]), targets[here])


def cosine(step: int, steps: int, peak: float, warm_up: int = 100) -> float:
    """Learning rate of a step: linear warm-up, then cosine to a tenth."""
    share = max(0., (step - warm_up) / max(1, steps - warm_up))
    return peak * min(1., (step + 1) / warm_up) * (
        0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def train(model: LlamaForCausalLM,
          document: Callable[[int, Callable], Document],
          encode: Callable[[str], list[int]],
          *,
          steps: int,
          first_seed: int,
          batch_size: int = 32,
          peak_lr: float = 2e-3,
          frozen_embeddings: bool = False,
          log: Callable[[str], None] = print) -> None:
    """Train on documents drawn from consecutive seeds."""
    torch.manual_seed(first_seed)
    model.train()
    # On a CPU plain attention under bf16 takes 0.4 of the time of SDPA in
    # fp32 at these lengths.
    model.set_attn_implementation('eager')
    model.get_input_embeddings().requires_grad_(not frozen_embeddings)
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        wanted, betas=(0.9, 0.98), weight_decay=0.05)
    started, window = time.time(), []
    for step in range(steps):
        seeds = range(first_seed + step * batch_size,
                      first_seed + (step + 1) * batch_size)
        embeds, labels = collate([document(s, encode) for s in seeds],
                                 model.get_input_embeddings(),
                                 noise=0.7)
        with torch.autocast(embeds.device.type, torch.bfloat16):
            loss = next_token_loss(model, embeds, labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(wanted, 1.0)
        for group in optimizer.param_groups:
            group['lr'] = cosine(step, steps, peak_lr)
        optimizer.step()
        window.append(loss.item())
        if (step + 1) % 50 == 0:
            log(f'step {step + 1}/{steps} loss {sum(window) / 50:.4f} '
                f'{time.time() - started:.0f} s')
            window.clear()


def train_base(folder: Path, out: Path, steps: int) -> None:
    """Pretrain the base model on notes and texts; save it under ``out``."""
    torch.manual_seed(1)
    model = new_language_model()
    train(
        model,
        base_document,
        load_encoder(folder).encode,
        steps=steps,
        first_seed=BASE_SEEDS)
    model.eval().save_pretrained(out)


def train_chat(base: Path, folder: Path, out: Path, steps: int) -> None:
    """Tune a copy of the base model for chat; save it under ``out``.

    The embeddings stay the base model's, so that what was learnt through
    the base model goes on meaning the same.
    """
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    train(
        model,
        chat_document,
        load_encoder(folder).encode,
        steps=steps,
        first_seed=CHAT_SEEDS,
        peak_lr=6e-4,
        frozen_embeddings=True)
    model.eval().save_pretrained(out)
