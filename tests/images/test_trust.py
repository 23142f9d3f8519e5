"""Within a run the files of a data set are looked at once, by whichever process comes first."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from psst.datamodules import EpisodicDataModule
from psst.images import ImageRecord, build_store, trust


class Counted:
    """Images whose brightness is what a file says; the file `looks` counts fingerprints of all processes."""

    name, channels = "counted", 1

    def __init__(self, root: str, first: str = "train") -> None:
        self.root, self.first = root, first

    def key(self, size):
        with (Path(self.root) / "looks").open("a") as file:
            file.write("x")
        return {"value": (Path(self.root) / "value").read_text(), "first": self.first}

    def scan(self):
        names = [(self.first, "a"), ("train", "b"), ("val", "c"), ("val", "d"), ("test", "e"), ("test", "f")]
        return [ImageRecord(name, split, None) for split, name in names for _ in range(20)]

    def decode(self, record, size):
        return np.full((size, size, 1), int((Path(self.root) / "value").read_text()), np.uint8)


class Module(EpisodicDataModule):
    channels = 1

    def __init__(self, root, **shared):
        super().__init__(size=4, **shared)
        self.root = root

    def source(self):
        return Counted(str(self.root))


@pytest.fixture
def root(tmp_path):
    (tmp_path / "value").write_text("7")
    (tmp_path / "looks").write_text("")
    return tmp_path


def looks(root):
    return len((root / "looks").read_text())


def brightness(root, known=None):
    with trust(known):
        return int(build_store(Counted(str(root)), 4, root / "cache").images[0].max())


def test_a_run_of_several_datamodules_fingerprints_the_source_once(root):
    with trust() as known:
        for seed in range(4):
            module = Module(root, cache_dir=str(root / "cache"), seed=seed)
            module.prepare_data()
    assert brightness(root, json.loads(json.dumps(known))) == 7  # as in another process, which is told
    assert looks(root) == 1


def test_without_a_run_and_in_the_next_run_files_that_changed_are_noticed(root):
    assert brightness(root) == 7
    (root / "value").write_text("8")
    assert int(build_store(Counted(str(root)), 4, root / "cache").images[0].max()) == 8
    (root / "value").write_text("9")
    with trust():
        assert [brightness(root), brightness(root)] == [9, 9]
    assert looks(root) == 3


def test_another_size_argument_or_cache_is_another_store(root):
    with trust() as known:
        for first, size, cache in [
            ("train", 4, "cache"),
            ("val", 4, "cache"),
            ("train", 5, "cache"),
            ("train", 4, "b"),
        ]:
            assert build_store(Counted(str(root), first), size, root / cache).image_shape == (1, size, size)
    assert looks(root) == len(known) == len(set(known.values())) == 4


def test_a_store_that_was_removed_is_built_again(root):
    with trust():
        brightness(root)
        shutil.rmtree(root / "cache")
        assert brightness(root) == 7
    assert looks(root) == 2


def test_a_source_that_is_more_than_its_arguments_is_looked_at_each_time(root):
    class Local(Counted):
        pass

    with trust() as known:
        for _ in range(2):
            build_store(Local(str(root)), 4, root / "cache")
    assert (looks(root), known) == (2, {})
