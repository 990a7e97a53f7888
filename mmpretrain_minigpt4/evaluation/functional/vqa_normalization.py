# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The normalisation of answers that the VQA challenge's scorer does.

Its oddities are kept, since published scores have them: at most 32 full
stops are dropped, "none" becomes 0, and a punctuation mark is dropped or
becomes a blank by whether one of its kind touches a blank.
"""

import re

ARTICLES = ('a', 'an', 'the')
DIGITS = dict(
    none='0', zero='0', one='1', two='2', three='3', four='4', five='5',
    six='6', seven='7', eight='8', nine='9', ten='10')
PUNCTUATION = ';/[]"{}()=+\\_->' + '<@`,?!'
_STOP = re.compile(r'\.(?!\d)')
_THOUSANDS = re.compile(r'\d,\d')
MAX_STOPS = int(re.UNICODE)  # the scorer passes the flag as a count

# Words that lost their apostrophes get them back. Most are told by the
# right form alone.
_WHOLE = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't "
    "haven't he'd he's how'd how'll how's isn't it'd it'll ma'am mightn't "
    "might've mustn't must've needn't not've o'clock oughtn't shan't "
    "should've shouldn't that's there'd there're there's they'd they'll "
    "they're they've 'twas wasn't we've weren't what'll what're what's "
    "what've when's where'd where's where've who'd who'll who's who've "
    "why'll why're why's won't would've wouldn't y'all you'd you'll you're "
    "you've someone'd someone'll someone's something'd something'll "
    "somebody'll somebody's").split()
# With two apostrophes, of which either may be lost.
_TWICE = (
    "couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've "
    "somebody'd've someone'd've something'd've there'd've they'd've we'd've "
    "who'd've wouldn't've you'd've y'all'll").split()


def _table() -> dict[str, str]:
    table = {word.replace("'", ''): word for word in _WHOLE}
    for word in _TWICE:
        first, second = (m.start() for m in re.finditer("'", word))
        table[word[:first] + word[first + 1:]] = word
        table[word[:second] + word[second + 1:]] = word
    table.update({
        "yall'd've": "y'all'd've", "y'alld've": "y'all'd've",
        "y'all'dve": "y'all'd've", "ow's'at": "'ow's'at",
        "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at",
        # The scorer has this one the other way round.
        "somebody'd": 'somebodyd'
    })
    return table


CONTRACTIONS = _table()


def plain(text: str) -> str:
    """Line breaks and tabs as blanks, without blanks around."""
    return text.replace('\n', ' ').replace('\t', ' ').strip()


def normalize(text: str) -> str:
    """An answer as the scorer compares it.

    Source: VQA evaluation code of the challenge, version 2.
    """
    thousands = _THOUSANDS.search(text) is not None
    found = text
    for mark in PUNCTUATION:
        if mark not in text:
            continue
        drop = thousands or mark + ' ' in text or ' ' + mark in text
        found = found.replace(mark, '' if drop else ' ')
    found = _STOP.sub('', found, count=MAX_STOPS)
    words = [DIGITS.get(word, word) for word in found.lower().split()]
    words = [word for word in words if word not in ARTICLES]
    return ' '.join(CONTRACTIONS.get(word, word) for word in words)
