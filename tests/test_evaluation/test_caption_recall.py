# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Captions covered by a description, by three judges."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mmpretrain_minigpt4.errors import (
    ConfigError,
    DatasetError,
    MissingWeightsError,
)
from mmpretrain_minigpt4.evaluation import CaptionRecall
from mmpretrain_minigpt4.evaluation.functional.judges import (
    EmbeddingJudge,
    EndpointJudge,
    WordJudge,
)

TEXT = ('The image shows a man riding a brown horse. He is on a beach and '
        'the sky is blue.')
CAPTIONS = ['A person rides a horse on the beach.',  # person horse ride beach
            'A woman with two dogs.',
            'Man on a brown horse']


def score(judge, captions=CAPTIONS):
    metric = CaptionRecall(judge=judge)
    metric.process(
        None, [dict(image_id=1, pred_caption=TEXT, gt_caption=captions)])
    return metric.compute_metrics(metric.results)


def test_words_cover_captions_by_their_content():
    assert WordJudge().covers(TEXT, CAPTIONS) == [True, False, True]
    scores = score(None)
    assert scores['covered'] == 2
    assert scores['of'] == 3
    assert scores['share'] == pytest.approx(200 / 3)
    assert scores['words'] == 19


def test_embeddings_are_compared_with_the_nearest_sentence():
    import torch

    def embed(texts):
        return torch.tensor([[float('horse' in t), float('beach' in t),
                              float('dogs' in t)] for t in texts])

    # Sentence 1 is (1, 0, 0), 2 is (0, 1, 0), the whole (1, 1, 0); the
    # captions are (1, 1, 0), (0, 0, 1) and (1, 0, 0).
    judge = EmbeddingJudge(embed=embed, threshold=0.99)
    assert judge.covers(TEXT, CAPTIONS) == [True, False, True]
    with pytest.raises(MissingWeightsError, match='no folder'):
        EmbeddingJudge(model='nowhere')
    with pytest.raises(ConfigError):
        EmbeddingJudge()


@pytest.fixture
def server():
    asked = []

    class Handler(BaseHTTPRequestHandler):

        def do_POST(self):
            size = int(self.headers['Content-Length'])
            request = json.loads(self.rfile.read(size))
            text = request['messages'][0]['content']
            asked.append(text)
            said = ('Hm.' if 'strange' in text else 'Yes.'
                    if 'horse on' in text else 'No.')
            reply = dict(choices=[dict(message=dict(content=said))])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *args):
            pass

    httpd = HTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{httpd.server_port}/v1', asked
    httpd.shutdown()
    httpd.server_close()


def test_an_endpoint_is_asked_once_for_each_caption(server, tmp_path):
    url, asked = server
    settings = dict(type='endpoint', base_url=url, model='judge',
                    cache=str(tmp_path / 'verdicts.jsonl'))
    assert score(settings)['covered'] == 1
    assert len(asked) == 3
    # Killed and run again: the verdicts are there, and a cut line is no harm.
    with open(settings['cache'], 'a') as file:
        file.write('{"model": "jud')
    assert score(settings)['covered'] == 1
    assert len(asked) == 3
    # What comes after the cut line is kept too.
    EndpointJudge(url, 'judge', cache=settings['cache']).covers(TEXT, ['new'])
    again = EndpointJudge(url, 'judge', cache=settings['cache'])
    assert again.covers(TEXT, ['new']) == [False]
    assert len(asked) == 4
    with pytest.raises(DatasetError, match='neither yes nor no'):
        EndpointJudge(url, 'judge').covers(TEXT, ['strange'])


def test_what_is_wrong_with_a_judge_is_named(monkeypatch):
    monkeypatch.delenv('JUDGE_KEY', raising=False)
    with pytest.raises(ConfigError, match='JUDGE_KEY'):
        EndpointJudge('http://localhost:1', 'm', key_variable='JUDGE_KEY')
    with pytest.raises(ConfigError, match='http'):
        EndpointJudge('file:///etc/passwd', 'm')
    with pytest.raises(DatasetError, match='gave no answer'):
        EndpointJudge('http://127.0.0.1:9', 'm', timeout=1).covers('a', ['b'])
    with pytest.raises(ConfigError, match='no judge'):
        CaptionRecall(judge=dict(type='oracle'))
    with pytest.raises(DatasetError, match='no reference'):
        score(None, captions=[])
