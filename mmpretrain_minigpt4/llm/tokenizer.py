# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Text to token ids and back, with every text taken literally.

A LLaMA folder's ``tokenizer.model`` is read by sentencepiece itself, any
other folder's ``tokenizer.json`` by the tokenizers library, both without the
classes of transformers: those turn ``</s>`` in a text into the end token, and
in version 5 leave out the blank that LLaMA's tokenizer puts before a text,
which gives other ids than the ones that Vicuna was trained with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError, MissingWeightsError, PromptError

BYTE_PIECE = re.compile(r'<0x([0-9A-F]{2})>')
BLANK = '\u2581'  # sentencepiece writes a blank so


class TextTokenizer:
    """A tokenizer in which no text is special.

    Attributes:
        bos_id, eos_id: Ids of the marks, or None.
        vocab_size: One more than the largest id.
        token_bytes: The bytes that each id stands for; empty for marks.
    """
    bos_id: int | None
    eos_id: int | None
    token_bytes: list[bytes]

    @staticmethod
    def from_folder(folder: str | Path) -> TextTokenizer:
        """Read the tokenizer of a Hugging Face model folder.

        Raises:
            MissingWeightsError: If there is none.
            ConfigError: If it cannot be read, or wants its own code run.
        """
        folder = Path(folder)
        if folder.is_file():
            folder, names = folder.parent, [folder.name]
        else:
            names = ['tokenizer.model', 'tokenizer.json']
        settings = _settings(folder)
        for name in names:
            path = folder / name
            if not path.is_file():
                continue
            try:
                if path.suffix == '.json':
                    return _JsonTokenizer(path, settings)
                return _SentencePieceTokenizer(path, settings)
            except ImportError as error:
                raise ConfigError(f'{path} needs a library that is not '
                                  f'installed: {error}.') from error
            except (ConfigError, MissingWeightsError):
                raise
            except Exception as error:
                if name != names[-1] and (folder / names[-1]).is_file():
                    continue  # some folders keep another format by this name
                raise ConfigError(f'The tokenizer {path} cannot be read '
                                  f'({error}). Fetch it again.') from error
        raise MissingWeightsError(
            f'{folder} holds no tokenizer: put the tokenizer.model (or '
            'tokenizer.json) of the language model there, or name the folder '
            'that has it by `tokenizer=`.')

    @property
    def vocab_size(self) -> int:
        return len(self.token_bytes)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text alone, without marks.

        Raises:
            PromptError: If the text is not valid Unicode.
        """
        try:
            text.encode('utf-8')
        except UnicodeEncodeError as error:
            raise PromptError('The text holds half a character (a lone '
                              f'surrogate) at position {error.start}. Send '
                              'valid Unicode text.') from None
        return self._encode(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens; marks and unknown ids stand for nothing."""
        data = b''.join(self.token_bytes[i] for i in token_ids
                        if 0 <= i < len(self.token_bytes))
        text = data.decode('utf-8', errors='replace')
        # The blank that encoding put before the text.
        return text[1:] if self.adds_blank and text[:1] == ' ' else text


class _SentencePieceTokenizer(TextTokenizer):

    def __init__(self, path: Path, settings: dict) -> None:
        import sentencepiece
        self.model = sentencepiece.SentencePieceProcessor()
        self.model.LoadFromSerializedProto(path.read_bytes())
        model = self.model
        self.bos_id = _mark(model.bos_id(), settings.get('add_bos_token'))
        self.eos_id = _mark(model.eos_id())
        self.token_bytes = [
            b'' if model.IsControl(i) or model.IsUnknown(i) else _piece_bytes(
                model.IdToPiece(i), model.IsByte(i))
            for i in range(model.GetPieceSize())
        ]
        self.adds_blank = self.decode_first() == b' '

    def decode_first(self) -> bytes:
        ids = self._encode('a')
        return self.token_bytes[ids[0]][:1] if ids else b''

    def _encode(self, text: str) -> list[int]:
        return self.model.EncodeAsIds(text)


class _JsonTokenizer(TextTokenizer):

    def __init__(self, path: Path, settings: dict) -> None:
        from tokenizers import Tokenizer
        self.model = Tokenizer.from_file(str(path))
        self.model.encode_special_tokens = True  # special only by id
        self.model.no_truncation()
        self.model.no_padding()
        described = json.loads(path.read_text(encoding='utf-8'))
        added = {
            token['content']: token
            for token in described.get('added_tokens') or ()
        }
        bos = _content(settings.get('bos_token'), added, ('<s>', ))
        eos = _content(settings.get('eos_token'), added, ('</s>', ))
        self.bos_id = _mark(
            self.model.token_to_id(bos) if bos else None,
            settings.get('add_bos_token'))
        self.eos_id = _mark(self.model.token_to_id(eos) if eos else None)
        byte_level = '"ByteLevel"' in json.dumps(
            [described.get('decoder'),
             described.get('pre_tokenizer')])
        alphabet = _byte_alphabet() if byte_level else None
        vocab = self.model.get_vocab(with_added_tokens=True)
        table = [b''] * (max(vocab.values(), default=-1) + 1)
        for piece, index in vocab.items():
            if piece in added:
                if not added[piece].get('special'):
                    table[index] = piece.encode('utf-8')
            elif alphabet:
                table[index] = bytes(alphabet[c] for c in piece
                                     if c in alphabet)
            else:
                table[index] = _piece_bytes(piece,
                                            bool(BYTE_PIECE.fullmatch(piece)))
        self.token_bytes = table
        ids = self._encode('a')
        self.adds_blank = bool(ids) and table[ids[0]][:1] == b' '

    def _encode(self, text: str) -> list[int]:
        return self.model.encode(text, add_special_tokens=False).ids


def _piece_bytes(piece: str, is_byte: bool) -> bytes:
    if is_byte:
        return bytes([int(BYTE_PIECE.fullmatch(piece).group(1), 16)])
    return piece.replace(BLANK, ' ').encode('utf-8')


def _mark(index: int | None, wanted: bool | None = None) -> int | None:
    return None if index is None or index < 0 or wanted is False else index


def _content(token, added: dict, usual: tuple) -> str | None:
    if isinstance(token, dict):
        token = token.get('content')
    return token or next((name for name in usual if name in added), None)


def _settings(folder: Path) -> dict:
    path = folder / 'tokenizer_config.json'
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ConfigError(f'{path} is not JSON ({error}). Fetch it '
                          'again.') from error
    if 'auto_map' in settings:
        raise ConfigError(f'{path} asks for code of its own to be run '
                          '(auto_map); that is refused. Use a model whose '
                          'tokenizer is plain data.')
    return settings


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins of byte-level tokenizers, to bytes.

    Printable Latin-1 bytes stand for themselves, the others for code points
    from 256 on, in order.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {
        **{chr(byte): byte
           for byte in plain},
        **{chr(256 + i): byte
           for i, byte in enumerate(rest)}
    }
