# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Find the answer in what a chatty model says, by rule.

Every function gives None where the rules find nothing, or find a
contradiction: then the answer counts as unclear, it is never guessed.
"""

import re
from collections.abc import Sequence

NUMBERS = dict(
    zero=0, one=1, two=2, three=3, four=4, five=5, six=6, seven=7, eight=8,
    nine=9, ten=10, eleven=11, twelve=12, thirteen=13, fourteen=14,
    fifteen=15, sixteen=16, seventeen=17, eighteen=18, nineteen=19,
    twenty=20, thirty=30, forty=40, fifty=50, hundred=100)
COLORS = ('black white gray grey silver gold red pink orange brown beige tan '
          'yellow green blue purple violet turquoise teal maroon').split()

# What stands before an answer and says nothing.
_LEAD = re.compile(
    r'^(?:(?:###\s*)?(?:assistant|answer|ans|response)\s*[:=-]\s*|'
    r'(?:sure|okay|ok|certainly|of course)[,.!]\s+|'
    r'(?:so|therefore|thus|hence|well|based on (?:the|this) (?:image|picture)'
    r'|in (?:the|this) (?:image|picture|photo)|according to the '
    r'(?:image|picture))\s*,?\s+)', re.I)
_EXPLICIT = (r"(?i:\b(?:answer|option|choice)(?: to (?:the|this|your) "
             r"question)?(?: here)? (?:is|would be|should be)(?:\s*:)?)")
_UNSURE = re.compile(
    r"\b(?:unclear|not (?:clear|sure|certain|possible to|able to|enough)|"
    r"unsure|uncertain|impossible to|(?:hard|difficult) to|unable to|"
    r"unknown|(?:can ?not|can't|could not|couldn't) (?:be |really |"
    r"accurately )?(?:tell|determin|say|see the|answer|know|identify|provide|"
    r"confirm)\w*|do(?:es)? not (?:provide|specify|know|have enough)|"
    r"don't (?:know|have enough)|as an ai|sorry|maybe|perhaps|might|"
    r"it is possible|yes or no|more (?:context|information))", re.I)
_NEGATION = re.compile(
    r"\b(?:no|not|none|nothing|nobody|never|neither|nor|without|cannot)\b"
    r"|n't\b", re.I)
_AFFIRMATIVE = re.compile(
    r"^(?:there(?:'s| is| are| was| were| appears? to be| seems? to be)|"
    r"i (?:can )?see|you can see|we can see|it(?:'s| is| does| has| looks| "
    r"appears| seems)|(?:he|she|they) (?:is|are|has|have|does|do)|"
    r"(?:the|this|these|those|that|a|an)\b.{1,80}?\b(?:is|are|was|were|has|"
    r"have|does|do|shows?|contains?|depicts?|features?|includes?|appears?|"
    r"seems?|looks?|can)\b)", re.I)
_YES = {'yes', 'yeah', 'yep', 'yup', 'true', 'correct', 'indeed',
        'affirmative', 'absolutely', 'definitely', 'right'}
_NO = {'no', 'nope', 'nah', 'false', 'incorrect', 'negative', 'wrong'}


def clean(text: str) -> str:
    """Cut what belongs to the conversation rather than to the answer."""
    text = re.split(r'###|</s>|\n\s*(?:human|user)\s*:', text or '',
                    flags=re.I)[0]
    text = re.sub(r'[*`"\u201c\u201d]', '', text).replace('\u2019', "'")
    text = ' '.join(text.split())
    while True:
        shorter = _LEAD.sub('', text)
        if shorter == text or not shorter:
            return text
        text = shorter


def sentences(text: str) -> list[str]:
    """Sentences without their full stops; ``3.5`` and ``St.`` stay whole."""
    parts = re.split(r'(?<!\bMr)(?<!\bSt)(?<!\bDr)[.!?](?=\s|$)', text)
    return [part.strip() for part in parts if part.strip()]


def yes_no(text: str) -> str | None:
    """``yes``, ``no`` or None.

    In this order: an explicit "the answer is yes"; the first word; doubt
    ("it is unclear ..."), which gives None; one of yes and no in the first
    sentence but not both; a negation in it; a plain assertion ("There is a
    dog ...").
    """
    text = clean(text)
    explicit = {
        word.lower()
        for word in re.findall(_EXPLICIT + r' (yes|no|true|false)\b', text,
                               re.I)
    }
    if explicit:
        verdicts = {_verdict(word) for word in explicit}
        return verdicts.pop() if len(verdicts) == 1 else None
    words = re.findall(r"[a-z']+", text.lower())
    if not words:
        return None
    first = sentences(text)[0] if sentences(text) else text
    if re.match(r'(?:yes|no)\s*(?:/|or\b|and\b)\s*(?:yes|no)\b', text, re.I):
        return None
    if _verdict(words[0]) and words[:2] != ['right', 'side']:
        return _verdict(words[0])
    if _UNSURE.search(first):
        return None
    found = {w for w in re.findall(r"[a-z']+", first.lower())
             if w in ('yes', 'no')}
    if len(found) == 1 and 'yes' in found:
        return 'yes'
    if len(found) == 2:
        return None
    if _NEGATION.search(first):
        return 'no'
    return 'yes' if _AFFIRMATIVE.match(first) else None


def _verdict(word: str) -> str | None:
    word = word.lower()
    return 'yes' if word in _YES else 'no' if word in _NO else None


def letter(text: str, letters: str = 'ABCD') -> str | None:
    """The letter of an option, or None.

    Taken are: the letter alone, in brackets or before ``.``, ``)`` or
    ``:`` at the start; after "answer is", "option" or "choice"; and a
    capital that stands alone anywhere, but for the words A and I. Letters
    after "not" do not count, several different ones contradict each other.
    """
    text = clean(text)
    one, either = f'[{letters}]', f'[{letters}{letters.lower()}]'
    match = re.fullmatch(rf'\W*({either})\W*', text) or re.match(
        rf'[\[(]({either})[\])]|({either})[.):](?:\s|$)|'
        rf'({one})(?:[.):](?=\w)|,(?=\s))', text)
    if match:
        return next(x for x in match.groups() if x).upper()
    text = re.sub(
        r"\b(?:not|isn't|than|nor|neither)(?: the)?(?: option| choice| "
        rf'answer)? [\[(]?{one}\b[\])]?', ' ', text)
    # A and I are words too, unless a reason or nothing follows.
    word = r'(?!(?<=[AI])\s+(?!because|since|as\b|and\b|which\b)[a-z])'
    for way in (
            rf'{_EXPLICIT} (?:option |choice |letter )?[\[(]?({one})\b{word}',
            rf'\b(?i:option|choice|letter|answer)s? [\[(]?({one})\b{word}',
            rf'[\[(]({one})[\])]',
            rf"(?<![\w'])({one})(?=[.):,]?$|[.):,]\s)|"
            rf"(?<![\w'])((?![AI]){one})(?![\w'])"):
        found = {
            x for match in re.finditer(way, text) for x in match.groups() if x
        }
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def simple(text: str) -> str:
    """Lower case, words and numbers alone, without articles."""
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", '', text.lower())
    words = re.findall(r"-?\d+(?:\.\d+)?|[^\W_]+(?:'[a-z]+)?", text)
    return ' '.join(w for w in words if w not in ('a', 'an', 'the'))


def option(text: str, choices: Sequence[str]) -> int | None:
    """The index of the option that an answer names, or None.

    In this order: the answer is an option's text; it gives a letter (unless
    another option's text follows it directly); it holds the text of exactly
    one option, where an option inside a longer named one and options after
    "not" do not count.
    """
    if not choices:
        return None
    names = [simple(str(choice)) for choice in choices]
    answer = simple(clean(text))
    same = [i for i, name in enumerate(names) if name and name == answer]
    if len(same) == 1:
        return same[0]
    letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ' [:len(names)]
    found = letter(text, letters)
    if found is not None:
        i = letters.index(found)
        after = re.search(rf'(?<!\w){found}\W+(.*)', clean(text), re.I)
        rest = simple(after.group(1)) if after else ''
        others = [
            j for j, name in enumerate(names) if j != i and name
            and re.match(re.escape(name) + r'(?!\S)', rest)
        ]
        own = names[i] and re.match(re.escape(names[i]) + r'(?!\S)', rest)
        return None if others and not own else i
    return _mentioned(answer, names)


def _mentioned(answer: str, names: Sequence[str]) -> int | None:
    spans: list[tuple[int, int, int]] = []
    for i, name in enumerate(names):
        if not name:
            continue
        pattern = r'(?<!\S)' + re.escape(name) + r'(?!\S)'
        spans += [(m.start(), -m.end(), i)
                  for m in re.finditer(pattern, answer)
                  if not _negated(answer, m.start())]
    # By where they begin, the longest first: what ends no later than one
    # before it, other than the same words again, is inside of that one.
    found: set[int] = set()
    whole = (0, 0)
    for start, end, i in sorted(spans):
        if -end > whole[1]:
            whole = (start, -end)
        if (start, -end) == whole:
            found.add(i)
    return found.pop() if len(found) == 1 else None


def _negated(answer: str, at: int) -> bool:
    """Whether one of the two words before a place denies what is there."""
    before = ' '.join(answer[:at].rsplit(None, 3)[-3:])
    return bool(re.search(
        r"(?:\bnot|n't|\brather than|\binstead of)(?: \w+)?$", before))


def number(text: str) -> float | None:
    """A number, or None.

    In this order: after "answer is"; after "there is" or "there are" ("no"
    is 0); the first word; the only number of the first sentence that has
    one.
    """
    text = clean(text).lower()
    value = (r'(-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?|' +
             '|'.join(sorted(NUMBERS, key=len, reverse=True)) +
             r')(?![\w])')
    for lead in (_EXPLICIT + r' (?:about |around )?',
                 r"\bthere(?: is| are|'s| were| was)(?: only| about| exactly"
                 r'| around| at least| approximately| a total of)? ', '^'):
        match = re.search(lead + value, text)
        if match:
            return _to_number(match.group(1))
        if re.search(lead + r'(?:no|none|not any)\b', text):
            return 0.
    for sentence in sentences(text):
        found = {_to_number(x)
                 for x in re.findall(r'(?<![\w.])' + value, sentence)}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _to_number(word: str) -> float:
    if word in NUMBERS:
        return float(NUMBERS[word])
    return float(word.replace(',', ''))


_TAIL = re.compile(
    r"(?:,| \(|;|\s-\s| because\b| since\b| as (?:it|the|he|she|they)\b| "
    r"which\b| who\b| that (?:is|are|was|has)\b| while\b| and (?:it|the|he|"
    r"she|they|there) )|\s+(?:in|of|from|on|shown in|depicted in|seen in) "
    r"(?:the|this) (?:image|picture|photo|photograph|scene)\b", re.I)
_COPULA = re.compile(
    r"^(?:it|this|that|they|these|he|she|there|(?:the|a|an|this|that|these|"
    r"his|her|their)\b.*?|[\w ]+? (?:of|in|on|at)\b.*?)(?:'s|'re| is| are| "
    r"was| were| appears? to be| seems? to be| looks? like| appears?| shows?"
    r"| says?| reads?| has| have) (?:being |called |likely |probably |most "
    r"likely |named |an? image of |an? picture of )*", re.I)
_YES_NO_QUESTION = re.compile(
    r"^(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|"
    r"had|am)(?:n't)?\b(?!.*\bor\b)", re.I)


def short_phrase(text: str,
                 question: str = '',
                 max_words: int = 5) -> str | None:
    """What a benchmark's annotator would have written down, or None.

    The question tells what is looked for: yes or no ("Is ..."), a number
    ("How many ..."), a colour ("What color ..."), else the predicate of the
    first sentence ("The man is holding a red umbrella, ..." gives ``holding
    red umbrella``), cut before relative clauses and reasons. More than
    ``max_words`` words are no short phrase.
    """
    text = clean(text)
    if not text:
        return None
    question = question.strip().lower()
    if _YES_NO_QUESTION.match(question):
        found = yes_no(text)
        if found or _UNSURE.search(text):
            return found
    if re.match(r'how (?:many|much)\b', question) and len(text.split()) > 1:
        found = number(text)
        if found is not None:
            return f'{found:g}'
    if 0 < len(simple(text).split()) <= 2:
        return simple(text)
    explicit = re.search(_EXPLICIT + r' (.+)', text, re.I)
    first = explicit.group(1) if explicit else text
    first = (sentences(first) or [''])[0]
    if not explicit and len(simple(first).split()) > 1:
        if _UNSURE.search(first):
            return None
        if re.search(r'\bcolou?r\b', question):
            colors = list(
                dict.fromkeys(w for w in simple(first).split()
                              if w in COLORS))
            if colors and len(colors) <= 2:
                return ' and '.join(colors)
        if len(first.split()) > 2:
            # What a model repeats without end is not searched to its end.
            first = _COPULA.sub('', first[:1000], count=1)
    first = simple(_TAIL.split(first, maxsplit=1)[0])
    return first if first and len(first.split()) <= max_words else None
