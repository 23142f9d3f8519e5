import json
import warnings

import numpy as np
import pytest

from psst.images import ImageRecord, build_store

ROWS = [("cat", "train"), ("dog", "train"), ("owl", "val"), ("elk", "test")]


class Pictures:
    """Rows (class, split, picture): equal pictures are equal in every pixel; 0 is black throughout."""

    name, channels = "pictures", 3

    def __init__(self, *rows):
        base = [(name, split, 100 + i) for i, (name, split) in enumerate(ROWS)]
        self.rows = [*base, *rows]

    def key(self, size):
        return {}

    def scan(self):
        return [ImageRecord(name, split, f"{i}.png") for i, (name, split, _) in enumerate(self.rows)]

    def decode(self, record, size):
        picture = self.rows[int(record.reference.removesuffix(".png"))][2]
        if picture < 0:  # a color without a pattern
            return np.full((size, size, 3), (1, 2, -picture), np.uint8)
        return np.random.default_rng(picture).integers(0, 256, (size, size, 3), dtype=np.uint8)


def silent(source, cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return build_store(source, 6, cache)


def test_image_in_two_splits_is_warned_of_loudly_and_listed(tmp_path):
    source = Pictures(("cat", "train", 7), ("dog", "train", 8), ("elk", "test", 7))
    with pytest.warns(UserWarning, match="LEAK") as caught:
        store = build_store(source, 6, tmp_path)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.startswith(
        "TEST OR VALIDATION LEAK in pictures: results are not to be trusted, for in two splits"
    )
    assert "`4.png` (train cat) = `6.png` (test elk)" in message
    assert str(store.folder / "meta.json") in message
    assert caught[0].filename == __file__
    listed = json.loads((store.folder / "meta.json").read_text())["duplicates"]
    assert listed == store.duplicates
    assert listed == [
        {
            "images": [4, 6],
            "classes": ["cat", "elk"],
            "splits": ["train", "test"],
            "names": ["4.png", "6.png"],
        }
    ]
    assert silent(source, tmp_path).duplicates == listed


def test_image_in_two_classes_of_one_split_is_warned_of(tmp_path):
    twins = [(name, "train", 30 + i) for i in range(5) for name in ("dog", "cat")]
    with pytest.warns(UserWarning, match="two classes") as caught:
        store = build_store(Pictures(*twins), 6, tmp_path)
    message = str(caught[0].message)
    assert message.startswith("in two classes of pictures lie 5 picture(s)")
    assert message.count(" = ") == 3  # a few examples
    assert "`4.png` (train dog) = `5.png` (train cat)" in message
    assert [group["images"] for group in store.duplicates] == [[4 + 2 * i, 5 + 2 * i] for i in range(5)]


def test_leaks_come_first(tmp_path):
    with pytest.warns(UserWarning, match="TEST|two classes") as caught:
        build_store(
            Pictures(("cat", "train", 1), ("dog", "train", 1), ("cat", "train", 101), ("owl", "val", 101)),
            6,
            tmp_path,
        )
    assert [str(warning.message)[:4] for warning in caught] == ["TEST", "in t"]


@pytest.mark.parametrize(
    "rows",
    [
        [("cat", "train", 1), ("cat", "train", 1)],  # a copy within its class
        [("cat", "train", -5), ("elk", "test", -5)],  # of one color: shows nothing
        [("", "unlabeled", 1), ("cat", "train", 1), ("", "unlabeled", 1)],  # both are there to learn from
    ],
)
def test_harmless_copies_are_not_mentioned(tmp_path, rows):
    assert silent(Pictures(*rows), tmp_path).duplicates == []


def test_unlabeled_copy_of_a_test_image_is_a_leak(tmp_path):
    rows = [("cat", "train", 1), ("", "unlabeled", 1), ("", "unlabeled", 2), ("elk", "test", 2)]
    with pytest.warns(
        UserWarning, match=r"LEAK in pictures: .* 1 picture.*`6.png` \(unlabeled\) = `7.png` \(test elk\)"
    ):
        build_store(Pictures(*rows), 6, tmp_path)


def test_example_names_the_image_of_the_other_split(tmp_path):
    rows = [("cat", "train", 1), ("dog", "train", 1), ("elk", "test", 1)]
    with pytest.warns(UserWarning, match=r"`4.png` \(train cat\) = `6.png` \(test elk\)"):
        build_store(Pictures(*rows), 6, tmp_path)
