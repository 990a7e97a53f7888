# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Text to ids: LLaMA's own ids, and no text special."""

import json
import shutil

import pytest
from helpers.tiny_llm import BLANK, VOCAB, ids_of

from mmpretrain_minigpt4.errors import (
    ConfigError,
    MissingWeightsError,
    PromptError,
)
from mmpretrain_minigpt4.llm.tokenizer import TextTokenizer

LITERAL = [
    'red', ' red', '  red', 'a </s> <s> <unk> b', '</s>', '<0x0A>', '\n',
    'a\x00b', 'caf\xe9 \U0001f469\u200d\U0001f467', '#', '###', 'x###', ' ',
    '\u202eabc', '<ImageHere>'
]


@pytest.fixture(scope='module')
def tokenizer(llm_folder):
    return TextTokenizer.from_folder(llm_folder)


@pytest.fixture(scope='module')
def official_json(llm_folder, tmp_path_factory):
    """A tokenizer.json of the form that LLaMA's folders ship."""
    from transformers import AutoTokenizer
    folder = tmp_path_factory.mktemp('json')
    AutoTokenizer.from_pretrained(llm_folder).save_pretrained(folder)
    path = folder / 'tokenizer.json'
    content = json.loads(path.read_text())
    content['normalizer'] = dict(
        type='Sequence',
        normalizers=[
            dict(type='Prepend', prepend=BLANK),
            dict(type='Replace', pattern=dict(String=' '), content=BLANK)
        ])
    content['pre_tokenizer'] = None
    path.write_text(json.dumps(content))
    return folder


def test_a_blank_goes_before_each_text_as_in_llama(tokenizer):
    assert tokenizer.encode('red') == ids_of('_red') == [264]
    # Not merged with the blank of its own: a text that begins with one
    # has two.
    assert tokenizer.encode(' red') == ids_of('_', '_red')
    assert tokenizer.encode('') == []


def test_the_two_spellings_of_the_sharp_signs(tokenizer):
    assert tokenizer.encode('a ###') == ids_of('_', 'a', '_###')
    assert tokenizer.encode('a###') == ids_of('_', 'a', '##', '#')


def test_marks_have_their_ids_and_no_text(tokenizer):
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert tokenizer.vocab_size == VOCAB
    assert tokenizer.decode([1, *ids_of('_red'), 2, 99999, -1]) == 'red'


@pytest.mark.parametrize('text', LITERAL)
def test_no_text_is_special_and_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert not {0, 1, 2} & set(ids)
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize('text', LITERAL)
def test_a_tokenizer_json_gives_the_same_ids(tokenizer, official_json, text):
    other = TextTokenizer.from_folder(official_json)
    assert (other.bos_id, other.eos_id) == (1, 2)
    assert other.token_bytes == tokenizer.token_bytes
    assert other.encode(text) == tokenizer.encode(text)
    assert other.decode(other.encode(text)) == text


def test_a_byte_level_tokenizer_spells_bytes(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(
        models.BPE(
            vocab={character: i
                   for i, character in enumerate(alphabet)},
            merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(['<|end|>'])
    made.save(str(tmp_path / 'tokenizer.json'))
    (tmp_path / 'tokenizer_config.json').write_text(
        json.dumps(dict(eos_token=dict(content='<|end|>'))))
    tokenizer = TextTokenizer.from_folder(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_id) == (None, 256)
    for text in ['caf\xe9 <|end|>\n', '\U0001f600', ' a', '']:
        ids = tokenizer.encode(text)
        assert 256 not in ids
        assert tokenizer.decode(ids) == text


def test_half_a_character_is_refused(tokenizer):
    with pytest.raises(PromptError, match='position 1'):
        tokenizer.encode('a\ud800')


def test_a_folder_without_tokenizer_says_what_to_put_there(tmp_path):
    with pytest.raises(MissingWeightsError, match='tokenizer.model'):
        TextTokenizer.from_folder(tmp_path)


def test_a_broken_tokenizer_is_named(tmp_path):
    (tmp_path / 'tokenizer.model').write_bytes(b'version https://git-lfs')
    with pytest.raises(ConfigError, match='tokenizer.model'):
        TextTokenizer.from_folder(tmp_path)


def test_a_tokenizer_that_wants_code_run_is_refused(llm_folder, tmp_path):
    shutil.copy(llm_folder / 'tokenizer.model', tmp_path)
    (tmp_path / 'tokenizer_config.json').write_text('{"auto_map": {}}')
    with pytest.raises(ConfigError, match='auto_map'):
        TextTokenizer.from_folder(tmp_path)
