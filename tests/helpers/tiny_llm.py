# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A language model of a few thousand parameters, with a real tokenizer.

The tokenizer is written by hand, so that tests can spell out ids: 0 to 2 are
<unk>, <s> and </s>, 3 to 258 the bytes, 259 on PIECES in order.
"""

BLANK = '\u2581'
# As in LLaMA, ### has two spellings: one piece after a blank, else two.
MERGED = ['##', BLANK + '##', BLANK + '###', 're', BLANK + 're', BLANK + 'red']
PIECES = MERGED + list(
    BLANK + '#:<>/.abcdefghijklmnopqrstuvwxyzHAIS' + '[]')
VOCAB = 3 + 256 + len(PIECES)
LLAMA = dict(
    model_type='llama',
    vocab_size=VOCAB,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=256,
    bos_token_id=1,
    eos_token_id=2)


def ids_of(*pieces: str) -> list[int]:
    """Ids of pieces written out; a ``_`` stands for a blank."""
    return [259 + PIECES.index(piece.replace('_', BLANK)) for piece in pieces]


def write_tokenizer(path) -> None:
    """Write a sentencepiece model with the pieces above."""
    from sentencepiece import sentencepiece_model_pb2 as proto
    model = proto.ModelProto()
    kinds = proto.ModelProto.SentencePiece
    names = [('<unk>', kinds.UNKNOWN), ('<s>', kinds.CONTROL),
             ('</s>', kinds.CONTROL)]
    names += [(f'<0x{byte:02X}>', kinds.BYTE) for byte in range(256)]
    names += [(piece, kinds.NORMAL) for piece in PIECES]
    for i, (name, kind) in enumerate(names):
        # Earlier pieces are merged first.
        model.pieces.add(piece=name, type=kind, score=float(-max(0, i - 258)))
    model.trainer_spec.model_type = proto.TrainerSpec.BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.vocab_size = len(names)
    model.normalizer_spec.name = 'identity'
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = False
    model.normalizer_spec.escape_whitespaces = True
    path.write_bytes(model.SerializeToString())
