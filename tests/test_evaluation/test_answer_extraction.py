# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Tables of real-looking answers and what is in them."""

import time

from mmpretrain_minigpt4.evaluation.functional.answer_extraction import (
    clean,
    letter,
    number,
    option,
    short_phrase,
    yes_no,
)


def wrong(table, find):
    """Rows where something else is found, with what is found."""
    return [(text, expected, find(text)) for text, expected in table
            if find(text) != expected]


YES_NO = [
    ('Yes', 'yes'),
    ('no.', 'no'),
    ('Yes, there is a person riding a skateboard in the image.', 'yes'),
    ('No, there are no cars visible.', 'no'),
    ('There is a dog lying on the couch.', 'yes'),
    ('There are two chairs next to the table.', 'yes'),
    ('There is no dining table in the image.', 'no'),
    ('There are not any dogs here.', 'no'),
    ("There isn't a cat in this picture.", 'no'),
    ('The image does not contain a snowboard.', 'no'),
    ('The image shows a man holding an umbrella.', 'yes'),
    ('I can see a bottle on the left side.', 'yes'),
    ('I cannot see any bottle.', 'no'),
    ('The answer is yes.', 'yes'),
    ('The correct answer is no, since the cup is empty.', 'no'),
    ('Based on the image, the answer is: No', 'no'),
    ('**Yes**', 'yes'),
    ('Answer: no', 'no'),
    ('Assistant: Yes, it is.', 'yes'),
    ('Yes.\n###Human: and now?', 'yes'),
    ('True', 'yes'),
    ('False. The cat is under the table.', 'no'),
    ('That is correct, yes.', 'yes'),
    ('Nope', 'no'),
    ('It is unclear whether there is a dog.', None),
    ('I am not sure if there is a car in the image.', None),
    ('It is difficult to tell from this angle.', None),
    ("I'm sorry, I cannot determine that.", None),
    ('Yes or no', None),
    ('Is it yes or no? Both yes and no would fit.', None),
    ('A man riding a wave', None),
    ('', None),
    ('???', None),
    ('It is possible that a dog is there.', None),
    ('In the image, there is a fork next to the plate.', 'yes'),
    ('No one is sitting on the bench.', 'no'),
    ('Nothing like that can be seen.', 'no'),
]


def test_yes_or_no_is_found_in_an_answer():
    assert wrong(YES_NO, yes_no) == []


LETTERS = [
    ('B', 'B'),
    ('b', 'B'),
    ('(C)', 'C'),
    ('C. The red car', 'C'),
    ('D) four', 'D'),
    ('A: dog', 'A'),
    ('The answer is B.', 'B'),
    ('The correct answer is (D) because it is round.', 'D'),
    ('The correct option is C', 'C'),
    ('I would choose option A, the dog.', 'A'),
    ('Option B is correct.', 'B'),
    ('The answer is A because the sky is blue.', 'A'),
    ('The answer is A dog.', None),
    ('The answer is a dog.', None),
    ('A man is standing on a beach.', None),
    ('I think this is a dog.', None),
    ('It is not A, it is B.', 'B'),
    ('Either B or C.', None),
    ('The answer is B or the answer is C.', None),
    ('The best choice is B rather than A.', 'B'),
    ('It shows a cat, so it must be D', 'D'),
    ('E', None),
    ('', None),
    ('Answer: C', 'C'),
    ('**B**', 'B'),
    ('a dog', None),
    ('a. dog', 'A'),
]


def test_a_letter_is_found_in_an_answer():
    assert wrong(LETTERS, letter) == []


CHOICES = ['a cat', 'a black dog', 'dog', '3 birds']
OPTIONS = [
    ('dog', 2),
    ('The dog.', 2),
    ('A black dog', 1),
    ('The animal in the image is a black dog.', 1),
    ('It is a dog.', 2),
    ('B', 1),
    ('B. a black dog', 1),
    ('B. a cat', None),
    ('The answer is C. dog', 2),
    ('There are 3 birds on the wire.', 3),
    ('It is not a cat, it is a dog.', 2),
    ("It isn't a cat but 3 birds.", 3),
    ('A cat and a dog.', None),
    ('An elephant.', None),
    ('', None),
    ('D', 3),
    ('E', None),
]


def test_an_option_is_found_by_letter_or_by_text():
    assert wrong(OPTIONS, lambda text: option(text, CHOICES)) == []


NUMBERS = [
    ('3', 3),
    ('Three.', 3),
    ('There are 3 dogs: 2 black and 1 white.', 3),
    ('There are two people in the image.', 2),
    ('There are no people in the image.', 0),
    ('The answer is 1,200.', 1200),
    ('It costs 3.50 dollars.', 3.5),
    ('I count twelve windows.', 12),
    ('About 2 or 3.', None),
    ('Several.', None),
    ('', None),
    ('The clock shows nothing. It has 4 hands.', 4),
    ('None.', 0),
]


def test_a_number_is_found_in_an_answer():
    assert wrong(NUMBERS, number) == []


PHRASES = [
    ('Is the man tall?', 'Yes, the man is quite tall.', 'yes'),
    ('Are there clouds?', 'It is unclear.', None),
    ('How many dogs are there?', 'There are two dogs in the image.', '2'),
    ('What color is the car?', 'The car in the image is red.', 'red'),
    ('What color is the cat?', 'The cat is black and white.',
     'black and white'),
    ('What is the man holding?', 'The man is holding a red umbrella, which '
     'protects him from the rain.', 'holding red umbrella'),
    ('What animal is this?', 'This is a zebra.', 'zebra'),
    ('What animal is this?', 'zebra', 'zebra'),
    ('What animal is this?', 'The animal in the picture appears to be a '
     'giraffe because of its neck.', 'giraffe'),
    ('What sport is it?', 'The answer is tennis.', 'tennis'),
    ('Is it a cat or a dog?', 'It is a dog.', 'dog'),
    ('What is on the table?', 'A laptop in the image.', 'laptop'),
    ('What is it?', 'I am not sure what this is.', None),
    ('What is it?', 'This image shows a very long and winding story about '
     'nothing that anyone would write down', None),
    ('What is it?', '', None),
]


def test_a_chatty_answer_is_cut_to_a_short_phrase():
    table = [((text, question), expected)
             for question, text, expected in PHRASES]
    assert wrong(table, lambda pair: short_phrase(*pair)) == []


def test_what_the_conversation_adds_is_cut():
    assert clean('Answer: **Blue** ###Human: more?') == 'Blue'
    assert clean('Sure, the cup is blue.\n') == 'the cup is blue.'
    assert clean('') == ''


def test_texts_of_any_kind_raise_nothing():
    for text in ('\ud800', '(' * 500, 'A' * 5000, '\n\t', '答案是B', '🙂'):
        for find in (yes_no, letter, number, short_phrase):
            find(text)
        option(text, CHOICES)


def test_no_options_are_no_answer():
    assert option('A', []) is None


def test_a_looping_answer_is_read_in_good_time():
    began = time.process_time()
    animals = ['cat', 'dog', 'cat dog']
    assert option('cat dog ' * 2000, animals) == 2
    assert option('cat cat dog ' * 2000, animals) is None
    assert time.process_time() - began < 5
