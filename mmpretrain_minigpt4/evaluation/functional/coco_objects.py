# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Which words name COCO's 80 kinds of object, and how they are found.

Written from the categories' names for this package; it is not the table of
the CHAIR paper, which can be handed in as a file.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ...errors import DatasetError

# Category: other words for it, in the singular.
SYNONYMS: Mapping[str, str] = {
    'person': 'man, woman, boy, girl, child, kid, baby, toddler, infant, guy, '
              'lady, gentleman, people, human, pedestrian, skier, surfer, '
              'skateboarder, snowboarder, player, rider, bicyclist, cyclist, '
              'motorcyclist, batter, catcher, pitcher, umpire, swimmer, chef, '
              'waiter, waitress, policeman, officer, soldier, worker, driver, '
              'passenger, student, teacher, tourist, teenager, adult, couple, '
              'crowd, bride, groom, athlete, jockey, cowboy, farmer, vendor, '
              'friend, mother, father, daughter, son, brother, sister, actor',
    'bicycle': 'bike, tricycle, cycle',
    'car': 'automobile, sedan, suv, taxi, cab, hatchback, minivan, van, '
           'convertible, jeep, limousine',
    'motorcycle': 'motorbike, moped, scooter, motor bike, motor cycle',
    'airplane': 'plane, aeroplane, aircraft, jet, jetliner, airliner, biplane,'
                ' air plane',
    'bus': 'minibus, trolleybus, double decker, coach',
    'train': 'locomotive, subway train, tram, streetcar',
    'truck': 'pickup, lorry, firetruck, trailer, fire truck, fire engine',
    'boat': 'ship, sailboat, canoe, kayak, ferry, yacht, raft, gondola, barge',
    'traffic light': 'stoplight, traffic signal, stop light, street signal',
    'fire hydrant': 'hydrant',
    'stop sign': '',
    'parking meter': '',
    'bench': 'pew',
    'bird': 'pigeon, seagull, gull, duck, goose, swan, parrot, owl, eagle, '
            'hawk, chicken, hen, rooster, turkey, ostrich, flamingo, penguin, '
            'crow, sparrow, peacock, crane, heron, pelican, robin',
    'cat': 'kitten, kitty, tabby',
    'dog': 'puppy, pup, poodle, labrador, retriever, terrier, corgi, husky, '
           'beagle, bulldog, dachshund, pug, collie',
    'horse': 'pony, foal, mare, stallion, colt',
    'sheep': 'lamb, ram, ewe',
    'cow': 'bull, calf, cattle, ox, heifer',
    'elephant': '',
    'bear': 'panda, cub, grizzly',
    'zebra': '',
    'giraffe': '',
    'backpack': 'knapsack, rucksack',
    'umbrella': 'parasol',
    'handbag': 'purse, wallet, tote, tote bag',
    'tie': 'necktie, bow tie, bowtie',
    'suitcase': 'luggage, suit case, baggage',
    'frisbee': '',
    'skis': 'ski',
    'snowboard': '',
    'sports ball': 'ball, baseball, basketball, football, volleyball, '
                   'soccer ball, tennis ball',
    'kite': '',
    'baseball bat': 'bat',
    'baseball glove': 'mitt, glove',
    'skateboard': 'longboard',
    'surfboard': '',
    'tennis racket': 'racket, racquet, tennis racquet',
    'bottle': '',
    'wine glass': 'wineglass, goblet',
    'cup': 'mug, teacup',
    'fork': '',
    'knife': 'pocketknife',
    'spoon': '',
    'bowl': '',
    'banana': '',
    'apple': '',
    'sandwich': 'burger, hamburger, cheeseburger, sub',
    'orange': '',
    'broccoli': '',
    'carrot': '',
    'hot dog': 'hotdog, sausage',
    'pizza': '',
    'donut': 'doughnut, bagel',
    'cake': 'cupcake, cheesecake, birthday cake',
    'chair': 'stool, seat, armchair, recliner',
    'couch': 'sofa, loveseat, settee, futon',
    'potted plant': 'houseplant, house plant',
    'bed': 'bunk bed, mattress',
    'dining table': 'table, desk, tabletop',
    'toilet': 'commode, urinal',
    'tv': 'television, monitor, televison, tv set',
    'laptop': 'notebook computer, laptop computer, computer, netbook',
    'mouse': 'computer mouse',
    'remote': 'remote control, wii remote',
    'keyboard': '',
    'cell phone': 'phone, cellphone, smartphone, mobile phone, iphone',
    'microwave': 'microwave oven',
    'oven': 'stove, stovetop, stove top',
    'toaster': '',
    'sink': 'washbasin',
    'refrigerator': 'fridge, freezer',
    'book': 'notebook, novel',
    'clock': '',
    'vase': '',
    'scissors': 'scissor',
    'teddy bear': 'teddy, stuffed bear, plush bear',
    'hair drier': 'hairdryer, hair dryer, blow dryer',
    'toothbrush': '',
}
# These read like an object and are another one, or none.
_ANIMALS = ('bird cat dog horse sheep cow elephant bear zebra giraffe '
            'animal').split()
