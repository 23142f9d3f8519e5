"""Pickles of arrays: what comes back, what is refused, and where the data stay."""

import mmap
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from psst.images.files.unpickle import load
from tests.images.python2_pickles import python2

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 9, 10, 3), np.uint8)
PLAIN = {
    "labels": [0, 1, 70, -3, 2**40, 10**30],
    "text": ("a", "ü" * 40, ""),
    "numbers": (None, True, 1.5, 2 + 1j),
    "sets": ({1, 2}, frozenset("ab"), set()),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "bytes": (b"\x00\xff", b""),
    "nested": {("k", 1): [[], {}, ()]},
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_come_back(protocol):
    assert load(pickle.dumps(PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["u1", "<i4", ">i8", "f2", "<f8", "?", "c8", "S3", "U5"])
def test_arrays_come_back(protocol, dtype):
    array = IMAGES.astype(dtype)
    arrays = [array, np.asfortranarray(array), array.transpose(2, 0, 3, 1), array[:0], array[0, 0, 0, 0]]
    for expected, found in zip(arrays, load(pickle.dumps(arrays, protocol)), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "array", [IMAGES, np.asfortranarray(IMAGES), IMAGES.astype(">i2"), np.array([b"ab"])]
)
def test_pickles_of_python_2_come_back(array):
    found = load(python2({"data": array, "labels": [1, 2, -3], "class": "caf\xe9"}))
    np.testing.assert_array_equal(found["data"], array)
    assert found["data"].dtype == array.dtype
    assert (found["labels"], found["class"]) == ([1, 2, -3], "caf\xe9")


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_old_and_new_paths_of_numpy(core):
    written = b"numpy._core." if b"numpy._core." in pickle.dumps(IMAGES, 2) else b"numpy.core."
    data = pickle.dumps(IMAGES, 2).replace(written, f"{core}.".encode())
    assert f"c{core}.multiarray\n".encode() in data
    np.testing.assert_array_equal(load(data), IMAGES)


def test_one_array_in_two_places_is_one_array():
    first, second = load(pickle.dumps([IMAGES, IMAGES]))
    assert first is second


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_stay_in_the_file(tmp_path, protocol):
    """Not even small arrays of a long list are copied."""
    path = tmp_path / "list.pkl"
    arrays = [np.full(2**13, i % 256, np.uint8) for i in range(500)]
    path.write_bytes(pickle.dumps(arrays, protocol))
    tracemalloc.start()
    try:
        found = load(path)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 0.2 * path.stat().st_size
    assert isinstance(_owner(found[499]), mmap.mmap)
    np.testing.assert_array_equal(found[499], arrays[499])


def _owner(array):
    base = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base


class Command:
    """What an attacker writes."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_not_run_and_named(tmp_path, protocol):
    target = tmp_path / "run"
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"data": Command(os.system, f"touch {target}")}, protocol))
    with pytest.raises(ValueError, match=r"evil.pkl` asks for `(posix|nt).system`: .* runs nothing"):
        load(path)
    assert not target.exists()


class Recorded(np.ndarray):
    """A subclass, which could do anything in its own ``__setstate__``."""


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (Command(eval, "1"), "eval"),
        (Command(getattr, IMAGES, "data"), "getattr"),
        (Command(np.load, "x"), "numpy.load"),
        (Command(bytearray, 10), "bytes made of int"),
        (Command(set, range(3)), "range"),
        (Recorded(1), "_reconstruct|subclass|Recorded"),
        (np.array([{}], dtype=object), "may hold objects"),
        (np.zeros(2, [("a", "u1")]), "with a structure"),
        (ValueError("x"), "builtins.ValueError"),
        (type, "builtins.type"),
    ],
)
def test_whatever_is_not_data_is_refused(command, name):
    with pytest.raises(ValueError, match=name):
        load(pickle.dumps([command]))


@pytest.mark.parametrize(
    "program",
    [
        b"(S'ls'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'ls'\no.",  # OBJ
        b"\x80\x02cos\nsystem\nU\x02ls\x85\x81.",  # NEWOBJ
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02}U\x01a}b.",  # BUILD of a dict
        b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",  # a call of ndarray
        b"Pid\n.",  # PERSID
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aU\x04zlib\x86R.",
    ],
)
def test_every_opcode_that_makes_objects_is_closed(program):
    with pytest.raises(ValueError, match=r"asks for|damaged"):
        load(program)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02]r\xff\xff\xff\x0f.",  # LONG_BINPUT: a memo of 268 million entries
        b"]p268435455\n.",  # PUT
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.",  # BINBYTES8
        b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x.",  # BYTEARRAY8
        b"\x80\x04\x95" + (2**62).to_bytes(8, "little") + b"N.",  # FRAME
        b"\x80\x02\x8b\xff\xff\xff\x7f\x00.",  # LONG4
    ],
)
def test_sizes_are_checked_before_memory_is_taken(program):
    tracemalloc.start()
    try:
        try:
            load(program)
        except ValueError as error:
            assert "damaged" in str(error) or "truncated" in str(error)  # noqa: PT017 - frames may have any length
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_truncated_files_are_named(tmp_path, protocol, keep):
    path = tmp_path / "cut.pkl"
    data = pickle.dumps({"data": IMAGES, "labels": list(range(7))}, protocol)
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=r"cut.pkl` is (truncated|empty|damaged).*download it again"):
        load(path)


def test_damage_is_never_another_exception():
    data = pickle.dumps({"data": IMAGES[:1], "labels": [1, 2], "name": "x"}, 2)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(3000):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), 2):
            changed[place] = rng.integers(0, 256)
        try:
            load(bytes(changed))
            outcomes.add("loaded")
        except ValueError:
            outcomes.add("refused")
    assert outcomes == {"loaded", "refused"}


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"<!DOCTYPE html><html><head><title>Quota exceeded", "a web page.*from another mirror"),
        (b"\xef\xbb\xbf\n  <html>", "a web page"),
        (b'{"error": "not found"}', "JSON"),
        (b"PK\x03\x04....", "zip archive"),
        (b"\x1f\x8b\x08...", "gzip archive"),
        (b"\x93NUMPY\x01\x00", "npy format"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS"),
        (b"Sorry, too many users have viewed this file\n", "text that begins with 'Sorry, too many"),
        (b"", "empty"),
    ],
)
def test_other_files_are_recognized(tmp_path, head, kind):
    path = tmp_path / "mini-imagenet-cache-train.pkl"
    path.write_bytes(head)
    with pytest.raises(ValueError, match=rf"cache-train.pkl` is .*{kind}"):
        load(path)


@pytest.mark.parametrize("shape", [(7, 9, 10, 4), (-7, -9, 10, 3), (10**12,)])
def test_array_with_another_number_of_bytes_is_damaged(shape):
    old = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in IMAGES.shape) + b"t"
    data = python2(IMAGES)
    assert old in data
    data = data.replace(old, b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", side) for side in shape) + b"t")
    with pytest.raises(ValueError, match=r"damaged .* has 1,890 bytes, not"):
        load(data)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.pkl")
