# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Everything a scene can be made of, by the name that texts use for it."""

# Mean colour of each, RGB 0-255; a scene jitters it.
COLORS = {
    'red': (214, 38, 40),
    'orange': (245, 130, 25),
    'yellow': (246, 218, 50),
    'green': (44, 160, 58),
    'blue': (38, 84, 214),
    'purple': (146, 52, 176),
}
SHAPES = ('circle', 'square', 'triangle', 'cross', 'ring')
# Half the extent of an object, as a share of the side of the picture.
SIZES = {'small': (0.085, 0.105), 'large': (0.16, 0.19)}
# The middle of each place, (x, y) as a share of the side of the picture.
PLACES = {
    'top left': (0.25, 0.25),
    'top right': (0.75, 0.25),
    'bottom left': (0.25, 0.75),
    'bottom right': (0.75, 0.75),
}
BACKGROUNDS = {
    'white': (240, 240, 238),
    'gray': (150, 150, 152),
    'black': (24, 24, 28),
    'brown': (112, 78, 52),
}
NUMBERS = ('no', 'one', 'two', 'three')
