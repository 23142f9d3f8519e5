import hashlib

import numpy as np
import pytest

from psst.images.writing import HashedFile, write_array


def test_an_array_is_a_plain_npy_file_and_its_hash_that_of_the_file(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 4), dtype=np.uint8)
    sha256 = write_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    assert hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest() == sha256


def test_error_in_the_block_comes_through_and_closes_the_file(tmp_path):
    with pytest.raises(KeyError), HashedFile(tmp_path / "a") as file:
        raise KeyError
    with pytest.raises(ValueError, match="closed file"):
        file.write(b"x")
