"""`download` of a datamodule, from a server on this machine."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from psst.commands.data import prepare
from psst.images.files.download import RemoteFile
from tests.episodes.tiny_source import SIZES, Tiny, TinySource

CONTENT = b"sizes of the classes"


class Remote(Tiny):
    remote = (RemoteFile("tiny.bin", (), f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", len(CONTENT)),)
    manual = "ask the author for tiny.bin."

    def __init__(self, root, cache_dir, **settings):
        super().__init__(cache_dir, **settings)
        self.root = str(root)

    def source(self):
        (Path(self.root) / "tiny.bin").read_bytes()
        return TinySource(self.sizes)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "tiny.bin").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_are_fetched_before_the_store_is_built(tmp_path, mirror):
    data = Remote(tmp_path / "root", tmp_path / "cache", download=True, mirror=mirror)
    data.prepare_data()
    data.setup()
    assert (tmp_path / "root" / "tiny.bin").read_bytes() == CONTENT
    assert len(data.store) == sum(sum(counts) for counts in SIZES.values())


def test_preparing_by_the_command_fetches_too(tmp_path, mirror):
    data = Remote(tmp_path / "root", tmp_path / "cache", download=True, mirror=mirror)
    assert len(prepare(data)) == sum(sum(counts) for counts in SIZES.values())


def test_nothing_is_fetched_unasked(tmp_path, mirror):
    with pytest.raises(FileNotFoundError):
        Remote(tmp_path / "root", tmp_path / "cache").prepare_data()


def test_a_file_that_nobody_has_is_explained(tmp_path, mirror):
    data = Remote(tmp_path / "root", tmp_path / "cache", download=True, mirror=f"{mirror}/elsewhere")
    with pytest.raises(ConnectionError, match=r"(?s)tiny.bin.*ask the author"):
        data.prepare_data()
    assert not (tmp_path / "cache").exists()
