# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Finding and fetching weights, from a real server on this machine."""

import hashlib
import http.server
import threading

import pytest

from mmpretrain_minigpt4.checkpoints import download
from mmpretrain_minigpt4.errors import CheckpointError, MissingWeightsError

DATA = bytes(range(256)) * 1000
NAME = f'minigpt-4_part-{hashlib.sha256(DATA).hexdigest()[:8]}.pth'


class Server(http.server.ThreadingHTTPServer):
    """Serves DATA under every name, as badly as it is told to."""

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.requests = []  # the Range header of each
        self.break_after = []  # bytes after which to hang up, in turn
        self.knows_ranges = True
        self.failures = []  # status codes to answer with, in turn
        self.data = DATA

    @property
    def address(self):
        return f'http://127.0.0.1:{self.server_port}/'


class Handler(http.server.BaseHTTPRequestHandler):

    def do_GET(self):
        asked = self.headers.get('Range')
        self.server.requests.append(asked)
        if self.server.failures:
            self.send_error(self.server.failures.pop(0))
            return
        start = 0
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix('bytes=').rstrip('-'))
        if start >= len(self.server.data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        body = self.server.data[start:]
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.server.break_after:
            body = body[:self.server.break_after.pop(0)]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('MINIGPT4_WEIGHTS', raising=False)
    monkeypatch.setattr(download.time, 'sleep', lambda seconds: None)
    for proxy in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(proxy, raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_file_is_fetched_once_into_pytorchs_cache(server, tmp_path, capsys):
    path, = download.locate(server.address + NAME)
    assert path == tmp_path / 'home' / 'hub' / 'checkpoints' / NAME
    assert path.read_bytes() == DATA
    assert f'{len(DATA):,} bytes' in capsys.readouterr().err
    assert download.locate(server.address + NAME) == [path]
    assert len(server.requests) == 1
    assert not list(path.parent.glob('*.part'))


def test_a_broken_connection_goes_on_where_it_broke(server):
    server.break_after = [1000, 50_000]
    path = download.fetch(server.address + NAME, progress=False)
    assert path.read_bytes() == DATA
    assert server.requests == [None, 'bytes=1000-', 'bytes=51000-']


def test_an_interrupted_download_goes_on_in_the_next_call(server):
    server.break_after = [1000]
    with pytest.raises(MissingWeightsError, match='run this again'):
        download.fetch(server.address + NAME, progress=False, tries=1)
    assert not (download.cache_folder() / NAME).exists()
    path = download.fetch(server.address + NAME, progress=False, tries=1)
    assert path.read_bytes() == DATA
    assert server.requests[-1] == 'bytes=1000-'


def test_a_server_without_ranges_sends_it_all_again(server):
    server.break_after = [1000]
    server.knows_ranges = False
    path = download.fetch(server.address + NAME, progress=False)
    assert path.read_bytes() == DATA


def test_a_part_that_is_too_long_is_dropped(server):
    part = download.cache_folder() / f'{NAME}.part'
    part.parent.mkdir(parents=True)
    part.write_bytes(DATA + b'more')
    path = download.fetch(server.address + NAME, progress=False)
    assert path.read_bytes() == DATA


def test_a_file_of_another_content_is_refused_and_deleted(server):
    server.data = b'an error page'
    with pytest.raises(CheckpointError, match='SHA-256 begins'):
        download.fetch(server.address + NAME, progress=False)
    left = [path.name for path in download.cache_folder().iterdir()]
    assert left == [f'{NAME}.lock']


def test_a_name_without_a_hash_is_taken_as_it_comes(server):
    path = download.fetch(server.address + 'plain.pth', progress=False)
    assert path.read_bytes() == DATA


def test_what_is_not_there_is_not_asked_for_again(server):
    server.failures = [404, 404]
    with pytest.raises(MissingWeightsError, match='by hand'):
        download.fetch(server.address + NAME, progress=False)
    assert len(server.requests) == 1


def test_a_server_in_trouble_is_asked_again(server):
    server.failures = [503, 500]
    assert download.fetch(server.address + NAME, progress=False).is_file()
    assert len(server.requests) == 3


def test_no_connection_is_one_clear_error(server):
    address = server.address
    server.shutdown()
    server.server_close()
    with pytest.raises(MissingWeightsError, match='MINIGPT4_WEIGHTS'):
        download.fetch(address + NAME, progress=False, tries=1)


def test_a_disk_without_room_is_told_before_it_is_full(server, monkeypatch):
    monkeypatch.setattr(
        download.shutil, 'disk_usage',
        lambda path: type('Usage', (), dict(free=10)))
    with pytest.raises(MissingWeightsError, match='TORCH_HOME'):
        download.fetch(server.address + NAME, progress=False)


def test_several_processes_fetch_a_file_once(server):
    threads = [
        threading.Thread(
            target=download.fetch, args=(server.address + NAME, None, False))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(server.requests) == 1


def test_what_the_user_must_provide_is_asked_for_before_a_download(server):
    with pytest.raises(MissingWeightsError, match='absent.pth'):
        download.locate(f'{{{server.address}{NAME},absent.pth}}')
    assert server.requests == []


def test_a_folder_takes_the_place_of_the_network(server, tmp_path,
                                                 monkeypatch):
    monkeypatch.setenv('MINIGPT4_WEIGHTS', str(tmp_path))
    with pytest.raises(MissingWeightsError, match=NAME):
        download.locate(server.address + NAME)
    digest = NAME.rpartition('-')[2]
    (tmp_path / f'another-name-{digest}').write_bytes(DATA)
    assert download.locate(server.address + NAME) == [
        tmp_path / f'another-name-{digest}'
    ]
    assert server.requests == []


def test_own_files_need_no_folder(tmp_path, monkeypatch):
    (tmp_path / 'mine.pth').touch()
    monkeypatch.setenv('MINIGPT4_WEIGHTS', str(tmp_path / 'elsewhere'))
    monkeypatch.chdir(tmp_path)
    assert [str(p) for p in download.locate('mine.pth')] == ['mine.pth']


@pytest.mark.parametrize('names, spelt', [
    ('a.pth', ['a.pth']),
    ('x{a,b}.pth', ['xa.pth', 'xb.pth']),
    ('{a,b/{c,d}}', ['a', 'b/c', 'b/d']),
    ('{a,b}{c,d}', ['ac', 'ad', 'bc', 'bd']),
    ('{one}', ['{one}']),
    ('{', ['{']),
])
def test_braces_are_spelt_out_as_a_shell_does(names, spelt):
    assert sorted(download.expand(names)) == sorted(spelt)
