"""Omniglot and CUB fetched from a server of our own: small archives in the real format, with real names."""

import hashlib
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from psst.datamodules import Omniglot
from psst.datamodules.cub import CUB
from psst.episodes import Episodes, Evaluation
from psst.images.files.download import RemoteFile
from tests.datamodules.birds import write_archive, write_folder
from tests.datamodules.drawings import archive

SMALL = Omniglot(".", protocol="minimal").remote
(ARCHIVE,) = CUB.remote
EVERYTHING = (*SMALL, *Omniglot.remote, ARCHIVE)
SMALL1 = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
SMALL2 = ("Greek", "Japanese_(katakana)", "Latin", "Sanskrit", "Tagalog")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server(tmp_path):
    """A folder, and the address at which its files are served."""
    served = tmp_path / "served"
    served.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield served, f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def offered(folder, names, mirror):
    """Describe small archives as the real ones are described."""
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    return tuple(RemoteFile(name, (f"{mirror}/{name}",), f"sha256:{hashes[name]}") for name in names)


def drawings(folder):
    archive(folder / SMALL[0].name, dict.fromkeys(SMALL1, 2), "images_background_small1")
    archive(folder / SMALL[1].name, dict.fromkeys(SMALL2, 2), "images_background_small2")


def omniglot(root, mirror):
    settings = {
        "episodes": Episodes(way=2, query=3),
        "evaluation": Evaluation(way=2, query=3),
        "cache_dir": str(root / "cache"),
    }
    return Omniglot(str(root / "data"), download=True, mirror=mirror, **settings)


@pytest.mark.parametrize("file", EVERYTHING, ids=lambda file: file.name)
def test_what_is_known_of_the_official_files(file):
    assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", file.hash)
    assert all(url.startswith("https://") and url.endswith(f"/{file.name}") for url in file.urls)


def test_every_protocol_fetches_what_it_needs(tmp_path):
    needed = {
        protocol: [file.name for file in Omniglot(str(tmp_path), protocol=protocol).remote]
        for protocol in ("minimal", "background", "vinyals", "official")
    }
    both = ["images_background.zip", "images_evaluation.zip"]
    small = ["images_background_small1.zip", "images_background_small2.zip"]
    assert needed == {"minimal": small, "background": both[:1], "vinyals": both, "official": both}


def test_omniglot_is_fetched_and_stored(server, tmp_path):
    folder, mirror = server
    drawings(folder)
    data = omniglot(tmp_path, mirror)
    data.remote = offered(folder, [file.name for file in SMALL], mirror)
    data.prepare_data()
    data.setup("fit")
    assert len(data.store.splits["train"]) == 2 * len(SMALL1)
    assert sorted(path.name for path in (tmp_path / "data").glob("*.zip")) == [file.name for file in SMALL]


def test_cub_is_fetched_and_stored_without_unpacking(server, tmp_path):
    folder, mirror = server
    write_archive(write_folder(tmp_path), folder / ARCHIVE.name)
    settings = {"episodes": Episodes(way=2, query=1), "evaluation": Evaluation(way=2, query=1), "size": 8}
    root = tmp_path / "data"
    data = CUB(str(root), "feat", download=True, cache_dir=str(tmp_path / "cache"), **settings)
    data.remote = offered(folder, [ARCHIVE.name], mirror)
    data.prepare_data()
    data.setup("fit")
    assert len(data.store) == 400
    assert not (root / "CUB_200_2011").exists()


def test_other_archives_under_the_official_names_are_refused(server, tmp_path):
    """The official hashes are those of `SMALL`; a mirror with something else is no mirror."""
    folder, mirror = server
    drawings(folder)
    data = omniglot(tmp_path, mirror)
    data.remote = tuple(RemoteFile(file.name, (), file.hash, file.size) for file in SMALL)
    with pytest.raises(ConnectionError, match=r"small1.zip[\s\S]*small2.zip[\s\S]*brendenlake/omniglot"):
        data.prepare_data()
    assert not list((tmp_path / "data").glob("*.zip"))
