import hashlib

import numpy as np
import pytest

from psst.images.batches import Batch
from psst.images.writing import HashedFile, write_file, write_images


def batches(images, damaged=()):
    for part in np.array_split(images, 3):
        moments = np.ones((3, images.shape[1]), np.int64)
        yield Batch(part, list(damaged), moments, np.zeros(len(part), np.int64))


def test_hash_is_that_of_the_file(tmp_path):
    data = np.random.default_rng(0).bytes(100_001)
    assert write_file(tmp_path / "a", data) == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "a").read_bytes() == data


def test_flushing_in_between_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("psst.images.writing._FLUSH", 1000)
    with HashedFile(tmp_path / "a") as file:
        for i in range(300):
            file.write(bytes([i % 256]) * 77)
    data = b"".join(bytes([i % 256]) * 77 for i in range(300))
    assert (tmp_path / "a").read_bytes() == data
    assert file.sha256 == hashlib.sha256(data).hexdigest()


def test_images_are_a_plain_npy_file(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)
    _, hashes, sha256 = write_images(batches(images), images.shape, tmp_path / "images.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), images)
    assert hashlib.sha256((tmp_path / "images.npy").read_bytes()).hexdigest() == sha256
    assert len(hashes) == 10


def test_error_in_the_block_comes_through_and_closes_the_file(tmp_path):
    with pytest.raises(KeyError), HashedFile(tmp_path / "a") as file:
        raise KeyError
    with pytest.raises(ValueError, match="closed file"):
        file.write(b"x")
