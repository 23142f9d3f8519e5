"""From a configuration that names a class of torchvision to episodes."""

import struct

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from psst.commands.data import prepare
from psst.datamodules.episodic import EpisodicDataModule
from psst.datamodules.map_style import TorchvisionData
from psst.episodes import Episodes, Evaluation

SETTINGS = {
    "episodes": Episodes(way=2, query=2),
    "evaluation": Evaluation(way=2, query=2),
    "size": 16,
    "channels": 1,
}


def put_idx(path, values):
    shape = struct.pack(f">{values.ndim}i", *values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + shape + values.astype(np.uint8).tobytes())


@pytest.fixture
def root(tmp_path):
    """Forty images in each half of FashionMNIST's files."""
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for kind in ("train", "t10k"):
        put_idx(raw / f"{kind}-images-idx3-ubyte", rng.integers(0, 256, (40, 28, 28)))
        put_idx(raw / f"{kind}-labels-idx1-ubyte", np.arange(40) % 10)
    return tmp_path / "data"


def datamodule(root, **options):
    settings = {"data_set": "FashionMNIST", "root": str(root), "cache_dir": str(root.parent / "cache")}
    return TorchvisionData(**{**settings, **SETTINGS, **options})


def test_episodes(root):
    data = datamodule(root)
    data.prepare_data()
    data.setup("fit")
    assert next(iter(data.train_dataloader())).images().shape[-3:] == (1, 16, 16)
    assert data.store.meta["source"] == "fashionmnist"
    assert {split: len(ids) for split, ids in data.store.splits.items()} == {"train": 6, "val": 2, "test": 2}
    assert len(data.store) == 80


def test_one_part(root):
    assert len(prepare(datamodule(root, parts=[{"train": False}]))) == 40
    assert len(prepare(datamodule(root, arguments={"train": False}))) == 40


def test_second_call_opens_the_store(root):
    assert prepare(datamodule(root)).folder == prepare(datamodule(root)).folder


def test_download_is_handed_to_the_class(root):
    """The files are there: torchvision looks, and fetches nothing."""
    assert prepare(datamodule(root, download=True)).folder == prepare(datamodule(root)).folder


def test_configuration(root):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(EpisodicDataModule, "data")
    options = {"data_set": "FashionMNIST", "root": str(root), "parts": [{"train": True}, {"train": False}]}
    settings = {**options, "size": 16, "channels": 1, "cache_dir": str(root.parent / "cache")}
    config = {"class_path": "psst.datamodules.map_style.TorchvisionData", "init_args": settings}
    data = parser.instantiate(parser.parse_object({"data": config})).data
    assert len(prepare(data)) == 80


def test_missing_files_are_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"`data.init_args.data_set=CIFAR100` with root=.*download=true"
    ):
        prepare(datamodule(tmp_path / "data", data_set="CIFAR100"))
