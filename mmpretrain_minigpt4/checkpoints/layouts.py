# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The key table of each checkpoint layout in the wild.

A table maps patterns of a file's keys to native names. In a pattern ``{}`` is
a layer number, ``*`` is ``weight`` or ``bias``, ``**`` is any rest. The first
pattern that fits wins. ``DROP`` marks what MiniGPT-4 has no use for: a key
that is neither mapped nor dropped is an error, never a guess.

Source: the public key names of LAVIS, MiniGPT-4, mmpretrain and transformers.
"""

from dataclasses import dataclass

# The place of a tensor that MiniGPT-4 has no use for.
DROP = ''

Table = dict[str, str]


def under(prefix: str, table: Table) -> Table:
    """The same table for keys that lie under a prefix."""
    return {prefix + key: value for key, value in table.items()}


# EVA-ViT-g. BLIP-2 leaves out the last of its 40 blocks, and all after it.
EVA_VIT: Table = {
    'blocks.39.**': DROP,
    'norm.*': DROP,
    'fc_norm.*': DROP,
    'head.*': DROP,
    'cls_token': 'backbone.cls_token',
    'pos_embed': 'backbone.pos_embed',
    'patch_embed.proj.*': 'backbone.patch_embed.*',
    'blocks.{}.norm1.*': 'backbone.blocks.{}.norm1.*',
    'blocks.{}.norm2.*': 'backbone.blocks.{}.norm2.*',
    'blocks.{}.attn.q_bias': 'backbone.blocks.{}.attn.q_bias',
    'blocks.{}.attn.v_bias': 'backbone.blocks.{}.attn.v_bias',
    'blocks.{}.attn.qkv.*': 'backbone.blocks.{}.attn.qkv.*',
    'blocks.{}.attn.proj.*': 'backbone.blocks.{}.attn.proj.*',
    'blocks.{}.mlp.fc1.*': 'backbone.blocks.{}.mlp.fc1.*',
    'blocks.{}.mlp.fc2.*': 'backbone.blocks.{}.mlp.fc2.*',
}

# The same ViT under the names of mmpretrain's BEiT.
BEIT_VIT: Table = {
    'layers.39.**': DROP,
    'ln1.*': DROP,  # BEiT's final norm
    'ln2.*': DROP,  # the norm of its pooled output
    'head.*': DROP,
    'cls_token': 'backbone.cls_token',
    'pos_embed': 'backbone.pos_embed',
    'patch_embed.projection.*': 'backbone.patch_embed.*',
    'layers.{}.ln1.*': 'backbone.blocks.{}.norm1.*',
    'layers.{}.ln2.*': 'backbone.blocks.{}.norm2.*',
    'layers.{}.attn.q_bias': 'backbone.blocks.{}.attn.q_bias',
    'layers.{}.attn.v_bias': 'backbone.blocks.{}.attn.v_bias',
    'layers.{}.attn.qkv.*': 'backbone.blocks.{}.attn.qkv.*',
    'layers.{}.attn.proj.*': 'backbone.blocks.{}.attn.proj.*',
    'layers.{}.ffn.layers.0.0.*': 'backbone.blocks.{}.mlp.fc1.*',
    'layers.{}.ffn.layers.1.*': 'backbone.blocks.{}.mlp.fc2.*',
}

# The same ViT under the names of transformers' Blip2VisionModel.
HF_VIT: Table = {
    'embeddings.class_embedding': 'backbone.cls_token',
    'embeddings.position_embedding': 'backbone.pos_embed',
    'embeddings.patch_embedding.*': 'backbone.patch_embed.*',
    'encoder.layers.{}.layer_norm1.*': 'backbone.blocks.{}.norm1.*',
    'encoder.layers.{}.layer_norm2.*': 'backbone.blocks.{}.norm2.*',
    'encoder.layers.{}.self_attn.qkv.*': 'backbone.blocks.{}.attn.qkv.*',
    'encoder.layers.{}.self_attn.projection.*':
    'backbone.blocks.{}.attn.proj.*',
    'encoder.layers.{}.mlp.fc1.*': 'backbone.blocks.{}.mlp.fc1.*',
    'encoder.layers.{}.mlp.fc2.*': 'backbone.blocks.{}.mlp.fc2.*',
    'post_layernorm.*': 'backbone.ln_vision.*',
}

# One Q-Former layer, alike in LAVIS, mmpretrain and transformers. `output`
# and `intermediate` without `_query` are the text path.
BERT_LAYER: Table = {
    'attention.attention.query.*': 'neck.layers.{}.attn.q.*',
    'attention.attention.key.*': 'neck.layers.{}.attn.k.*',
    'attention.attention.value.*': 'neck.layers.{}.attn.v.*',
    'attention.self.query.*': 'neck.layers.{}.attn.q.*',
    'attention.self.key.*': 'neck.layers.{}.attn.k.*',
    'attention.self.value.*': 'neck.layers.{}.attn.v.*',
    'attention.output.dense.*': 'neck.layers.{}.attn.proj.*',
    'attention.output.LayerNorm.*': 'neck.layers.{}.attn_norm.*',
    'crossattention.attention.query.*': 'neck.layers.{}.cross_attn.q.*',
    'crossattention.attention.key.*': 'neck.layers.{}.cross_attn.k.*',
    'crossattention.attention.value.*': 'neck.layers.{}.cross_attn.v.*',
    'crossattention.self.query.*': 'neck.layers.{}.cross_attn.q.*',
    'crossattention.self.key.*': 'neck.layers.{}.cross_attn.k.*',
    'crossattention.self.value.*': 'neck.layers.{}.cross_attn.v.*',
    'crossattention.output.dense.*': 'neck.layers.{}.cross_attn.proj.*',
    'crossattention.output.LayerNorm.*': 'neck.layers.{}.cross_norm.*',
    'intermediate_query.dense.*': 'neck.layers.{}.mlp.fc1.*',
    'output_query.dense.*': 'neck.layers.{}.mlp.fc2.*',
    'output_query.LayerNorm.*': 'neck.layers.{}.mlp_norm.*',
    'intermediate.dense.*': DROP,
    'output.dense.*': DROP,
    'output.LayerNorm.*': DROP,
}

# Word and position embeddings: the text path again.
TEXT_EMBEDDINGS: Table = {
    'embeddings.word_embeddings.weight': DROP,
    'embeddings.position_embeddings.weight': DROP,
    'embeddings.position_ids': DROP,
}

# LAVIS' Q-Former below `Qformer.`, mmpretrain's below `q_former.`.
LAVIS_QFORMER: Table = {
    'cls.**': DROP,  # the language-modelling head of the text path
    **under('bert.', TEXT_EMBEDDINGS),
    'bert.embeddings.LayerNorm.*': 'neck.norm.*',
    **under('bert.encoder.layer.{}.', BERT_LAYER),
}

HF_QFORMER: Table = {
    **TEXT_EMBEDDINGS,
    'layernorm.*': 'neck.norm.*',
    'embeddings.layernorm.*': 'neck.norm.*',  # InstructBLIP
    **under('encoder.layer.{}.', BERT_LAYER),
}

# What BLIP-2 and MiniGPT-4 files name alike, whoever wrote them.
SHARED: Table = {
    'query_tokens': 'neck.query_tokens',
    'ln_vision.*': 'backbone.ln_vision.*',
    'llama_proj.*': 'projector.layers.0.*',
    # A constant that transformers no longer saves.
    'llama_model.model.layers.{}.self_attn.rotary_emb.inv_freq': DROP,
    'llama_model.**': 'head.llm.**',
}

LAVIS: Table = {
    **SHARED,
    **under('visual_encoder.', EVA_VIT),
    **under('Qformer.', LAVIS_QFORMER),
    't5_proj.*': DROP,  # projections to language models of BLIP-2
    'opt_proj.*': DROP,
    'vision_proj.*': DROP,  # heads of BLIP-2's first stage
    'text_proj.*': DROP,
    'itm_head.*': DROP,
    'temp': DROP,
}

OPENMMLAB: Table = {
    **SHARED,
    **BEIT_VIT,
    **under('vision_encoder.', BEIT_VIT),
    **under('q_former.', LAVIS_QFORMER),
}

HF_VISION: Table = {
    'query_tokens': 'neck.query_tokens',
    **under('vision_model.', HF_VIT),
    **under('qformer.', HF_QFORMER),
    **TEXT_EMBEDDINGS,  # Blip2ForImageTextRetrieval, and its heads
    'vision_projection.*': DROP,
    'text_projection.*': DROP,
    'itm_head.*': DROP,
}

HF_LLAMA: Table = {
    **HF_VISION,
    'language_projection.*': 'projector.layers.0.*',
    'language_model.model.layers.{}.self_attn.rotary_emb.inv_freq': DROP,
    'language_model.**': 'head.llm.**',
}

# BLIP-2's own language models: their projection must not be taken for one
# to Vicuna, though T5-XXL is 4096 wide as well.
HF_OTHER: Table = {
    **HF_VISION,
    'language_projection.*': DROP,
    'language_model.**': DROP,
}

NATIVE: Table = {
    'backbone.**': 'backbone.**',
    'neck.**': 'neck.**',
    'projector.**': 'projector.**',
    'head.llm.**': 'head.llm.**',
}


@dataclass(frozen=True)
class Layout:
    """A layout: how reports call it, its table, and its marks.

    Attributes:
        name: What a report calls it.
        table: Patterns of its keys to native names.
        marks: Patterns of which a file must hold at least one, where the
            table alone cannot tell the layout from another.
    """
    name: str
    table: Table
    marks: tuple[str, ...] = ()


# In the order in which they are tried; the one that maps most keys is taken,
# and among those that map as many, the first.
LAYOUTS = (
    Layout('native', NATIVE),
    Layout('LAVIS / MiniGPT-4 official', LAVIS),
    Layout('EVA', EVA_VIT),
    Layout('OpenMMLab', OPENMMLAB),
    Layout(
        'Hugging Face, T5 or OPT', HF_OTHER,
        ('language_model.encoder.**', 'language_model.decoder.**',
         'language_model.shared.weight', 'language_model.model.decoder.**')),
    Layout('Hugging Face', HF_LLAMA),
)
