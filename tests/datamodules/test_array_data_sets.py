"""The data modules of mini-ImageNet, tieredImageNet, CIFAR-FS and FC100: layouts, downloads, episodes."""

import hashlib
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from psst.commands.data import prepare
from psst.datamodules.cifar_100 import FC100, CifarFS
from psst.datamodules.mini_imagenet import MiniImageNet
from psst.datamodules.tiered_imagenet import TieredImageNet
from psst.episodes import Episodes, Evaluation
from psst.images.files.download import RemoteFile
from tests.images.sources.cifar_files import NAMES, to_archive, write_cifar100, write_pickles
from tests.images.sources.mini_files import CLASSES, write_caches
from tests.images.sources.tiered_files import write_v1, write_v2

ALL = (MiniImageNet, TieredImageNet, CifarFS, FC100)
SMALL = {
    "episodes": Episodes(way=2, query=1),
    "evaluation": Evaluation(way=2, query=1, val_episodes=3, test_episodes=3),
}


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


def offer(monkeypatch, data_set, folder, url):
    """Describe small files as the real ones are described."""
    files = tuple(
        RemoteFile(file.name, (f"{url}/{file.name}",), f"md5:{hashlib.md5(path.read_bytes()).hexdigest()}")
        for file in data_set.remote
        if (path := folder / file.name).exists()
    )
    assert len(files) == len(data_set.remote)
    monkeypatch.setattr(data_set, "remote", files)


def datamodule(data_set, root, **options):
    return data_set(root=str(root), size=12, cache_dir=str(root.parent / "cache"), **{**SMALL, **options})


@pytest.mark.parametrize("data_set", [CifarFS, FC100])
def test_cifar_100_is_downloaded(tmp_path, server, monkeypatch, data_set):
    served, url = server
    to_archive(write_cifar100(served / "made"))
    (served / "made" / "cifar-100-python.tar.gz").rename(served / "cifar-100-python.tar.gz")
    offer(monkeypatch, data_set, served, url)
    data = datamodule(data_set, tmp_path / "data", download=True)
    data.prepare_data()
    data.setup("fit")
    assert tuple(next(iter(data.train_dataloader())).images().shape[-3:]) == (3, 12, 12)
    assert (tmp_path / "data" / "cifar-100-python.tar.gz").is_file()


def test_mini_imagenet_is_downloaded(tmp_path, server, monkeypatch):
    served, url = server
    for path in write_caches(tmp_path / "made", val="validation").iterdir():
        path.rename(served / path.name)
    offer(monkeypatch, MiniImageNet, served, url)
    data = datamodule(MiniImageNet, tmp_path / "data", download=True)
    data.prepare_data()
    data.setup("fit")
    assert {s: [data.store.class_names[i] for i in ids] for s, ids in data.store.splits.items()} == CLASSES


def test_tiered_imagenet_offers_no_download(tmp_path):
    with pytest.raises(ValueError, match=r"download=true`: TieredImageNet has nothing .*few-shot-ssl-public"):
        datamodule(TieredImageNet, tmp_path, download=True)


@pytest.mark.parametrize("data_set", ALL)
def test_what_is_known_of_the_official_files(data_set):
    assert data_set.manual.startswith("Get ")
    for file in data_set.remote:
        assert file.urls[0].startswith("https://")
        assert file.urls[0].endswith(f"/{file.name}")


@pytest.mark.parametrize("write", [write_v1, write_v2])
def test_tiered_imagenet(tmp_path, write):
    store = prepare(datamodule(TieredImageNet, write(tmp_path / "tiered")))
    assert {split: len(ids) for split, ids in store.splits.items()} == {"train": 2, "val": 2, "test": 2}


def test_fc100_pickles(tmp_path):
    root = write_pickles(tmp_path / "fc", "FC100", FC100.published, NAMES.index, pickle.dumps)
    assert len(prepare(datamodule(FC100, root)).class_names) == 100


@pytest.mark.parametrize("data_set", ALL)
def test_a_folder_of_something_else_is_described(tmp_path, data_set):
    root = tmp_path / "data"
    root.mkdir()
    (root / "notes.txt").write_text("x")
    with pytest.raises(
        FileNotFoundError, match=r"`data.init_args.root=.*data` holds notes.txt; .* needs one of: "
    ):
        prepare(datamodule(data_set, root))


@pytest.mark.parametrize("data_set", ALL)
def test_missing_root_is_named(tmp_path, data_set):
    with pytest.raises(FileNotFoundError, match=r"`data.init_args.root=.*nowhere` does not exist"):
        prepare(datamodule(data_set, tmp_path / "nowhere"))
