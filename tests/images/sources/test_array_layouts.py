"""Looks at folders never raise, whatever lies there."""

import os
import pickle

import numpy as np
import pytest

from psst.datamodules import FC100, CifarFS, MiniImageNet, TieredImageNet

ALL = (*MiniImageNet.layouts, *TieredImageNet.layouts, *CifarFS.layouts, *FC100.layouts)
NAMES = (
    "a_train.pkl",
    "train.csv",
    "val_labels.pkl",
    "train_images.npz",
    "x_category_split_val.pickle",
    "meta",
)
CONTENTS = (b"", b"\x80", os.urandom(5000), pickle.dumps([1]), pickle.dumps({"data": np.zeros(3)}), b"<html>")


@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_odd_files(tmp_path, content):
    for name in NAMES:
        (tmp_path / name).write_bytes(content)
    for layout in ALL:
        assert layout.sees(tmp_path) in (True, False)
    assert not any(layout.sees(tmp_path / "meta") for layout in ALL)  # a file
    assert not any(layout.sees(tmp_path / "none") for layout in ALL)


def test_odd_folders(tmp_path):
    for name in NAMES:
        (tmp_path / name).mkdir()
    for name in ("train", "val", "test", "CIFAR_FS_train.pickle"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / os.fsdecode(b"\xff\xfe_train.pkl")).write_bytes(b"x")
    (tmp_path / "broken_test.pkl").symlink_to(tmp_path / "nowhere")
    assert not any(layout.sees(tmp_path) for layout in ALL)


def test_hundreds_of_files_are_no_data_set(tmp_path):
    for i in range(500):
        (tmp_path / f"{i}.jpg").touch()
    assert not any(layout.sees(tmp_path) for layout in ALL)