OTHER_THINGS: Mapping[str, str] = {
    **{f'{age} {animal}': animal
       for animal in _ANIMALS for age in ('baby', 'adult', 'mother')},
    'passenger train': 'train', 'passenger jet': 'jet',
    'passenger plane': 'plane', 'toilet seat': 'toilet',
    'train track': '', 'train station': '', 'bus stop': '', 'home plate': '',
    'hot plate': '', 'orange color': '', 'car seat': 'car', 'baseball field':
    '', 'baseball game': '', 'baseball cap': '', 'baseball player': 'player',
    'baseball uniform': '', 'football player': 'player', 'tennis player':
    'player', 'table tennis': '', 'bird house': '', 'dog house': '',
    'train car': 'train', 'bed sheet': '', 'tennis court': '',
    'soccer player': 'player', 'soccer field': '', 'soccer game': '',
    'basketball court': '', 'phone booth': '',
}
_IRREGULAR = dict(
    men='man', women='woman', children='child', people='people', mice='mouse',
    geese='goose', calves='calf', knives='knife', oxen='ox', buses='bus',
    busses='bus', scissors='scissors', skis='skis', sheep='sheep',
    wolves='wolf', shelves='shelf', policemen='policeman', glasses='glass',
    loaves='loaf', feet='foot', teeth='tooth')


def singular(word: str) -> str:
    """The singular of an English noun, by rule."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith('s') or word.endswith(
            ('ss', 'us', 'is')):
        return word
    if word.endswith('ies') and len(word) > 4:
        return word if word in ('series', 'species') else (
            'bookie' if word == 'bookies' else word[:-3] + 'y')
    if word.endswith(('ches', 'shes', 'sses', 'xes', 'zzes')):
        return word[:-2]
    return word[:-1]


class ObjectWords:
    """Finds the categories that a text names.

    Args:
        synonyms: Path of a table with one category a line, its words parted
            by ``, `` and the category's name first, as the CHAIR paper's
            code has it; by default :data:`SYNONYMS`.

    Raises:
        DatasetError: If there is no such file, or a category is missing.
    """

    def __init__(self, synonyms: str | None = None) -> None:
        if synonyms is None:
            rows: Iterable = ([name, *words.split(', ')]
                              for name, words in SYNONYMS.items())
        else:
            path = Path(synonyms)
            if not path.is_file():
                raise DatasetError(
                    f'There is no table of synonyms {path}. Take '
                    'data/synonyms.txt from the code of the CHAIR paper, or '
                    'leave it out for the table of this package.')
            rows = (line.strip().split(', ')
                    for line in path.read_text('utf-8').splitlines()
                    if line.strip())
        self.category: dict[str, str] = {}
        for name, *words in rows:
            for word in (name, *words):
                if word.strip():
                    self.category.setdefault(word.strip(), name)
        lost = [name for name in SYNONYMS if name not in self.category]
        if lost:
            raise DatasetError(f'The table of synonyms {synonyms} lacks '
                               f'{len(lost)} categories of COCO, {lost[0]!r} '
                               'for one.')
        self.longest = max(len(w.split()) for w in self.category)

    def find(self, text: str) -> list[tuple[str, str]]:
        """(word, category) of each mention, in order.

        The longest name wins (``hot dog`` is no dog); a name of something
        else (``train track``) is no mention; beside a toilet a seat is no
        chair.
        """
        words = [singular(w)
                 for w in re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower())]
        found, i = [], 0
        while i < len(words):
            for size in range(min(self.longest, len(words) - i), 0, -1):
                name = ' '.join(words[i:i + size])
                other = OTHER_THINGS.get(name)
                if other is not None and name not in self.category:
                    if other in self.category:
                        found.append((other, self.category[other]))
                    break
                if name in self.category:
                    found.append((name, self.category[name]))
                    break
            else:
                size = 1
            i += size
        if any(category == 'toilet' for _, category in found):
            found = [pair for pair in found if pair[0] != 'seat']
        return found
