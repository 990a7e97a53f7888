# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Metrics from recorded answers."""

from collections.abc import Sequence

from mmengine.evaluator import Evaluator

from ...errors import ConfigError


def score(evaluator: Evaluator, records: Sequence[dict]
          ) -> dict[str, float]:
    """Compute all metrics from records, in this process alone.

    A metric's own ``evaluate`` gathers from all processes and cuts what a
    sampler padded; records are gathered already, and each is there once.

    Args:
        evaluator: The metrics.
        records: One for each sample, in the order of the data set.

    Raises:
        ConfigError: If two metrics have a name in common.
    """
    scores: dict[str, float] = {}
    for metric in evaluator.metrics:
        metric.results.clear()
    evaluator.process(data_samples=records, data_batch=None)
    for metric in evaluator.metrics:
        results = list(metric.results)
        metric.results.clear()
        for name, value in (metric.compute_metrics(results) or {}).items():
            if metric.prefix:
                name = f'{metric.prefix}/{name}'
            if name in scores:
                raise ConfigError(f'Two metrics give {name}: set prefix of '
                                  'one of them.')
            scores[name] = value
    return scores


def per_sample_results(evaluator: Evaluator) -> dict[tuple, dict]:
    """What metrics found for each answer, by id and rotation."""
    found: dict[tuple, dict] = {}
    for metric in evaluator.metrics:
        for detail in getattr(metric, 'details', []):
            key = (getattr(metric, 'id_key', 'image_id'), _id(detail['id']),
                   detail.get('rotation'))
            found.setdefault(key, {}).update(detail)
    return found


def result_of(record: dict, found: dict[tuple, dict]) -> dict:
    """The verdict on a record, or an empty dict."""
    for key in ('question_id', 'image_id'):
        if record.get(key) is not None:
            place = (key, _id(record[key]), record.get('rotation'))
            if place in found:
                return found[place]
    return {}


def _id(name: object) -> str:
    # COCO's names of images have leading zeros, its numbers have none.
    text = str(name)
    return str(int(text)) if text.isdecimal() else text
