# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A conversation that outgrows the language model loses its oldest turns."""

from __future__ import annotations

from collections.abc import Sequence

from ...prompts import Template, Turn, count_images, user_pieces, with_images


def truncate_history(turns: Sequence[Turn], number: int, num_images: int,
                     template: Template) -> list[Turn]:
    """Leave out the oldest questions and their answers, but for the images.

    Args:
        turns: The first and the last are the user's.
        number: How many questions to leave out; fewer than there are.
        num_images: Images that stand in front of a plain first turn.
        template: As of :func:`prompts.render`.

    Returns:
        list: The other turns; the images of the lost ones open the first.
    """
    images = sum(
        count_images(user_pieces(content, 0 if i else num_images, template))
        for i, (_, content) in enumerate(turns[:2 * number:2]))
    (role, content), *rest = turns[2 * number:]
    if isinstance(content, str):
        pieces = with_images(content, images)
    else:
        pieces = [*with_images('', images), *content] if images else content
    return [(role, pieces), *rest]
