# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Answers written for a scorer elsewhere: MM-Vet's judge, test servers."""

import csv
import json
import os
from pathlib import Path

from ...errors import ConfigError
from ...registry import METRICS
from ...utils.faults import check_writable
from ..functional.answer_extraction import option, short_phrase
from .answer_metric import AnswerMetric

FORMATS = ('dict', 'list', 'tsv')


@METRICS.register_module()
class DumpPredictions(AnswerMetric):
    """Write answers to a file and give their number and mean length.

    Args:
        path: The file, written at the end and as a whole; that it can be is
            seen to at once.
        form: ``dict``: JSON, id to answer (MM-Vet's judge); ``list``: JSON,
            a list of ``question_id`` and ``answer`` (the VQA servers);
            ``tsv``: one line a question, with its options and the letter
            that was found as ``prediction``, empty where none was (MMBench).
        phrases: Write the short phrase found in an answer, where one is
            found, rather than the answer.
        kwargs: As of :class:`~.answer_metric.AnswerMetric`.

    Raises:
        ConfigError: If the form is unknown, or the file cannot be written.
    """

    default_prefix = 'answers'
    keeps = ('question', 'choices', 'rotation')

    def __init__(self, path: str, form: str = 'dict', phrases: bool = False,
                 **kwargs) -> None:
        if form not in FORMATS:
            raise ConfigError(f'There is no form {form!r}; known: '
                              f'{", ".join(FORMATS)}.')
        super().__init__(**kwargs)
        self.path = Path(path)
        check_writable(path, 'DumpPredictions cannot write')
        self.form = form
        self.phrases = phrases

    def process(self, data_batch, data_samples) -> None:
        """Keep answers to questions as they stand, unrotated."""
        super().process(data_batch, [
            sample for sample in data_samples if not sample.get('rotation')
        ])

    def judge(self, record: dict) -> dict:
        """What is written for a question."""
        text = record['answer']
        if self.form == 'tsv':
            found = option(text, record.get('choices') or [])
            text = '' if found is None else chr(ord('A') + found)
        elif self.phrases:
            text = short_phrase(text, record.get('question', '')) or text
        return dict(written=text)

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Write the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # First beside it: a killed run leaves no half a file.
        partial = self.path.with_name(self.path.name + '.part')
        with partial.open('w', encoding='utf-8', newline='') as file:
            if self.form == 'dict':
                json.dump({str(d['id']): d['written'] for d in details}, file,
                          ensure_ascii=False, indent=1)
            elif self.form == 'list':
                json.dump([dict(question_id=d['id'], answer=d['written'])
                           for d in details], file, ensure_ascii=False)
            else:
                self._write_tsv(details, file)
        os.replace(partial, self.path)
        return dict(
            saved=len(details),
            words=sum(len(d['answer'].split()) for d in details) /
            len(details))

    @staticmethod
    def _write_tsv(details: list[dict], file) -> None:
        most = max(len(d.get('choices') or []) for d in details)
        letters = [chr(ord('A') + i) for i in range(most)]
        writer = csv.writer(file, delimiter='\t')
        writer.writerow(['index', 'question', *letters, 'prediction'])
        for d in details:
            choices = list(d.get('choices') or [])
            choices += [''] * (most - len(choices))
            writer.writerow([d['id'], d.get('question', ''), *choices,
                             d['written']])
